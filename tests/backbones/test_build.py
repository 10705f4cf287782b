import json

import pytest
import torch

from dept_vl.backbones import CausalBackbone, Seq2SeqBackbone
from dept_vl.backbones import load_backbone as load_by_kind
from dept_vl.backbones.loading import MissingBackbone, UnsupportedPrecision, WrongKind
from tests.backbones.conftest import WRITERS

CLASSES = {"seq2seq": (Seq2SeqBackbone, "SEQ_2_SEQ_LM"), "causal": (CausalBackbone, "CAUSAL_LM")}


@pytest.mark.parametrize("name", WRITERS)
def test_the_kind_says_the_class_and_the_task_type(load, name):
    kind, backbone = WRITERS[name][0], load(name)
    assert (type(backbone), backbone.task_type, backbone.kind) == (*CLASSES[kind], kind)
    assert not any(weight.requires_grad for weight in backbone.parameters())
    assert not any(module.training for module in backbone.model.modules())
    assert backbone.embedding_table.shape[1] == backbone.d_model == 32


def test_the_embedded_backbone_is_a_seq2seq_by_default():
    assert load_by_kind("tiny-t5").kind == "seq2seq"


@pytest.mark.parametrize(("name", "other"), [("t5", "causal"), ("gpt2", "seq2seq"), ("llama", "seq2seq")])
def test_a_model_of_the_other_kind_says_which_kind_loads_it(folders, name, other):
    own = WRITERS[name][0]
    with pytest.raises(WrongKind, match=f"{name}: wanted .*, given a {name} model; set kind to {own}"):
        load_by_kind(str(folders[name]), kind=other)


def test_an_unknown_kind_is_refused_with_a_spelling(folders):
    message = "wanted one of seq2seq, causal, given 'casual'. Did you mean 'causal'"
    with pytest.raises(WrongKind, match=message):
        load_by_kind(str(folders["gpt2"]), kind="casual")


def test_an_encoder_alone_is_no_seq2seq_and_no_kind_is_advised(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(WrongKind, match="given a bert model$"):
        load_by_kind(str(tmp_path), kind="seq2seq")


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_causal_model_comes_in_the_dtypes_that_are_tested(load, name):
    with pytest.raises(UnsupportedPrecision, match="wanted a dtype of float32, bfloat16, given 'float16'"):
        load(name, dtype="float16")
    full, half = load(name), load(name, dtype="bfloat16")
    assert half.embedding_table.dtype == torch.bfloat16 and full.embedding_table.dtype == torch.float32
    assert half.identity() == full.identity() and full.identity()["base_model_name_or_path"] == name


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_a_missing_backbone_says_where_it_was_sought(tmp_path, kind):
    with pytest.raises(MissingBackbone, match="wanted a folder with config.json and weights"):
        load_by_kind(str(tmp_path), kind=kind)


def test_token_facts_are_those_of_the_model(load):
    facts = {name: load(name).token_facts() for name in WRITERS}
    rows = load("t5").embedding_table.shape[0]
    assert facts["t5"] == {"vocabulary": rows, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    assert facts["gpt2"]["eos_token_id"] == facts["gpt2"]["bos_token_id"] == 0 and facts["gpt2"]["pad_token_id"] is None
    assert (facts["llama"]["bos_token_id"], facts["llama"]["eos_token_id"]) == (1, 2)
    assert [load(name).max_positions for name in WRITERS] == [None, None, 96, 96]
