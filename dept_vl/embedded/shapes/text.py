"""The text sets on disk: scenes described in words, in the official files of BoolQ, RTE, QNLI, CoLA and SQuAD.

    {"question": "Is there a red cross?", "passage": "small red cross at the top left; dark background.", ...}  # BoolQ
    {"premise": "small red cross at the top left; ...", "hypothesis": "a picture of a blue cross.", ...}        # RTE
    0<tab>Where is the cross?<tab>small red cross at the top left; dark background.<tab>entailment              # QNLI
    shapes<tab>0<tab>*<tab>small cross red at the top left; dark background.                                    # CoLA
    {"question": "What size is the cross?", "answers": [{"text": "small", "answer_start": 0}], ...}             # SQuAD

Every row is about a scene of its own; val and test scenes are from the held-out eighth. Of two classes each has half of
the rows. Deterministic: the same seed and sizes give byte-identical files.
"""

import functools
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dept_vl.embedded.shapes import text_rows
from dept_vl.embedded.shapes.files import write_whole
from dept_vl.embedded.shapes.text_rows import Row
from dept_vl.embedded.shapes.world import Scene, sample_scene

TEXT_VERSION = 1
TEXT_SIZES = {"train": 4000, "val": 400, "test": 800}  # rows of each set
FEWEST_THINGS, MOST_THINGS = 2, 3  # of one thing only 108 scenes are held out: val would use them up


@dataclass(frozen=True)
class TextSet:
    """kinds: of rows, in equal shares. make: a row of a kind. files: by split. written: an official file's text."""

    folder: str
    kinds: tuple[str, ...]
    make: Callable[[Scene, str, bool, random.Random], Row | None]
    files: Mapping[str, str]
    written: Callable[[list[Row]], str]


def _json_lines(rows: list[Row]) -> str:
    return "".join(json.dumps({**row, "idx": number}) + "\n" for number, row in enumerate(rows))


def _tabs(rows: list[Row], *, header: bool) -> str:
    lines = [[*map(str, row.values())] for row in rows]
    if header:
        lines = [["index", *rows[0]], *([str(number), *cells] for number, cells in enumerate(lines))]
    return "".join("\t".join(cells) + "\n" for cells in lines)


def _squad_file(rows: list[Row]) -> str:
    paragraphs = [
        {
            "context": row["context"],
            "qas": [{"id": f"{number}", "question": row["question"], "answers": row["answers"]}],
        }
        for number, row in enumerate(rows)
    ]
    return json.dumps({"version": "1.1", "data": [{"title": "Shapes", "paragraphs": paragraphs}]}) + "\n"


_JSONL = {"train": "train.jsonl", "val": "val.jsonl", "test": "test.jsonl"}
_TSV = {"train": "train.tsv", "val": "dev.tsv", "test": "test.tsv"}
_SQUAD = {"train": "train-v1.1.json", "val": "dev-v1.1.json", "test": "test-v1.1.json"}
_OPEN = ("color", "shape", "size", "where")

TEXT_SETS = {
    # Three in four ask what is there: with digits for yes and no, nothing is learnt of places within 400 steps.
    "boolq": TextSet("Shapes-BoolQ", ("exist", "exist", "exist", "spatial"), text_rows.boolq, _JSONL, _json_lines),
    "rte": TextSet("Shapes-RTE", ("one", "two"), text_rows.rte, _JSONL, _json_lines),
    "qnli": TextSet("Shapes-QNLI", _OPEN, text_rows.qnli, _TSV, functools.partial(_tabs, header=True)),
    "cola": TextSet("Shapes-CoLA", text_rows.FAULTS, text_rows.cola, _TSV, functools.partial(_tabs, header=False)),
    "squad": TextSet("Shapes-SQuAD", (*_OPEN, "ground"), text_rows.squad, _SQUAD, _squad_file),
}


def write_text_shapes(root: Path, *, seed: int = 1, sizes: dict[str, int] | None = None) -> Path:
    """Writes all sets under `root`, a folder each (made whole or not at all), and returns `root`.

    Raises:
        FileExistsError: `root` holds something else than the text sets of this version, seed and size.
    """
    sizes = dict(TEXT_SIZES if sizes is None else sizes)
    stamp = {"version": TEXT_VERSION, "seed": seed, "sizes": sizes}
    return write_whole(root, "shapes_text.json", "Shapes texts", stamp, lambda half: _write(half, seed, sizes))


def _write(root: Path, seed: int, sizes: dict[str, int]) -> None:
    for name, text_set in TEXT_SETS.items():
        (root / text_set.folder).mkdir(parents=True)
        for split, rows in make_rows(name, seed, sizes).items():
            path = root / text_set.folder / text_set.files[split]
            path.write_bytes(text_set.written(rows).encode())


def make_rows(name: str, seed: int, sizes: Mapping[str, int]) -> dict[str, list[Row]]:
    """The rows of every split of a set, no two about one scene."""
    text_set, rng, seen = TEXT_SETS[name], random.Random(f"text {name} {seed}"), set()
    splits: dict[str, list[Row]] = {}
    for split, number in sizes.items():
        plan = [(text_set.kinds[row // 2 % len(text_set.kinds)], row % 2 == 1) for row in range(number)]
        rng.shuffle(plan)
        splits[split] = [_row(text_set, kind, holds, split != "train", seen, rng) for kind, holds in plan]
    return splits


def _row(text_set: TextSet, kind: str, holds: bool, wanted_held_out: bool, seen: set[str], rng: random.Random) -> Row:
    while True:
        scene = sample_scene(rng, wanted_held_out=wanted_held_out, most=MOST_THINGS)
        if len(scene.things) < FEWEST_THINGS or scene.key() in seen:
            continue
        row = text_set.make(scene, kind, holds, rng)
        if row is not None:
            seen.add(scene.key())
            return row
