"""The controls with which a scene of Shapes is drawn: a cell, what stands in it, and the ground."""

import dataclasses
import random
from typing import Any, NamedTuple

import gradio as gr
from PIL import Image

from dept_vl.embedded.shapes.render import render
from dept_vl.embedded.shapes.world import COLORS, GROUNDS, SHAPES, SIZES, Scene
from dept_vl.serve.demo.editor import NOTHING, PLACES, cell_at, choices, drawn, enlarged, put, unlike_training
from dept_vl.serve.demo.shown import hint

LIGHT = {"api_visibility": "private", "show_progress": "hidden"}
"""For events that ask no model."""


class Drawing(NamedTuple):
    """The components that show a scene. scene: a state. dropped: a state, the picture that is asked about in place of
    the scene, None where there is none. note: a sentence on what was drawn or dropped."""

    scene: gr.State
    dropped: gr.State
    picture: gr.Image
    note: gr.HTML


class Panel(NamedTuple):
    """The components that change it."""

    cell: gr.Radio
    shape: gr.Radio
    color: gr.Radio
    size: gr.Radio
    ground: gr.Radio


def show(scene: Scene) -> tuple[Scene, None, Image.Image, str]:
    """What the components of a `Drawing` show of a scene."""
    return scene, None, enlarged(render(scene)), hint(unlike_training(scene) or "")


def show_all(scene: Scene, cell: int) -> tuple[Any, ...]:
    """`show`, and what the components of a `Panel` show where that cell is chosen."""
    return *show(scene), cell, *choices(scene, cell), scene.ground


def editor_panel(drawing: Drawing, first: Scene) -> Panel:
    """Lay out the controls, and connect them to the drawing."""
    start = first.things[0].cell
    shape, color, size = choices(first, start)
    cells = [(name, number) for number, name in enumerate(PLACES)]
    panel = Panel(
        gr.Radio(cells, value=start, label="Cell (or click it in the picture)", elem_classes="cells"),
        gr.Radio([NOTHING, *SHAPES], value=shape, label="What is in it"),
        gr.Radio(list(COLORS), value=color, label="Color"),
        gr.Radio(list(SIZES), value=size, label="Size"),
        gr.Radio(list(GROUNDS), value=first.ground, label="Background"),
    )
    with gr.Row():
        by_chance = gr.Button("Another by chance", size="sm")
        empty = gr.Button("Empty it", size="sm")
    everything, thing = [*drawing, *panel], [panel.shape, panel.color, panel.size]

    def change(scene: Scene, cell: int, shape: str, color: str, size: str) -> tuple[Any, ...]:
        return show(put(scene, cell, shape=shape, color=color, size=size))

    def click(scene: Scene, dropped: Image.Image | None, event: gr.SelectData) -> tuple[Any, ...]:
        if dropped is not None:  # a picture of the user's own has no cells
            return (gr.skip(),) * 4
        cell = cell_at(*event.index)
        return cell, *choices(scene, cell)

    panel.cell.input(choices, [drawing.scene, panel.cell], thing, **LIGHT)
    drawing.picture.select(click, [drawing.scene, drawing.dropped], [panel.cell, *thing], **LIGHT)
    for each in thing:
        each.input(change, [drawing.scene, panel.cell, *thing], drawing, **LIGHT)
    panel.ground.input(
        lambda scene, ground: show(dataclasses.replace(scene, ground=ground)),
        [drawing.scene, panel.ground],
        drawing,
        **LIGHT,
    )
    by_chance.click(lambda cell: show_all(drawn(random.Random()), cell), panel.cell, everything, **LIGHT)
    empty.click(lambda cell, ground: show_all(Scene((), ground), cell), [panel.cell, panel.ground], everything, **LIGHT)
    return panel
