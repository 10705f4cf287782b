"""Where PEFT has the method, ours is PEFT's: its start, its loss curve, its files."""

import peft
import pytest
import torch
from safetensors.torch import load_file

from dept_vl.adapters import build_adapter
from dept_vl.backbones import load_backbone
from dept_vl.saved import ModelFacts, UnexportableAdapter, export_peft, read_adapter, save_adapter
from tests.tiny_tunings import CASES, MODELS, attached, network_with, read, rows

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


def save(name: str, backbone, folder, prompt: int = 0) -> torch.Tensor:
    """The folder of a trained tuning and, where asked, a prompt; returns the logits without the prompt."""
    size = {"num_virtual_tokens": prompt} if prompt else {}
    adapter = build_adapter("pt" if prompt else "none", torch.zeros(prompt, backbone.d_model), size)
    parts = {"adapter": adapter, "inside": attached(name, backbone, random=True)}
    save_adapter(
        folder, parts, backbone_identity=backbone.identity(), task_type=backbone.task_type, card=ModelFacts(name)
    )
    return read(backbone)
