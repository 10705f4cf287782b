"""Trained weights at the shape of T5-base, on the meta device: the published number, or the one that was derived."""

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from dept_vl.tuning import count_weights

COUNTS = {  # arguments, and weights by group
    "lora": ({"r": 35}, {"lora": 3_870_720}),
    "lora_bitfit": ({"r": 32}, {"lora": 3_538_944, "bias": 282_468, "relative_bias": 768}),  # 3,822,180
    "bitfit": ({}, {"bias": 282_468}),
    "ia3": ({}, {"ia3": 129_024}),
    "adapter": ({}, {"bottleneck": 1_807_488, "layer_norm": 47_616}),  # 1,855,104
    "adapterdrop": ({}, {"bottleneck": 1_054_368, "layer_norm": 47_616}),  # 1,101,984
    "hyperformer": ({"num_tasks": 8}, {"hypernetwork": 5_163_440, "layer_norm": 47_616}),  # 5,211,056
    "hyperdecoder": ({}, {"bottleneck": 1_189_632, "hypernetwork": 14_069_560}),  # 15,259,192
    "full": ({}, {"full": 222_882_048}),
    "lst": ({"reduction": 8}, {"side": 2_327_712, "ladder": 1_550_976, "gate": 18}),  # 3,878,712 less 6 dead gates
    "prefix": ({"num_virtual_tokens": 10}, {"prefix": 29_571_072}),
    "p_tuning_v2": ({"num_virtual_tokens": 20}, {"prefix": 1_105_920}),
}


@pytest.fixture(scope="module")
def t5_base():
    with torch.device("meta"):
        return T5ForConditionalGeneration(
            T5Config(vocab_size=32_100, d_model=768, d_ff=3072, num_layers=12, num_heads=12, d_kv=64)
        )


@pytest.mark.parametrize("name", COUNTS)
def test_t5_base_has_the_published_weights(name, t5_base):
    arguments, groups = COUNTS[name]
    assert count_weights(name, arguments, t5_base) == groups
    assert not any(weight.requires_grad for weight in t5_base.requires_grad_(False).parameters())


def test_hyperdecoder_without_its_mlp_has_the_published_share_of_eight_tasks(t5_base):
    counted = count_weights("hyperdecoder", {"mlp": False}, t5_base)
    assert counted == {"bottleneck": 1_189_632, "hypernetwork": 12_888_376}
    assert sum(counted.values()) / 8 == 1_759_751  # 1.8M


def test_hyperformers_weights_grow_with_the_tasks_by_an_embedding_each(t5_base):
    one, two = (count_weights("hyperformer", {"num_tasks": tasks}, t5_base)["hypernetwork"] for tasks in (1, 2))
    assert (one, two - one) == (2 * 2_581_464 + 64, 64)
    assert count_weights("hyperformer", {"num_tasks": 8, "reduction": 16}, t5_base)["hypernetwork"] == 9_958_880
