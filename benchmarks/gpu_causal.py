"""Decoder-only shapes on a GPU: SmolLM2-135M's, and LLaMA-7B's with its linear layers in nf4."""

from collections.abc import Sequence

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.gpu_text import full_batch, peak, training
from benchmarks.setting import Setting
from benchmarks.shapes import PROMPT, dept, prompted
from benchmarks.table import Line, exactly
from benchmarks.timing import Times, interleave, inverse, ratio
from dept_vl.backbones import CausalBackbone
from dept_vl.backbones.quantised import quantise

SHAPES = {
    "smollm2-135m": {
        "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True,
    },
    "llama-7b": {"vocab_size": 32000},  # LlamaConfig's own sizes
    "tiny": {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 600,
    },
}  # fmt: skip


def causal(
    name: str, sizes: Sequence[int], setting: Setting, *, nf4: bool = False
) -> tuple[list[Line], dict[str, Times]]:
    """A step under PT 100 and DePT m=40, and its memory. sizes: rows of a batch. nf4: the linear layers are packed."""
    lines, seconds = [], {}
    backbone = llama("tiny" if setting.tiny else name, setting)
    if nf4:
        before = backbone.model.get_memory_footprint()
        quantise(backbone.model, "nf4")
        held = before / backbone.model.get_memory_footprint()
        lines.append(Line(f"{name}: bytes of the frozen model, as loaded / nf4", exactly(held)))
    networks = {"PT 100": prompted(backbone, setting, "pt", num_virtual_tokens=PROMPT)}
    networks["DePT m=40"] = dept(backbone, setting, 40)
    for rows in (2,) if setting.tiny else sizes:
        batch = full_batch(backbone, rows, setting)
        runs = {each: [training(network, batch)] for each, network in networks.items()}
        peaks = {each: peak(run[0], setting) for each, run in runs.items()}
        share = setting.seconds / len(sizes)
        times = interleave(runs, seconds=share, device=setting.device, least=setting.least)
        seconds[f"{rows} rows"] = times
        for each in runs:
            where = f"{name}, {rows} rows, {each}"
            lines.append(Line(f"{where}: training", inverse(times[each], rows), None, "samples/s"))
            if peaks[each] is not None:
                lines.append(Line(f"{where}: peak memory of a step", exactly(peaks[each] / 2**30), None, "GiB"))
        gained = ratio(times["PT 100"], times["DePT m=40"])
        lines.append(Line(f"{name}, {rows} rows, PT 100 / DePT m=40: training", gained))
    return lines, seconds


def llama(name: str, setting: Setting) -> CausalBackbone:
    config = LlamaConfig(bos_token_id=0, eos_token_id=0, **SHAPES[name])
    torch.manual_seed(setting.seed)
    with torch.device(setting.device):
        model = LlamaForCausalLM._from_config(config, dtype=setting.dtype)
    return CausalBackbone(model, name=f"{name} shape")
