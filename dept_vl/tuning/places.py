"""Where things stand in the models that we know: attention, feed-forward, norms, keys, by a module's own name."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from torch import nn
from transformers import PreTrainedModel

from dept_vl.tuning.contract import BadTuning


@dataclass(frozen=True)
class Places:
    """Names of modules. attention, feed_forward: one of each in every layer of a stack, None where a layer holds their
    matrices itself or calls them otherwise in one stack than in another. dead_keys: projections to keys whose bias the
    softmax cancels. positions: what reads the positions of tokens, None where only distances count. fixed: modules
    whose weights a formula gives.
    """

    norms: tuple[str, ...]
    attention: str | None = None
    feed_forward: str | None = None
    dead_keys: tuple[str, ...] = ()
    positions: str | None = None
    fixed: tuple[str, ...] = ()


_T5 = Places(("layer_norm", "final_layer_norm"), "SelfAttention", "DenseReluDense", ("k",))
_LONGT5 = Places((*_T5.norms, "global_input_layer_norm"), dead_keys=("k",))
_LLAMA = Places(
    ("input_layernorm", "post_attention_layernorm", "norm"), "self_attn", "mlp", positions="rotary_emb"
)  # fmt: skip
_QK = ("q_norm", "k_norm")  # over what is then rotated, so a bias of the keys' stays
_GEMMA2 = replace(_LLAMA, norms=(*_LLAMA.norms, "pre_feedforward_layernorm", "post_feedforward_layernorm"))
_T5GEMMA = Places(
    (
        *(f"pre_{what}_layernorm" for what in ("self_attn", "cross_attn", "feedforward")),
        *(f"post_{what}_layernorm" for what in ("self_attn", "cross_attn", "feedforward")),
        "norm",
    )
)
_BART = Places(
    ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm", "layernorm_embedding", "layer_norm"),
    dead_keys=("k_proj",),
)
_PLACES = {
    "t5": _T5,
    "mt5": _T5,
    "umt5": _T5,
    "longt5": _LONGT5,
    "t5gemma": _T5GEMMA,
    "bart": _BART,
    "pegasus": replace(_BART, fixed=("embed_positions",)),  # sines
    "gpt2": Places(("ln_1", "ln_2", "ln_f"), "attn", "mlp", positions="wpe"),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": replace(_LLAMA, norms=(*_LLAMA.norms, *_QK)),
    "gemma": _LLAMA,
    "gemma2": _GEMMA2,
    "gemma3_text": replace(_GEMMA2, norms=(*_GEMMA2.norms, *_QK)),
    "phi3": _LLAMA,
    "olmo2": replace(_LLAMA, norms=("post_attention_layernorm", "post_feedforward_layernorm", "norm", *_QK)),
    "smollm3": _LLAMA,
    "granite": _LLAMA,
    "stablelm": replace(_LLAMA, norms=(*_LLAMA.norms, "norms")),  # the norms of each head
    "gpt_neox": Places(
        ("input_layernorm", "post_attention_layernorm", "final_layer_norm"), "attention", "mlp", positions="rotary_emb"
    ),
    "falcon": Places(
        ("input_layernorm", "post_attention_layernorm", "ln_attn", "ln_mlp", "ln_f"), "self_attention", "mlp"
    ),
    "opt": Places(("self_attn_layer_norm", "final_layer_norm"), dead_keys=("k_proj",)),
}


def places_of(model: PreTrainedModel, method: str) -> Places:
    """Raises: BadTuning for a type of model that is not known here."""
    kind = model.config.model_type
    if kind not in _PLACES:
        raise BadTuning(f"{method}: wanted a model of type {', '.join(_PLACES)}, given a {kind} model")
    return _PLACES[kind]


def sublayers_of(model: PreTrainedModel, method: str) -> Places:
    """`places_of` a model whose attention and feed-forward are modules of their own. Raises: BadTuning."""
    known = places_of(model, method)
    if known.attention is None:
        fit = ", ".join(kind for kind, each in _PLACES.items() if each.attention is not None)
        raise BadTuning(
            f"{method}: wanted a model whose layers have one module of attention and one of feed-forward in every "
            f"stack ({fit}), given a {model.config.model_type} model"
        )
    return known


def fixed_weights(model: PreTrainedModel) -> set[str]:
    """Names of weights that a formula gives and that are not for training."""
    known = _PLACES.get(model.config.model_type)
    modules = modules_named(model, known.fixed) if known is not None else ()
    return {f"{path}.{name}" for path, module in modules for name, _ in module.named_parameters()}


def dead_keys(model: PreTrainedModel) -> list[str]:
    """Where projections to keys stand whose bias the softmax cancels; none in a type that is not known here."""
    known = _PLACES.get(model.config.model_type)
    return [] if known is None else [path for path, _ in modules_named(model, known.dead_keys)]


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
        case "t5" | "mt5" | "umt5":
            return attention.n_heads, attention.key_value_proj_dim
        case "gpt_neox":
            return attention.config.num_attention_heads, attention.head_size
    return attention.config.num_key_value_heads, attention.head_dim
