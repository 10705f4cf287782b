from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dept_vl.data.sources import load_vqa
from dept_vl.data.vqa2 import read_annotations
from dept_vl.metrics.answers import TooManyAnswers
from dept_vl.metrics.vqa import TooFewAnswers, normalise_answer, vqa_accuracy
from dept_vl.tasks import VqaTask
from dept_vl.tasks.vqa import soft_targets
from dept_vl.untrusted.bad_file import BadFile


@pytest.mark.parametrize(("people", "score"), [(1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (7, 1.0), (10, 1.0)])
def test_soft_score_by_number_of_people(people, score):
    answers = ["red"] * people + [f"other {i}" for i in range(10 - people)]
    assert soft_targets(answers)["red"] == score


def test_targets_are_drawn_in_proportion_to_their_scores():
    row = {"question_id": 1, "image": "x", "question": "?", "question_type": "", "answer_type": ""}
    example = VqaTask().read({**row, "answers": ["red"] * 6 + ["blue"] * 3 + ["a rose"]})
    assert example.targets == ("red", "blue", "a rose")
    assert example.weights == pytest.approx([1.0 / 2.2, 0.9 / 2.2, 0.3 / 2.2])


def test_spellings_of_one_answer_are_one_target_in_the_commonest_spelling():
    answers = ["Two ", "two", "2", "t-shirt", "T-Shirt", "t shirt", "the", "", "...", "yes"]
    assert soft_targets(answers) == {"two": 0.9, "t-shirt": 0.9, "yes": 0.3}


@pytest.mark.parametrize("answers", [[""] * 10, ["the", "a", "...", "?", ""] * 2])
def test_a_row_with_no_usable_answer_is_no_example(answers):
    assert VqaTask().read({"question_id": 1, "question": "?", "answers": answers}) is None


SPELLINGS = st.sampled_from(["two", "2", "Red", "red.", "the", "", "a cat", "cat"])


def normalised_targets(answers):
    return {normalise_answer(text): score for text, score in soft_targets(answers).items()}


def earned(answers):
    """What each normalised answer earns against the other nine: 0.3 for each person who gave it, at most 1."""
    counts = Counter(normalise_answer(answer) for answer in answers)
    return {answer: (0.0, 0.3, 0.6, 0.9, 1.0)[min(number, 4)] for answer, number in counts.items() if answer}


@given(st.lists(SPELLINGS, min_size=10, max_size=10))
def test_targets_score_what_they_earn(answers):
    assert normalised_targets(answers) == earned(answers)


def test_targets_score_what_they_earn_on_real_answers(real):
    rows = read_annotations(real / "vqa2_text" / "vqa_annotations_test.json.gz")
    for row in rows[:1000]:
        assert normalised_targets(row["answers"]) == earned(row["answers"])


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_question_with_fewer_than_four_answers_is_refused(number):
    row = {"question_id": 1, "image": "x", "question": "?", "question_type": "", "answer_type": ""}
    with pytest.raises(TooFewAnswers, match=f"wanted at least 4 .* given {number} "):
        VqaTask().read({**row, "answers": ["red"] * number})


def test_training_data_with_three_answers_a_question_is_refused_by_file_and_place():
    folder = Path(__file__).resolve().parents[3] / "shared" / "cases" / "own_vqa" / "three_answers"
    if not folder.is_dir():
        pytest.skip("skipped: no ../shared")
    with pytest.raises(
        BadFile, match=r"annotations.json: .* annotations\[0\]: wanted at least 4 .* given 3 .*; give more"
    ):
        load_vqa(folder, "all", VqaTask())


@settings(max_examples=30)
@given(st.lists(SPELLINGS, min_size=4, max_size=15), st.sampled_from(["official-2021", "always"]))
def test_a_target_is_drawn_by_what_it_scores_whatever_the_number_of_answers(answers, protocol):
    varied = [*answers, "qwertz"]  # official-2021 compares equal answers as they are
    for target, score in soft_targets(varied).items():
        assert vqa_accuracy(target, varied, protocol) == score


@given(st.lists(SPELLINGS, min_size=1, max_size=3))
def test_each_answer_four_times_scores_a_prediction_that_equals_any_as_one(answers):
    """The way out that the refusal of fewer than four names."""
    assert all(vqa_accuracy(each, answers * 4, "always") == 1 for each in answers)


def test_the_question_stands_in_the_source_as_it_is():
    row = {"question_id": 1, "image": "x", "question_type": "", "answer_type": "", "answers": ["yes"] * 10}
    example = VqaTask("Q: {question} A:").read({**row, "question": " Is {x} it?\n"})
    assert example.source == "Q: Is {x} it? A:" and example.text == "Is {x} it?" and example.visits == 1


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("vqa:", r"the field \{question\} and no other"),
        ("{question} {image}", r"the field \{question\} and no other"),
        ("{}", "a name alone in each pair of braces"),
        ("{question[0]}", "a name alone in each pair of braces"),
    ],
)
def test_a_template_without_the_question_alone_is_refused(template, wanted):
    with pytest.raises(ValueError, match=f"template: wanted {wanted}, given"):
        VqaTask(template)


def test_a_template_with_a_lone_brace_is_refused():
    with pytest.raises(ValueError, match=r"template: wanted paired braces, given 'vqa: \{question'"):
        VqaTask("vqa: {question")


def test_an_unknown_protocol_is_refused():
    message = r"protocol: wanted one of .*, given 'oficial-2021'. Did you mean 'official-2021'\?"
    with pytest.raises(ValueError, match=message):
        VqaTask(protocol="oficial-2021")


def test_real_answers_score_by_protocol_and_type(real):
    examples = load_vqa(real / "coco_open", "all", VqaTask()).examples
    best = {example.id: example.targets[0] for example in examples}
    for protocol in ("official-2021", "official-2017", "always"):
        result = VqaTask(protocol=protocol).score(best, examples)
        assert result["protocol"] == protocol and 0.5 < result["vqa_accuracy"] <= 1
        assert set(result["by_answer_type"]) == {example.answer_type for example in examples}
        assert set(result["by_question_type"]) == {example.question_type for example in examples}
    nothing = VqaTask().score(dict.fromkeys(best, "qwertz"), examples)
    assert nothing["vqa_accuracy"] == 0 and nothing["warnings"] == []


AUTO = VqaTask(metric="auto")


def asked(id, *answers, task=AUTO, **more):
    return task.read({"question_id": id, "image": "x", "question": "What?", "answers": answers, **more})


@pytest.mark.parametrize(
    ("numbers", "metric"), [((10, 10), "vqa_accuracy"), ((4, 5), "vqa_accuracy"), ((1, 1), "exact_match"),
                            ((2, 3), "best_match"), ((1, 10), "best_match")],
)  # fmt: skip
def test_the_score_follows_the_examples_that_are_scored(numbers, metric):
    examples = [asked(id, *["red"] * number) for id, number in enumerate(numbers)]
    task = AUTO.suited(examples)
    assert task.headline == metric and task.selecting == (metric,)
    result = task.score({0: "red", 1: "Red."}, examples)
    assert result[metric] == (1.0 if metric != "vqa_accuracy" else 0.5)  # equal answers are compared as they stand
    assert result == AUTO.score({0: "red", 1: "Red."}, examples)
    assert AUTO.selecting == ("vqa_accuracy", "exact_match", "best_match")


def test_one_answer_is_the_target_as_it_is_written():
    example = asked(7, " New York ")
    assert (example.targets, example.weights, example.references) == (("New York",), (1.0,), (" New York ",))
    assert example.question_type is None and example.answer_type is None
    assert asked(8, "A").targets == ("A",)  # a choice, no article


def test_few_answers_are_drawn_by_how_many_gave_them():
    example = asked(7, "Navy", "blue", "Blue.")
    assert example.targets == ("blue", "Navy") and example.weights == pytest.approx((2 / 3, 1 / 3))
    assert asked(8, " ", "") is None and asked(9, "", "sea").targets == ("sea",)


def test_scores_by_name_take_any_number_of_answers_and_keep_their_spelling():
    task = VqaTask(metric="anls")
    example = asked(7, *["Moir"] * 10, task=task)
    assert example.targets == ("Moir",) and task.suited([example]) is task
    assert task.score({7: "Mair"}, [example])["anls"] == 0.75
    assert VqaTask().read({"question_id": 7, "image": "x", "question": "?", "answers": ["Moir"] * 10}).targets == (
        "moir",
    )


def test_a_score_asked_for_by_name_that_the_answers_do_not_allow_is_refused():
    with pytest.raises(TooManyAnswers, match="exact_match: wanted one reference answer to each question, given 2"):
        VqaTask(metric="exact_match").suited([asked(1, "red", "blue")])
    with pytest.raises(TooFewAnswers, match="wanted at least 4 .* given 1"):
        asked(1, "red", task=VqaTask(metric="vqa_accuracy"))
    with pytest.raises(TooFewAnswers, match="wanted at least 1 reference answer .* given 0"):
        asked(1)
    with pytest.raises(ValueError, match=r"score: wanted one of .* given 'anl'. Did you mean 'anls'\?"):
        VqaTask(metric="anl")


def test_the_majority_of_other_scores_keeps_its_spelling():
    train = [asked(1, "-5"), asked(2, "-5"), asked(3, "Up")]
    task = VqaTask(metric="relaxed_accuracy")
    answers = task.constant_answers(train, [], [asked(9, "-5.1")])["majority"]
    assert answers == {9: "-5"} and task.score(answers, [asked(9, "-5.1")])["relaxed_accuracy"] == 1


def test_training_data_with_three_answers_a_question_is_read_where_the_score_follows_the_data():
    folder = Path(__file__).resolve().parents[3] / "shared" / "cases" / "own_vqa" / "three_answers"
    if not folder.is_dir():
        pytest.skip("skipped: no ../shared")
    loaded = load_vqa(folder, "all", AUTO)
    task = AUTO.suited(loaded.examples)
    best = {each.id: each.targets[0] for each in loaded.examples}
    assert task.score(best, loaded.examples)["best_match"] == 1


def test_a_too_long_question_goes_before_the_cue_behind_it():
    task = VqaTask(VqaTask.causal_template)
    text, (start, end) = task.fill("what color?")
    assert text == "Question: what color? Answer:" and text[start:end] == "what color?"
    assert VqaTask().fill("what color?") == ("vqa: what color?", None)  # the question ends the text: so does the cut
