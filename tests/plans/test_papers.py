"""The command from files to page, with runs that train nothing."""

import re
import shutil
from pathlib import Path

import pytest

from dept_vl.plans.contents import load_contents
from dept_vl.plans.load import load_plans
from dept_vl.plans.papers import main
from dept_vl.plans.settings import BadPlan
from tests.plans.fake_runs import leave_run, points_of, tokens

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def command(configs, tmp_path, threads, monkeypatch):
    """command(*argv): exit status and lines. `command.done` lists the runs. Runs and docs lie below tmp_path."""
    monkeypatch.chdir(tmp_path)

    def work(config):
        command.done.append(config)
        leave_run(config)

    def command(*argv, work=work):
        lines = []
        return main([*map(str, argv)], lines.append, configs=configs, work=work, pool=threads), "\n".join(lines)

    command.done = []
    return command


def test_all_runs_each_run_once_and_writes_the_page(command, tmp_path):
    status, said = command("--all")
    assert status == 0 and len(command.done) == 18
    page = (tmp_path / "docs" / "reproduction.md").read_text()
    ours = "28.0 against 24.0 points: +4.0 (over 3 seeds; all of them give the same, of which no test can be made)"
    assert f"| long wins | 2 against 1 | long against short | {ours} | **undecided** |" in page
    assert "| never told | bigger | - | one model | **not tested here** |" in page
    assert "| claims of the papers | 0 | 0 | 1 | 0 | 1 |" in page and "DePT: 1 claims" in page
    assert "| long | shapes-qnli | 28.0 | 3.2 to 52.8 | 10.0 | 18.0, 28.0, 38.0 | 40 | 64 |" in page
    assert (tmp_path / "docs/figures/values.csv").read_text().startswith("plan,cell,task,measure,")
    assert "19 of 19 results" in page and "- **a GPU**: there is none" in page and "A note." in page
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (tmp_path / "docs" / link).is_file(), link
    command("--all")
    assert len(command.done) == 18, "the second time finds all of them"


def test_a_page_that_cannot_be_written_is_told_before_any_run(command, tmp_path):
    (tmp_path / "docs").write_text("a file")
    with pytest.raises(NotADirectoryError, match="wanted a folder for claims.csv, given a file"):
        command("--all")
    assert command.done == []


def test_the_html_page_needs_no_other_file(command, tmp_path):
    command("--all")
    page = (tmp_path / "docs" / "reproduction.html").read_text()
    assert page.count('src="data:image/png;base64,') == 2
    assert not re.search(r"(src|href)=\"(?!data:)|<script|@import|url\(", page)
    assert "long wins" in page and "not tested here" in page


def test_a_result_on_either_side_is_said_plainly(command, configs, tmp_path):
    def work(config):
        noise = {1: 0.001, 2: 0.0, 3: -0.001}[config.seed] if tokens(config) == 8 else 0.0
        leave_run(config, lambda config: points_of(config) + noise)

    command("--all", work=work)
    assert "**supported** |" in (tmp_path / "docs" / "reproduction.md").read_text()
    path = configs / "plans" / "first.yaml"
    path.write_text(path.read_text().replace("first: [long], second: [short]", "first: [short], second: [long]"))
    command("--page")
    assert "**contradicted** |" in (tmp_path / "docs" / "reproduction.md").read_text()


def test_a_page_is_judged_again_from_its_single_values_where_the_runs_are_gone(command, tmp_path):
    command("--all")
    page, values = (tmp_path / "docs" / name for name in ("reproduction.md", "figures/values.csv"))
    before, kept = page.read_text(), values.read_text()
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    command("--page")
    told = "Of 2 studies not all run folders are here: their numbers are, wholly or in part, the single values of "
    told += "earlier runs, judged anew."
    assert told in page.read_text() and page.read_text().replace(f"\n{told}\n", "", 1).split() == before.split()
    assert values.read_text() == kept


def test_one_figure_is_run_alone_and_the_page_is_left(command, tmp_path):
    _, said = command("--paper", "dept", "--figure", 5)
    assert len(command.done) == 12 and "long wins" in said and "of 1 claims corrected together" in said
    assert (tmp_path / "docs/figures/first.png").is_file() and not (tmp_path / "docs/reproduction.md").exists()
    command("--study", "second")
    assert len(command.done) == 18
    _, said = command("--page")
    assert len(command.done) == 18 and (tmp_path / "docs/reproduction.md").is_file()


def test_fast_runs_write_beside_themselves_and_warn(command, tmp_path):
    command("--fast")
    assert not (tmp_path / "docs").exists()
    page = (tmp_path / "runs/reproduction_fast/reproduction.md").read_text()
    assert "None of its numbers means anything" in page and "| claims of the papers | 0 | 0 | 1 | 0 | 1 |" in page


def test_the_list_tells_what_is_done_and_what_is_not(command):
    before = command("--list")[1]
    assert "plan first: recorded in docs/reproduction.md: 0 of 12; runs here: 0 of 12" in before
    assert "nothing to run" in before
    assert re.search(r"figure 2 +else\n +not done", before)
    command("--study", "first")
    after = command("--list")[1]
    assert "plan first: recorded in docs/reproduction.md: 0 of 12; runs here: 12 of 12" in after
    assert re.search(r"second +Second: .*runs here: 1 of 7", after), "the source is a run of the first"


def test_the_list_tells_what_a_page_records_whose_runs_are_elsewhere(command, tmp_path):
    command("--study", "first")
    command("--page")
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    said = command("--list")[1]
    assert "plan first: recorded in docs/reproduction.md: 12 of 12; runs here: 0 of 12" in said
    assert re.search(r"second +Second: recorded in docs/reproduction.md: 1 of 7; runs here: 0 of 7", said)


def test_a_failed_run_is_told_and_gives_another_exit_status(command, tmp_path):
    def work(config):
        if config.seed == 2:
            raise RuntimeError("lost")
        leave_run(config)

    status, said = command("--all", work=work)
    assert status == 1
    assert sum(line.startswith("failed: ") for line in said.splitlines()) == 4 and said.endswith("RuntimeError: lost")
    assert "*8 of 12 results are in.*" in (tmp_path / "docs/reproduction.md").read_text()


def test_impossible_commands_are_refused(command, capsys):
    for argv, message in (
        (["--page"], "wanted finished runs, given none: the page is left"),
        (["--all", "--jobs", 0], "--jobs: wanted at least 1, given 0"),
        (["--figure", 6], "given dept figure 6"),
        (["--study", "frist"], "given 'frist'.* Did you mean 'first'"),
    ):
        with pytest.raises(BadPlan, match=message):
            command(*argv)
    for argv, message in (
        (["--fast", "--table", 8], "--table: runs rows"),
        (["--fast", "--max_steps", 3], "no further"),
    ):
        with pytest.raises(SystemExit):
            command(*argv)
        assert message in capsys.readouterr().err


def test_every_figure_and_table_of_the_papers_is_listed():
    contents = load_contents(REPOSITORY / "configs/paper/contents.yaml").items
    wanted = {"dept": (10, 6), "dpt": (4, 14), "fpt": (2, 0)}
    assert {
        paper: tuple(sum(item.name.startswith(kind) for item in items) for kind in ("table", "figure"))
        for paper, items in contents.items()
    } == wanted
    for plan in load_plans(REPOSITORY / "configs/plans").values():
        for shown in plan.shows:
            assert shown in {item.name for item in contents[plan.paper]}, f"{plan.name} shows {shown}"


def test_a_page_is_of_all_studies(command):
    with pytest.raises(BadPlan, match="--page: writes the page of all studies; wanted it without --paper"):
        command("--page", "--paper", "dept")


def test_studies_go_on_where_the_values_of_the_page_are_all_that_is_left(command, tmp_path):
    command("--study", "first")
    command("--page")
    shutil.rmtree(tmp_path / "runs")
    before = len(command.done)
    status, said = command("--all", "--values", "docs/figures/values.csv")
    assert status == 0 and len(command.done) - before == 7, "the second plan's, and the one that another starts from"
    assert "11 runs are not done, since their values are kept" in said
    page = (tmp_path / "docs/reproduction.md").read_text()
    assert "19 of 19 results are in" in page, page[:600]


def test_values_of_another_machine_are_joined_with_those_of_the_page(command, tmp_path):
    """Neither file has all; the page and its own file do."""
    command("--study", "first")
    command("--page")
    (tmp_path / "docs").rename(tmp_path / "other")
    shutil.rmtree(tmp_path / "runs")
    command("--study", "second")
    command("--page")
    shutil.rmtree(tmp_path / "runs")
    before = len(command.done)
    status, _ = command("--page", "--values", "other/figures/values.csv")
    assert status == 0 and len(command.done) == before
    assert "19 of 19 results are in" in (tmp_path / "docs/reproduction.md").read_text()
    rows = (tmp_path / "docs/figures/values.csv").read_text().splitlines()
    assert len(rows) == len(set(rows)) and sum(",score,," in row for row in rows) == 19


def test_a_picture_that_only_run_folders_draw_stays(command, tmp_path):
    path = tmp_path / "configs/plans/first.yaml"
    curves = "  - {kind: curves, name: loss, title: Loss, y: [loss], y_labels: [loss]}\n"
    path.write_text(path.read_text().replace("plots:\n", "plots:\n" + curves))
    command("--study", "first")
    command("--page")
    drawn = (tmp_path / "docs/figures/first_loss.csv").read_text()
    shutil.rmtree(tmp_path / "runs")
    values = tmp_path / "docs/figures/values.csv"
    values.write_text("".join(line for line in values.read_text().splitlines(True) if ",3,0," not in line))
    command("--study", "first", "--values", "docs/figures/values.csv")
    assert (tmp_path / "docs/figures/first_loss.csv").read_text() == drawn
    assert "12 of 12" in command("--study", "first", "--values", "docs/figures/values.csv")[1]


def test_values_without_a_study_are_refused(command, capsys):
    with pytest.raises(SystemExit):
        command("--values", "docs/figures/values.csv")
    assert "--values: is of studies" in capsys.readouterr().err
