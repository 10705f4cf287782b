"""Each kind of figure is drawn at page width, beside a CSV of the very numbers."""

import csv
import dataclasses
import io

import pytest
from PIL import Image

from dept_vl.plans import figures
from dept_vl.plans import points as points_module
from dept_vl.plans.figures import DOTS, WIDTH, draw, write_figures
from dept_vl.plans.points import as_csv, points
from dept_vl.plans.schema import Plot


def plot(kind, **settings):
    return Plot(**{"kind": kind, "title": "T", "y": ("score",), "y_labels": ("score",), **settings})


PLOTS = {
    "bars": plot("bars"),
    "bars of costs": plot("bars", y=("cost_memory_mb", "weights"), y_labels=("MB", "weights")),
    "line": plot("line", y=("score", "cost_train_ms"), y_labels=("score", "ms")),
    "scatter": plot("scatter", x="weights", log=1),
    "curves": plot("curves", y=("loss",), y_labels=("loss",)),
    "curves by cost": plot("curves", x="flops", target="short"),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_figure_is_a_picture_of_page_width(name, done):
    found = points(done, PLOTS[name])
    picture = Image.open(io.BytesIO(draw(done, PLOTS[name], found)))
    assert picture.width == WIDTH * DOTS
    colours = {pixel for _, pixel in picture.convert("RGB").getcolors(1 << 24)}
    assert len(colours) > 50, "more than a blank page"


def test_cells_without_a_colour_of_their_own_are_named_beside_their_points(done, monkeypatch):
    usual = Image.open(io.BytesIO(draw(done, PLOTS["scatter"], points(done, PLOTS["scatter"]))))
    monkeypatch.setattr(figures, "COLOURS", figures.COLOURS[:1])
    named = []
    monkeypatch.setattr("matplotlib.axes.Axes.annotate", lambda own, name, place, **how: named.append(name))
    taller = Image.open(io.BytesIO(draw(done, PLOTS["scatter"], points(done, PLOTS["scatter"]))))
    assert set(named) == {"short", "long"} and taller.height > usual.height


def test_what_has_no_weights_is_a_line_on_a_logarithmic_axis(done, monkeypatch):
    found = [
        dataclasses.replace(each, x=0) if each.cell == "short" else each for each in points(done, PLOTS["scatter"])
    ]
    lines = []
    monkeypatch.setattr("matplotlib.axes.Axes.axhline", lambda own, y, **how: lines.append(y))
    draw(done, PLOTS["scatter"], found)
    assert lines == [each.mean for each in found if each.cell == "short"]


@pytest.mark.parametrize("frozen", ["long", "short"])
def test_the_line_of_what_nothing_beats_knows_what_has_no_weights(done, monkeypatch, frozen):
    """Though it has no place on the axis: the long cell scores higher, and beats the short one at no weights."""
    plot = dataclasses.replace(PLOTS["scatter"], front=True)
    found = [dataclasses.replace(each, x=0) if each.cell == frozen else each for each in points(done, plot)]
    lines = []
    monkeypatch.setattr("matplotlib.axes.Axes.step", lambda own, xs, ys, **how: lines.append(list(xs)))
    draw(done, plot, found)
    assert len(lines) == 2 and all(each == ([] if frozen == "long" else [750.0]) for each in lines), "one a task"


def test_a_heat_map_has_a_cell_for_each_pair(done, monkeypatch):
    pairs = {(a, b): [0.5, 0.7] for a in ("short", "long") for b in ("short", "long")}
    monkeypatch.setattr(points_module, "similarities", lambda folders: pairs)
    heat = plot("heat", y=("cosine",), y_labels=("cosine",), tasks=("shapes-qnli",))
    found = points(done, heat)
    assert len(found) == 4 and found[0].mean == pytest.approx(0.6)
    assert Image.open(io.BytesIO(draw(done, heat, found))).width == WIDTH * DOTS


def test_the_numbers_stand_beside_the_picture(done, tmp_path):
    assert write_figures(done, tmp_path) == ["first"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "first.csv").read_text())))
    assert len(rows) == 4 and (tmp_path / "first.png").stat().st_size > 1000
    row = next(row for row in rows if (row["task"], row["cell"]) == ("shapes-squad", "long"))
    assert (row["mean"], row["sd"], row["repeats"], row["values"]) == ("28", "10", "3", "18 28 38")


def test_what_is_not_run_is_not_drawn(done, tmp_path):
    import dataclasses

    assert write_figures(dataclasses.replace(done, outcomes=()), tmp_path) == []
    half = dataclasses.replace(done, outcomes=tuple(done.of("short")))
    assert {point.cell for point in points(half, PLOTS["bars"])} == {"short"}


def test_curves_by_cost_end_at_all_of_the_targets_training(done):
    found = [point for point in points(done, PLOTS["curves by cost"]) if point.panel == ("score", "shapes-qnli")]
    short = [point for point in found if point.cell == "short"]
    assert [point.x for point in short] == pytest.approx([25, 50, 75, 100])
    assert short[-1].values == pytest.approx((14.0, 24.0, 34.0))


def test_a_csv_keeps_places_and_repeats(done):
    text = as_csv(points(done, PLOTS["line"]))
    assert text.splitlines()[0] == "measure,task,cell,series,x,mean,sd,repeats,values"
    assert "cost_train_ms,,short,PT,4,11,1,3,10 12 11" in text.splitlines()
