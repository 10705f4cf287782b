"""A run over a chat model: asked in its own template, shifted only in the user's text, and served as it was trained."""

import json

import numpy as np
import pytest
import torch

from dept_vl.adapters import DePT
from dept_vl.backbones import load_backbone
from dept_vl.config import BadConfig
from dept_vl.data.batches import EncodedExamples
from dept_vl.data.chat import turn_of
from dept_vl.data.tokenizer import load_fitting
from dept_vl.model import BankEntry, Network
from dept_vl.run.execute import run
from dept_vl.serve import AdaptedModel, WrongTask
from dept_vl.tasks.example import Example
from tests.data.test_chat import CHATML, byte_level
from tests.tiny_models import _enlarge
from tests.tiny_runs import json_lines, text_experiment, write_cola

TEXTS = ["is the red square there?", "red", "a much longer text than the two others are"]


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory):
    """The folder of a LLaMA with a chat template, whose turns end with a token that is not its end of text."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("chat")
    tokenizer = byte_level(CHATML)
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    _enlarge(model, 0)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def network(chat_model):
    backbone = load_backbone(str(chat_model), kind="causal")
    tokenizer = load_fitting(str(chat_model), backbone.token_facts(), kind="causal")
    backbone.chat(turn_of(tokenizer).end)
    adapter = DePT(torch.randn(3, 32), num_virtual_tokens=3, r=4, max_length=200)
    for weight in adapter.param_groups()["low_rank"]:
        torch.nn.init.normal_(weight)
    adapter.observe(200)
    return Network(backbone, {"adapter": adapter}).eval(), tokenizer


def batch_of(texts, tokenizer):
    examples = [Example(place, text, ("yes",), (1.0,), ("yes",)) for place, text in enumerate(texts)]
    encoded = EncodedExamples(examples, tokenizer, kind="chat", max_source_length=200, max_target_length=8)
    return encoded.collate(range(len(texts)), None, draws=np.zeros(len(texts)))


@torch.no_grad()
def test_the_shift_covers_the_users_text_and_nothing_of_the_template(network):
    network, tokenizer = network
    batch = batch_of(TEXTS, tokenizer)
    embeds, mask = network.embed(batch)
    plain = network.backbone.embed(batch.input_ids)
    given, shift = embeds[:, 3:] - plain, network.adapter.fold().shift
    assert torch.equal(mask[:, 3:], batch.mask)
    for row, covered in enumerate(batch.covered == 1):
        number = int(covered.sum())
        assert 0 < number < int(batch.mask[row].sum())
        torch.testing.assert_close(given[row][covered], shift[:number], atol=1e-5, rtol=0)
        assert not given[row][~covered].any()


@torch.no_grad()
def test_folded_and_live_rows_of_a_chat_model_read_the_same(network):
    network, tokenizer = network
    batch = batch_of(TEXTS, tokenizer)
    network.bank["folded"] = BankEntry(network.adapter.fold())
    network.bank["live"] = BankEntry(network.adapter)
    batch.adapters = ("folded", "live", "folded")
    mixed, alone = network.embed(batch), network.embed(batch_of(TEXTS, tokenizer))
    torch.testing.assert_close(mixed[0] * mixed[1].unsqueeze(2), alone[0] * alone[1].unsqueeze(2))


def test_what_a_shift_may_cover_counts_the_users_text(network):
    network, tokenizer = network
    batch = batch_of(TEXTS, tokenizer)
    assert network.covered_length(batch) == int(batch.covered.sum(1).max()) < int(batch.mask.sum(1).max())


def test_an_answer_ends_where_the_models_turn_does(network):
    network, tokenizer = network
    turn = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert batch_of(["red"], tokenizer).labels[0, -1] == turn
    assert network.backbone.model.generation_config.eos_token_id == [2, turn]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_cola(tmp_path_factory.mktemp("data"))


@pytest.mark.usefixtures("afresh")
def test_a_run_in_a_chat_template_is_served_as_it_was_trained(chat_model, data, tmp_path):
    causal = {"kind": "causal", "attn_implementation": None, "chat_template": True}
    task = {"max_source_length": 120, "max_target_length": 24}
    results = run(text_experiment(chat_model, data, tmp_path / "run", backbone=causal, task=task))
    assert results["metrics"]["test"]["invalid_outputs"] == 0
    assert json.loads((tmp_path / "run" / "adapter_config.json").read_text())["task"]["chat_template"] is True
    model = AdaptedModel.from_pretrained(tmp_path / "run", backbone=chat_model)
    rows = json_lines(tmp_path / "run" / "predictions.jsonl")
    sentences = [row["text"].removeprefix("sentence: ") for row in rows]
    names = {"0": "unacceptable", "1": "acceptable"}
    assert model.classify(sentences) == [names[row["prediction"]] for row in rows]

    plain = {**causal, "chat_template": False}
    run(text_experiment(chat_model, data, tmp_path / "plain", backbone=plain, task=task))
    with pytest.raises(WrongTask, match="plain: wanted an adapter that is asked in the model's chat template"):
        model.load_adapter(tmp_path / "plain", "plain")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backbone": {"kind": "seq2seq", "chat_template": True}}, "backbone.chat_template: wanted false"),
        ({"backbone": {"kind": "causal", "chat_template": True}, "covers": "text_and_visual"}, "adapter.covers"),
        ({"backbone": {"gguf_file": "model.bin"}}, "backbone.gguf_file: wanted a name ending in .gguf"),
    ],
)
def test_settings_that_contradict_are_refused(changes, words, chat_model, data, tmp_path):
    adapter = {"covers": changes.pop("covers", "text")}
    with pytest.raises(BadConfig, match=words):
        text_experiment(chat_model, data, tmp_path, adapter=adapter, **changes)
