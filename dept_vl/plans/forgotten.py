"""Forgetting of a plan's runs: measured once for each trained adapter and text, kept beside the runs, read into the
table."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dept_vl.plans.runs import Place
from dept_vl.plans.schema import PlanFile
from dept_vl.plans.settings import BadPlan
from dept_vl.run.forgetting import SHAPES, Forgetting, measure_forgetting
from dept_vl.saved.files import CONFIG
from dept_vl.untrusted.whole_files import write_files_whole

Measure = Callable[[Path, str], Forgetting]


def measured_cells(plan: PlanFile) -> set[str]:
    return {cell.name for cell in plan.cells if "forgetting" in cell.measure}


def check_text(plan: PlanFile) -> None:
    """Before any run. Raises: BadPlan."""
    if measured_cells(plan) and plan.forgetting != SHAPES and not Path(plan.forgetting).is_file():
        raise BadPlan(
            f"{plan.path}: forgetting: wanted a file of plain text, given {plan.forgetting}, where there is none: name "
            "another by --forgetting FILE"
        )


def to_measure(plan: PlanFile, finished: Iterable[tuple[Place, Path]], root: Path) -> list[tuple[Place, Path]]:
    """Of the finished runs, each with its folder, those that are not measured yet."""
    cells = measured_cells(plan)
    return [each for each in finished if each[0].cell in cells and not _path(plan, root, *each).exists()]


def measure_forgotten(
    plan: PlanFile, left: Iterable[tuple[Place, Path]], root: Path, measure: Measure = measure_forgetting
) -> None:
    """Raises: what `measure_forgetting` raises."""
    for place, folder in left:
        path, found = _path(plan, root, place, folder), measure(folder, plan.forgetting)
        facts = {"text": plan.forgetting, "frozen": found.frozen, "adapted": found.adapted, "rows": found.rows}
        write_files_whole(path.parent, {path.name: (json.dumps(facts) + "\n").encode()})


def read_forgotten(plan: PlanFile, finished: Iterable[tuple[Place, Path]], root: Path) -> Mapping[Place, float]:
    """By place: nats per token that the loss on the plan's text rose."""
    found = {}
    for place, folder in finished if measured_cells(plan) else ():
        path = _path(plan, root, place, folder)
        if path.exists():
            facts = json.loads(path.read_text(encoding="utf-8"))
            found[place] = facts["adapted"] - facts["frozen"]
    return found


def _path(plan: PlanFile, root: Path, place: Place, folder: Path) -> Path:
    """Named by the adapter's config, which has the hash of its weights, and by the text."""
    digest = hashlib.sha256(plan.forgetting.encode())
    for file in (folder / CONFIG, Path(plan.forgetting)):
        digest.update(file.read_bytes() if file.is_file() else b"")
    return root / "forgetting" / f"{place.run}_{digest.hexdigest()[:10]}.json"
