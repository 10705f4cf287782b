"""The tab with a run's report.html, in a frame in which no script of it runs and nothing of it reaches the page."""

import html
from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from dept_vl.serve.demo.runs import LoadedRun
from dept_vl.serve.demo.shown import problem

LARGEST = 20_000_000  # bytes


def report_tab(tab: gr.Tab, adapters: Sequence[LoadedRun]) -> None:
    """Lay out the tab of these runs' reports; one is read when the tab is opened or another run chosen."""
    reports = {each.name: each.report for each in adapters}
    chosen = gr.Dropdown(list(reports), value=adapters[0].name, label="Run", visible=len(reports) > 1)
    shown = gr.HTML()
    for event in (tab.select, chosen.input):
        event(lambda name: framed(reports[name]), chosen, shown, api_visibility="private")


def framed(report: Path) -> str:
    """The report as a sandboxed frame, or why it cannot be shown."""
    try:
        data = report.read_bytes()
    except OSError as error:
        return problem(f"The report cannot be read: {error.strerror}.")
    if len(data) > LARGEST:
        return problem(f"The report has {len(data):,} bytes, the page shows at most {LARGEST:,}: open it by itself.")
    text = html.escape(data.decode("utf-8", errors="replace"), quote=True)
    return f'<iframe class="report" title="The report of the run" sandbox srcdoc="{text}"></iframe>'
