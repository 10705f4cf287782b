"""Frozen models of the real shapes with random weights, and networks over them; nothing is fetched.

Dropout is 0 on every side: it would cost all of them alike and add noise.
"""

import dataclasses
from typing import Any

import torch
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from benchmarks.lengths import SOURCE_LENGTH
from benchmarks.setting import Setting
from dept_vl.adapters import budget, build_adapter
from dept_vl.backbones import Backbone, CausalBackbone, Seq2SeqBackbone
from dept_vl.model import Batch, Network
from dept_vl.vision.projections import VisualProjection

T5_SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 1100},
    "tiny-t5": {  # the quickstart's
        "d_model": 128, "d_kv": 32, "d_ff": 512, "num_layers": 4, "num_heads": 4, "vocab_size": 1247,
    },
    "t5-small": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
    "t5-base": {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
    "t5-large": {"d_model": 1024, "d_kv": 64, "d_ff": 4096, "num_layers": 24, "num_heads": 16},
    "t5-3b": {"d_model": 1024, "d_kv": 128, "d_ff": 16384, "num_layers": 24, "num_heads": 32},
}  # fmt: skip
GPT2_TINY = {
    "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "vocab_size": 600,
    "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
TARGET = 2  # tokens of a label: its word and the end
PROMPT = 100  # tokens of the papers' prompt, whose number of weights DePT keeps


def t5_model(name: str, setting: Setting) -> T5ForConditionalGeneration:
    """The same weights whenever it is asked for."""
    config = T5Config(
        dropout_rate=0.0, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
        **{"vocab_size": 32128, **T5_SHAPES[name]},
    )  # fmt: skip
    torch.manual_seed(setting.seed)
    with torch.device(setting.device):
        return T5ForConditionalGeneration._from_config(config, dtype=setting.dtype)


def t5(name: str, setting: Setting) -> Seq2SeqBackbone:
    return Seq2SeqBackbone(t5_model(name, setting), name=f"{name} shape")


def gpt2(setting: Setting) -> CausalBackbone:
    """GPT-2 small's shape: 124 M weights, 12 layers, width 768, 1,024 positions."""
    config = GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **(GPT2_TINY if setting.tiny else {}))
    torch.manual_seed(setting.seed)
    with torch.device(setting.device):
        model = GPT2LMHeadModel._from_config(config, dtype=setting.dtype)
    return CausalBackbone(model, name="gpt2 shape")


def prompted(
    backbone: Backbone, setting: Setting, name: str, projection: VisualProjection | None = None, **sizes: Any
) -> Network:
    """The backbone under an adapter whose start rows are the table's first, in training mode."""
    init = backbone.embedding_table[: max(sizes.get("num_virtual_tokens", 0), 1)].detach().float().cpu()
    adapter = build_adapter(name, init, sizes, setting.generator())
    visual = {} if projection is None else {"projection": projection}
    return Network(backbone, {"adapter": adapter, **visual}).to(setting.device).train()


def dept(backbone: Backbone, setting: Setting, num: int, projection: VisualProjection | None = None) -> Network:
    """DePT with `num` virtual tokens and the rank that keeps the weights of a prompt of 100."""
    rank = budget(PROMPT, d_model=backbone.d_model, max_length=SOURCE_LENGTH, num_virtual_tokens=num)
    sizes = {"num_virtual_tokens": num, "r": rank, "max_length": SOURCE_LENGTH}
    return prompted(backbone, setting, "dept", projection, **sizes)


def random_batch(setting: Setting, vocabulary: int, rows: int, seq: int, target: int = TARGET) -> Batch:
    """Random tokens on the device; the first row has `seq` of them, the others half as many or more."""
    generator = setting.generator()
    ids = torch.randint(3, vocabulary, (rows, seq), generator=generator)
    lengths = torch.randint(max(1, seq // 2), seq + 1, (rows, 1), generator=generator)
    lengths[0] = seq
    mask = (torch.arange(seq) < lengths).long()  # [rows, seq]
    labels = torch.randint(3, vocabulary, (rows, target), generator=generator)
    return Batch(ids * mask, mask, labels, right_padded=True).to(setting.device)


def padded_to(batch: Batch, columns: int) -> Batch:
    """The same rows with pads behind them, `columns` wide."""
    missing = columns - batch.input_ids.shape[1]
    ids, mask = (functional.pad(each, (0, missing)) for each in (batch.input_ids, batch.mask))
    return dataclasses.replace(batch, input_ids=ids, mask=mask)


def step(network: Network, batch: Batch) -> None:
    """A bare training step: loss and gradients, which are dropped."""
    network(batch).mean().backward()
    for group in network.param_groups().values():
        for weight in group:
            weight.grad = None
