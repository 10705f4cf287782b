"""Which methods train inside which families of language models: each keeps the laws there or is refused by name.

docs/backbones.md has the same in words; `REFUSED` is what it says."""

import copy
import functools
from collections.abc import Callable

import pytest
import torch

from dept_vl.backbones import Backbone, load_backbone
from dept_vl.tuning import BadTuning
from tests.backbones.families import FAMILIES, write_family
from tests.tiny_tunings import FAR, NEAR, attached, make, read, rows, same, values

METHODS = ("lora", "bitfit", "ia3", "full", "adapter", "prefix")
SUBLAYERS = ("adapter", "adapterdrop", "hyperformer", "prefix", "p_tuning_v2")
REFUSED = {
    "bart": SUBLAYERS, "pegasus": SUBLAYERS, "t5gemma": SUBLAYERS, "longt5": SUBLAYERS, "opt": SUBLAYERS,
    "falcon": ("prefix", "p_tuning_v2"),
}  # fmt: skip
QUICK = ("lora", "bitfit", "full")
"""The others are tried everywhere too, but where they are not refused only with the slow tests, on all but these."""
SAMPLE = ("qwen3", "gemma3", "gpt_neox", "umt5")
MORE = ("lora_bitfit", "hyperformer", "p_tuning_v2")
VARIANTS = (
    "opt of 350 M",
    "falcon of 40 B",
    "falcon with alibi",
    "stablelm 2 of 12 B",
    "bart, scaled",
    "longt5, local",
)
OTHERS = ("byt5", "t5 v1.0", "t5 v1.1, flan, lm-adapted", "llama", "gpt2")  # test_laws.py has them


def _slow(method: str, name: str) -> bool:
    refused = method in REFUSED.get(name.split(",")[0].split()[0], ())
    sampled = method in QUICK or (name in SAMPLE and method not in MORE)
    return name in VARIANTS or not (sampled or refused)


CASES = [
    pytest.param(method, name, marks=[pytest.mark.slow] if _slow(method, name) else [])
    for name in FAMILIES
    for method in (*METHODS, *MORE)
    if name not in OTHERS and "beyond" not in name and "long rotations" not in name
]


@pytest.fixture(scope="module")
def load(tmp_path_factory) -> Callable[[str], Backbone]:
    root = tmp_path_factory.mktemp("families")

    @functools.cache
    def read_once(name: str) -> Backbone:
        return load_backbone(str(write_family(name, root / name)), kind=FAMILIES[name][0])

    return lambda name: copy.deepcopy(read_once(name))


@pytest.mark.parametrize(("method", "name"), CASES)
def test_a_method_keeps_the_laws_in_a_family_or_is_refused_by_name(load, method, name):
    backbone = load(name)
    frozen, before, family = read(backbone), values(backbone), backbone.model.config.model_type
    if method in REFUSED.get(family, ()):
        with pytest.raises(BadTuning, match=f"wanted .*given a {family} model"):
            make(method).attach(backbone)
        assert same(values(backbone), before) and backbone.attached is None
        return
    tuning = attached(method, backbone)
    distance = (read(backbone) - frozen).abs().max() / frozen.abs().max()
    assert method in FAR or distance < NEAR.get(method, 1e-5)
    _check_gradients(backbone, tuning)
    with torch.no_grad():
        for weight in tuning.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    backbone.changed()
    _check_padding_and_generation(backbone)
    tuning.detach()
    assert same(values(backbone), before) and torch.equal(read(backbone), frozen)


def _check_gradients(backbone: Backbone, tuning) -> None:
    """Every weight but the dead gets one, once those that start at zero have left it; what is dead gets none."""
    with torch.no_grad():
        for weight in tuning.parameters():
            weight.add_(0.01 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
    ids, (_, mask, labels) = torch.tensor([[5, 9, 4, 30, 17, 41], [7, 8, 50, 3, 3, 3]]), rows(backbone)
    backbone.loss(backbone.embed(ids), mask, labels).mean().backward()
    most = {name: weight.grad.abs().max().item() for name, weight in tuning.weights.named_parameters()}
    assert all(most.values())
    assert all(most[name] < 1e-4 * max(most.values()) for name in tuning.dead)


def _check_padding_and_generation(backbone: Backbone) -> None:
    embeds, mask, labels = rows(backbone)
    together = read(backbone)
    for row, length in enumerate(mask.sum(1).tolist()):
        own = slice(row, row + 1)
        alone = backbone.logits(embeds[own, :length], mask[own, :length], labels[own])
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-4)
    backbone.model.generation_config.eos_token_id = None
    answers = backbone.generate(embeds, mask, max_new_tokens=3, num_beams=1)
    answers = answers[:, 1:] if backbone.kind == "seq2seq" else answers
    with torch.no_grad():
        said = backbone.logits(embeds, mask, answers).argmax(-1)
    assert torch.equal(said, answers)


def test_what_a_formula_gives_does_not_train(load):
    tuning = attached("full", load("pegasus"))
    names = dict(tuning.weights.named_parameters())
    assert "model.shared.weight" in names and not any("embed_positions" in name for name in names)


@pytest.mark.parametrize("method", ["hyperdecoder", "lst"])
@pytest.mark.parametrize("name", ["longt5, transient-global", "t5gemma", "bart", "pegasus", "qwen3"])
def test_what_is_cut_from_a_t5_is_refused_by_name(load, method, name):
    backbone = load(name)
    with pytest.raises(BadTuning, match=f"given a {backbone.model.config.model_type} model"):
        make(method).attach(backbone)
    assert backbone.attached is None
