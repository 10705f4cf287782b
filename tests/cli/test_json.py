"""--json: one JSON document on stdout with what the lines say, and progress on stderr."""

import csv
import json

import pytest

from dept_vl import cli
from dept_vl.plans import command
from tests.plans.fake_runs import leave_run


@pytest.fixture
def run(capfd, monkeypatch, tmp_path):
    """run(*words): the status, stdout and stderr of a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[object, str, str]:
        capfd.readouterr()
        status: object = 0
        try:
            cli.main([*map(str, words)])
        except SystemExit as stop:
            status = stop.code or 0
        return status, *capfd.readouterr()

    return run


def test_a_file_of_ones_own(run, tmp_path):
    rows = [{"text": f"a film, number {place}", "label": ["bad", "good"][place % 2]} for place in range(40)]
    (tmp_path / "films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    status, out, _ = run("prepare", "films.jsonl", "--json")
    found = json.loads(out)
    assert status == 0 and found["task"] == "own_text" and found["page"] == "films_page.html"
    assert found["counts"]["train"]["read"] == 40 and found["labels"] == ["bad", "good"]
    assert found["tokens"]["train"]["source"]["texts"] == found["counts"]["train"]["in_split"]
    assert found["cut"] == [] and found["pictures"] == 0


def test_an_official_set(run, place):
    _, out, _ = run("prepare", "vqa", "--root", place / "shapes", "--json")
    assert set(json.loads(out)) == {"counts"} and set(json.loads(out)["counts"]) == {"train", "val", "test"}


@pytest.mark.slow
def test_a_set_that_is_written(run, tmp_path):
    _, out, _ = run("prepare", "shapes-text", "--root", tmp_path / "text", "--json")
    assert json.loads(out) == {"folder": str(tmp_path / "text")}


def test_features_that_are_made_listed_checked_and_deleted(run, place, tmp_path):
    words = ["--task.root", place / "shapes", "--vision.model_name", f"local-dir:{place / 'clip'}"]
    words += ["--vision.layer", 2, "--vision.feature_dir", "store", "--num_threads", 1]
    status, out, err = run("extract", "--json", *words)
    made = json.loads(out)
    assert status == 0, err
    assert made["images"] == 16 and made["unreadable"] == {}
    assert made["bytes"] == 2 * made["images"] * made["patches"] * made["width"]
    _, out, _ = run("features", "list", "--dir", "store", "--json")
    [listed] = json.loads(out)
    assert listed["folder"] == made["folder"] and listed["images"] == 16 and listed["damaged"] == []
    [shard] = (tmp_path / "store").glob("*/*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1])
    status, out, _ = run("features", "check", "--dir", "store", "--json")
    assert str(status).startswith("1 damaged") and len(json.loads(out)[0]["damaged"]) == 1
    _, out, _ = run("features", "prune", "--damaged", "--dir", "store", "--json")
    assert json.loads(out)[0]["deleted"] == [str(shard.relative_to(tmp_path))]
    assert json.loads(run("features", "list", "--dir", "elsewhere", "--json")[1]) == []


def test_a_plan_its_dry_run_and_a_comparison(run, monkeypatch, tmp_path):
    def work(config):
        leave_run(config, lambda config: config.optim.lr["prompt"])

    doing = command.main
    monkeypatch.setattr(command, "main", lambda *given, **more: doing(*given, **more, work=work))
    words = ["plan", "--task", "shapes-rte", "--seeds", 1, 2, "--grid", "optim.lr.prompt=0.3,0.5", "--json"]
    status, out, err = run(*words, "--dry-run")
    assert status == 0 and len(json.loads(out)["wanted"]) == 4, err
    status, out, err = run(*words)
    found = json.loads(out)
    assert status == 0 and found["failed"] == {} and "run 4 of 4" in err
    assert {row["test"] for row in found["runs"]} == {0.3, 0.5} and {row["seed"] for row in found["runs"]} == {1, 2}
    with (tmp_path / found["folder"] / "table.csv").open() as file:
        assert [row["cell"] for row in csv.DictReader(file)] == [row["cell"] for row in found["runs"]]
