"""Adapters in the formats of others: read PEFT's prompts and the DePT authors' release, export to PEFT.

    PEFT     peft_type PROMPT_TUNING        prompt_embeddings [m * submodules, d_model]
             P_TUNING, CPT                  the same: PEFT saves what their encoder gives, a constant prompt
             MULTITASK_PROMPT_TUNING        and prefix_task_cols [task, m * submodules, 1], _rows [task, 1, d_model]
    DePT     peft_type PROMPT_TUNING_LORA   prompt_embeddings [m, d_model],
                                            prompt_encoder.lora_embedding_A [s, r], .lora_embedding_B [r, d_model]

What PEFT trains inside the model is read in `foreign_inside`. All say nothing of the task's prompt format and have no
hash of their backbone. PEFT knows no shift of the text, so
what is exported folds to a prompt alone. T5's encoder alone gets it: `num_transformer_submodules` is 1 where PEFT's
default for encoder-decoders would be 2.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from dept_vl.adapters import Adapter, build_adapter
from dept_vl.registry import DeptVLWarning
from dept_vl.saved.adapter_folder import LIBRARY, TASK_TYPES, SavedAdapter, describe_folder, peft_files
from dept_vl.saved.files import (
    CONFIG,
    PEFT,
    TORCH_WEIGHTS,
    WEIGHTS,
    BadAdapterFolder,
    load_weights,
    read_card,
    read_config,
    read_field,
    read_weights,
)
from dept_vl.saved.foreign_inside import LAYERS, PREFIX, read_inside
from dept_vl.saved.read_folder import build_checked, read_adapter
from dept_vl.untrusted.whole_files import write_files_whole

PEFT_PROMPT_TUNING, DEPT_RELEASED, PEFT_MPT = "PROMPT_TUNING", "PROMPT_TUNING_LORA", "MULTITASK_PROMPT_TUNING"
PEFT_PROMPTS = (PEFT_PROMPT_TUNING, "P_TUNING", "CPT")
READABLE = (*PEFT_PROMPTS, PEFT_MPT, DEPT_RELEASED, *LAYERS, PREFIX)
RELEASED_LORA_ALPHA = 8.0  # the authors' default; no flag of theirs reaches it
_ENCODER = "prompt_encoder."


class UnexportableAdapter(ValueError):
    """An adapter that PEFT's PromptTuning cannot express."""


def load_adapter(folder: Path | str) -> Adapter:
    """The adapter of a folder: ours, a prompt of PEFT's, or the DePT authors' released format.

    Raises: BadAdapterFolder.
    """
    saved = read_any(folder)
    if not saved.adapter.token_dim:
        method = type(saved.inside).__name__
        raise BadAdapterFolder(
            Path(folder), "an adapter at the model's input", f"{method}, which trains inside it: read_any reads both"
        )
    return saved.adapter


def read_any(folder: Path | str) -> SavedAdapter:
    """As `load_adapter`, with all parts and the config; an imported one has neither task nor hash. Beside what PEFT
    trains inside the model stands no adapter, of a width that is not known (0) until `SavedAdapter.of_width`."""
    folder = Path(folder)
    config = read_config(folder)
    if config.get("library_name") == LIBRARY:
        return read_adapter(folder)
    path = folder / CONFIG
    peft_type = read_field(path, config, "peft_type", str)
    if peft_type not in READABLE:
        wanted = f"library_name {LIBRARY!r}, or a peft_type of {', '.join(READABLE)}"
        raise BadAdapterFolder(path, wanted, f"peft_type {peft_type!r}")
    weights = folder / (WEIGHTS if (folder / WEIGHTS).is_file() else TORCH_WEIGHTS)
    if not weights.is_file():
        raise BadAdapterFolder(folder, f"weights in {WEIGHTS} or {TORCH_WEIGHTS}", "neither file")
    state = read_weights(weights)
    if peft_type in (PREFIX, *LAYERS):
        parts = {
            "adapter": build_adapter("none", torch.zeros(0, 0), {}),
            "inside": read_inside(path, weights, config, state),
        }
    else:
        read = _read_released_dept if peft_type == DEPT_RELEASED else _read_peft
        parts = {"adapter": read(path, weights, config, state)}
    identity = {
        "base_model_name_or_path": config.get("base_model_name_or_path"),
        "revision": config.get("revision"),
        "backbone_sha256": None,
    }
    kind = config.get("task_type") if config.get("task_type") in TASK_TYPES else TASK_TYPES[0]
    return SavedAdapter(parts, describe_folder(parts, backbone_identity=identity, task_type=kind), read_card(folder))


def _read_peft(path: Path, weights: Path, config: dict[str, Any], state: dict[str, Tensor]) -> Adapter:
    num = read_field(path, config, "num_virtual_tokens", int, minimum=1)
    token_dim = read_field(path, config, "token_dim", int, minimum=1)
    rows = len(state["prompt_embeddings"]) if "prompt_embeddings" in state else 0
    kept = rows
    if rows == 2 * num and config.get("num_transformer_submodules") in (2, None):
        kept = num
        warnings.warn(
            f"{weights}: of {rows} prompt rows for 2 submodules the first {num} are used: PEFT puts the others "
            "nowhere, T5's decoder gets no prompt",
            DeptVLWarning,
            stacklevel=4,
        )
        state = {**state, "prompt_embeddings": state["prompt_embeddings"][:num]}
    if config["peft_type"] == PEFT_MPT:
        return _read_peft_mpt(path, weights, config, state, kept)
    adapter = build_checked(path, "pt", token_dim, {"num_virtual_tokens": num})
    load_weights(adapter, state, weights)
    return adapter


def _read_peft_mpt(path: Path, weights: Path, config: dict[str, Any], state: dict[str, Tensor], kept: int) -> Adapter:
    """PEFT multiplies the prompt by cols @ rows of a row's task; of rank one that is our u v^T."""
    tasks = read_field(path, config, "num_tasks", int, minimum=1)
    if (rank := read_field(path, config, "num_ranks", int, minimum=1)) != 1:
        raise BadAdapterFolder(path, "num_ranks 1, as the paper of MPT has it", f"{rank}")
    num, token_dim = config["num_virtual_tokens"], config["token_dim"]
    factors = ("prefix_task_cols", "prefix_task_rows")
    found = {name: list(state[name].shape) if name in state else "none" for name in factors}
    for name, shape in found.items():
        if len(shape) != 3 or shape[0] != tasks:
            raise BadAdapterFolder(weights, f"{name} [{tasks}, _, _]", f"{shape}")
    several = {} if tasks == 1 else {"num_tasks": tasks}
    adapter = build_checked(path, "mpt", token_dim, {"num_virtual_tokens": num, "num_tasks": None, **several})
    u, v = state["prefix_task_cols"][:, :kept].squeeze(2), state["prefix_task_rows"].squeeze(1)
    own = {"task_u": u, "task_v": v} if several else {"task_u": u[0], "task_v": v[0]}
    given = {name: value for name, value in state.items() if name not in factors}
    load_weights(adapter, given | {name: value.contiguous() for name, value in own.items()}, weights)
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
    adapter = build_checked(path, "dept", token_dim, {**sizes, "lora_alpha": alpha, "init_weights": "uniform"})
    load_weights(adapter, state, weights)
    return adapter


def _export_inside(source: SavedAdapter, out: Path) -> None:
    """Raises: UnexportableAdapter."""
    method, files = type(source.inside).__name__, peft_files(source)
    if files is None:
        raise UnexportableAdapter(
            f"{method}: wanted a method that PEFT has, LoRA, (IA)^3, or a prefix with prefix_positions on a "
            "decoder-only model"
        )
    if source.adapter.num_virtual_tokens:
        raise UnexportableAdapter(
            f"wanted one of {type(source.adapter).__name__} and {method}, given both: PEFT reads one from a folder, "
            f"and the adapter folder's {PEFT}/ has {method} alone"
        )
    write_files_whole(out, files, key=CONFIG)


def export_peft(
    source: Adapter | SavedAdapter | Path | str,
    out: Path | str,
    *,
    base_model_name_or_path: str | None = None,
    revision: str | None = None,
) -> None:
    """Write adapter_config.json and adapter_model.safetensors that `peft.PeftModel.from_pretrained` loads.

    `source` is an adapter, or a folder (or what was read from one), whose config names the backbone unless the caller
    does. The logits are the adapter's on text; a projection stays behind, with a warning: PEFT has no place for it.

    Raises:
        UnexportableAdapter: a shift that is not zero, or no virtual token.
        OSError: the disk is full; older files are kept.
    """
    task_type = TASK_TYPES[0]
    if isinstance(source, Path | str):
        source = read_any(source)
    if isinstance(source, SavedAdapter):
        task_type = source.config["task_type"]
        base_model_name_or_path = base_model_name_or_path or source.config["base_model_name_or_path"]
        revision = revision or source.config["revision"]
        if source.projection is not None:
            warnings.warn(
                f"{out}: PEFT has no place for the visual projection; the export is the text side alone",
                DeptVLWarning,
                stacklevel=2,
            )
        if source.inside is not None:
            _export_inside(source, Path(out))
            return
        source = source.adapter
    folded, method = source.fold(), type(source).__name__
    if folded is None:
        raise UnexportableAdapter(f"{method} reads the text: wanted a constant prompt for PEFT's PromptTuning")
    if folded.shift is not None and bool(folded.shift.any()):
        raise UnexportableAdapter(
            f"{method} adds a shift of {list(folded.shift.shape)} to the text: wanted none or zero, as PEFT's "
            "PromptTuning only puts a prompt in front; load the folder with dept_vl.load_adapter instead"
        )
    num, token_dim = folded.prompt.shape
    if not num:
        raise UnexportableAdapter(f"{method}: wanted at least one virtual token for PEFT's PromptTuning, given none")
    config = {
        "base_model_name_or_path": base_model_name_or_path,
        "inference_mode": True,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": num,
        "peft_type": PEFT_PROMPT_TUNING,
        "prompt_tuning_init": "RANDOM",
        "revision": revision,
        "task_type": task_type,
        "token_dim": token_dim,
    }
    weights = {"prompt_embeddings": folded.prompt.cpu().contiguous()}
    files = {
        WEIGHTS: save(weights, metadata={"format": "pt"}),
        CONFIG: (json.dumps(config, sort_keys=True, indent=2) + "\n").encode("utf-8"),
    }
    write_files_whole(Path(out), files, key=CONFIG)
