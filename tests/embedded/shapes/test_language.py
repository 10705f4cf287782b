import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dept_vl.embedded.shapes.language import (
    WORDINGS,
    annotators,
    captions,
    definite,
    indefinite,
    join,
    plural,
    word_answer,
    word_question,
)
from dept_vl.embedded.shapes.questions import KINDS, Description, Question, ask
from dept_vl.embedded.shapes.world import sample_scene
from tests.scene_reading import place, told

seeds = st.integers(0, 2**32)


@given(seeds, st.sampled_from(KINDS))
def test_ten_people_answer_and_at_least_seven_tell_the_truth(seed, kind):
    rng = random.Random(seed)
    question = ask(sample_scene(rng, wanted_held_out=False), kind, rng)
    if question:
        answers = annotators(question, rng)
        assert len(answers) == 10 and answers.count(word_answer(question)) >= 7
        assert all(answer == answer.strip() != "" for answer in answers)


def test_people_agree_on_about_three_questions_in_four():
    rng, whole = random.Random(0), 0
    for _ in range(400):
        answers = annotators(Question("exist", True, Description(color="red")), rng)
        whole += answers == ["yes"] * 10
    assert whole / 400 == pytest.approx(0.75, abs=0.06)


@given(seeds)
def test_captions_say_what_is_there_each_in_its_own_form(seed):
    rng = random.Random(seed)
    scene = sample_scene(rng, wanted_held_out=False)
    sized, placed, counted, plain, some = texts = captions(scene, rng)
    looks = [(thing.size, thing.color, thing.shape, place(thing)) for thing in scene.things]
    assert len(set(texts)) == 5 and all(text[0].isupper() and text.endswith(".") for text in texts)
    assert told(sized) == [(size, color, shape, "") for size, color, shape, _ in looks]
    assert told(placed) == [("", color, shape, where) for _, color, shape, where in looks]
    assert told(counted) == told(plain) == [("", color, shape, "") for _, color, shape, _ in looks]
    assert f"{('one', 'two', 'three', 'four')[len(looks) - 1]} shape" in counted
    assert f"{scene.ground} background" in sized and f"A {scene.ground} picture" in plain
    left = iter(told(plain))
    assert all(each in left for each in told(some)) and len(told(some)) == max(1, len(looks) - 1)


def test_articles_and_plurals():
    assert indefinite(Description(color="orange")) == "an orange thing"
    assert indefinite(Description(size="small", color="orange", shape="cross")) == "a small orange cross"
    assert plural(Description(shape="cross")) == "crosses" and plural(Description()) == "things"
    assert plural(Description(color="red", shape="circle")) == "red circles"
    assert definite("top left") == "the thing at the top left" and definite(None) == ""


def test_lists_are_joined_as_one_writes_them():
    assert [join(["a", "b", "c"][:length]) for length in (1, 2, 3)] == ["a", "a and b", "a, b and c"]


def test_numbers_truths_and_words_are_answered_as_in_vqa():
    answers = [word_answer(Question("exist", answer)) for answer in (True, False, 0, 3, "top left")]
    assert answers == ["yes", "no", "0", "3", "top left"]


@given(seeds, st.sampled_from(KINDS))
def test_the_two_wordings_of_a_kind_differ_and_leave_no_field_open(seed, kind):
    rng = random.Random(seed)
    question = ask(sample_scene(rng, wanted_held_out=False), kind, rng)
    if question:
        one, two = (word_question(question, wording) for wording in WORDINGS[kind])
        assert one != two
        for text in (one, two):
            assert text.endswith("?") and "  " not in text and "None" not in text and "{" not in text


def test_every_kind_has_two_wordings():
    assert tuple(WORDINGS) == KINDS and {len(wordings) for wordings in WORDINGS.values()} == {2}
