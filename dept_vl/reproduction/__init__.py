"""The papers' tables, row by row: what to run for each number, and what came of it beside what was published."""

from dept_vl.reproduction.cells import BadFlag, StaleRun, check_rows, experiment_of, repeats, run_cell
from dept_vl.reproduction.compare import Comparison, MissingScore, compare, means, table, why_absent
from dept_vl.reproduction.files import Block, Cell, Mean, Quoted, Row, load_blocks, load_row, load_rows, select
from dept_vl.reproduction.fill import fill
from dept_vl.reproduction.typed import BadTableFile

__all__ = [
    "BadFlag",
    "BadTableFile",
    "Block",
    "Cell",
    "Comparison",
    "Mean",
    "MissingScore",
    "Quoted",
    "Row",
    "StaleRun",
    "check_rows",
    "compare",
    "experiment_of",
    "fill",
    "load_blocks",
    "load_row",
    "load_rows",
    "means",
    "repeats",
    "run_cell",
    "select",
    "table",
    "why_absent",
]
