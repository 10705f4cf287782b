"""A large data root in the official formats, written in a minute: VQA v2's questions and annotations, Karpathy's
`dataset_coco.json`, and the feature store of the images as sparse files.

What stands in for the real thing: the questions are filled in at random, so nearly every one is another (in VQA v2
two of five are); an image file holds its number alone, because CLIP never reads it; the features are holes, which read
as zeros and take no room on the disk.
"""

import itertools
import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from dept_vl.vision import FeatureStore, FrozenClip, store
from dept_vl.vision.shards import ShardIndex, shard_name
from dept_vl.vision.store import Missing

SHARE = {"train": 0.92, "val": 0.04, "test": 0.04}  # of the images, as in Karpathy's split
_NOUNS = (
    "man woman boy girl child dog cat horse cow sheep bird elephant giraffe zebra bear bus train truck car bicycle "
    "boat bench chair table sofa bed desk lamp clock vase book phone laptop keyboard mouse television oven sink toilet "
    "fridge bottle cup bowl plate fork knife spoon pizza cake sandwich banana apple orange carrot broccoli umbrella "
    "backpack suitcase tie hat shirt jacket shoe kite ball bat glove racket skateboard surfboard snowboard ski sign "
    "hydrant meter fence wall window door roof tree flower grass field beach ocean river bridge street building"
).split()
_LOOKS = (
    "red blue green yellow white black brown gray pink purple big small tall short old young new wooden metal plastic "
    "striped spotted round square empty full wet dry dirty clean open closed broken parked sitting standing smiling"
).split()
_PLACES = "near behind above below beside under against across inside outside facing touching holding".split()
_FORMS = (
    "What color is the {} {} {} the {} {}?",
    "How many {} {}s are {} the {} {}?",
    "Is the {} {} {} the {} {}?",
    "Is there a {} {} {} the {} {} in this picture?",
    "Why is the {} {} {} the {} {}?",
    "What is the {} {} {} the {} {} doing?",
)


def write_world(root: Path, *, images: int, questions: int, seed: int = 1) -> Path:
    """`questions` questions, spread evenly over `images` images, ten answers each; every image has five captions."""
    draw = random.Random(seed)
    answers = Answers(draw)
    years = {"train2014": range(0, images * 2 // 3), "val2014": range(images * 2 // 3, images)}
    asked = itertools.count()
    for year, numbers in years.items():
        (root / year).mkdir(parents=True)
        for number in numbers:
            (root / year / name_of(year, number)).write_text(str(number))
        rows = ((number, next(asked)) for number in numbers for _ in range(_share(number, questions, images)))
        _write_questions(root, year, rows, draw, answers)
    _write_karpathy(root / "dataset_coco.json", years, draw)
    return root


def name_of(year: str, number: int) -> str:
    return f"COCO_{year}_{number:012d}.jpg"


class Answers:
    """Ten answers to a question: nearly all from the commonest 3,000, as in VQA v2, now and then a rare one."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        pairs = (f"{look} {noun}" for look in _LOOKS for noun in _NOUNS)
        self._common = list(itertools.islice(itertools.chain(("yes", "no"), map(str, range(20)), _NOUNS, pairs), 3000))
        self._weights = list(itertools.accumulate(1 / place for place in range(1, 3001)))

    def ten(self) -> list[str]:
        few = self._draw.choices(self._common, cum_weights=self._weights, k=3)
        rare = self._draw.random() < 0.3
        tenth = " ".join(self._draw.choices(_NOUNS, k=3)) if rare else few[1]
        return [few[0]] * 6 + [few[self._draw.randrange(3)] for _ in range(3)] + [tenth]


def _question(draw: random.Random) -> str:
    look, noun, place = draw.choice(_LOOKS), draw.choice(_NOUNS), draw.choice(_PLACES)
    return draw.choice(_FORMS).format(look, noun, place, draw.choice(_LOOKS), draw.choice(_NOUNS))


def _share(number: int, questions: int, images: int) -> int:
    return questions * (number + 1) // images - questions * number // images


def _write_questions(
    root: Path, year: str, rows: Iterable[tuple[int, int]], draw: random.Random, answers: Answers
) -> None:
    """Row by row into both files, so that a million of them need no memory."""
    top = f'{{"info":{{}},"data_type":"mscoco","data_subtype":"{year}","license":{{}},'
    asked = (root / f"v2_OpenEnded_mscoco_{year}_questions.json").open("w")
    told = (root / f"v2_mscoco_{year}_annotations.json").open("w")
    with asked, told:
        asked.write(top + '"task_type":"Open-Ended","questions":[')
        told.write(top + '"annotations":[')
        comma = ""
        for image, question in rows:
            ids = f'"image_id":{image},"question_id":{question}'
            asked.write(f'{comma}{{{ids},"question":"{_question(draw)}"}}')
            ten = answers.ten()
            entries = ",".join(
                f'{{"answer":"{answer}","answer_confidence":"maybe","answer_id":{place}}}'
                for place, answer in enumerate(ten, 1)
            )
            kind = ("yes/no", "number", "other")[question % 3]
            told.write(
                f'{comma}{{"question_type":"{_NOUNS[question % 65]}","multiple_choice_answer":"{ten[0]}",'
                f'"answers":[{entries}],"answer_type":"{kind}",{ids}}}'
            )
            comma = ","
        asked.write("]}")
        told.write("]}")


def _write_karpathy(path: Path, years: Mapping[str, range], draw: random.Random) -> None:
    total, ids = sum(map(len, years.values())), itertools.count()
    val, test = round(total * (1 - SHARE["val"] - SHARE["test"])), round(total * (1 - SHARE["test"]))
    entries = []
    for year, number in ((year, number) for year, numbers in years.items() for number in numbers):
        sentences = []
        for _ in range(5):
            tokens = draw.choices(_NOUNS, k=10)
            sentences.append({"tokens": tokens, "raw": f"{' '.join(tokens)}.", "imgid": number, "sentid": next(ids)})
        entries.append(
            {
                "filepath": year, "filename": name_of(year, number), "imgid": number, "cocoid": number,
                "split": "train" if number < val else "val" if number < test else "test",
                "sentids": [sentence["sentid"] for sentence in sentences], "sentences": sentences,
            }
        )  # fmt: skip
    path.write_text(json.dumps({"dataset": "coco", "images": entries}, separators=(",", ":")))


def write_store(clip: FrozenClip, images: Mapping[str, Path], folder: Path, *, shard_size: int = 1024) -> FeatureStore:
    """What `extract` would leave behind, by `extract` itself: it hashes the files and describes the store; only in
    place of running CLIP it makes shards with the right header and a hole for the features."""
    with mock.patch.object(store, "_make_shards", _sparse_shards):
        return store.extract(clip, images, folder, shard_size=shard_size)


def _sparse_shards(
    clip: FrozenClip,
    missing: list[Missing],
    images: Mapping[str, Path],
    shards: list[range],
    index: ShardIndex,
    *_: Any,
) -> tuple[list[str], dict[str, str]]:
    rows = [[missing[number].sha256 for number in shard] for shard in shards]
    return [_sparse_shard(index, each) for each in rows], {}


def _sparse_shard(index: ShardIndex, rows: list[str]) -> str:
    facts = index.facts
    size = 2 * len(rows) * facts.patch * facts.width  # bytes of fp16
    share = json.dumps({"address": facts.address, "rows": rows, "sha256": "0" * 64})
    features = {"dtype": "F16", "shape": [len(rows), facts.patch, facts.width], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"share": share}, "features": features}).encode()
    header += b" " * (-len(header) % 8)
    path = index.folder / shard_name(rows)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with path.open("r+b") as file:
        file.truncate(8 + len(header) + size)
    return path.name
