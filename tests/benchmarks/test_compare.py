"""Two commits side by side: which figures got worse, whose turn it is, and what is said of what cannot be had."""

import subprocess
from contextlib import nullcontext

import pytest

from benchmarks import compare as module
from benchmarks.compare import REPOSITORY, TURNS, BadCommit, compare
from benchmarks.run import main
from benchmarks.table import Line, Measured, Target
from benchmarks.timing import Spread


def row(value: float, seconds: float, *, sense: str = "<=", around: float = 0.01) -> dict:
    spread = Spread(value, value - around, value + around, 3)
    found = Measured([Line("ours / bare", spread, Target(sense, 1.0))], {"step": {"ours": [seconds] * 3}})
    return found.to_json()


IN_GIT = pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="skipped: wanted a git checkout of the package")


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Both commits' rows as given, (before, after) by row, without a checkout and without measuring."""
    turns = []
    monkeypatch.setattr(module, "checkout", lambda commit: nullcontext((tmp_path, "0123456789ab")))

    def given(**rows):
        def run_row(folder, name, seconds, words):
            here = folder == REPOSITORY
            turns.append((name, "here" if here else "there", seconds, tuple(words)))
            found = rows[name][here]
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(module, "run_row", run_row)
        return turns

    return given


@pytest.mark.parametrize(
    "before, after, sense, worse",
    [
        (1.00, 1.01, "<=", False),  # within the spread
        (1.00, 1.05, "<=", True),
        (1.05, 1.00, "<=", False),  # better
        (3.0, 2.9, ">=", True),
        (2.9, 3.0, ">=", False),
        (0.0, 7.0, "=", True),
    ],
)
def test_a_figure_is_worse_where_it_leaves_the_spread_on_the_bad_side(before, after, sense, worse, measured):
    measured(step=(row(before, 1.0, sense=sense), row(after, 1.0, sense=sense)))
    shown, found = compare("HEAD", {"step": 60.0}, [])
    assert [each.what for each in found] == ["ours / bare"] * worse
    assert ("- step: ours / bare: " in shown) == worse and ("Nothing is worse" in shown) != worse


def test_seconds_are_compared_beside_the_figures(measured):
    measured(step=(row(1.0, 1.0), row(1.0, 2.0)))
    shown, found = compare("HEAD", {"step": 60.0}, [])
    assert [(each.what, each.before.value, each.after.value) for each in found] == [("seconds: ours", 1.0, 2.0)]
    assert "| step | ours / bare | 1 | 0.99 to 1.01 | 1 | 0.99 to 1.01 | no |" in shown


def test_rounding_makes_nothing_worse(measured):
    measured(memory=(row(1.0, 1.0, around=0.0), row(1.0005, 1.0, around=0.0)))
    assert compare("HEAD", {"memory": 1.0}, [])[1] == []


def test_commits_take_turns_and_share_the_time_and_the_words(measured):
    turns = measured(step=(row(1.0, 1.0),) * 2, loop=(row(1.0, 1.0),) * 2)
    compare("HEAD", {"step": 60.0, "loop": 30.0}, ["--tiny"])
    assert [each[:2] for each in turns[: 2 * TURNS]] == [
        ("step", "there"), ("step", "here"), ("step", "here"), ("step", "there"), ("step", "there"), ("step", "here"),
    ]  # fmt: skip
    assert {each[2] for each in turns if each[0] == "step"} == {60.0 / (2 * TURNS)}
    assert {each[3] for each in turns} == {("--tiny",)}


def test_a_row_that_a_commit_does_not_have_is_said_and_the_others_are_measured(measured):
    error = subprocess.CalledProcessError(2, ["python"], stderr="usage: ...\nerror: invalid choice: 'serving'\n")
    measured(serving=(error, row(1.0, 1.0)), step=(row(1.0, 1.0), row(1.0, 1.0)))
    shown, _ = compare("HEAD", {"serving": 1.0, "step": 1.0}, [])
    assert "- serving: not measured (error: invalid choice: 'serving')" in shown and "| step | ours / bare |" in shown


@IN_GIT
def test_something_else_than_a_commit_is_refused():
    with pytest.raises(BadCommit, match="--compare no-such-thing: wanted a commit of .*, given something else"):
        main(["padding", "--tiny", "--compare", "no-such-thing"])


@IN_GIT
def test_the_checkout_has_the_commits_files_and_goes_away():
    with module.checkout("HEAD") as (folder, name):
        assert (folder / "benchmarks" / "run.py").is_file() and len(name) == 12
    assert not folder.exists()
    told = subprocess.run(["git", "worktree", "list"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert str(folder) not in told.stdout
