import dataclasses

import pytest
import torch
from accelerate import Accelerator

from dept_vl.adapters.none import NoAdapter
from dept_vl.backbones import BadCandidates, load_backbone
from dept_vl.data.text import encode_targets
from dept_vl.data.tokenizer import load_tokenizer
from dept_vl.model import Batch, Network
from dept_vl.train.evaluate import Answerer, Decoding, IncompleteEvaluation, histogram, predict
from tests.tiny_runs import ToyFeatures, build_network, encode, randomise, toy_examples

pytestmark = pytest.mark.usefixtures("afresh")


@pytest.fixture
def answers(byte_t5):
    """Answers to `number` toy questions by one random network."""
    network = randomise(build_network(byte_t5))

    def answers(number=9, *, examples=None, blind=False, batch_size=4, **decoding):
        tokenizer, encoded = encode(byte_t5, examples or toy_examples(number))
        decoding = Decoding(**{"max_new_tokens": 4, **decoding})
        return predict(
            Accelerator(cpu=True),
            network,
            tokenizer,
            encoded,
            ToyFeatures(),
            decoding,
            batch_size=batch_size,
            blind=blind,
        )

    return answers


def test_every_example_is_answered_once_by_its_id(answers):
    given = answers()
    assert sorted(given) == list(range(100, 109))
    assert all(isinstance(answer, str) and answer == answer.strip() for answer in given.values())
    assert len(set(given.values())) > 1


@pytest.mark.parametrize("num_beams", [1, 3])
def test_the_batch_size_changes_no_answer(answers, num_beams):
    together = answers(batch_size=100, num_beams=num_beams)
    assert answers(batch_size=1, num_beams=num_beams) == together == answers(batch_size=4, num_beams=num_beams)


def test_the_order_of_examples_changes_no_answer(answers):
    assert answers(examples=toy_examples(9)[::-1]) == answers()


def test_blind_answers_are_those_to_the_text_alone(answers):
    one_question = [dataclasses.replace(example, source="what") for example in toy_examples(9)]
    assert len(set(answers(examples=one_question, blind=True).values())) == 1
    assert len(set(answers(examples=one_question).values())) > 1


def test_an_id_that_stands_twice_is_refused(answers):
    with pytest.raises(IncompleteEvaluation, match="each of 4 examples answered once, given 4 answers to 3"):
        answers(examples=[*toy_examples(3), toy_examples(1)[0]])


def test_candidates_that_the_tokenizer_cannot_tell_apart_are_named(network):
    with pytest.raises(BadCandidates, match=r"tiny-t5: .* twice \(the candidates are 0 'Yes', 1 'yes'\)"):
        Answerer(network, load_tokenizer("tiny-t5"), Decoding(9, candidates=("Yes", "yes")))


def test_the_histogram_shows_a_constant_predictor():
    assert histogram({1: "red", 2: "red", 3: "blue"}) == {"red": 2, "blue": 1}
    assert histogram({number: str(number) for number in range(30)}, most=5) == {str(n): 1 for n in range(5)}


def test_free_decoding_knows_a_label_whose_case_the_tokenizer_drops():
    backbone, tokenizer = load_backbone("tiny-t5"), load_tokenizer("tiny-t5")
    network = Network(backbone, {"adapter": NoAdapter(backbone.embedding_table[:0])})
    said = encode_targets(tokenizer, ["True", "maybe"], "seq2seq")
    longest = max(map(len, said))
    padded = torch.tensor([[*row, *[0] * (longest - len(row))] for row in said])
    network.generate = lambda batch, **_: padded
    answer = Answerer(network, tokenizer, Decoding(4, candidates=("False", "True"), free=True))
    assert answer(Batch(torch.zeros(2, 1, dtype=torch.long), torch.ones(2, 1, dtype=torch.long))) == ["True", "maybe"]
