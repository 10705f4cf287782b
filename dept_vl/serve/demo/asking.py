"""Ask adapters of the page: each one's answers with their probabilities, the blind answer beside them, and the time."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dept_vl.registry import DeptVLWarning
from dept_vl.serve.adapted import AdaptedModel
from dept_vl.serve.demo.runs import PICTURE_TASKS, LoadedRun
from dept_vl.serve.likely import Likely, likely_answers
from dept_vl.serve.occlusion import occlusion
from dept_vl.serve.rows import Row, plan_rows, plan_texts

Result = TypeVar("Result")
ONE_AT_A_TIME = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
"""What gradio is told of every event that asks a model: one at a time, so that each hears its own warnings."""


@dataclass(frozen=True)
class Said:
    """What one adapter said. answers: its own first. blind: likewise, without sight of the picture; None: not asked.
    seconds: of the answer alone, the tower's look at the picture included. notes: what had to be cut or was lost."""

    adapter: LoadedRun
    answers: list[Likely]
    blind: list[Likely] | None
    seconds: float
    notes: list[str]


def with_model(adapter: LoadedRun, function: Callable[[AdaptedModel], Result]) -> Result:
    """What the function makes of the adapter's model, on the engine's thread."""
    return adapter.engine.call(function).result()


def row_for(adapter: LoadedRun, picture: Image.Image | None, values: Mapping[str, str]) -> Row:
    """One question to an adapter. values: what stands in the braces of its template; a picture that it cannot see is
    left out.

    Raises: WrongRows, UnsupportedPicture.
    """
    adapters, names, task = adapter.model.adapters, [adapter.name], adapter.task
    if task["name"] not in PICTURE_TASKS:
        return plan_texts([values], names, adapters, classify=bool(task["labels"]), filled=True)[0]
    questions = [values["question"]] if task["name"] == "vqa" else None
    return plan_rows(task["name"], [picture] if adapter.sees else None, questions, names, adapters)[0]


def ask(model: AdaptedModel, row: Row, *, blind: bool) -> tuple[list[Likely], list[Likely] | None, float, list[str]]:
    """The answers, the blind ones, seconds and notes of `Said`."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", DeptVLWarning)
        start = time.perf_counter()
        model.answer_rows([row])
        seconds = time.perf_counter() - start
    notes = dict.fromkeys(str(each.message) for each in told if issubclass(each.category, DeptVLWarning))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeptVLWarning)  # told already
        answers = likely_answers(model, row)
        unseen = likely_answers(model, row, blind=True) if blind and row.picture is not None else None
    return answers, unseen, seconds, list(notes)


def parts_that_mattered(model: AdaptedModel, row: Row) -> tuple[Likely, Float[Tensor, "rows columns"]]:
    """The adapter's answer to a row with a picture, and its `occlusion`."""
    own = likely_answers(model, row)[0]
    return own, occlusion(model, row, own.tokens)


def ask_all(
    adapters: Sequence[LoadedRun], picture: Image.Image | None, values: Mapping[str, str], *, blind: bool
) -> list[Said]:
    """The same question to each. Every row is checked before any model runs. Raises: as `row_for`."""
    rows = [row_for(adapter, picture, values) for adapter in adapters]
    pairs = zip(adapters, rows, strict=True)
    return [Said(each, *with_model(each, partial(ask, row=row, blind=blind))) for each, row in pairs]
