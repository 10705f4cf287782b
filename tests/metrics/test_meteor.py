import gc
from collections.abc import Callable, Iterator

import pytest

from dept_vl.metrics.java import JavaFailed, find_javas
from dept_vl.metrics.meteor import Meteor

REFERENCES = {1: ["a brown dog runs", "the dog is running"], "b": ["two cats"]}
HYPOTHESES = {1: ["a dog runs"], "b": [""]}


@pytest.fixture
def meteor(meteor_programs: Callable) -> Iterator[Meteor]:
    """One program for all tests, under a German java; see there."""
    with meteor_programs(find_javas()[-1]) as program:
        yield program


def test_its_program_ends_with_its_context(fake_java):
    with Meteor(str(fake_java("while read line; do echo 1.0; done"))) as program:
        process = program._process
    assert process.returncode is not None, "still running, or a zombie"
    assert process.stdin.closed and process.stdout.closed
    del program, process
    gc.collect()  # an open pipe or a running child would warn here, and warnings are errors


def test_scores_equal_the_official_ones(meteor, caption_cases):
    for case in caption_cases:
        corpus, scores = meteor.score(case["tokenized_refs"], case["tokenized_hyp"])
        assert corpus == pytest.approx(case["METEOR"]["corpus"], abs=1e-12)
        assert scores == pytest.approx(case["METEOR"]["per_image"], abs=1e-12)


def test_scoring_twice_is_the_same_and_an_empty_caption_scores_zero(meteor):
    corpus, scores = meteor.score(REFERENCES, HYPOTHESES)
    assert (corpus, scores) == meteor.score(REFERENCES, HYPOTHESES)
    assert 0 < corpus < 1 and 0 < scores[0] < 1 and scores[1] == 0


def test_the_separator_inside_a_caption_does_not_break_the_dialogue(meteor):
    _, scores = meteor.score({1: ["x ||| y", "a dog"], 2: ["a cat"]}, {1: ["a ||| dog"], 2: ["a cat"]})
    assert scores == [pytest.approx(1.0), pytest.approx(1.0)]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("echo no memory >&2; exit 1", r"METEOR answered '', wanted numbers \(exit status 1\): no memory"),
        ("read line; echo Error: odd; read line", r"METEOR answered 'Error: odd', wanted numbers"),
        ("read l; echo 1.0; read l; echo 1.0; read l; echo what", "METEOR answered 'what', wanted numbers"),
    ],
)
def test_a_program_that_breaks_off_is_an_error_and_never_a_hang(lines, message, fake_java):
    with pytest.raises(JavaFailed, match=message), Meteor(str(fake_java(lines))) as meteor:
        process = meteor._process
        meteor.score(REFERENCES, HYPOTHESES)
    assert process.returncode is not None
    gc.collect()


def test_a_program_that_does_not_start_is_an_error(tmp_path):
    with pytest.raises(JavaFailed, match="METEOR did not start with .*absent"):
        Meteor(str(tmp_path / "absent"))
    gc.collect()
