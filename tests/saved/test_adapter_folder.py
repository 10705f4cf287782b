import errno
import json
import os
from importlib.metadata import version

import pytest
import torch
import yaml

from dept_vl.backbones import load_backbone
from dept_vl.model import Network
from dept_vl.saved import SavedAdapter, UnsavableAdapter, read_adapter, save_adapter
from dept_vl.vision import VisualProjection


def _contents(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_every_method_comes_back_as_it_was_saved(method, make_adapter, save, projection):
    adapter = make_adapter(method)
    adapter.observe(5)
    saved = read_adapter(save(adapter))
    assert type(saved.adapter) is type(adapter)
    assert (saved.adapter.config(), saved.adapter.state()) == (adapter.config(), adapter.state())
    for name, value in adapter.state_dict().items():
        assert torch.equal(saved.adapter.state_dict()[name], value), name
    for name, value in projection.state_dict().items():
        assert torch.equal(saved.projection.state_dict()[name], value), name


def test_a_text_adapter_has_no_projection_and_no_vision_fields(make_adapter, save):
    saved = read_adapter(save(make_adapter(), visual=False))
    assert list(saved.parts) == ["adapter"] and saved.projection is None and saved.config["vision"] is None


def test_the_weights_have_the_names_that_the_network_gives_them(method, make_adapter, tiny_t5):
    adapter = make_adapter(method, d_model=32)
    parts = {"adapter": adapter, "projection": VisualProjection(5, 32, 4, torch.Generator())}
    network = Network(load_backbone(str(tiny_t5)), parts)
    ours = SavedAdapter(parts, {}, "").weights()
    assert ours.keys() == network.trained_state().keys()
    assert all(torch.equal(ours[name], value) for name, value in network.trained_state().items())


def test_the_config_is_sorted_and_names_what_it_needs(make_adapter, save):
    text = (save(make_adapter()) / "adapter_config.json").read_text()
    config = json.loads(text)
    assert text == json.dumps(config, sort_keys=True, indent=2) + "\n"
    wanted = {
        "library_name": "dept_vl", "task_type": "SEQ_2_SEQ_LM", "dept_vl_version": version("dept_vl"), "covers": "text",
        "base_model_name_or_path": "google-t5/t5-base", "revision": "main", "backbone_sha256": "a" * 64,
        "token_order": ["prompt", "text", "visual"],
    }  # fmt: skip
    assert {name: config[name] for name in wanted} == wanted
    sizes = {"num_virtual_tokens": 3, "r": 2, "max_length": 7, "lora_alpha": None, "init_weights": "uniform"}
    assert config["parts"] == {
        "adapter": {"name": "dept", "token_dim": 8, "args": sizes, "state": {}},
        "projection": {"name": "linear", "in_dim": 5, "token_dim": 8, "num_patches": 4, "args": {"standardise": False}},
    }
    assert config["vision"]["vision_model_name"] == "RN101" and config["task"]["num_beams"] == 1
    assert config["vision"]["preprocessing"]["size"] == [224, 224]


def test_two_saves_are_equal_byte_for_byte(method, make_adapter, save):
    assert _contents(save(make_adapter(method), "one")) == _contents(save(make_adapter(method), "two"))


def test_the_layers_for_peft_go_with_the_adapter_that_they_were_of(make_adapter, save, tmp_path):
    folder = save(make_adapter())
    (folder / "peft").mkdir()
    (folder / "peft" / "adapter_config.json").write_text("{}")
    save(make_adapter())
    assert not (folder / "peft" / "adapter_config.json").exists()


def test_the_card_carries_scores_protocol_and_both_backbones(make_adapter, save):
    card = (save(make_adapter()) / "README.md").read_text()
    header = yaml.safe_load(card.split("---\n")[1])
    assert header["base_model"] == ["google-t5/t5-base", "RN101/openai"]
    assert header["library_name"] == "dept_vl" and "license" not in header, "whose weights they are, says it"
    assert (header["metrics"], header["protocol"]) == (["vqa_accuracy"], "official-2021")
    assert header["model-index"][0]["results"][0]["metrics"] == [{"type": "vqa_accuracy", "value": 0.6543}]
    assert "| vqa_accuracy | 65.43 |" in card and "protocol official-2021" in card


@pytest.mark.parametrize("failing", [1, 2, 3], ids=lambda n: f"at file {n}")
def test_a_full_disk_leaves_the_older_files(failing, make_adapter, save, monkeypatch):
    folder = save(make_adapter(seed=0))
    before, calls = _contents(folder), []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    message = "could not save .*No space left on device; what was there before is kept"
    with pytest.raises(OSError, match=message) as error:
        save(make_adapter(seed=1))
    assert error.value.errno == errno.ENOSPC and error.value.filename == str(folder)
    assert _contents(folder) == before and len(before) == 3


def test_a_full_disk_leaves_no_new_folder(make_adapter, save, monkeypatch, tmp_path):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="could not save"):
        save(make_adapter())
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_folder_may_be_a_run_folder(make_adapter, save, tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "results.json").write_text("{}")
    assert (save(make_adapter()) / "results.json").read_text() == "{}"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_not_saved(value, make_adapter, save, tmp_path):
    adapter = make_adapter()
    with torch.no_grad():
        adapter.lora_embedding_B[0, 0] = value
    with pytest.raises(UnsavableAdapter, match=r"lora_embedding_B with 1 of 16 NaN or infinite; nothing was written"):
        save(adapter)
    assert list(tmp_path.iterdir()) == []


def test_a_projection_wants_the_identity_of_its_clip(
    make_adapter, projection, backbone_identity, vision_identity, facts
):
    with pytest.raises(UnsavableAdapter, match="together, given the projection alone"):
        parts = {"adapter": make_adapter(), "projection": projection}
        save_adapter("x", parts, backbone_identity=backbone_identity, card=facts)
    with pytest.raises(UnsavableAdapter, match="together, given the tower's identity alone"):
        save_adapter(
            "x",
            {"adapter": make_adapter()},
            backbone_identity=backbone_identity,
            vision_identity=vision_identity,
            card=facts,
        )


def test_fields_that_lack_are_named(make_adapter, backbone_identity, task, facts):
    del task["template"]
    with pytest.raises(UnsavableAdapter, match=r"task: wanted the fields .*, given no \['template'\]"):
        save_adapter("x", {"adapter": make_adapter()}, backbone_identity=backbone_identity, task=task, card=facts)
    with pytest.raises(UnsavableAdapter, match=r"backbone_identity: .*given no \['backbone_sha256', 'revision'\]"):
        save_adapter("x", {"adapter": make_adapter()}, backbone_identity={"base_model_name_or_path": "t5"}, card=facts)


def test_a_standardised_projection_comes_back_with_what_it_saw(
    make_adapter, backbone_identity, vision_identity, task, facts, tmp_path
):
    projection = VisualProjection(5, 8, 4, torch.Generator().manual_seed(0), standardise=True)
    projection.fit(torch.randn(9, 4, 5) + 3)
    parts, identities = {"adapter": make_adapter(), "projection": projection}, {"backbone_identity": backbone_identity}
    save_adapter(tmp_path, parts, **identities, vision_identity=vision_identity, task=task, card=facts)
    features = torch.randn(2, 4, 5)
    assert torch.equal(read_adapter(tmp_path).projection(features), projection(features))
