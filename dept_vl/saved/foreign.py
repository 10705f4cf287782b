"""Adapters of others: PEFT's PromptTuning, and DePT as its authors released it.

    PEFT     peft_type PROMPT_TUNING        prompt_embeddings [m * submodules, d_model]
    DePT     peft_type PROMPT_TUNING_LORA   prompt_embeddings [m, d_model],
                                            prompt_encoder.lora_embedding_A [s, r], .lora_embedding_B [r, d_model]

Both say nothing of the task's prompt format and have no hash of their backbone.
"""

import warnings
from pathlib import Path
from typing import Any

from torch import Tensor

from dept_vl.adapters import Adapter
from dept_vl.registry import DeptVLWarning
from dept_vl.saved.adapter_folder import LIBRARY, TASK_TYPES, SavedAdapter, describe_folder
from dept_vl.saved.described import build_checked
from dept_vl.saved.files import (
    CONFIG,
    TORCH_WEIGHTS,
    WEIGHTS,
    BadAdapterFolder,
    load_weights,
    read_card,
    read_config,
    read_field,
    read_weights,
)
from dept_vl.saved.read_folder import read_adapter

PEFT_PROMPT_TUNING, DEPT_RELEASED = "PROMPT_TUNING", "PROMPT_TUNING_LORA"
RELEASED_LORA_ALPHA = 8.0  # the authors' default; no flag of theirs reaches it
_ENCODER = "prompt_encoder."


def load_adapter(folder: Path | str) -> Adapter:
    """The adapter of a folder: ours, PEFT's PromptTuning, or the DePT authors' released format.

    Raises: BadAdapterFolder.
    """
    return read_any(folder).adapter


def read_any(folder: Path | str) -> SavedAdapter:
    """As `load_adapter`, with the projection and the config; an imported one has neither task nor hash."""
    folder = Path(folder)
    config = read_config(folder)
    if config.get("library_name") == LIBRARY:
        return read_adapter(folder)
    path = folder / CONFIG
    peft_type = read_field(path, config, "peft_type", str)
    if peft_type not in (PEFT_PROMPT_TUNING, DEPT_RELEASED):
        wanted = f"library_name {LIBRARY!r}, or a peft_type of {PEFT_PROMPT_TUNING} or {DEPT_RELEASED}"
        raise BadAdapterFolder(path, wanted, f"peft_type {peft_type!r}")
    weights = folder / (WEIGHTS if (folder / WEIGHTS).is_file() else TORCH_WEIGHTS)
    if not weights.is_file():
        raise BadAdapterFolder(folder, f"weights in {WEIGHTS} or {TORCH_WEIGHTS}", "neither file")
    state = read_weights(weights)
    read = _read_peft if peft_type == PEFT_PROMPT_TUNING else _read_released_dept
    adapter = read(path, weights, config, state)
    identity = {
        "base_model_name_or_path": config.get("base_model_name_or_path"),
        "revision": config.get("revision"),
        "backbone_sha256": None,
    }
    kind = config.get("task_type") if config.get("task_type") in TASK_TYPES else TASK_TYPES[0]
    parts = {"adapter": adapter}
    return SavedAdapter(parts, describe_folder(parts, backbone_identity=identity, task_type=kind), read_card(folder))


def _read_peft(path: Path, weights: Path, config: dict[str, Any], state: dict[str, Tensor]) -> Adapter:
    num = read_field(path, config, "num_virtual_tokens", int, minimum=1)
    token_dim = read_field(path, config, "token_dim", int, minimum=1)
    rows = len(state["prompt_embeddings"]) if "prompt_embeddings" in state else 0
    if rows == 2 * num and config.get("num_transformer_submodules") in (2, None):
        warnings.warn(
            f"{weights}: of {rows} prompt rows for 2 submodules the first {num} are used: PEFT puts the others "
            "nowhere, T5's decoder gets no prompt",
            DeptVLWarning,
            stacklevel=4,
        )
        state = {**state, "prompt_embeddings": state["prompt_embeddings"][:num]}
    adapter = build_checked(path, "pt", token_dim, {"num_virtual_tokens": num})
    load_weights(adapter, state, weights)
    return adapter


def _read_released_dept(path: Path, weights: Path, config: dict[str, Any], state: dict[str, Tensor]) -> Adapter:
    state = {name.removeprefix(_ENCODER): value for name, value in state.items()}
    if missing := [name for name in ("lora_embedding_A", "lora_embedding_B") if name not in state]:
        raise BadAdapterFolder(
            weights,
            f"DePT's low-rank pair {_ENCODER}lora_embedding_A and _B",
            f"only {sorted(state)}: it was saved without {' and '.join(missing)} (save_lora_embeddings false), "
            "and its prompt alone is another model",
        )
    sizes = {
        name: read_field(path, config, name, int, minimum=0 if name == "num_virtual_tokens" else 1)
        for name in ("num_virtual_tokens", "r", "max_length", "token_dim")
    }
    token_dim, alpha = sizes.pop("token_dim"), config.get("lora_alpha", RELEASED_LORA_ALPHA)
    adapter = build_checked(path, "dept", token_dim, {**sizes, "lora_alpha": alpha})
    load_weights(adapter, state, weights)
    return adapter
