"""Hyper-parameter sweeps: a grid's cells, each run over seeds and few-shot draws, by one process or several."""

from dept_vl.sweep.grid import BadSweep, Grid, PlannedRun, make_grid, planned_runs
from dept_vl.sweep.study import OtherStudy, run_sweep
from dept_vl.sweep.summary import Outcome, as_markdown, summarise

__all__ = [
    "BadSweep",
    "Grid",
    "OtherStudy",
    "Outcome",
    "PlannedRun",
    "as_markdown",
    "make_grid",
    "planned_runs",
    "run_sweep",
    "summarise",
]
