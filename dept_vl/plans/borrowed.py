"""A plan's cells taken from another plan file (`cells_of`), so that one list of methods serves every comparison."""

import dataclasses
from collections.abc import Sequence

from dept_vl.plans.schema import Cell, PlanFile
from dept_vl.plans.settings import BadPlan, build, find_file, merge, read
from dept_vl.registry import did_you_mean


def borrow(plan: PlanFile) -> PlanFile:
    """With the cells of `cells_of`, those in `without` left out; a cell of the plan's own with the same name is laid
    over it (its settings over theirs), others follow. The other plan's base and experiment stay its own.

    Raises: BadPlan.
    """
    if plan.cells_of is None:
        if plan.without:
            raise BadPlan(f"{plan.path}: without: wanted cells_of beside it, given none")
        return dataclasses.replace(plan, cells=_measured(plan, plan.cells))
    path = find_file(plan.path.parent, plan.cells_of)
    theirs = borrow(build(PlanFile, read(path), f"{path}: ", path=path, tuned={})).cells
    names = [each.name for each in theirs]
    for name in plan.without:
        if name not in names:
            raise BadPlan(f"{plan.path}: without: wanted a cell of {path}, given {name!r}.{did_you_mean(name, names)}")
    own = {each.name: each for each in plan.cells if each != Cell()}
    cells = [_over(each, own.pop(each.name, None)) for each in theirs if each.name not in plan.without]
    return dataclasses.replace(plan, cells=_measured(plan, (*cells, *own.values())))


def _measured(plan: PlanFile, cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """What the plan measures, of cells that say nothing else."""
    usual = plan.measure or Cell().measure
    return tuple(dataclasses.replace(each, measure=usual) if each.measure == Cell().measure else each for each in cells)


def _over(theirs: Cell, own: Cell | None) -> Cell:
    if own is None:
        return theirs
    settings = merge(theirs.settings, own.settings)
    changed = {name: value for name, value in vars(own).items() if value != getattr(Cell(), name)}
    return dataclasses.replace(theirs, **changed | {"settings": settings})
