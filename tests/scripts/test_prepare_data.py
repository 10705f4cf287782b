"""scripts/prepare_data.py as a user runs it on a file of their own, in this process."""

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "prepare_data.py"


@pytest.fixture
def prepare(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def prepare(*words):
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, words)])
        status = 0
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        except SystemExit as left:
            status = left.code or 0
        return status, capsys.readouterr().out

    return prepare


@pytest.fixture
def films(tmp_path):
    rows = [{"text": f"a film, number {place}", "label": ["bad", "good"][place % 2]} for place in range(40)]
    path = tmp_path / "films.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_of_ones_own_is_shown_in_lines_and_on_a_page(prepare, films, tmp_path):
    status, out = prepare("films.jsonl")
    assert status == 0 and out.startswith("films.jsonl: own_text, scored by exact_match\n")
    assert "train: read 40, in_split 32" in out and "of the texts held out of train by seed 42" in out
    assert """--task.labels '["bad", "good"]'""" in out and out.endswith("page: films_page.html\n")
    assert "<title>films.jsonl as own_text</title>" in (tmp_path / "films_page.html").read_text()


def test_flags_of_training_mean_the_same_here(prepare, films, tmp_path):
    (tmp_path / "own.yaml").write_text("task: {name: own_text, labels: [bad, good], max_source_length: 3}\n")
    status, out = prepare(films, "--config", "own.yaml", "--output", tmp_path / "pages" / "look.html")
    assert status == 0 and out.startswith("films.jsonl: own_text, scored by accuracy\n")
    assert "max_source_length 3 cuts 32 of 32" in out and (tmp_path / "pages" / "look.html").is_file()
    _, other = prepare(films, "--task", "own_text", "--task.labels", '["bad", "good"]', "--task.max_source_length=3")
    assert other.splitlines()[:-1] == out.splitlines()[:-1]


def test_an_official_set_gets_its_counts_and_a_page_where_asked(prepare, place, tmp_path):
    status, out = prepare("vqa", "--root", place / "shapes")
    assert status == 0 and len(out.splitlines()) == 3 and out.startswith("train: read ")
    assert not list(tmp_path.glob("*.html"))
    _, out = prepare("vqa", "--root", place / "shapes", "--splits", "test", "--output", "vqa.html")
    assert out.startswith("shapes: vqa, scored by vqa_accuracy\n") and "0 unreadable (decoded whole)" in out
    assert (tmp_path / "vqa.html").read_text().count("data:image/jpeg") == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vqaa"], "vqaa: no such file or folder; wanted one of"),
        (["someone/pictures"], "no such file or folder; a data set of the hub is named hub:someone/pictures"),
        (["films.jsonl", "--task.column", "{}"], 2),
        (["vqa"], 2),
        (["vizwiz:."], "of vizwiz, given none of them"),
        (["films.jsonl", "--task.columns", '{"source": "txt"}'], "films.jsonl: wanted the column 'txt'"),
    ],
)
def test_what_is_wrong_is_one_line(prepare, films, tmp_path, words, message):
    status, out = prepare(*words)
    assert status == message if isinstance(message, int) else message in status
    assert out == "" and not list(tmp_path.glob("*.html"))
