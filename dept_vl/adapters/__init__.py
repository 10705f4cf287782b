"""Soft-prompt adapters, one method per file; `contract` says what they have in common.

Every file of this folder is imported: a method's own file registers it, and its class is a name of this package too.
"""

from importlib import import_module
from pkgutil import iter_modules

from dept_vl.adapters.budget import budget, dept_size
from dept_vl.adapters.build import build_adapter, from_config
from dept_vl.adapters.contract import ADAPTERS, Adapter, Folded, Pair, Rows, Text, arguments_of
from dept_vl.adapters.dept import DePT
from dept_vl.adapters.dpt import DPT
from dept_vl.adapters.folded_rows import FoldedRows
from dept_vl.adapters.none import NoAdapter
from dept_vl.adapters.prompt_tuning import PromptTuning
from dept_vl.adapters.rank_probe import RankProbe
from dept_vl.adapters.residual import ResidualPromptTuning
from dept_vl.adapters.teachers import Teachers

__all__ = [
    "ADAPTERS",
    "DPT",
    "Adapter",
    "DePT",
    "Folded",
    "FoldedRows",
    "NoAdapter",
    "Pair",
    "PromptTuning",
    "RankProbe",
    "ResidualPromptTuning",
    "Rows",
    "Teachers",
    "Text",
    "arguments_of",
    "budget",
    "build_adapter",
    "dept_size",
    "from_config",
]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
for _adapter in ADAPTERS.values():
    globals().setdefault(_adapter.__name__, _adapter)
