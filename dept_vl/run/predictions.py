"""Answers of a saved adapter for files: images with a question or without, and rows of a text task.

`find_images` and `find_rows` check what is asked against the adapter's folder, before a frozen model is loaded; then
`predict_images` and `predict_rows` give a row at a time.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dept_vl.data.text_files import read_rows
from dept_vl.saved import read_any
from dept_vl.serve import AdaptedModel
from dept_vl.serve.named import DEFAULT_NAME, NamedAdapters
from dept_vl.serve.rows import WrongRow, plan_texts, task_facts
from dept_vl.untrusted.bad_file import BadFile
from dept_vl.vision import UnreadableImage

AT_ONCE = 32  # rows
PREDICTION = "prediction"  # the field of a row's answer


def find_images(adapter: Path | str, place: Path, question: str | None) -> list[Path]:
    """The image file, or the files of a folder by name. Raises: ValueError for none, WrongTask, BadAdapterFolder."""
    task_facts(DEFAULT_NAME, "caption" if question is None else "answer", _named(adapter))
    files = sorted(each for each in place.glob("[!.]*") if each.is_file()) if place.is_dir() else [place]
    if not any(each.is_file() for each in files):
        raise _nothing_readable(files, place)
    return files


def predict_images(
    model: AdaptedModel, files: Sequence[Path], question: str | None, report: Callable[[str], None]
) -> Iterator[dict[str, str]]:
    """The answer, or without a question the caption, of each file.

    Unreadable images are named and counted by `report`. Raises: ValueError where no image can be read.
    """
    unreadable = 0
    for start in range(0, len(files), AT_ONCE):
        pixels = {}
        for file in files[start : start + AT_ONCE]:
            try:
                pixels[file] = model.preprocess(file)
            except UnreadableImage as error:
                report(str(error))
                unreadable += 1
        images = list(pixels.values())
        texts = model.caption(images) if question is None else model.answer(images, [question] * len(images))
        for file, text in zip(pixels, texts, strict=True):
            answer = {"caption": text} if question is None else {"question": question, "answer": text}
            yield {"image": str(file), **answer}
    if unreadable:
        report(f"{unreadable} of {len(files)} images could not be read")
    if unreadable == len(files):
        raise _nothing_readable(files, files[0] if len(files) == 1 else files[0].parent)


def find_rows(adapter: Path | str, file: Path) -> list[dict[str, Any]]:
    """The rows of a file, each one that the adapter can answer. Raises: BadFile naming file, line and field, WrongTask,
    BadAdapterFolder."""
    adapters = _named(adapter)
    found = read_rows(file, quoted=True)
    if found.first_short:
        raise found.first_short
    try:
        plan_texts(found.rows, None, adapters, classify=bool(_labels(adapters)))
    except WrongRow as error:
        raise BadFile(file, f"{error.wanted} of {error.of} in {found.where(error.place)}", error.given) from error
    for place, row in enumerate(found.rows):
        where = f"in {found.where(place)}"
        if PREDICTION in row:
            raise BadFile(file, f"rows without {PREDICTION!r}, which is written beside their fields", f"one {where}")
        try:
            json.dumps(row, allow_nan=False)
        except (TypeError, ValueError) as error:  # parquet has types that JSON has not
            raise BadFile(file, f"values that JSON can hold {where}", str(error)) from error
    return found.rows


def predict_rows(model: AdaptedModel, rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each row with its "prediction": the class by name, or the text where the task has no classes."""
    answer = model.classify if _labels(model.adapters) else model.generate
    for start in range(0, len(rows), AT_ONCE):
        together = list(rows[start : start + AT_ONCE])
        for row, text in zip(together, answer(together), strict=True):
            yield {**row, PREDICTION: text}


def _named(adapter: Path | str) -> NamedAdapters:
    """The saved adapter without the models beside which it stands."""
    adapters = NamedAdapters()
    adapters.add(DEFAULT_NAME, read_any(adapter))
    return adapters


def _labels(adapters: NamedAdapters) -> Any:
    return (adapters.find(adapters.answering).config["task"] or {}).get("labels")


def _nothing_readable(files: Sequence[Path], place: Path) -> ValueError:
    return ValueError(f"{place}: wanted at least one readable image, given none of {len(files)} files")
