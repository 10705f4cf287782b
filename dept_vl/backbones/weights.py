"""Hold a loaded model to its files: no weight drawn at random, none left over, none that is not finite."""

import re
from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from dept_vl.backbones.frozen import read_whole
from dept_vl.untrusted.bad_file import listed
from dept_vl.untrusted.tensor_files import check_finite

# What a file may hold beyond the model's own weights. transformers leaves most of it out of its report by itself.
_LEFTOVERS = re.compile(
    r"(^|\.)(attn|attention)\.(masked_)?bias$"  # GPT-2's and GPT-Neo's causal mask and its -1e4, once saved as buffers
    r"|(^|\.)rotary_emb\.inv_freq$"  # LLaMA's frequencies, computed from the config, once a buffer of every layer
    r"|(^|\.)EncDecAttention\.relative_attention_bias\.weight$"  # T5's first files: cross-attention never read it
    r"|(^|\.)position_ids$"  # 0, 1, 2, ..., once a buffer
)


class UnfitWeights(ValueError):
    """Files that lack weights of the model, hold others, or hold a NaN: it would not be the pretrained model."""


def check_keys(name: str, model: PreTrainedModel, report: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Check what transformers says of the weights it read; weights that are tied, and the leftovers above, may differ.

    report: `output_loading_info` of `from_pretrained`, with mismatched sizes allowed, so that all are in it.
    config: config.json as it stands in the file.

    Raises: UnfitWeights.
    """
    missing = set(report["missing_keys"])
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    # transformers ties the head of every T5 whose file lacks it, also where the config says that it has its own
    if config.get("tie_word_embeddings") is False and head is not None and head.weight is table.weight:
        missing.add("lm_head.weight")
    others = [key for key in report["unexpected_keys"] if not _LEFTOVERS.search(key)]
    shapes = [f"{key} {list(given)} for {list(wanted)}" for key, given, wanted in map(tuple, report["mismatched_keys"])]
    found = {"missing": missing, "unknown to it": others, "of another shape": shapes}
    wrong = [f"{listed(sorted(keys), show=3)} {what}" for what, keys in found.items() if keys]
    if wrong:
        raise UnfitWeights(
            f"{name}: wanted files with every weight of a {type(model).__name__} and no others, given files with "
            f"{'; '.join(wrong)}: what is missing would be drawn at random, so get the whole model's files, or convert "
            "them anew"
        )


def check_values(name: str, model: nn.Module) -> None:
    """Check that every weight is finite. One that ZeRO-3 keeps in parts is put together, so every process has to call
    this. Raises: UnfitWeights."""
    for key, weight in model.named_parameters():
        if given := check_finite({key: read_whole(weight).detach()}):
            raise UnfitWeights(
                f"{name}: wanted finite weights, given {given}: download the model again, or convert it anew"
            )
