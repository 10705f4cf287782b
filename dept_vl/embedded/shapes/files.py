"""The data set on disk, in the official formats: VQA v2 questions and annotations, COCO captions, Karpathy's
dataset_coco.json, JPEG pictures. Deterministic: the same seed and sizes give byte-identical files.
"""

import io
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dept_vl.embedded.shapes.language import WORDINGS, annotators, captions, word_question
from dept_vl.embedded.shapes.questions import KINDS, ask
from dept_vl.embedded.shapes.render import SIDE, render
from dept_vl.embedded.shapes.world import Scene, sample_scene

SHAPES_VERSION = 1
SIZES = {"train": 4000, "restval": 400, "val": 300, "test": 500}  # images per split, restval joins train
QUESTIONS_PER_IMAGE = 6
_QUALITY = 92  # JPEG
_FIRST_ID = {"train": 1, "restval": 200_001, "val": 300_001, "test": 400_001}


def write_shapes(
    root: Path, *, seed: int = 1, sizes: dict[str, int] | None = None, questions_per_image: int = QUESTIONS_PER_IMAGE
) -> Path:
    """Writes the data set under `root` (made whole or not at all) and returns `root`.

    Raises:
        FileExistsError: `root` holds something else than a Shapes set of this version, seed and size.
    """
    sizes = dict(SIZES if sizes is None else sizes)
    stamp = {"version": SHAPES_VERSION, "seed": seed, "sizes": sizes, "questions_per_image": questions_per_image}
    return write_whole(
        root, "shapes.json", "Shapes", stamp, lambda half: _write(half, seed, sizes, questions_per_image)
    )


def write_whole(root: Path, marker_name: str, what: str, stamp: dict[str, Any], write: Callable[[Path], None]) -> Path:
    """Fills `root` by `write`, whole or not at all, the stamp in its marker file. A set of that stamp is left alone.

    Raises:
        FileExistsError: `root` holds something else.
    """
    marker = root / marker_name
    if marker.is_file() and json.loads(marker.read_text(encoding="utf-8")) == stamp:
        return root
    if root.exists() and any(root.iterdir()):
        found = marker.read_text(encoding="utf-8").strip() if marker.is_file() else "other files"
        raise FileExistsError(f"{root}: wanted an empty folder for {what} {json.dumps(stamp)}, found {found}")
    half = root.with_name(f".{root.name}.{os.getpid()}")
    shutil.rmtree(half, ignore_errors=True)
    try:
        write(half)
        (half / marker_name).write_text(json.dumps(stamp) + "\n", encoding="utf-8")
        _put_in_place(half, root, marker, stamp)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return root


def _put_in_place(half: Path, root: Path, marker: Path, stamp: dict[str, Any]) -> None:
    """Renames the finished set; another process that made the same set meanwhile is as good."""
    try:
        os.replace(half, root)  # an empty `root` gives way, a filled one is an error
    except OSError:
        if not (marker.is_file() and json.loads(marker.read_text(encoding="utf-8")) == stamp):
            raise


def scenes(seed: int, sizes: dict[str, int]) -> dict[str, list[Scene]]:
    """The scenes of every split, no two alike. Val and test scenes are from the held-out eighth."""
    rng, seen, splits = random.Random(f"scenes {seed}"), set(), {}
    for split, number in sizes.items():
        splits[split] = []
        while len(splits[split]) < number:
            scene = sample_scene(rng, wanted_held_out=split in ("val", "test"))
            if scene.key() not in seen:
                seen.add(scene.key())
                splits[split].append(scene)
    return splits


def _write(root: Path, seed: int, sizes: dict[str, int], questions_per_image: int) -> None:
    (root / "images").mkdir(parents=True)
    rng = random.Random(f"words {seed}")
    karpathy, questions, annotations = [], {"train2014": [], "val2014": []}, {"train2014": [], "val2014": []}
    coco = {"train2014": ([], []), "val2014": ([], [])}
    sentence_id = 0
    for split, members in scenes(seed, sizes).items():
        year = "train2014" if split == "train" else "val2014"  # as in COCO: restval, val and test are of val2014
        for number, scene in enumerate(members):
            image_id = _FIRST_ID[split] + number
            name = f"COCO_{year}_{image_id:012d}.jpg"
            _save_jpeg(scene, root / "images" / name)
            sentences = []
            for text in captions(scene, rng):
                sentence_id += 1
                tokens = text.lower().replace(",", " ").replace(".", " ").replace(":", " ").split()
                sentences.append({"tokens": tokens, "raw": text, "imgid": len(karpathy), "sentid": sentence_id})
                coco[year][1].append({"image_id": image_id, "id": sentence_id, "caption": text})
            coco[year][0].append({"id": image_id, "file_name": name, "height": SIDE, "width": SIDE})
            karpathy.append(
                {
                    "filepath": year, "filename": name, "imgid": len(karpathy), "cocoid": image_id, "split": split,
                    "sentids": [sentence["sentid"] for sentence in sentences], "sentences": sentences,
                }
            )  # fmt: skip
            for index, (question, annotation) in enumerate(_questions(scene, questions_per_image, rng)):
                ids = {"image_id": image_id, "question_id": image_id * 1000 + index}
                questions[year].append({**ids, "question": question})
                annotations[year].append({**annotation, **ids})
    _dump(root / "dataset_coco.json", {"dataset": "coco", "images": karpathy})
    for year in ("train2014", "val2014"):
        images, sentences = coco[year]
        _dump(root / f"captions_{year}.json", {"info": _info(), "images": images, "annotations": sentences})
        common = {"info": _info(), "data_type": "mscoco", "data_subtype": year, "license": _license()}
        _dump(
            root / f"v2_OpenEnded_mscoco_{year}_questions.json",
            {**common, "task_type": "Open-Ended", "questions": questions[year]},
        )
        _dump(root / f"v2_mscoco_{year}_annotations.json", {**common, "annotations": annotations[year]})


def _questions(scene: Scene, number: int, rng: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    """`number` different questions about the scene, the kinds as evenly spread as the scene allows."""
    kinds = list(KINDS)
    rng.shuffle(kinds)
    asked: set[str] = set()
    while len(asked) < number:
        for kind in kinds:
            question = ask(scene, kind, rng)
            if question is None or len(asked) == number:
                continue
            text = word_question(question, rng.choice(WORDINGS[kind]))
            if text in asked:
                continue
            asked.add(text)
            answers = annotators(question, rng)
            yield (
                text,
                {
                    "question_type": kind,
                    "multiple_choice_answer": max(sorted(set(answers)), key=answers.count),
                    "answer_type": _answer_type(question.answer),
                    "answers": [
                        {"answer": answer, "answer_confidence": "yes", "answer_id": place + 1}
                        for place, answer in enumerate(answers)
                    ],
                },
            )


def _answer_type(answer: str | int | bool) -> str:
    return "yes/no" if isinstance(answer, bool) else "number" if isinstance(answer, int) else "other"


def _save_jpeg(scene: Scene, path: Path) -> None:
    buffer = io.BytesIO()
    render(scene).save(buffer, format="JPEG", quality=_QUALITY, subsampling=0)
    path.write_bytes(buffer.getvalue())


def _dump(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")


def _info() -> dict[str, Any]:
    return {"description": f"Shapes, a generated set (version {SHAPES_VERSION})", "version": str(SHAPES_VERSION)}


def _license() -> dict[str, Any]:
    return {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}
