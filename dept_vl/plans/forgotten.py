"""Forgetting of a plan's runs: measured once for each finished run, kept beside the runs, read into the table."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dept_vl.plans.runs import Place
from dept_vl.plans.schema import PlanFile
from dept_vl.run.forgetting import Forgetting, measure_forgetting
from dept_vl.untrusted.whole_files import write_files_whole

Measure = Callable[[Path, str], Forgetting]


def measured_cells(plan: PlanFile) -> set[str]:
    return {cell.name for cell in plan.cells if "forgetting" in cell.measure}


def measure_forgotten(
    plan: PlanFile, finished: Iterable[tuple[Place, Path]], root: Path, measure: Measure = measure_forgetting
) -> None:
    """Measure what is not measured yet. finished: where each run stands, and its folder.

    Raises: what `measure_forgetting` raises.
    """
    cells = measured_cells(plan)
    for place, folder in finished:
        path = _path(plan, root, place.run)
        if place.cell in cells and not path.exists():
            found = measure(folder, plan.forgetting)
            facts = {"text": plan.forgetting, "frozen": found.frozen, "adapted": found.adapted, "rows": found.rows}
            write_files_whole(path.parent, {path.name: (json.dumps(facts) + "\n").encode()})


def read_forgotten(plan: PlanFile, finished: Iterable[tuple[Place, Path]], root: Path) -> Mapping[str, float]:
    """By run: nats per token that the loss on the plan's text rose."""
    found = {}
    for place, _ in finished:
        path = _path(plan, root, place.run)
        if path.exists():
            facts = json.loads(path.read_text(encoding="utf-8"))
            found[place.run] = facts["adapted"] - facts["frozen"]
    return found


def _path(plan: PlanFile, root: Path, run: str) -> Path:
    text = hashlib.sha256(plan.forgetting.encode()).hexdigest()[:6]
    return root / "forgetting" / f"{run}_{text}.json"
