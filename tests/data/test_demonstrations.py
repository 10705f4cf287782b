"""Answered examples in front of a question: which ones, and what each kind of model reads."""

import pytest

from dept_vl.data.batches import EncodedExamples
from dept_vl.data.chat import render
from dept_vl.data.demonstrations import TooFewDemonstrations, demonstrated
from dept_vl.tasks.example import Example
from tests.data.test_chat import CHATML, byte_level


def example(id, text, answer="yes"):
    return Example(id, text, (answer,), (1.0,), (answer,), context=(0, len(text)))


SOURCE = [example(place, f"shown {place}", f"answer {place}") for place in range(9)]
ASKED = [example(place, f"asked {place}") for place in range(6)]
TOKENIZER = byte_level(CHATML)


def shown(examples, number, seed=1, kind="seq2seq"):
    return demonstrated(examples, SOURCE, number, seed, TOKENIZER, kind)


def read(examples, kind, room=4000):
    encoded = EncodedExamples(examples, TOKENIZER, kind=kind, max_source_length=room, max_target_length=16)
    return [TOKENIZER.decode(encoded.sources[row]) for row in encoded.source_rows]


def numbers(example):
    """Which of the source stand in front of it, from left to right."""
    return [int(part.split()[0]) for part in example.frame[0].split("shown ")[1:]]


def test_every_question_has_as_many_others_as_asked_for_none_twice():
    drawn = [numbers(each) for each in shown(ASKED, 4)]
    assert all(len(set(each)) == len(each) == 4 for each in drawn)
    assert len({tuple(each) for each in drawn}) > 1, "each question has its own"


def test_the_draw_is_a_function_of_seed_and_place_alone():
    first = [numbers(each) for each in shown(ASKED, 3)]
    assert [numbers(each) for each in shown(ASKED, 3)] == first
    assert [numbers(each) for each in shown(ASKED[:2], 3, kind="causal")] == first[:2], "for every kind of model"
    assert [numbers(each) for each in shown(ASKED, 3, seed=2)] != first


def test_the_question_itself_is_left_as_it_is():
    for before, after in zip(ASKED, shown(ASKED, 2), strict=True):
        assert (after.id, after.source, after.context, after.references) == (
            before.id, before.source, before.context, before.references,
        )  # fmt: skip


def test_an_encoder_decoder_reads_texts_with_their_answers_then_the_question():
    [text] = read(shown(ASKED[:1], 1), "seq2seq")
    [place] = numbers(shown(ASKED[:1], 1)[0])
    assert text == f"shown {place} answer {place}\n\nasked 0"


def test_a_decoder_reads_the_cue_before_every_answer():
    [text] = read(shown(ASKED[:1], 1, kind="causal"), "causal")
    [place] = numbers(shown(ASKED[:1], 1)[0])
    assert text == f"shown {place} Label : answer {place}\n\nasked 0 Label :"


def test_a_chat_model_reads_earlier_turns_of_its_own_template():
    [text] = read(shown(ASKED[:1], 2, kind="chat"), "chat")
    first, second = numbers(shown(ASKED[:1], 2)[0])
    turns = [
        {"role": "user", "content": f"shown {first}"},
        {"role": "assistant", "content": f"answer {first}"},
        {"role": "user", "content": f"shown {second}"},
        {"role": "assistant", "content": f"answer {second}"},
        {"role": "user", "content": "asked 0"},
    ]
    assert text == render(TOKENIZER, turns, add_generation_prompt=True)


def test_what_is_too_long_is_cut_from_the_question_and_never_from_a_demonstration():
    examples = shown(ASKED[:1], 1, kind="causal")
    whole = len(examples[0].frame[0]) + len("asked 0 Label :")
    [text] = read(examples, "causal", room=whole - 3)
    assert text == f"{examples[0].frame[0]}aske Label :"


def test_more_than_there_are_to_draw_from_are_refused():
    with pytest.raises(TooFewDemonstrations, match=r"task.num_fewshot: wanted at least 10 training examples, given 9"):
        shown(ASKED, 10)
