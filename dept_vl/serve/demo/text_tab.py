"""The tab of a text task: a form made from the task's fields, and what adapters answer."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from dept_vl.embedded.shapes.text import TEXT_SETS, make_rows
from dept_vl.serve.demo.asking import ONE_AT_A_TIME, ask_all
from dept_vl.serve.demo.runs import LoadedRun
from dept_vl.serve.demo.shown import answer_cards, hint, problem
from dept_vl.tasks import TASKS
from dept_vl.tasks.text_task import class_index

SHAPES = "shapes-"  # how the generated tasks' names begin


def text_tab(adapters: Sequence[LoadedRun]) -> None:
    """Lay out the tab of adapters of one text task."""
    by_name = {each.name: each for each in adapters}
    fields = list(dict.fromkeys(field for each in adapters for field in each.fields))
    task = adapters[0].task
    long = TASKS[task["name"]].under(task["protocol"]).context
    generated = task["name"].startswith(SHAPES)
    values, truth = example_row(task["name"], fields, 0) if generated else ({}, None)
    known = gr.State((values, truth))
    with gr.Row():
        with gr.Column():
            boxes = [
                gr.Textbox(values.get(each, ""), label=each, lines=3 if each == long else 1, max_lines=12)
                for each in fields
            ]
            asked = gr.CheckboxGroup(
                [(f"{each.name} ({each.about})", each.name) for each in adapters],
                value=list(by_name), label="Adapters", visible=len(adapters) > 1,
            )  # fmt: skip
            with gr.Row():
                button = gr.Button("Ask", variant="primary")
                another = gr.Button("Another example", visible=generated)
        with gr.Column():
            answers = gr.HTML(hint("The answers come here."))

    answer = _answering(by_name, fields)

    def draw() -> tuple[Any, ...]:
        values, truth = example_row(task["name"], fields, random.getrandbits(30))
        return (values, truth), *(values[each] for each in fields)

    for event in (button.click, *(each.submit for each in boxes)):
        event(answer, [asked, known, *boxes], answers, **ONE_AT_A_TIME)
    drawn = another.click(draw, None, [known, *boxes], api_visibility="private")
    drawn.then(answer, [asked, known, *boxes], answers, **ONE_AT_A_TIME)


def _answering(adapters: dict[str, LoadedRun], fields: Sequence[str]) -> Callable[..., str]:
    """The function from what stands on the page to the answers as HTML."""

    def answer(names: list[str], known: tuple[dict[str, str], str | None], *texts: str) -> str:
        values = dict(zip(fields, texts, strict=True))
        if empty := [name for name, text in values.items() if not text.strip()]:
            return problem(f"Fill in {' and '.join(empty)} first.")
        if not names:
            return problem("Choose at least one adapter.")
        try:
            said = ask_all([adapters[name] for name in names], None, values, blind=False)
        except ValueError as error:
            return problem(str(error))
        return answer_cards(said, known[1] if known[0] == values else None)

    return answer


def example_row(task: str, fields: Sequence[str], seed: int) -> tuple[dict[str, str], str]:
    """Those fields of a row of a generated task, about a scene that no training row is about, and the right answer."""
    name = task.removeprefix(SHAPES)
    [row] = make_rows(name, seed, {"test": 1})["test"]
    names = TASKS[task].label_names
    answer = names[class_index(names, row["label"])] if names else row["answers"][0]["text"]
    return {each: row[each] for each in fields}, answer


assert all(f"{SHAPES}{name}" in TASKS for name in TEXT_SETS)
