import json

import pytest

from dept_vl.data.text_sources import load_text
from dept_vl.data.text_splits import published_split
from dept_vl.tasks.squad import NO_ANSWER, SQUAD
from dept_vl.tasks.text_task import BadRow

V1, V2 = SQUAD
CONTEXT = "The tower of Skerry Point was built in 1871 by the brothers Moir."
ANSWERED = {
    "id": "5a01",
    "question": "Who built the tower?",
    "is_impossible": False,
    "answers": [{"text": "the brothers Moir", "answer_start": 47}, {"text": "brothers Moir.", "answer_start": 51}],
}
IMPOSSIBLE = {
    "id": "5a02",
    "question": "Who painted the tower?",
    "is_impossible": True,
    "answers": [],
    "plausible_answers": [{"text": "the brothers Moir", "answer_start": 47}],
}
ARTICLE = {"title": "Lighthouses", "paragraphs": [{"context": CONTEXT, "qas": [ANSWERED, IMPOSSIBLE]}]}
ROW = {
    "id": "5a01",
    "title": "Lighthouses",
    "context": CONTEXT,
    "question": "Who built the tower?",
    "answers": {"text": ["the brothers Moir", "brothers Moir."], "answer_start": [47, 51]},
}
NONE = {**ROW, "id": "5a02", "question": "Who painted the tower?", "answers": {"text": [], "answer_start": []}}


def test_an_official_file_and_an_article_unfold_to_the_hubs_rows_and_these_pass():
    document = {"version": "v2.0", "data": [ARTICLE, {**ARTICLE, "paragraphs": []}]}
    assert list(V2.source.unfold(document)) == list(V2.source.unfold(ARTICLE)) == [ROW, NONE]
    assert list(V2.source.unfold(NONE)) == [NONE]


def test_a_record_of_another_set_is_an_error():
    with pytest.raises(BadRow, match="wanted 'data', an article with 'paragraphs' or .* given sentence, label"):
        list(V1.source.unfold({"sentence": "It rains.", "label": 1}))


def test_squad_as_published_is_padded_and_its_answer_is_a_text_and_not_a_dictionary():
    example = V1.read(ROW)
    assert example.source == f"question: Who built the tower ? context: {CONTEXT[:-1]} ."
    assert example.targets == example.references == ("the brothers Moir",)


def test_squad_official_dev_is_plain_and_scored_against_every_answer():
    official = V1.under("official_dev")
    example = official.read({**ROW, "answers": {"text": ["1871", "the brothers Moir"], "answer_start": [39, 47]}})
    assert example.source == f"question: Who built the tower? context: {CONTEXT}"
    assert example.targets == ("1871",) and example.references == ("1871", "the brothers Moir")
    assert official.score({"5a01": "brothers moir"}, [example])["exact_match"] == 1.0


def test_a_question_without_an_answer_is_dropped_by_squad_and_answered_by_squad_v2():
    assert V1.read(NONE) is None
    for protocol in V2.protocols:
        example = V2.under(protocol).read(NONE)
        assert example.targets == example.references == (NO_ANSWER,) == ("no answer",)


def test_squad_v2_reads_plain_text_and_all_answers_under_either_protocol():
    for protocol in V2.protocols:
        example = V2.under(protocol).read(ROW)
        assert example.source == f"question: Who built the tower? context: {CONTEXT}"
        assert example.source[slice(*example.context)] == CONTEXT
        assert example.targets == ("the brothers Moir",)
        assert example.references == ("the brothers Moir", "brothers Moir.")


@pytest.mark.parametrize(
    ("row", "prediction", "match", "f1"),
    [
        (NONE, "no answer", 1.0, 1.0),
        (NONE, "No answer.", 1.0, 1.0),
        (NONE, "", 1.0, 1.0),
        (NONE, "the", 1.0, 1.0),
        (NONE, "answer", 0.0, 0.0),  # no words shared with "no answer": it stands for nothing
        (NONE, "the brothers Moir", 0.0, 0.0),
        (ROW, "no answer", 0.0, 0.0),
        (ROW, "", 0.0, 0.0),
        (ROW, "Brothers Moir", 1.0, 1.0),
        (ROW, "Moir", 0.0, 2 / 3),
        ({**ROW, "answers": {"text": ["The"], "answer_start": [0]}}, "", 1.0, 1.0),  # as the official script
        ({**ROW, "answers": {"text": ["The", "Moir"], "answer_start": [0, 60]}}, "", 0.0, 0.0),
    ],
)
def test_squad_v2_is_scored_as_officially(row, prediction, match, f1):
    example = V2.read(row)
    result = V2.score({example.id: prediction}, [example])
    assert (result["exact_match"], result["f1"]) == pytest.approx((match, f1))


def test_the_mean_is_over_answered_and_unanswered_questions():
    examples = [V2.read(ROW), V2.read(NONE)]
    result = V2.score({"5a01": "no answer", "5a02": "no answer"}, examples)
    assert result["exact_match"] == result["f1"] == 0.5


@pytest.mark.parametrize("task", [*SQUAD, V1.under("official_dev")], ids=lambda task: f"{task.name}-{task.protocol}")
@pytest.mark.parametrize("field", ["question", "context", "answers"])
def test_a_missing_field_is_named(task, field):
    row = {name: value for name, value in ROW.items() if name != field}
    with pytest.raises(BadRow, match=f"{task.name}: row '5a01': wanted the field '{field}', given id, "):
        task.read(row)


def test_the_official_files_are_read(tmp_path):
    for task, version in ((V1, "v1.1"), (V2, "v2.0")):
        document = {"version": version, "data": [ARTICLE]}
        (tmp_path / f"dev-{version}.json").write_text(json.dumps(document))
        loaded = load_text(tmp_path, "test", task)
        targets = [("the brothers Moir",), (NO_ANSWER,)]
        assert [example.targets for example in loaded.examples] == targets[: 1 if task is V1 else 2]
        assert loaded.counts["dropped_no_answer"] == (1 if task is V1 else 0)


def test_which_published_split_is_val_and_test():
    made = {
        (task.name, protocol): [published_split(task.under(protocol).splits, role) for role in ("train", "val", "test")]
        for task in SQUAD
        for protocol in task.protocols
    }
    held_out, dev_twice = ["train", "train", "validation"], ["train", "validation", "validation"]
    assert made == {
        ("squad", "as_published"): held_out,
        ("squad", "official_dev"): held_out,
        ("squad_v2", "as_published"): dev_twice,
        ("squad_v2", "official_dev"): held_out,
    }
