"""Attention that reads trained keys and values in front of its own, whatever those come from.

    softmax(q [P_k; K]^T / scale + [0; bias] + [0; mask]) [P_v; V]

The prefix joins behind the model's cache and behind its positions: the cache holds the model's own keys and values,
and no position, mask or relative bias of a real token knows of the prefix, which every query sees.
"""

import copy
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from dept_vl.tuning.contract import BadTuning, Tuning

KNOWN = ("eager", "sdpa")
_NAME = "dept_vl_prefix"  # among the attention functions of transformers

KeysAndValues = Float[Tensor, "prompt 2 heads head_dim"]


def read_prefix(tuning: Tuning, attention: nn.Module, prefix: Callable[[], KeysAndValues]) -> None:
    """`attention` reads what `prefix` gives in each forward pass, until the tuning is detached.

    Raises: BadTuning, as `check_attention`.
    """
    kind, eager = check_attention(type(tuning).__name__, attention)
    config, attention.config = attention.config, copy.copy(attention.config)  # the one that makes the masks stays
    attention.config._attn_implementation = _NAME
    attention.prefix = Prefixed(prefix, ALL_ATTENTION_FUNCTIONS.get_interface(kind, eager), kind == "sdpa")
    tuning.undo(partial(_without_prefix, attention, config))


def check_attention(method: str, attention: nn.Module) -> tuple[str, Callable[..., Any]]:
    """The name of the attention function that a module uses, and its model's own eager one.

    Raises: BadTuning for an attention function that takes no mask of four dimensions, and for a model that computes
    attention by itself.
    """
    kind = attention.config._attn_implementation
    if kind not in KNOWN:
        raise BadTuning(f"{method}: wanted attn_implementation {' or '.join(KNOWN)}, given {kind}")
    eager = getattr(sys.modules[type(attention).__module__], "eager_attention_forward", None)
    if eager is None:
        raise BadTuning(
            f"{method}: wanted a model whose attention is one of transformers' attention functions, given a "
            f"{attention.config.model_type} model, which computes its own"
        )
    return kind, eager


def _without_prefix(attention: nn.Module, config: Any) -> None:
    attention.config = config
    del attention.prefix


class Prefixed:
    """What an attention module with a prefix keeps: the prefix, the function that computes attention, and whether that
    takes a missing mask for a causal one."""

    def __init__(self, prefix: Callable[[], KeysAndValues], inner: Callable[..., Any], causal_alone: bool) -> None:
        self.prefix, self.inner, self.causal_alone = prefix, inner, causal_alone


def attend(
    module: nn.Module,
    query: Float[Tensor, "batch query_heads query head_dim"],
    key: Float[Tensor, "batch heads key head_dim"],
    value: Float[Tensor, "batch heads key head_dim"],
    attention_mask: Tensor | None,
    **more: Any,
) -> Any:
    """An attention function of transformers; `more` is for the one within."""
    prefix: Prefixed = module.prefix
    keys, values = (  # [batch, heads, prompt, head_dim]
        each.transpose(0, 1).to(key.dtype).expand(len(key), -1, -1, -1) for each in prefix.prefix().unbind(1)
    )
    if attention_mask is None and prefix.causal_alone and module.is_causal and query.shape[2] > 1:
        new, read = query.shape[2], key.shape[2]
        attention_mask = torch.ones(1, 1, new, read, dtype=torch.bool, device=query.device).tril(read - new)
    if attention_mask is not None:
        seen = True if attention_mask.dtype == torch.bool else 0.0
        attention_mask = F.pad(attention_mask, (keys.shape[2], 0), value=seen)
    if more.get("position_bias") is not None:  # T5's [1, heads, query, key]
        more["position_bias"] = F.pad(more["position_bias"], (keys.shape[2], 0))
    return prefix.inner(
        module, query, torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2), attention_mask, **more
    )


ALL_ATTENTION_FUNCTIONS.register(_NAME, attend)
