"""Where things stand in the models that we know: attention, feed-forward, norms, keys, by a module's own name."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from dept_vl.tuning.contract import BadTuning


@dataclass(frozen=True)
class Places:
    """Names of modules. dead_keys: projections to keys whose bias the softmax cancels. positions: what reads the
    positions of tokens, None where only distances count."""

    attention: str
    feed_forward: str
    norms: tuple[str, ...]
    dead_keys: tuple[str, ...] = ()
    positions: str | None = None


_T5 = Places("SelfAttention", "DenseReluDense", ("layer_norm", "final_layer_norm"), ("k",))
_PLACES = {
    "t5": _T5,
    "mt5": _T5,
    "umt5": _T5,
    "gpt2": Places("attn", "mlp", ("ln_1", "ln_2", "ln_f"), positions="wpe"),
    "llama": Places(
        "self_attn", "mlp", ("input_layernorm", "post_attention_layernorm", "norm"), positions="rotary_emb"
    ),
}


def places_of(model: PreTrainedModel, method: str) -> Places:
    """Raises: BadTuning for a type of model that is not known here."""
    kind = model.config.model_type
    if kind not in _PLACES:
        raise BadTuning(f"{method}: wanted a model of type {', '.join(_PLACES)}, given a {kind} model")
    return _PLACES[kind]


def modules_named(model: PreTrainedModel, names: Collection[str]) -> Iterator[tuple[str, nn.Module]]:
    """Modules whose own name, behind the last dot, is one of `names`."""
    for path, module in model.named_modules():
        if path.rpartition(".")[2] in names:
            yield path, module


def layer_of(path: str) -> int:
    """The number of the layer in which a module stands, from 0 in each stack."""
    return int(next(each for each in path.split(".") if each.isdigit()))


def heads_of(attention: nn.Module) -> tuple[int, int]:
    """How many heads an attention's keys and values have, and their width. LLaMA's queries share them."""
    match attention.config.model_type:
        case "gpt2":
            return attention.num_heads, attention.head_dim
        case "llama":
            return attention.config.num_key_value_heads, attention.head_dim
    return attention.n_heads, attention.key_value_proj_dim
