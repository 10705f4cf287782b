"""What is kept of a run: the adapter folder that is shared, and checkpoints from which training goes on."""

from dept_vl.checkpoint.adapter_files import BadAdapterFolder
from dept_vl.checkpoint.adapter_folder import SavedAdapter, UnsavableAdapter, save_adapter, write_adapter
from dept_vl.checkpoint.card import ModelFacts
from dept_vl.checkpoint.export import UnexportableAdapter, export_peft
from dept_vl.checkpoint.foreign import load_adapter, read_any
from dept_vl.checkpoint.identity import MismatchedBackbone, check_identity
from dept_vl.checkpoint.read_folder import read_adapter

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
    "write_adapter",
]
