"""The tab of pictures: draw one or drop one, ask, compare the answers, see which parts of the picture mattered."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from dept_vl.embedded.shapes.render import render
from dept_vl.embedded.shapes.world import Scene
from dept_vl.serve.demo.asking import ONE_AT_A_TIME, ask_all, parts_that_mattered, row_for, with_model
from dept_vl.serve.demo.editor import DrawnExample, enlarged, example
from dept_vl.serve.demo.editor_panel import LIGHT, Drawing, Panel, editor_panel, show_all
from dept_vl.serve.demo.runs import LoadedRun
from dept_vl.serve.demo.shown import answer_cards, hint, in_words, marked, problem
from dept_vl.untrusted.images import UnreadableImage, open_image

EXAMPLES = [example(kind, seed) for kind, seed in (("color", 1), ("count", 1), ("where", 2), ("exist", 3))]
LARGEST_SHOWN = 768  # pixels of a dropped picture's longer side on the page


def pictures_tab(adapters: Sequence[LoadedRun], *, editor: bool) -> None:
    """Lay out the tab. editor: whether scenes of Shapes can be drawn; any picture can be dropped."""
    asks = any(each.task["name"] == "vqa" for each in adapters)
    first = EXAMPLES[0] if editor else None
    with gr.Row(elem_classes="sides"):
        with gr.Column():
            gr.HTML("<h2>1. A picture</h2>")
            drawing, panel = _lay_out_picture(first)
        with gr.Column():
            gr.HTML(f"<h2>2. {'A question' if asks else 'Its caption'}</h2>")
            question = gr.Textbox(
                first.question if first else "", label="Type a question, or choose one of the examples",
                placeholder="What color is the circle?", visible=asks,
            )  # fmt: skip
            with gr.Row(elem_classes="examples", visible=editor and asks):
                examples = [gr.Button(each.question, size="sm", min_width=220) for each in EXAMPLES]
            chosen = gr.CheckboxGroup(
                [(f"{each.name} ({each.about})", each.name) for each in adapters],
                value=[each.name for each in adapters], label="Adapters", visible=len(adapters) > 1,
            )  # fmt: skip
            blind = gr.Checkbox(True, label="Ask each blind, too: with zeros in place of what it sees")
            button = gr.Button("Ask" if asks else "Caption it", variant="primary")
            answers = gr.HTML(hint("The answers come here."))
    known = gr.State(first)
    asked = [drawing.scene, drawing.dropped, question, chosen, blind, known]
    answer = _answering({each.name: each for each in adapters}, asks)
    for event in (button.click, question.submit):
        event(answer, asked, answers, **ONE_AT_A_TIME)
    for each, put in zip(EXAMPLES, examples, strict=True) if panel else ():
        _connect_example(put, each, drawing, panel, question, known).then(answer, asked, answers, **ONE_AT_A_TIME)
    _parts_panel(adapters, drawing, question)


def picture_of(scene: Scene, dropped: Image.Image | None) -> Image.Image:
    """What is asked about: the picture that was dropped, else the scene as Shapes draws it."""
    return render(scene) if dropped is None else dropped


def read_dropped(path: str) -> tuple[Image.Image | None, str]:
    """The picture in a file, or None and a sentence that says why there is none."""
    try:
        return open_image(Path(path)), ""
    except UnreadableImage as error:
        return None, f"{Path(path).name} cannot be read as a picture: {error.reason}."


def _lay_out_picture(first: DrawnExample | None) -> tuple[Drawing, Panel | None]:
    picture = gr.Image(
        enlarged(render(first.scene)) if first else None, label="The picture", show_label=False,
        interactive=False, buttons=[], height=300,
        format="png", elem_classes="picture",
    )  # fmt: skip
    note = gr.HTML()
    drawing = Drawing(gr.State(first.scene if first else Scene((), "dark")), gr.State(), picture, note)
    panel = None
    with gr.Tabs():
        if first:
            with gr.Tab("Draw one"):
                panel = editor_panel(drawing, first.scene)
        with gr.Tab("Use a file"):
            file = gr.File(label="Drop a picture here, or click", height=140)

    def drop(path: str) -> tuple[Any, ...]:
        dropped, reason = read_dropped(path)
        if dropped is None:
            return gr.skip(), gr.skip(), problem(reason), None
        small = dropped.copy()
        small.thumbnail((LARGEST_SHOWN, LARGEST_SHOWN))
        return dropped, small, hint(f"{Path(path).name}, {dropped.width} x {dropped.height} pixels."), None

    file.upload(drop, file, [drawing.dropped, picture, note, file], **LIGHT)
    return drawing, panel


def _answering(adapters: dict[str, LoadedRun], asks: bool) -> Callable[..., str]:
    """The function from what stands on the page to the answers as HTML."""

    def answer(
        scene: Scene,
        dropped: Image.Image | None,
        question: str,
        names: list[str],
        blind: bool,
        known: DrawnExample | None,
    ) -> str:
        chosen = [adapters[name] for name in names]
        if not chosen:
            return problem("Choose at least one adapter.")
        if asks and not question.strip() and any(each.task["name"] == "vqa" for each in chosen):
            return problem("Type a question first.")
        try:
            said = ask_all(chosen, picture_of(scene, dropped), {"question": question}, blind=blind)
        except ValueError as error:
            return problem(str(error))
        expected = dropped is None and known is not None and (scene, question) == (known.scene, known.question)
        return answer_cards(said, known.answer if expected else None)

    return answer


def _connect_example(
    button: gr.Button, each: DrawnExample, drawing: Drawing, panel: Panel, question: gr.Textbox, known: gr.State
) -> Any:
    """The event in which the page shows an example."""
    shown = [*drawing, *panel, question, known]
    return button.click(
        lambda: (*show_all(each.scene, each.scene.things[0].cell), each.question, each), None, shown, **LIGHT
    )


def _parts_panel(adapters: Sequence[LoadedRun], drawing: Drawing, question: gr.Textbox) -> None:
    """Which parts an adapter's answer rests on, drawn on the picture."""
    by_name = {each.name: each for each in adapters if each.sees}
    if not by_name:
        return
    gr.HTML("<h2>3. Which parts of the picture mattered?</h2>")
    with gr.Row(elem_classes="sides"):
        with gr.Column():
            names = [(f"{each.name} ({each.about})", each.name) for each in by_name.values()]
            chosen = gr.Dropdown(names, value=next(iter(by_name)), label="Adapter", visible=len(names) > 1)
            button = gr.Button("Cover each part in turn")
            told = gr.HTML(hint("Each part of the picture is covered in turn, and the answer's probability told anew."))
        with gr.Column():
            picture = gr.Image(
                label="What mattered", show_label=False, interactive=False, buttons=[], format="png", visible=False
            )

    def cover(scene: Scene, dropped: Image.Image | None, question: str, name: str) -> tuple[str, Any]:
        adapter, whole = by_name[name], picture_of(scene, dropped)
        try:
            row = row_for(adapter, whole, {"question": question})
            own, drops = with_model(adapter, partial(parts_that_mattered, row=row))
        except ValueError as error:
            return problem(str(error)), gr.Image(visible=False)
        return in_words(drops, own, name), gr.Image(marked(whole, drops, own.probability), visible=True)

    button.click(cover, [drawing.scene, drawing.dropped, question, chosen], [told, picture], **ONE_AT_A_TIME)
