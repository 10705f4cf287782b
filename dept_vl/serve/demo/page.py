"""The page as a whole: what it says first, its tabs, its address."""

import html
import os
import sys
from collections.abc import Sequence
from importlib.resources import files

import gradio as gr

from dept_vl.serve.demo.pictures_tab import pictures_tab
from dept_vl.serve.demo.report_tab import report_tab
from dept_vl.serve.demo.runs import PICTURE_TASKS, LoadedRun
from dept_vl.serve.demo.text_tab import text_tab

LARGEST = "50mb"  # of a file that is dropped on the page
FONTS = ("system-ui", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif")  # the machine's: nothing is fetched
KEPT = 3600  # seconds that gradio keeps files
SHAPES_ALONE = """<p class="world"><b>tiny-clip knows one world: Shapes.</b> Its pictures have one to four circles,
squares, triangles and crosses, each in a cell of its own, as the editor below draws them. In anything else, a photo or
a freely drawn red circle beside a green square, it sees things that are not there.</p>"""


def build_page(adapters: Sequence[LoadedRun]) -> gr.Blocks:
    """The page for these adapters: a tab for pictures, one for each text task, one for the runs' reports."""
    seeing = [each for each in adapters if each.task["name"] in PICTURE_TASKS]
    texts = {each.task["name"]: None for each in adapters if each not in seeing}
    names = ", ".join(f"<b>{html.escape(each.name)}</b>" for each in adapters)
    with gr.Blocks(title="dept_vl demo", analytics_enabled=False, delete_cache=(KEPT, KEPT)) as page:
        gr.HTML(f'<div class="intro"><h1>Try an adapter</h1><p>A frozen model, and beside it {names}.</p></div>')
        if any(knows_shapes_alone(each) for each in seeing):
            gr.HTML(SHAPES_ALONE)
        with gr.Tabs():
            if seeing:
                with gr.Tab("Pictures"):
                    pictures_tab(seeing, editor=any(map(knows_shapes_alone, seeing)))
            for name in texts:
                with gr.Tab(name):
                    text_tab([each for each in adapters if each.task["name"] == name])
            if any(each.report for each in adapters):
                with gr.Tab("Report") as tab:
                    report_tab(tab, [each for each in adapters if each.report])
    return page


def open_page(page: gr.Blocks, host: str, port: int, *, browser: bool) -> str:
    """Start to serve the page, without waiting, and return its address. browser: open one, where there is a screen.

    Raises: OSError: the port is taken.
    """
    screen = sys.platform == "darwin" or bool({"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ))
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        inbrowser=browser and screen,
        quiet=True,
        prevent_thread_lock=True,
        ssr_mode=False,
        max_file_size=LARGEST,
        footer_links=[],
        run_history=False,  # gradio would keep every question in the browser
        theme=gr.themes.Default(primary_hue="orange", neutral_hue="slate", font=FONTS, font_mono=("monospace",)),
        css=files("dept_vl.serve.demo").joinpath("style.css").read_text(encoding="utf-8"),
    )
    return address


def knows_shapes_alone(adapter: LoadedRun) -> bool:
    return (adapter.config["vision"] or {}).get("vision_model_name") == "tiny-clip"
