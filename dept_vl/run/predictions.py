"""Answers of a saved adapter for files: images with a question or without, and rows of a text task."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dept_vl.serve import AdaptedModel
from dept_vl.vision import UnreadableImage

AT_ONCE = 32  # images


def predict_images(
    model: AdaptedModel, place: Path, question: str | None, report: Callable[[str], None]
) -> list[dict[str, str]]:
    """The answer, or without a question the caption, of an image file or of each image in a folder, by name.

    Unreadable images are named and counted by `report`. Raises: ValueError where no image can be read.
    """
    files = sorted(each for each in place.glob("[!.]*") if each.is_file()) if place.is_dir() else [place]
    rows: list[dict[str, str]] = []
    for start in range(0, len(files), AT_ONCE):
        pixels = {}
        for file in files[start : start + AT_ONCE]:
            try:
                pixels[file] = model.preprocess(file)
            except UnreadableImage as error:
                report(str(error))
        images = list(pixels.values())
        if question is None:
            texts = model.caption(images)
            rows += [{"image": str(file), "caption": text} for file, text in zip(pixels, texts, strict=True)]
        else:
            texts = model.answer(images, [question] * len(images))
            asked = zip(pixels, texts, strict=True)
            rows += [{"image": str(file), "question": question, "answer": text} for file, text in asked]
    if len(rows) != len(files):
        report(f"{len(files) - len(rows)} of {len(files)} images could not be read")
    if not rows:
        raise ValueError(f"{place}: wanted at least one readable image, given none of {len(files)} files")
    return rows


def predict_rows(model: AdaptedModel, file: Path) -> list[dict[str, Any]]:
    """Each row of a JSONL file with its "prediction": the class by name, or the text where the task has no classes."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    task = model.adapters.find(model.adapters.answering).config["task"] or {}
    answers = model.classify(rows) if task.get("labels") else model.generate(rows)
    return [{**row, "prediction": answer} for row, answer in zip(rows, answers, strict=True)]
