"""What trains inside the model in PEFT's format: LoRA, (IA)^3, and the prefix of a decoder-only model.

    LoRA        peft_type LORA            base_model.model.<place>.lora_A.weight [r, in], .lora_B.weight [out, r]
    (IA)^3      peft_type IA3             base_model.model.<place>.ia3_l
    prefix      peft_type PREFIX_TUNING   prompt_embeddings [prompt, layer * 2 * heads * head_dim]

The folder says neither the task's prompt format nor the model's width or hash; whether the weights fit shows when they
are attached. Of a LoRA's variants none is read. PEFT saves a prefix without its projection.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from dept_vl.saved.files import BadAdapterFolder, read_field
from dept_vl.saved.read_folder import build_tuning_checked, hold_checked
from dept_vl.tuning import Tuning

PREFIX = "PREFIX_TUNING"
LAYERS = {
    "LORA": ("lora", ("r", "lora_alpha", "lora_dropout", "target_modules")),
    "IA3": ("ia3", ("target_modules", "feedforward_modules")),
}
"""By PEFT's name: ours, and the arguments that both have."""
_BASE = "base_model.model."
_FREE = {
    "auto_mapping", "base_model_name_or_path", "fan_in_fan_out", "inference_mode", "init_ia3_weights", "peft_type",
    "peft_version", "revision", "task_type",
}  # fmt: skip
_STARTS = (True, False, "gaussian", "orthogonal")  # of init_lora_weights; the others change the frozen weights


def read_inside(path: Path, weights: Path, config: dict[str, Any], state: Mapping[str, Tensor]) -> Tuning:
    """`path` is that of the config, `weights` of the tensors in `state`. Raises: BadAdapterFolder."""
    if config["peft_type"] == PREFIX:
        return _read_prefix(path, weights, config, state)
    name, shared = LAYERS[config["peft_type"]]
    for each in shared:
        if each.endswith("_modules"):
            read_field(path, config, each, list)  # PEFT writes a list, or a pattern, which is the model's to match
    tuning = build_tuning_checked(path, name, {each: config[each] for each in shared if each in config})
    try:
        plain = tuning.peft_config().to_dict()
    except ValueError as error:  # PEFT checks lists of modules against each other
        raise BadAdapterFolder(path, f"arguments of PEFT's {config['peft_type']}", f"others: {error}") from error
    _refuse_variants(path, config, plain, shared)
    if strange := [each for each in state if not each.startswith(_BASE)]:
        raise BadAdapterFolder(weights, f"names that begin with {_BASE}", f"{strange[0]:.80}")
    hold_checked(tuning, {f"weights.{each.removeprefix(_BASE)}": value for each, value in state.items()}, weights)
    return tuning


def _refuse_variants(path: Path, config: Mapping[str, Any], plain: Mapping[str, Any], shared: tuple[str, ...]) -> None:
    """Whatever else the config says has to be what PEFT has by default, or nothing. Raises: BadAdapterFolder."""
    for name in sorted(set(config) - _FREE - set(shared)):
        given, wanted = config[name], plain.get(name)
        fits = given in _STARTS if name == "init_lora_weights" else given == wanted or not (given or wanted)
        if not fits:
            raise BadAdapterFolder(path, f"{name} as PEFT has it by default, {wanted!r}", f"{given!r:.80}")


def _read_prefix(path: Path, weights: Path, config: dict[str, Any], state: Mapping[str, Tensor]) -> Tuning:
    if config.get("task_type") != "CAUSAL_LM":
        wanted = (
            "task_type CAUSAL_LM for a prefix: on an encoder-decoder PEFT's reaches the decoder's self-attention alone"
        )
        raise BadAdapterFolder(path, wanted, f"{config.get('task_type')!r:.80}")
    sizes = ("num_virtual_tokens", "num_layers", "num_attention_heads", "token_dim")
    prompt, layers, heads, width = (read_field(path, config, name, int, minimum=1) for name in sizes)
    found = {name: list(value.shape) for name, value in state.items()}
    if width % heads or found != {"prompt_embeddings": [prompt, layers * 2 * width]}:
        wanted = f"prompt_embeddings [{prompt}, {layers} * 2 * {width}], of {heads} heads"
        raise BadAdapterFolder(weights, wanted, f"{found!r:.80}")
    arguments = {"num_virtual_tokens": prompt, "prefix_projection": False, "prefix_positions": True}
    tuning = build_tuning_checked(path, "prefix", arguments)
    keys_values = state["prompt_embeddings"].reshape(prompt, layers, 2, heads, width // heads)
    hold_checked(tuning, {"weights.decoder.keys_values": keys_values}, weights)
    return tuning
