"""A user's own pictures with questions or captions, in whatever file they come, as plain rows."""

from dept_vl.data.own.load import is_own, load_own_splits
from dept_vl.data.own.read import OwnRows, read_own, split_root
from dept_vl.data.own.recipes import RECIPES

__all__ = ["RECIPES", "OwnRows", "is_own", "load_own_splits", "read_own", "split_root"]
