"""From plan files to the comparison page: trials first, then the runs at their rates; some methods; several files."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from dept_vl.plans.command import main
from dept_vl.plans.forgotten import measure_forgotten
from dept_vl.plans.peft_records import unpacked
from dept_vl.plans.settings import BadPlan
from dept_vl.run.forgetting import Forgetting
from tests.plans.fake_runs import leave_run
from tests.plans.test_tune import PLAN

FACTS = {
    "weights": {"trained": 100, "backbone": 1000, "by_group": {}}, "adapter": "pt", "inside": None,
    "meta_info": {"package_info": {}, "dataset_info": {}, "system_info": {}},
}  # fmt: skip


class Pool(ThreadPoolExecutor):
    """Notes how many adapters each process is to measure."""

    shares: list[int] = []

    def submit(self, work, /, *arguments, **how):
        if work is measure_forgotten:
            self.shares.append(len(arguments[1]))
        return super().submit(work, *arguments, **how)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """command(*argv): status and what was said. `ran` lists the runs, whose score is best at a prompt's rate of 2,
    `measured` those whose forgetting was measured."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dept_vl.plans.execute.measure_costs", lambda configs, path, **how: None)
    for name in ("one", "two"):
        content = {**PLAN, "view": "comparison", "measure": ["score", "forgetting"], "title": name}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))

    def work(config):
        command.ran.append(config)
        leave_run(config, lambda config: 1 / (1 + abs(config.optim.lr["prompt"] - 2.0)), file_size=10, steps=20)
        path = f"{config.output_dir}/results.json"
        with open(path, encoding="utf-8") as file:
            results = {**json.load(file), **FACTS}
        results["run_info"] |= {"peft_config": {}, "created_at": "2026-11-30", "total_time": 1.0, "error_msg": ""}
        with open(path, "w", encoding="utf-8") as file:
            json.dump(results, file)

    def command(*argv):
        lines = []
        how = {"work": work, "forget": forget, "pool": Pool}
        return main([*map(str, argv)], lines.append, **how), "\n".join(lines)

    def forget(folder, text):
        command.measured.append(folder.name)
        return Forgetting(1.0, 1.5, 4)

    command.ran, command.measured = [], []
    return command


def test_trials_come_first_and_the_runs_at_what_they_chose(command, tmp_path):
    status, said = command("one.yaml", "--output_dir", "runs")
    assert status == 0 and len(command.ran) == 2 * 3 * 2 + 2 * (2 + 2 * 1)
    assert {config.seed for config in command.ran[:12]} == {101, 102}
    rates = {(config.adapter.name, config.optim.lr["prompt"]) for config in command.ran[12:] if config.seed == 2}
    assert rates == {("pt", 2.0), ("dept", 2.0)}
    page = (tmp_path / "runs/one/comparison.md").read_text()
    assert (
        "| pt | 100.0 |" in page
        and "(10 x the starting rates, chosen by 6 trials, at the edge)" in page
        and "| +0.500 |" in page
    )
    command("one.yaml", "--output_dir", "runs")
    assert len(command.ran) == 20, "the second time finds all of them"


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_forgetting_of_each_run_is_measured_once_by_all_processes(command, tmp_path, jobs):
    Pool.shares.clear()
    command("one.yaml", "--output_dir", "runs", "--jobs", jobs)
    assert len(Pool.shares) == jobs and max(Pool.shares) - min(Pool.shares) <= 1
    kept = sorted(path.name.rpartition("_")[0] for path in (tmp_path / "runs/forgetting").iterdir())
    assert sorted(command.measured) == kept and len(kept) == 4
    command("one.yaml", "--output_dir", "runs", "--jobs", jobs)
    assert len(command.measured) == 4, "the second time finds all of them"


def test_a_page_of_several_plans_is_of_what_is_finished(command, tmp_path):
    with pytest.raises(BadPlan, match="--page: runs: wanted finished runs of these plans, given none"):
        command("one.yaml", "two.yaml", "--output_dir", "runs", "--page", "docs")
    command("one.yaml", "--output_dir", "runs", "--cells", "dept")
    assert {config.adapter.name for config in command.ran} == {"dept"}
    ran = len(command.ran)
    _, said = command("one.yaml", "two.yaml", "--output_dir", "runs", "--page", "docs")
    assert len(command.ran) == ran and "one: not all trials are finished, so no rates are chosen for pt" in said
    page = (tmp_path / "docs/comparison.md").read_text()
    assert 'dept-vl plan one.yaml --output_dir runs --cells "dept"' in page and "## one" in page
    assert (tmp_path / "docs/comparison.html").is_file() and (tmp_path / "docs/comparison/one.tar.xz").is_file()


def test_the_values_beside_a_page_stand_for_runs_that_are_gone(command, tmp_path):
    """The same page, the archive of records as it was; another plan's page keeps the values of the first."""
    command("one.yaml", "--output_dir", "runs")
    argv = ("one.yaml", "--output_dir", "runs", "--page", "docs")
    command(*argv)
    made = {path: path.read_bytes() for path in (tmp_path / "docs").rglob("*") if path.is_file()}
    assert len(made) >= 5
    shutil.rmtree(tmp_path / "runs")
    _, said = command(*argv)
    assert "8 of 8 runs are finished, with those of docs/comparison/values.csv" in said
    assert {path: path.read_bytes() for path in (tmp_path / "docs").rglob("*") if path.is_file()} == made
    command("two.yaml", "--output_dir", "runs")
    command("two.yaml", "--output_dir", "runs", "--page", "docs")
    page = tmp_path / "docs/comparison.md"
    assert "## two" in page.read_text() and "## one" not in page.read_text()
    command("one.yaml", "two.yaml", "--output_dir", "runs", "--page", "docs")
    assert "## two" in page.read_text() and "## one" in page.read_text()


def test_a_plan_goes_on_where_the_values_of_a_page_are_all_that_is_left(command, tmp_path):
    """Trials and seeds of another machine are not done again; the page is that of all runs."""
    argv, page = ("one.yaml", "--output_dir", "runs"), ("--page", "docs")
    command(*argv)
    command(*argv, *page)
    whole = (tmp_path / "docs/comparison.md").read_text()
    values, records = tmp_path / "docs/comparison/values.csv", tmp_path / "docs/comparison/one.tar.xz"
    names = set(unpacked(records.read_bytes()))
    lost = {path.name for path in (tmp_path / "runs/runs").iterdir()} - {name[:-5] for name in names}
    shutil.rmtree(tmp_path / "runs")
    kept = [line for line in values.read_text().splitlines() if ",2,0," not in line or "trials" in line]
    values.write_text("\n".join(kept) + "\n")
    command.ran.clear()
    status, said = command(*argv, "--values", "docs/comparison/values.csv")
    assert status == 0 and lost and {config.seed for config in command.ran} == {2} and len(command.ran) == 2
    assert "12 runs are not done, since their values are kept" in said
    command(*argv, *page)
    assert (tmp_path / "docs/comparison.md").read_text() == whole
    assert set(unpacked(records.read_bytes())) == names
    with pytest.raises(BadPlan, match="--values: wanted the values.csv of a page, given lost.csv"):
        command(*argv, "--values", "lost.csv")


def test_the_values_of_trials_stay_where_their_runs_are_not_found(command, tmp_path):
    """As where the command lacks a flag that the runs were made with."""
    argv = ("one.yaml", "--output_dir", "runs", "--page", "docs")
    command(*argv[:-2])
    command(*argv)
    other = (tmp_path / "two.yaml").read_text().replace("shapes-rte", "shapes-qnli")
    (tmp_path / "two.yaml").write_text(other)
    command("two.yaml", "--output_dir", "runs", "--length_step", "4")
    command("one.yaml", "two.yaml", "--output_dir", "runs", "--page", "docs", "--length_step", "4")
    rows = (tmp_path / "docs/comparison/values.csv").read_text()
    assert 'one_trials,"pt, rates x 0.1"' in rows and "one,pt,shapes-rte,score" in rows
    shutil.rmtree(tmp_path / "runs")
    assert "8 of 8 runs are finished, with those of docs" in command(*argv)[1]
    with pytest.raises(BadPlan, match="wanted it without --cells"):
        command(*argv, "--cells", "pt")


def test_a_cell_that_there_is_not_is_refused(command):
    with pytest.raises(BadPlan, match=r"--cells: wanted a cell of one, given 'dep'.* Did you mean 'dept'"):
        command("one.yaml", "--cells", "dep")
