"""What is kept of a run: the adapter folder that is shared, and checkpoints from which training goes on."""

from dept_vl.saved.adapter_folder import SavedAdapter, UnsavableAdapter, save_adapter, write_adapter
from dept_vl.saved.card import ModelFacts
from dept_vl.saved.files import BadAdapterFolder
from dept_vl.saved.foreign import UnexportableAdapter, export_peft, load_adapter, read_any
from dept_vl.saved.identity import MismatchedBackbone, check_identity, tower_of
from dept_vl.saved.read_folder import read_adapter

__all__ = [
    "BadAdapterFolder",
    "MismatchedBackbone",
    "ModelFacts",
    "SavedAdapter",
    "UnexportableAdapter",
    "UnsavableAdapter",
    "check_identity",
    "export_peft",
    "load_adapter",
    "read_adapter",
    "read_any",
    "save_adapter",
    "tower_of",
    "write_adapter",
]
