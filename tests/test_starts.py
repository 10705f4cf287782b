"""Where a prompt starts: the four ways of the config, on a real embedding table."""

import dataclasses
from typing import get_args

import pytest
import torch

from dept_vl.backbones import TOKEN_ORDERS, load_backbone
from dept_vl.config import AdapterConfig, BackboneConfig, BadConfig, Experiment, OptimConfig, TaskConfig, VisionConfig
from dept_vl.data.carried import LostText
from dept_vl.data.tokenizer import load_tokenizer
from dept_vl.registry import DeptVLWarning
from dept_vl.run import check, notes
from dept_vl.run.components import start_adapter


@pytest.fixture(scope="module")
def parts(byte_t5):
    return load_backbone(str(byte_t5)), load_tokenizer(str(byte_t5))


def rows(parts, init: str, text: str | None = None, num: int = 4) -> torch.Tensor:
    config = AdapterConfig("pt", {"num_virtual_tokens": num}, {"init": init, "text": text})
    return start_adapter(config, *parts, torch.Generator().manual_seed(3)).prompt_embeddings.detach()


def test_sampled_rows_are_rows_of_the_table_without_special_tokens(parts):
    table, tokenizer = parts[0].embedding_table, parts[1]
    found = [int((table == row).all(1).nonzero()[0, 0]) for row in rows(parts, "SAMPLE_VOCAB", num=20)]
    assert len(set(found)) == 20 and not set(found) & set(tokenizer.all_special_ids)


def test_a_text_starts_with_its_own_tokens(parts):
    ids = parts[1]("what color")["input_ids"]
    assert torch.equal(rows(parts, "TEXT", "what color", num=len(ids)), parts[0].embedding_table[ids])


def test_labels_start_with_the_mean_of_their_pieces(parts):
    ids = parts[1]("red", add_special_tokens=False)["input_ids"]
    torch.testing.assert_close(rows(parts, "LABELS", "red, blue")[0], parts[0].embedding_table[ids].mean(0))


@pytest.mark.parametrize("init", ["TEXT", "LABELS"])
def test_a_text_that_the_tokenizer_does_not_carry_is_told(parts, init):
    joined = " " if init == "TEXT" else ", "
    with pytest.warns(
        DeptVLWarning, match="adapter.start.text: 50.0 % of 2 are not carried .*: '<pad>' comes back as ''"
    ):
        rows(parts, init, joined.join(["red", "<pad>"]))
    with pytest.raises(
        LostText, match="adapter.start.text: wanted text that the tokenizer carries, given 2 of which none"
    ):
        rows(parts, init, joined.join(["</s>", "<pad>"]))


def test_random_rows_are_none_of_the_table(parts):
    assert not any((parts[0].embedding_table == row).all(1).any() for row in rows(parts, "RANDOM"))


@pytest.mark.parametrize("init", ["SAMPLE_VOCAB", "TEXT", "LABELS", "RANDOM"])
def test_one_seed_gives_one_start(parts, init):
    assert torch.equal(rows(parts, init, "red, blue"), rows(parts, init, "red, blue"))


@pytest.mark.parametrize("init", ["TEXT", "LABELS"])
def test_a_text_that_is_wanted_is_asked_for_before_anything_loads(init):
    with pytest.raises(BadConfig, match=f"adapter.start.text: wanted a text for {init}, given none"):
        check(Experiment(adapter=AdapterConfig("pt", {"num_virtual_tokens": 4}, {"init": init})))


def test_a_group_without_a_rate_is_refused_before_anything_loads():
    optim = OptimConfig(lr={"prompt": 1.0, "projection": 1.0})
    config = Experiment(adapter=AdapterConfig("dept", {"num_virtual_tokens": 4, "r": 2, "max_length": 8}), optim=optim)
    with pytest.raises(BadConfig, match="wanted a rate for 'low_rank', which trains here"):
        check(config)


def test_an_unknown_metric_is_refused_with_a_suggestion():
    with pytest.raises(BadConfig, match="wanted one of vqa_accuracy, .* given 'vqa_acuracy'. Did you"):
        check(Experiment(adapter=AdapterConfig("pt", {"num_virtual_tokens": 4}), metric_for_best_model="vqa_acuracy"))


@pytest.fixture
def no_java(monkeypatch):
    for module in ("dept_vl.metrics.captions", "dept_vl.run.components"):
        monkeypatch.setattr(f"{module}.find_javas", lambda: [])


def test_a_metric_that_cannot_be_had_here_is_refused_before_anything_loads_and_told(no_java):
    config = Experiment(task=TaskConfig(name="caption"), adapter=AdapterConfig("pt", {"num_virtual_tokens": 4}))
    check(config)
    wanted = "metric_for_best_model: wanted a metric that can be computed .*, given 'METEOR': no java on PATH"
    with pytest.raises(BadConfig, match=wanted):
        check(dataclasses.replace(config, metric_for_best_model="METEOR"))
    [note] = notes(config)
    assert note.startswith("not available on this machine: METEOR, SPICE, the PTB tokenizer: no java on PATH")
    assert notes(dataclasses.replace(config, task=TaskConfig(name="vqa"))) == []


@pytest.mark.parametrize("name", ["vqa", "caption"])
def test_a_text_in_front_of_the_image_is_refused_for_a_decoder_alone_before_anything_loads(name):
    task, adapter = TaskConfig(name=name), AdapterConfig("pt", {"num_virtual_tokens": 4})
    config = Experiment(task=task, backbone=BackboneConfig(kind="causal"), adapter=adapter)
    check(config)
    wanted = "vision.token_order: wanted prompt,visual,text or visual,prompt,text for a causal backbone, given prompt,"
    with pytest.raises(BadConfig, match=wanted):
        check(dataclasses.replace(config, vision=VisionConfig(token_order="prompt,text,visual")))
    with pytest.raises(BadConfig, match="task.template: wanted no blank at its end, .*given '.*A: '"):
        template = "{question} A: " if name == "vqa" else "A: "
        check(dataclasses.replace(config, task=dataclasses.replace(task, template=template)))


def test_the_orders_of_the_config_are_those_that_backbones_read():
    given = {field.name: field.type for field in dataclasses.fields(VisionConfig)}["token_order"]
    known = {",".join(order) for orders in TOKEN_ORDERS.values() for order in orders}
    assert set(get_args(given)) == {"auto", *known}
