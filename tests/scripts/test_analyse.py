"""scripts/analyse.py over a real run of the rank probe: training, its log, and what is read from the folder."""

import importlib.util
import json
from pathlib import Path

import pytest

from dept_vl import load_adapter
from dept_vl.run.execute import run
from tests.tiny_runs import forget_accelerate, text_experiment, write_cola

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "analyse.py"
PROBE = {"name": "rank_probe", "args": {"num_virtual_tokens": 12}}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("analyse_script", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def fit(folder, t5, **changes):
    """A run folder on CoLA's files, in a process that forgets it."""
    data = folder.parent / "data"
    data = data if data.exists() else write_cola(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        forget_accelerate()
        run(text_experiment(t5, data, folder, **changes))
        forget_accelerate()
    return folder


@pytest.fixture(scope="module")
def probed(byte_t5, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "probe"
    return fit(folder, byte_t5, adapter=PROBE, max_steps=12, eval_steps=0)


@pytest.fixture(scope="module")
def dept(byte_t5, tmp_path_factory):
    return fit(tmp_path_factory.mktemp("runs") / "dept", byte_t5)


def test_json_is_one_object_with_every_number(script, probed, capsys):
    script.main(["rank", str(probed), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert (said["folder"], said["adapter"], said["shift"]) == (str(probed), "rank_probe", None)
    assert len(said["prompt"]["row_norms"]) == len(said["prompt"]["singular_values"]) == 12
    assert [line["step"] for line in said["course"]] == list(range(1, 13))
    last, probe = said["course"][-1], load_adapter(probed)
    assert last == {"step": 12, **probe.diagnostics()} and last["rank"] == said["prompt"]["numerical_rank"]
    assert last["positive"] + last["negative"] == 12


def test_the_table_shows_the_ends_of_what_is_long_and_says_so(script, probed, capsys):
    script.main(["rank", str(probed)])
    head, summary, places, course = capsys.readouterr().out.rstrip("\n").split("\n\n")
    assert head == f"{probed}: rank_probe"
    assert "numerical rank" in summary and "16" in summary and "shift" not in summary
    for block, first, last in ((places, "0", "11"), (course, "1", "12")):
        lines = block.splitlines()
        assert lines[0].endswith("(10 of 12 lines; --json has all)") and len(lines) == 12
        assert (lines[2].split()[0], lines[-1].split()[0]) == (first, last)
    assert course.splitlines()[1].split() == ["step", "positive", "negative", "rank"]


def test_a_shift_stands_beside_the_prompt(script, dept, capsys):
    script.main(["rank", str(dept)])
    head, summary, places = capsys.readouterr().out.rstrip("\n").split("\n\n")  # no course: DePT tells nothing
    assert head.endswith(": dept") and summary.splitlines()[0].split() == ["prompt", "shift"]
    rows = load_adapter(dept).trained_length
    assert summary.splitlines()[1].split()[-3:] == [str(rows), "x", "16"]
    assert places.splitlines()[-1].split()[0] == str(rows - 1)


def test_a_folder_without_an_adapter_is_told_on_stderr(script, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        script.main(["rank", str(tmp_path)])
    assert "error: " in str(stop.value) and "wanted an adapter's config" in str(stop.value)
    assert capsys.readouterr().out == ""
