import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dept_vl.embedded.shapes.language import WORDINGS, word_answer, word_question
from dept_vl.embedded.shapes.questions import KINDS, Description, ask
from dept_vl.embedded.shapes.world import Scene, Thing, sample_scene
from tests.scene_reading import truth

seeds = st.integers(0, 2**32)


def asked(kind: str, number: int):
    """(scene, question) pairs of a kind."""
    rng, pairs = random.Random(f"asked {kind}"), []
    while len(pairs) < number:
        scene = sample_scene(rng, wanted_held_out=False)
        if question := ask(scene, kind, rng):
            pairs.append((scene, question))
    return pairs


@given(seeds, st.sampled_from(KINDS), st.booleans(), st.integers(1, 4))
def test_the_answer_is_what_the_words_say_of_the_scene(seed, kind, wanted, most):
    rng = random.Random(seed)
    scene = sample_scene(rng, wanted_held_out=wanted, most=most)
    question = ask(scene, kind, rng)
    if question is None:
        return
    assert question.kind == kind
    for wording in WORDINGS[kind]:
        assert word_answer(question) == truth(kind, wording, word_question(question, wording), scene)


@given(seeds, st.sampled_from(["color", "shape", "size"]))
def test_the_subject_does_not_give_the_answer_away(seed, kind):
    rng = random.Random(seed)
    question = ask(sample_scene(rng, wanted_held_out=False), kind, rng)
    if question and isinstance(question.subject, Description):
        assert getattr(question.subject, kind) is None


@given(seeds, st.sampled_from(KINDS))
def test_the_same_seed_asks_the_same_question(seed, kind):
    scene = sample_scene(random.Random(seed), wanted_held_out=False)
    assert ask(scene, kind, random.Random(seed)) == ask(scene, kind, random.Random(seed))


def test_two_things_that_look_alike_are_told_apart_by_place_or_not_asked_about():
    twins = Scene((Thing(0, "large", "red", "cross"), Thing(8, "large", "red", "cross")), "dark")
    rng = random.Random(0)
    assert all(ask(twins, kind, rng) is None for kind in ("where", "spatial", "size") for _ in range(30))
    subjects = {question.subject for _ in range(60) if (question := ask(twins, "color", rng))}
    assert subjects == {"top left", "bottom right"}


def test_one_thing_stands_in_no_relation():
    assert ask(Scene((Thing(0, "large", "red", "cross"),), "dark"), "spatial", random.Random(0)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_no_answer_of_a_kind_stands_out_so_far_that_the_question_need_not_be_read(kind):
    answers = Counter(word_answer(question) for _, question in asked(kind, 400))
    wanted = {"color": 6, "shape": 4, "size": 2, "where": 9, "exist": 2, "count": 5, "spatial": 2, "ground": 2}[kind]
    assert len(answers) == wanted
    assert max(answers.values()) / 400 < {2: 0.65, 4: 0.45, 5: 0.45}.get(wanted, 0.35)
