"""The load test's own arithmetic, and a short run of all of it against a real server."""

import copy

import pytest

from benchmarks.serving import main, quantile
from benchmarks.serving_table import BEGIN, END, insert, tables

pytest.importorskip("fastapi", reason="skipped: the extra serve is not installed")

SPREAD = {"value": 0.95, "low": 0.9, "high": 1.0, "rounds": 3}
FOUND = {
    "loads": {"64 1000": {"rates": [100.0, 300.0, 200.0], "cpu": [4.0], "p50": 1.0, "p95": 2.0, "p99": 3.0}},
    "rates": {"questions": [500.0], "peft": [40.0], "one row at a time": [50.0]},
    "cpu": {"questions": [1.0], "peft": [12.0], "one row at a time": [16.0]},
    "half": {"rate": 100.0, "queue_p99": 30.0, "batch": 20.0},
    "loading": {"number": 2000, "first": 10.0, "last": 11.0},
    "ratios": {"adapters": SPREAD, "peft": SPREAD | {"value": 12.5}, "one row at a time": SPREAD},
    "endured": {"requests": 10_000, "wrong": 0, "stuck": 0, "unexpected": {}, "growth": 0.01, "rss": [500.0, 505.0]},
    "how": "python -m benchmarks.serving",
    "surroundings": {
        "date": "2026-11-30", "machine": {"processor": "a", "torch_threads": 2}, "versions": {}, "commit": "abc",
    },
}  # fmt: skip


def test_a_quantile_lies_between_the_edges_of_its_bucket():
    edges = [(1.0, 10.0), (2.0, 30.0), (float("inf"), 40.0)]
    assert [quantile(edges, share) for share in (0.125, 0.25, 0.5, 0.75)] == [0.5, 1.0, 1.5, 2.0]
    assert quantile(edges, 0.99) == 2.0


def test_targets_are_met_or_not():
    assert "**no**" not in tables(FOUND) and "| 64 | 1,000 | 200 | 4.00 | 1.0 | 2.0 | 3.0 |" in tables(FOUND)
    for place, value in (
        (("ratios", "adapters", "value"), 0.89),
        (("ratios", "peft", "value"), 9.9),
        (("half", "queue_p99"), 41.0),
        (("endured", "wrong"), 1),
        (("endured", "stuck"), 1),
        (("endured", "unexpected"), {"asks: 500": 1}),
        (("endured", "growth"), 0.06),
    ):
        found = copy.deepcopy(FOUND)
        *above, last = place
        inner = found
        for name in above:
            inner = inner[name]
        inner[last] = value
        assert tables(found).count("**no**") == 1, place


def test_the_tables_go_between_the_marks_of_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    insert("new \\1", page)
    assert page.read_text() == f"before\n{BEGIN}\n\nnew \\1\n\n{END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="wanted one"):
        insert("new", page)


@pytest.mark.slow
@pytest.mark.usefixtures("afresh")
def test_a_short_load_of_a_real_server(experiment, tmp_path, capsys):
    from dept_vl.run.execute import run

    run(experiment("run"))
    output = tmp_path / "serving.json"
    words = ["--run", str(tmp_path / "run"), "--seconds", "0.5", "--rounds", "1", "--requests", "200"]
    shown = main([*words, "--adapters", "1", "5", "--output", str(output)])
    assert shown == main(["table", "--output", str(output)])
    for what in ("wrong answers", "stuck requests", "statuses that should have been others"):
        (line,) = [line for line in shown.splitlines() if what in line]
        assert line.endswith("| yes |"), line
