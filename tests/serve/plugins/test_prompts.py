"""Whole prompts: likelihoods and answers are those of one row at a time."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from dept_vl.model import BASE, Batch
from dept_vl.registry import DeptVLWarning
from dept_vl.serve.plugins.prompts import Prompted, cut_at, stops

TEXTS = ["a red circle", "how many big blue star there ? two", "where is the square above the triangle", "yes"]
ANSWERS = [" red", " two three", " yes no", " blue"]


@pytest.fixture(params=["seq2seq", "gpt2", "llama"])
def prompted(request, t5_folder, causal_folders, load_text):
    if request.param == "seq2seq":
        return Prompted(load_text(t5_folder, max_source_length=16), "default", batch_size=3)
    return Prompted(
        load_text(causal_folders[request.param], kind="causal", max_source_length=16), "default", batch_size=3
    )


def test_likelihoods_are_those_of_one_row_and_one_token_at_a_time(prompted):
    answers = [prompted.answer_tokens(text, answer) for text, answer in zip(TEXTS, ANSWERS, strict=True)]
    found = prompted.likelihoods(prompted.prompts(TEXTS), answers)
    network = prompted.model.network
    for text, answer, (nats, greedy) in zip(TEXTS, answers, found, strict=True):
        [prompt] = prompted.prompts([text])
        ids = torch.tensor([prompt.ids])
        batch = Batch(ids, torch.ones_like(ids), adapters=("default",))
        wanted, argmax = 0.0, []
        for length in range(len(answer)):
            begun = torch.tensor([answer[:length]], dtype=torch.int64).reshape(1, length)
            logits = network.backbone.next_token_logits(*network.embed(batch), begun)[0, 0, -1]
            wanted += logits.log_softmax(0)[answer[length]].item()
            argmax.append(logits.argmax().item())
        assert nats == pytest.approx(wanted, abs=2e-4) and greedy == (argmax == answer)
    assert len({round(nats, 3) for nats, _ in found}) == len(found)


def test_what_greedy_decoding_says_is_greedy(prompted):
    prompts = prompted.prompts(TEXTS)
    for prompt in prompts:
        ids = torch.tensor([prompt.ids])
        batch = Batch(ids, torch.ones_like(ids), adapters=("default",))
        given = prompted.model.network.generate(batch, max_new_tokens=3)[0].tolist()
        given = given[1:] if prompted.kind == "seq2seq" else given
        assert prompted.likelihoods([prompt], [given])[0][1]
        assert prompted.answers([prompt], max_new_tokens=3) == [
            prompted.model.tokenizer.decode(given, skip_special_tokens=True)
        ]
    assert len(set(prompted.answers(prompts, max_new_tokens=3))) > 1


def test_a_pair_is_split_where_the_harness_splits_it(prompted):
    tokenizer = prompted.model.tokenizer
    words = tokenizer.convert_tokens_to_ids(["two", "three"])
    assert prompted.answer_tokens("how many", " two three") == words
    assert prompted.answer_tokens("how many ", "two three") == words  # the space is the answer's


def test_a_prompt_that_is_too_long_is_cut_and_it_is_said(prompted):
    long = " ".join(["red"] * 30)
    with pytest.warns(DeptVLWarning, match="1 of 2 prompts have more than max_source_length=16 tokens"):
        prompts = prompted.prompts([long, "a"])
    assert len(prompts[0].ids) == 16


def test_the_bare_model_is_transformers_own(causal_folders, load_text):
    model = load_text(causal_folders["gpt2"], kind="causal")
    bare, adapted = Prompted(model, BASE), Prompted(model, "default")
    answers = [bare.answer_tokens(text, answer) for text, answer in zip(TEXTS, ANSWERS, strict=True)]
    found = bare.likelihoods(bare.prompts(TEXTS), answers)
    plain = AutoModelForCausalLM.from_pretrained(causal_folders["gpt2"]).eval()
    for prompt, answer, (nats, _) in zip(bare.prompts(TEXTS), answers, found, strict=True):
        ids = torch.tensor([[*prompt.ids, *answer]])
        with torch.no_grad():
            logits = plain(ids).logits[0, len(prompt.ids) - 1 : -1].log_softmax(-1)
        assert nats == pytest.approx(logits.gather(1, torch.tensor(answer)[:, None]).sum().item(), abs=1e-4)
    assert found != adapted.likelihoods(adapted.prompts(TEXTS), answers)


def test_an_answer_ends_at_the_first_of_its_stops_and_an_empty_one_ends_nothing():
    assert stops(None) == [] and stops("\n") == ["\n"] and stops(("a", "b")) == ["a", "b"]
    assert cut_at(" one\ntwo. three", [".", "\n"]) == "one" and cut_at("one", [""]) == "one"
