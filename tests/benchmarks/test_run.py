"""Every sub-command at a tiny size: that it runs and what it keeps. Its figures say nothing and are not looked at."""

import json
import math
from importlib.util import find_spec

import pytest
import torch

from benchmarks.gpu import STEPS, gpu
from benchmarks.gpu_techniques import CUDA_ALONE
from benchmarks.run import FOLDER, MEASURES, NUMBERS, STORED, main
from benchmarks.setting import NoDevice, make
from benchmarks.table import BadResults, Line, exactly, table

pytestmark = [
    pytest.mark.usefixtures("afresh"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),  # peft 0.19 asks it
    pytest.mark.filterwarnings(
        "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
    ),  # dynamo reads it
]
SLOW = ("folded", "techniques", "startup", "neighbour", "questions")
"""torch.compile takes many seconds at any size, and so do processes that import what a run imports."""
COUNTED = {"memory": 5, "padding": 12}  # measures without times, and their lines


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(each, marks=[pytest.mark.slow] * (each in SLOW))
        for each in (*MEASURES, "questions", "methods", "techniques", "prompt_lengths")
    ],
)
def test_a_sub_command_measures_and_keeps_its_lines(name, tmp_path, capsys):
    path = tmp_path / "results.json"
    shown = main([name, "--tiny", "--seconds", "0", "--output", str(path)])
    kept = json.loads(path.read_text())["measures"]
    assert list(kept) == [name] and kept[name]["how"]["tiny"] and kept[name]["surroundings"]["versions"]
    lines = kept[name]["lines"]
    assert all(math.isfinite(line["spread"]["value"]) for line in lines) and len(lines) >= COUNTED.get(name, 1)
    assert bool(kept[name]["seconds"]) == (name not in COUNTED)
    assert any(line["target"] for line in lines) == (name != "techniques")
    assert shown.count(f"| {NUMBERS[name]} | {name}: ") == len(lines)
    if name == "folded":
        assert [line["spread"]["value"] for line in lines if line["unit"] == ""] == [0]  # a count: it holds at any size
    said = main(["table", "--output", str(path)])
    assert said.count("not measured") == len(MEASURES) + len(STORED) - (name in MEASURES)
    provenance = said.splitlines()[-1]
    assert provenance.startswith(f"- {name}: `python -m benchmarks.run ") and "torch 2." in provenance


@pytest.mark.parametrize(
    ("name", "error"), [("broken.json", BadResults), ("broken.json/file.json", NotADirectoryError)]
)
def test_results_that_cannot_be_kept_are_told_before_anything_is_measured(name, error, tmp_path, monkeypatch):
    (tmp_path / "broken.json").write_text("{")
    monkeypatch.setattr("benchmarks.run.measure", lambda *_: pytest.fail("measured"))
    with pytest.raises(error, match="broken.json"):
        main(["padding", "--tiny", "--output", str(tmp_path / name)])


@pytest.mark.slow  # it compiles, and launches two processes of DeepSpeed
def test_the_steps_for_a_gpu_run_at_tiny_size_and_each_is_kept_at_once(tmp_path, monkeypatch):
    path, kept = tmp_path / "results.json", []
    monkeypatch.setattr("benchmarks.run.keep", lambda path, measures: kept.append(measures["gpu"]))
    main(["gpu", "--tiny", "--seconds", "0", "--output", str(path)])
    wanting = {"llama-7b"} if find_spec("bitsandbytes") is None else set()
    assert kept[-1]["facts"]["not_measured"].keys() == {*CUDA_ALONE, *wanting}, kept[-1]["facts"]
    assert len(kept) == 1 + len(STEPS)
    assert len({len(each["lines"]) for each in kept}) == len(kept) - len({*CUDA_ALONE, *wanting})
    assert all(math.isfinite(line["spread"]["value"]) for line in kept[-1]["lines"])


def test_a_step_that_fails_or_finds_no_time_is_named_and_the_others_are_kept(monkeypatch):
    def fails(setting, rate):
        raise RuntimeError("out of memory")

    line = Line("samples", exactly(3.0), None, "samples/s")
    steps = {"first": (fails, 0.5), "second": (lambda setting, rate: ([line], {}), 0.5)}
    monkeypatch.setattr("benchmarks.gpu.STEPS", steps)
    *_, found = gpu(make("cpu", "float32", tiny=True))
    assert found.lines[1:] == [line] and found.facts["not_measured"] == {"first": "RuntimeError: out of memory"}
    shown = table({"gpu": json.loads(json.dumps(found.to_json()))}, {"gpu": "GPU"})
    assert "| GPU | gpu: first | | not measured: RuntimeError: out of memory | | | |" in shown


@pytest.mark.skipif(torch.cuda.is_available(), reason="skipped: this machine has a CUDA device")
@pytest.mark.parametrize("words", [["gpu"], ["gpu", "--device", "cuda"], ["step", "--device", "cuda"]])
def test_a_machine_without_a_gpu_is_told_so(words):
    with pytest.raises(NoDevice, match="wanted .*CUDA device, given"):
        main(words)


def test_the_results_page_shows_what_was_kept():
    page = (FOLDER / "RESULTS.md").read_text()
    for block in main(["table"]).split("\n\n"):
        assert block in page


def test_the_readme_names_every_sub_command_and_file():
    readme = (FOLDER / "README.md").read_text()
    wanted = [*NUMBERS, *(path.name for path in FOLDER.glob("*.py") if path.name != "__init__.py")]
    assert [each for each in wanted if f"`{each}`" not in readme] == []


def test_no_row_begins_when_the_minutes_are_over(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.run.measure", lambda *_: pytest.fail("measured"))
    shown = main(["all", "--tiny", "--minutes", "0", "--output", str(tmp_path / "results.json")])
    assert shown.count("not measured") == len(MEASURES)
    assert capsys.readouterr().err.count("no time left, measure it by itself") == len(MEASURES)
