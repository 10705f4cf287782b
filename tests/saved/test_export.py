import json

import pytest
import torch

from dept_vl.backbones import load_backbone
from dept_vl.model import Batch, Network
from dept_vl.saved import UnexportableAdapter, export_peft, load_adapter

IDS = torch.tensor([[4, 5, 6, 7, 1], [8, 9, 1, 0, 0]])
LABELS = torch.tensor([[10, 11, 1], [12, 1, -100]])


def _with_zero_shift(adapter):
    with torch.no_grad():
        adapter.lora_embedding_B.zero_()
    return adapter


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft 0.21 asks for it
@pytest.mark.parametrize("method", ["pt", "dpt", "residual_pt", "dept", "rank_probe"])
def test_peft_loads_the_export_and_gives_the_same_logits(method, make_adapter, tiny_t5, tmp_path):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForSeq2SeqLM

    adapter = make_adapter(method, d_model=32)
    adapter = _with_zero_shift(adapter) if method == "dept" else adapter
    export_peft(adapter, tmp_path / "peft", base_model_name_or_path=str(tiny_t5))
    config = peft.PeftConfig.from_pretrained(tmp_path / "peft")
    assert (config.base_model_name_or_path, config.num_transformer_submodules) == (str(tiny_t5), 1)

    mask = (IDS != 0).long()
    network = Network(load_backbone(str(tiny_t5)), {"adapter": adapter}).eval()
    with torch.no_grad():
        ours = network.backbone.logits(*network.embed(Batch(IDS, mask)), LABELS)
        base = AutoModelForSeq2SeqLM.from_pretrained(tiny_t5).eval()  # its own: peft patches what it wraps
        theirs = peft.PeftModel.from_pretrained(base, tmp_path / "peft").eval()
        logits = theirs(input_ids=IDS, attention_mask=mask, labels=LABELS).logits
        plain = base(input_ids=IDS, attention_mask=mask, labels=LABELS).logits
    torch.testing.assert_close(logits, ours, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(plain, ours, atol=1e-2), "the prompt changes nothing: the comparison is empty"


def test_an_export_comes_back_as_the_folded_prompt(make_adapter, tmp_path):
    adapter = make_adapter("residual_pt")
    export_peft(adapter, tmp_path / "peft", base_model_name_or_path="t5-base")
    assert torch.equal(load_adapter(tmp_path / "peft").fold().prompt, adapter.fold().prompt)


def test_a_folder_is_exported_with_its_backbone_s_name_and_without_its_projection(make_adapter, save, tmp_path):
    folder = save(make_adapter("pt"))
    with pytest.warns(UserWarning, match="PEFT has no place for the visual projection"):
        export_peft(folder, tmp_path / "peft")
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("google-t5/t5-base", "main")


def test_a_shift_is_refused(make_adapter, tmp_path):
    with pytest.raises(UnexportableAdapter, match=r"DePT adds a shift of \[7, 8\] to the text: wanted none or zero"):
        export_peft(make_adapter("dept"), tmp_path / "peft")
    assert not (tmp_path / "peft").exists()


def test_an_adapter_without_a_prompt_is_refused(make_adapter, tmp_path):
    for adapter in (make_adapter("none"), _with_zero_shift(make_adapter("dept", num_virtual_tokens=0))):
        with pytest.raises(UnexportableAdapter, match="wanted at least one virtual token"):
            export_peft(adapter, tmp_path / "peft")
