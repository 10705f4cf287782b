"""Where PEFT has the method, ours is PEFT's: its start, its loss curve, its files."""

import json

import peft
import pytest
import torch
from safetensors.torch import load_file

from dept_vl.adapters import build_adapter
from dept_vl.backbones import load_backbone
from dept_vl.saved import (
    BadAdapterFolder,
    ModelFacts,
    UnexportableAdapter,
    export_peft,
    load_adapter,
    read_adapter,
    read_any,
    save_adapter,
)
from dept_vl.tuning import BadTuning
from tests.tiny_tunings import CASES, MODELS, attached, make, network_with, read, rows

STEPS = 20


def curve(loss_of, weights) -> list[float]:
    optimizer = torch.optim.AdamW(weights, lr=0.02, weight_decay=0.01)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_lora_has_the_loss_curve_of_pefts(load):
    ours = load()
    tuning = attached("lora", ours, seed=5, lora_dropout=0.0)
    network = network_with(tuning, ours).train()
    theirs = load()
    torch.manual_seed(5)
    config = peft.LoraConfig(task_type="SEQ_2_SEQ_LM", r=2, lora_alpha=2)
    model = peft.get_peft_model(theirs.model, config)
    assert sum(each.numel() for each in tuning.parameters()) == model.get_nb_trainable_parameters()[0]
    embeds, mask, labels = rows(ours)

    def peft_loss() -> torch.Tensor:
        return model(inputs_embeds=embeds, attention_mask=mask, labels=labels).loss

    groups = network.param_groups()["lora"]
    given = curve(lambda: ours.loss(embeds, mask, labels).mean(), groups)
    wanted = curve(peft_loss, [each for each in model.parameters() if each.requires_grad])
    assert given == pytest.approx(wanted, abs=1e-4)
    assert given[-1] < given[0] - 0.1


@pytest.mark.parametrize("name", CASES)
def test_saved_and_read_it_answers_as_before(name, load, tmp_path):
    backbone = load()
    trained = save(name, backbone, tmp_path)
    saved, again = read_adapter(tmp_path), load()
    assert saved.config["parts"]["inside"]["name"] == name and saved.inside.token_dim == backbone.d_model
    saved.inside.eval().attach(again)
    torch.testing.assert_close(read(again), trained, rtol=0, atol=2e-5)
    assert (tmp_path / "peft").exists() == (name in ("lora", "ia3"))
    kept = set(load_file(tmp_path / "adapter_model.safetensors"))
    frozen = set(again.model.state_dict()) if name == "full" else set()
    assert all(each.startswith("inside.weights.") for each in kept) and len(kept) >= len(frozen) - 3


@pytest.mark.parametrize("kind", ["t5", "gpt2"])
@pytest.mark.parametrize("name", ["lora", "ia3"])
def test_peft_loads_its_sub_folder_to_the_same_logits(name, kind, load, folders, tmp_path):
    trained = save(name, load(kind), tmp_path)
    other = load_backbone(str(folders[kind]), kind=MODELS[kind], attn_implementation="eager")
    other.model = peft.PeftModel.from_pretrained(other.model, tmp_path / "peft").eval().base_model.model
    torch.testing.assert_close(read(other), trained, rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("name", ["prefix", "p_tuning_v2"])
def test_peft_loads_a_prefix_with_positions_to_the_same_logits(name, kind, load, folders, tmp_path):
    """Called plainly, and with positions and pads."""
    backbone = load(kind)
    save(name, backbone, tmp_path, prefix_positions=True)
    export_peft(tmp_path, tmp_path / "exported")  # of the folder alone, without a model
    for folder in ("peft", "exported"):
        other = load_backbone(str(folders[kind]), kind="causal", attn_implementation="eager")
        theirs = peft.PeftModel.from_pretrained(other.model, tmp_path / folder).eval()
        same_as_peft(backbone, theirs)


@pytest.mark.parametrize("kind", ["t5", "gpt2"])
def test_a_prefix_that_peft_would_compute_otherwise_is_not_written(kind, load, tmp_path):
    save("prefix", load(kind), tmp_path)
    assert not (tmp_path / "peft").exists()
    with pytest.raises(UnexportableAdapter, match="PrefixTuning: .* a prefix with prefix_positions on a decoder-only"):
        export_peft(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("prefix_projection", [False, True])
def test_a_prefix_that_peft_saved_gives_its_logits(prefix_projection, kind, load, folders, tmp_path):
    other = load_backbone(str(folders[kind]), kind="causal", attn_implementation="eager")
    torch.manual_seed(4)
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, prefix_projection=prefix_projection)
    theirs = peft.get_peft_model(other.model, config).eval()
    theirs.save_pretrained(tmp_path)
    backbone = load(kind)
    read_any(tmp_path).inside.eval().attach(backbone)
    same_as_peft(backbone, theirs)


def same_as_peft(backbone, theirs) -> None:
    """A causal model with a prefix inside, and PEFT's model with the same one."""
    embeds, _, labels = rows(backbone)
    padded = torch.tensor([[1] * 6, [0, 0, 0, 1, 1, 1]])
    for each, positions in ((torch.ones_like(padded), None), (padded, (padded.cumsum(1) - 1).clamp(min=0))):
        wanted = theirs(inputs_embeds=embeds, attention_mask=each, position_ids=positions).logits[:, -1]
        torch.testing.assert_close(backbone.logits(embeds, each, labels)[:, 0], wanted, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("kind", ["t5", "gpt2"])
@pytest.mark.parametrize("name", ["lora", "ia3"])
def test_a_folder_that_peft_saved_gives_its_logits(name, kind, load, folders, tmp_path):
    theirs = saved_by_peft(name, folders[kind], MODELS[kind], tmp_path)
    saved, backbone = read_any(tmp_path), load(kind)
    assert saved.config["task"] is None and saved.adapter.token_dim == 0
    beside = saved.of_width(backbone.d_model)
    assert beside.adapter.token_dim == beside.config["parts"]["inside"]["token_dim"] == backbone.d_model
    beside.inside.eval().attach(backbone)
    torch.testing.assert_close(read(backbone), read(theirs), rtol=1e-4, atol=2e-5)
    with pytest.raises(BadAdapterFolder, match="wanted an adapter at the model's input, given"):
        load_adapter(tmp_path)


def saved_by_peft(name: str, folder, kind: str, out, **changes: object):
    """The backbone with what PEFT trained in it."""
    config = {"lora": peft.LoraConfig, "ia3": peft.IA3Config}[name]
    sizes = {"r": 2, "lora_alpha": 4} if name == "lora" else {}
    other = load_backbone(str(folder), kind=kind, attn_implementation="eager")
    task = {"task_type": other.task_type}
    model = peft.get_peft_model(other.model, config(**{**task, **sizes, **changes})).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    model.save_pretrained(out)
    other.model = model.base_model.model
    return other


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_rslora": True}, "use_rslora as PEFT has it by default, False, given True"),
        ({"bias": "lora_only"}, "bias as PEFT has it by default, 'none', given 'lora_only'"),
        ({"rank_pattern": {"q": 1}}, "rank_pattern as PEFT has it by default"),
        ({"target_modules": "all-linear-of-it"}, "target_modules as list"),
        ({"of_tomorrow": 3}, "of_tomorrow as PEFT has it by default, None, given 3"),
        ({"r": 0}, "LoRA: wanted r to be an integer >= 1, given 0"),
    ],
)
def test_a_variant_of_pefts_lora_is_refused_by_name(changes, message, folders, tmp_path):
    saved_by_peft("lora", folders["t5"], "seq2seq", tmp_path)
    change_config(tmp_path, changes)
    with pytest.raises(BadAdapterFolder, match=message):
        read_any(tmp_path)


def test_modules_that_do_not_fit_each_other_are_refused(folders, tmp_path):
    saved_by_peft("ia3", folders["t5"], "seq2seq", tmp_path)
    change_config(tmp_path, {"target_modules": ["k"]})
    with pytest.raises(BadAdapterFolder, match="arguments of PEFT's IA3, given others: .*feedforward_modules"):
        read_any(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task_type": "SEQ_2_SEQ_LM"}, "PEFT's reaches the decoder's self-attention alone"),
        ({"num_layers": 3}, r"prompt_embeddings \[2, 3 \* 2 \* 32\], of 4 heads"),
        ({"num_attention_heads": 5}, "of 5 heads"),
        ({"token_dim": 10**15}, "1000000000000000"),
    ],
)
def test_a_prefix_of_other_sizes_than_its_config_is_refused(changes, message, load, tmp_path):
    save("p_tuning_v2", load("gpt2"), tmp_path, prefix_positions=True)
    change_config(tmp_path / "peft", changes)
    with pytest.raises(BadAdapterFolder, match=message):
        read_any(tmp_path / "peft")


def change_config(folder, changes: dict) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_export_is_pefts_format_or_a_reason(load, tmp_path):
    save("ia3", load(), tmp_path / "ia3")
    export_peft(tmp_path / "ia3", tmp_path / "exported")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "exported" / name).read_bytes() == (tmp_path / "ia3" / "peft" / name).read_bytes()
    save("bitfit", load(), tmp_path / "bitfit")
    with pytest.raises(UnexportableAdapter, match="BitFit: wanted a method that PEFT has"):
        export_peft(tmp_path / "bitfit", tmp_path / "out")
    save("lora", load(), tmp_path / "both", prompt=2)
    with pytest.raises(UnexportableAdapter, match="wanted one of PromptTuning and LoRA, given both"):
        export_peft(tmp_path / "both", tmp_path / "out")


def save(name: str, backbone, folder, prompt: int = 0, **changes: object) -> torch.Tensor:
    """The folder of a trained tuning and, where asked, a prompt; returns the logits without the prompt."""
    size = {"num_virtual_tokens": prompt} if prompt else {}
    adapter = build_adapter("pt" if prompt else "none", torch.zeros(prompt, backbone.d_model), size)
    parts = {"adapter": adapter, "inside": attached(name, backbone, random=True, **changes)}
    save_adapter(
        folder, parts, backbone_identity=backbone.identity(), task_type=backbone.task_type, card=ModelFacts(name)
    )
    return read(backbone)


def test_what_peft_refuses_half_way_leaves_the_frozen_model_as_it_was(load):
    """It wraps the layers before the one that it cannot wrap."""
    backbone = load("t5")
    before, modules = read(backbone), list(backbone.model.named_modules())
    with pytest.raises(BadTuning, match="wanted target_modules of this t5 model"):
        make("lora", r=2, target_modules=["q", "layer_norm"]).attach(backbone)
    assert list(backbone.model.named_modules()) == modules and torch.equal(read(backbone), before)
    attached("lora", backbone).detach()
    assert list(backbone.model.named_modules()) == modules


def test_lora_of_another_scale_starts_as_its_source(load):
    source = make("lora", r=2, lora_alpha=16).eval()
    backbone = load("t5")
    source.attach(backbone)
    with torch.no_grad():
        for weight in source.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)))
    wanted = read(backbone)
    source.detach()
    target = make("lora", r=2, lora_alpha=None).eval()
    target.attach(backbone)
    assert target.start_from(source) == ()
    torch.testing.assert_close(read(backbone), wanted)
