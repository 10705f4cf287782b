"""What techniques gain on a GPU: without / with each, on T5-base's step or on one operation alone."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from benchmarks.gpu_text import SEQ, full_batch
from benchmarks.setting import Setting
from benchmarks.shapes import PROMPT, dept, step, t5
from benchmarks.table import Line
from benchmarks.techniques import Pair, copies, tf32
from benchmarks.timing import Times, interleave, ratio
from dept_vl.model import Batch, Network

ROWS = 64
HEADS, WIDTH = 16, 64  # of T5-large


def gain(name: str, setting: Setting) -> tuple[list[Line], dict[str, Times]]:
    """One of GAINS: its time without / with it."""
    without, with_it = GAINS[name](setting)
    times = interleave(
        {"without": [without], "with": [with_it]},
        seconds=setting.seconds / 2, device=setting.device, least=setting.least,
    )  # fmt: skip
    return [Line(name, ratio(times["without"], times["with"]))], {"gain": times}


def _network(setting: Setting) -> tuple[Network, Batch]:
    backbone = t5("tiny" if setting.tiny else "t5-base", setting)
    return dept(backbone, setting, 40), full_batch(backbone, 2 if setting.tiny else ROWS, setting)


def _compiled(setting: Setting, mode: str) -> Pair:
    """Tiny: traced and not compiled."""
    network, batch = _network(setting)
    other, _ = _network(setting)
    torch._dynamo.reset()
    how = {"backend": "eager"} if setting.tiny else {"mode": mode}
    other.backbone.model.forward = torch.compile(other.backbone.model.forward, dynamic=False, **how)
    step(other, batch)
    return lambda: step(network, batch), lambda: step(other, batch)


def _flex(setting: Setting) -> Pair:
    """Forward and backward pass to queries, keys and values; the bias is frozen. Tiny: forward, not compiled."""
    from torch.nn.attention.flex_attention import flex_attention

    rows, heads, seq = (1, 2, 16) if setting.tiny else (ROWS, HEADS, SEQ + PROMPT)
    made = {"device": setting.device, "dtype": setting.dtype}
    query, key, value, other = (torch.randn(rows, heads, seq, WIDTH, **made) for _ in range(4))
    bias = torch.randn(heads, seq, seq, **made)
    read = flex_attention if setting.tiny else torch.compile(flex_attention, dynamic=False)
    for each in (query, key, value):
        each.requires_grad_(not setting.tiny)

    def finish(out: torch.Tensor) -> None:
        if out.requires_grad:
            out.backward(other)
            for each in (query, key, value):
                each.grad = None

    def plain() -> None:
        finish(F.scaled_dot_product_attention(query, key, value, attn_mask=bias.unsqueeze(0), scale=1.0))

    def flexible() -> None:
        finish(read(query, key, value, score_mod=lambda score, b, h, q, k: score + bias[h, q, k], scale=1.0))

    with torch.no_grad():
        one = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.unsqueeze(0), scale=1.0)
        same = read(query, key, value, score_mod=lambda score, b, h, q, k: score + bias[h, q, k], scale=1.0)
    if not torch.allclose(one, same, rtol=2e-2, atol=2e-2):
        raise RuntimeError("FlexAttention: wanted SDPA's values, given others")
    return plain, flexible


GAINS: dict[str, Callable[[Setting], Pair]] = {
    "eager / torch.compile at one length, step": lambda setting: _compiled(setting, "default"),
    "eager / torch.compile with CUDA graphs, step": lambda setting: _compiled(setting, "reduce-overhead"),
    "T5's bias by SDPA / FlexAttention, attention alone": _flex,
    "fp32 / TF32 products, step": tf32,
    "features copied / pinned and copied beside the step": copies,
}
CUDA_ALONE = ("fp32 / TF32 products, step", "features copied / pinned and copied beside the step")
