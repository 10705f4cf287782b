"""Export to PEFT's PromptTuning: what folds to a prompt alone.

PEFT knows no shift of the text, so DePT is exported only while its shift is zero. T5's encoder alone gets the
prompt: `num_transformer_submodules` is 1 where PEFT's default for encoder-decoders would be 2.
"""

import json
import warnings
from pathlib import Path

from safetensors.torch import save

from dept_vl.adapters import Adapter
from dept_vl.registry import DeptVLWarning
from dept_vl.saved.adapter_folder import TASK_TYPES, SavedAdapter
from dept_vl.saved.files import CONFIG, WEIGHTS
from dept_vl.saved.foreign import PEFT_PROMPT_TUNING, read_any
from dept_vl.untrusted.whole_files import write_files_whole


class UnexportableAdapter(ValueError):
    """An adapter that PEFT's PromptTuning cannot express."""


def export_peft(
    source: Adapter | SavedAdapter | Path | str,
    out: Path | str,
    *,
    base_model_name_or_path: str | None = None,
    revision: str | None = None,
) -> None:
    """Write adapter_config.json and adapter_model.safetensors that `peft.PeftModel.from_pretrained` loads.

    The logits are the adapter's on text; a projection stays behind, with a warning: PEFT has no place for it.

    Args:
        source: an adapter, or a folder (or what was read from one), whose config then names the backbone.
        base_model_name_or_path: the backbone's name or folder, in place of the config's.

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
    if num == 0:
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
