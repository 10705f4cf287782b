"""A run over a chat model: asked in its own template, shifted only in the user's text, and served as it was trained."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from dept_vl.adapters import DePT
from dept_vl.backbones import load_backbone
from dept_vl.config import BadConfig
from dept_vl.data.batches import EncodedExamples
from dept_vl.data.chat import frame_of, turn_of
from dept_vl.data.tokenizer import load_fitting
from dept_vl.model import BankEntry, Network
from dept_vl.run import build, resolve, start
from dept_vl.run.execute import run
from dept_vl.serve import AdaptedModel, WrongRows, WrongTask
from dept_vl.tasks.example import Example
from tests.data.test_chat import CHATML, byte_level
from tests.tiny_models import _enlarge
from tests.tiny_runs import json_lines, text_experiment, tiny_experiment, write_cola

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
        max_position_embeddings=400, bos_token_id=1, eos_token_id=2, pad_token_id=0,
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


EARLIER = [
    {"role": "user", "content": "is it red?"},
    {"role": "assistant", "content": "no"},
    {"role": "user", "content": "a square then?"},
]


def test_the_frame_of_a_single_turn_is_the_turns(network):
    _, tokenizer = network
    turn = turn_of(tokenizer)
    assert frame_of(tokenizer, [{"role": "user", "content": "red"}]) == (turn.before, turn.after)


def test_a_conversation_is_read_as_the_template_writes_it(network):
    _, tokenizer = network
    before, after = frame_of(tokenizer, EARLIER)
    whole = tokenizer.apply_chat_template(EARLIER, tokenize=False, add_generation_prompt=True)
    assert before + EARLIER[-1]["content"] + after == whole and "is it red?" in before


@torch.no_grad()
def test_the_shift_covers_the_last_turn_of_a_conversation_alone(network):
    network, tokenizer = network
    frames = [frame_of(tokenizer, EARLIER), None]
    facts = {"targets": ("y",), "weights": (1.0,), "references": ("y",)}
    examples = [Example(place, "a square then?", frame=frame, **facts) for place, frame in enumerate(frames)]
    encoded = EncodedExamples(examples, tokenizer, kind="chat", max_source_length=200, max_target_length=8)
    batch = encoded.collate([0, 1], None)
    given = network.embed(batch)[0][:, 3:] - network.backbone.embed(batch.input_ids)
    shift, number = network.adapter.fold().shift, int(batch.covered[1].sum())
    assert int(batch.covered[0].sum()) == number and int(batch.mask[0].sum()) > int(batch.mask[1].sum())
    for row, covered in enumerate(batch.covered == 1):
        torch.testing.assert_close(given[row][covered], shift[:number], atol=1e-5, rtol=0)
        assert not given[row][~covered].any()


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

    asked = [f"sentence: {each}" for each in sentences]
    assert model.chat(asked) == model.generate(sentences)  # a single turn is what the task asks
    assert model.chat([[{"role": "user", "content": each}] for each in asked]) == model.chat(asked)
    told = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes"}]
    longer = model.chat([[*told, {"role": "user", "content": each}] for each in asked], max_new_tokens=12)
    assert longer != model.chat(asked, max_new_tokens=12)
    apart = [model.chat([[*told, {"role": "user", "content": each}]], max_new_tokens=12)[0] for each in asked]
    assert longer == apart
    for conversation, words in (
        ([{"role": "user"}], 'a list of {"role": ..., "content": ...}'),
        ([], "a text, or a list"),
        (told, "a last turn of the role user"),
        ([{"role": "user", "content": ["x"]}], "texts both"),
    ):
        with pytest.raises(WrongRows, match=words):
            model.chat([conversation])

    plain = {**causal, "chat_template": False}
    run(text_experiment(chat_model, data, tmp_path / "plain", backbone=plain, task=task))
    with pytest.raises(WrongTask, match="plain: wanted an adapter that is asked in the model's chat template"):
        model.load_adapter(tmp_path / "plain", "plain")
    with pytest.raises(WrongTask, match="wanted an adapter trained in the model's chat template"):
        AdaptedModel.from_pretrained(tmp_path / "plain", backbone=chat_model).chat(["hello"])


@pytest.fixture
def asked_in_chat(chat_model, place):
    def make(task, output):
        config = tiny_experiment(
            chat_model, place / "clip", place / "shapes", output,
            task={"name": task, "max_source_length": 120, "max_target_length": 200},
            vision={"feature_dir": str(place / "features")},
        )  # fmt: skip
        causal = {"kind": "causal", "attn_implementation": None, "chat_template": True}
        return dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, **causal))

    return make


@pytest.mark.parametrize("task", ["vqa", "caption"])
@pytest.mark.usefixtures("afresh")
def test_the_shift_covers_the_question_about_a_picture_and_nothing_of_the_template(task, asked_in_chat, tmp_path):
    config = asked_in_chat(task, tmp_path / "run")
    parts = build(resolve(config), start(config), {"train": ("train", None)})
    parts.network.adapter.observe(16)
    with torch.no_grad():
        for weight in parts.network.adapter.param_groups()["low_rank"]:
            weight.normal_()
    batch = parts.encoded["train"].collate([0, 1, 2], parts.gather)
    texts = [parts.tokenizer.decode(ids[own == 1]) for ids, own in zip(batch.input_ids, batch.covered, strict=True)]
    assert [text.strip() for text in texts] == [each.source for each in parts.encoded["train"].examples[:3]]
    prompt, visual = parts.network.adapter.num_virtual_tokens, parts.network.projection.num_tokens
    parts.network.eval()
    with torch.no_grad():
        embeds, mask = parts.network.embed(batch)
        given = embeds[:, prompt + visual :] - parts.network.backbone.embed(batch.input_ids)
        shift = parts.network.adapter.fold().shift
    for row, covered in enumerate(batch.covered == 1):
        number = min(int(covered.sum()), len(shift))
        torch.testing.assert_close(given[row][covered][:number], shift[:number], atol=1e-5, rtol=0)
        assert not given[row][~covered].any()


@pytest.mark.usefixtures("afresh")
def test_questions_about_pictures_are_answered_as_in_the_run_and_in_conversations(
    asked_in_chat, chat_model, place, tmp_path
):
    run(asked_in_chat("vqa", tmp_path / "run"))
    model = AdaptedModel.from_pretrained(tmp_path / "run", backbone=chat_model)
    rows = json_lines(tmp_path / "run" / "predictions.jsonl")[:4]
    pictures = [place / "shapes" / "images" / row["image"] for row in rows]
    said = model.answer(pictures, [row["text"] for row in rows])
    assert said == [row["prediction"] for row in rows]
    assert model.chat([f"Question: {row['text']} Answer:" for row in rows], pictures) == said
    with pytest.raises(WrongRows, match="wanted one, given None"):
        model.chat(["hello"])


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
