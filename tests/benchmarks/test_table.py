"""Targets, the table and the file of results."""

import json

import pytest

from benchmarks.table import BadResults, Line, Measured, Target, exactly, keep, read_results, table
from benchmarks.timing import Spread


@pytest.mark.parametrize(
    "sense, met", [("<=", (True, True, False)), (">=", (False, True, True)), ("<", (True, False, False)),
                   ("=", (False, True, False))]
)  # fmt: skip
def test_a_target_judges_below_at_and_above_its_bound(sense, met):
    assert tuple(Target(sense, 2.0).met(value) for value in (1.9, 2.0, 2.1)) == met


def measured(*lines: Line) -> dict:
    return json.loads(json.dumps(Measured(list(lines), {"runs": {"a": [1.0]}}).to_json()))


def test_the_table_shows_figures_targets_and_verdicts():
    first = measured(Line("ours / bare", Spread(1.014, 1.01, 1.03, 9), Target("<=", 1.02)))
    second = measured(
        Line("pads", exactly(0.125), Target("<=", 0.05), "%"),
        Line("as they come", exactly(0.5), None, "%"),
        Line("graphs", exactly(0, 8), Target("=", 0), ""),
        Line("training", exactly(1234.5), None, "samples/s"),
    )
    rows = table({"step": first, "padding": second}, {"step": 1, "peers": 2, "padding": 10}).splitlines()[2:]
    assert rows == [
        "| 1 | step: ours / bare | <= 1.020 | 1.014 | 1.010 to 1.030 | 9 | yes |",
        "| 2 | peers | | not measured | | | |",
        "| 10 | padding: pads | <= 5.0 % | 12.5 % |  | 1 | **no** |",
        "| 10 | padding: as they come | (reference) | 50.0 % |  | 1 |  |",
        "| 10 | padding: graphs | = 0 | 0 | 0 to 0 | 8 | yes |",
        "| 10 | padding: training | (reference) | 1234 samples/s |  | 1 |  |",
    ]


def test_a_measure_is_replaced_and_the_others_stay(tmp_path):
    path = tmp_path / "new" / "results.json"
    keep(path, {"step": {"lines": [1]}, "loop": {"lines": [2]}})
    keep(path, {"loop": {"lines": [3]}})
    assert read_results(path)["measures"] == {"step": {"lines": [1]}, "loop": {"lines": [3]}}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99, "measures": {}}'])
def test_another_file_is_refused_by_name(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(BadResults, match=r"results\.json: wanted .* given"):
        read_results(path)
