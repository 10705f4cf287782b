"""Answers with their probabilities, against plain forward passes and against all answers that there are."""

import itertools
import math

import pytest
import torch

from dept_vl.backbones import load_backbone
from dept_vl.model import Batch, Network
from dept_vl.saved import read_adapter
from dept_vl.serve.likely import answers_above, likely_answers, log_probability
from dept_vl.serve.rows import plan_rows, plan_texts
from tests.tiny_models import write_tiny_gpt2

QUESTION = "what color is the circle ?"
LABELS = {"no": "refuted", "yes": "entailed", "one": "neither"}


def asked(model, picture, question=QUESTION, name="default"):
    return plan_rows("vqa", [picture], [question], [name], model.adapters)[0]


def plain_probability(backbone, embeds, mask, tokens):
    """A token at a time, from transformers' model itself."""
    probability, given = 1.0, [0]  # T5 starts with its padding token
    for token in tokens:
        ids = torch.tensor([given])
        with torch.no_grad():
            logits = backbone.model(inputs_embeds=embeds, attention_mask=mask, decoder_input_ids=ids).logits
        probability *= float(logits[0, -1].double().softmax(0)[token])
        given.append(token)
    return probability


@pytest.mark.parametrize("blind", [False, True])
def test_a_probability_is_the_product_of_its_tokens_in_plain_forward_passes(
    save, load, backbone, clip, pictures, blind
):
    folder = save("dept")
    model, network = load(folder), Network(backbone, read_adapter(folder).parts).eval()
    answers = likely_answers(model, asked(model, pictures[0]), blind=blind)
    ids = torch.tensor([model.tokenizer(f"vqa: {QUESTION}")["input_ids"]])
    features = clip(clip.preprocess(pictures[0])[None])
    with torch.no_grad():
        given = network.embed(Batch(ids, torch.ones_like(ids), features=features), blind=blind)
    assert len(answers) > 1
    for each in answers[:3]:
        assert each.probability == pytest.approx(plain_probability(backbone, *given, each.tokens), rel=1e-4)
        assert model.tokenizer.decode(each.tokens, skip_special_tokens=True) == each.text


def test_the_first_answer_is_the_adapters_own_and_the_others_follow_by_probability(save, load, pictures):
    model = load(save("dept", max_target_length=3))
    model.load_adapter(save("pt", max_target_length=3, num_beams=4), "beams")
    for name in ("default", "beams"):
        for picture in pictures:
            own, *others = likely_answers(model, asked(model, picture, name=name))
            assert [own.text] == model.answer([picture], [QUESTION], [name])
            shares = [each.probability for each in others]
            assert shares == sorted(shares, reverse=True) and min(shares, default=1) >= 0.01
            assert own.probability + sum(shares) <= 1 + 1e-5


def test_an_improbable_answer_has_its_probability_too(save, load, pictures):
    model = load(save("dept"))
    row = asked(model, pictures[1])
    [own] = likely_answers(model, row, least=0.999)  # so that no search finds it
    with torch.no_grad():
        given = model.network.embed(model.read([row]))
    plain = plain_probability(model.backbone, *given, own.tokens)
    assert own.probability == pytest.approx(plain, rel=1e-4) and plain < 0.999


def test_all_answers_together_have_probability_one(save, load, pictures):
    model = load(save("dept", max_target_length=2))
    answers = likely_answers(model, asked(model, pictures[0]), least=1e-12)
    assert sum(each.probability for each in answers) == pytest.approx(1, abs=1e-5)
    assert len({each.text for each in answers}) == len(answers) > 1000


@pytest.mark.parametrize("kind", ["seq2seq", "causal"])
def test_no_answer_above_the_least_is_missed(kind, t5_folder, tmp_path):
    folder = t5_folder if kind == "seq2seq" else write_tiny_gpt2(tmp_path / "gpt2")
    backbone = load_backbone(str(folder), kind=kind).eval()
    ids = torch.tensor([[5, 9, 7, 12]])
    embeds, mask = backbone.embed(ids), torch.ones_like(ids)
    end = backbone.token_facts()["eos_token_id"]
    [end] = end if isinstance(end, list) else [end]
    pairs = itertools.product(range(backbone.vocabulary), repeat=2)
    every = [(end,), *(each for each in pairs if each[0] != end)]
    nats = {}
    for length in (1, 2):
        rows = [each for each in every if len(each) == length]
        labels, number = torch.tensor(rows), len(rows)
        with torch.no_grad():
            loss = backbone.loss(embeds.expand(number, -1, -1), mask.expand(number, -1), labels)
        nats |= zip(rows, (-loss * length).tolist(), strict=True)
    least = sorted(map(math.exp, nats.values()))[-8] * 0.999
    found = answers_above(backbone, embeds, mask, 2, least)
    assert set(found) == {each for each, value in nats.items() if math.exp(value) >= least}
    assert len(found) == 8
    for each, value in found.items():
        assert value == pytest.approx(nats[each], abs=1e-3)


def test_candidates_share_probability_one_by_the_models_own_logits(save, load, backbone):
    folder = save("dept", visual=False, name="cola", template="vqa: {sentence}", labels=LABELS,
                  protocol="as_published")  # fmt: skip
    model = load(folder)
    for text in ("red circle", "blue star on the left", "no"):
        [row] = plan_texts([text], ["default"], model.adapters, classify=True)
        answers = likely_answers(model, row)
        assert [answers[0].text] == model.classify([text]) and {each.text for each in answers} == {*LABELS.values()}
        assert sum(each.probability for each in answers) == pytest.approx(1, abs=1e-6)
        assert answers[0].probability == max(each.probability for each in answers)  # labels part at their first token
        with torch.no_grad():
            embeds, mask = model.network.embed(model.read([row]))
            start = torch.tensor([[0]])
            logits = backbone.model(inputs_embeds=embeds, attention_mask=mask, decoder_input_ids=start).logits[0, -1]
        firsts = {each.text: each.tokens[0] for each in answers}
        wanted = dict(zip(firsts, logits[list(firsts.values())].softmax(0).tolist(), strict=True))
        assert {each.text: each.probability for each in answers} == pytest.approx(wanted, abs=1e-5)


def test_log_probability_is_of_each_row_of_a_batch(save, load, pictures):
    model = load(save("dept"))
    rows = [asked(model, picture) for picture in pictures[:3]]
    answer = likely_answers(model, rows[0])[0].tokens
    together = log_probability(model.network, model.read(rows), answer)
    alone = [log_probability(model.network, model.read([row]), answer) for row in rows]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)
    assert len(set(together.tolist())) == 3
