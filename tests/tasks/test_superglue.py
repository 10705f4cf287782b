import json
import random

import pytest

from dept_vl.data.text_sources import load_text
from dept_vl.tasks import record, wsc
from dept_vl.tasks.superglue import SUPERGLUE
from dept_vl.tasks.text_task import BadRow
from tests.tasks.text_rows import ROWS

TASKS = {task.name.removeprefix("superglue-"): task for task in SUPERGLUE}
WSC, MULTIRC, RECORD = TASKS["wsc.fixed"], TASKS["multirc"], TASKS["record"]

# DePT's fields and words, in its order.
SOURCES = {
    "boolq": "question: do ducks fly passage: Ducks -- Most ducks fly well.",
    "cb": "premise: Ann thinks that it rains. hypothesis: it rains",
    "copa": "premise: It rained. choice1: The sun set. choice2: The road got wet.",
    "multirc": "question: Who was fed? answer: ducks paragraph: Sent 1: Ann fed ducks. Bo swam.",
    "record": "record query: @placeholder has old houses. entities: Ann, Bruges, Ghent "
    'passage: Ann left Ghent. Ghent is "old" Bruges too. Ann likes it',
    "rte": "premise: Ann sings in Ghent. hypothesis: Ann sings.",
    "wic": "sentence1: A run home. sentence2: He went for a run. word: run",
    "wsc.fixed": "text: Ann fed * the duck * because # it # cried.",
}

# DePT's Table 9, but for copa and rte, which it has not: the halves of their validation sets.
SIZES = {
    "boolq": (9427, 1635, 1635),
    "cb": (250, 28, 28),
    "copa": (400, 50, 50),
    "multirc": (27_243, 2424, 2424),
    "record": (137_484, 1370, 15_176),
    "rte": (2490, 138, 139),
    "wic": (5428, 319, 319),
    "wsc.fixed": (554, 52, 52),
}

# DPT's Table 2, but for ReCoRD, of which it counts the queries.
DPT_SIZES = {
    "boolq": (9427, 3270),
    "cb": (250, 56),
    "copa": (400, 100),
    "multirc": (27_243, 4848),
    "record": (137_484 + 1370, 15_176),
    "rte": (2490, 277),
    "wic": (5428, 638),
    "wsc.fixed": (259, 104),
}


def first(task, name):
    return task.read({**task.rows(ROWS[f"superglue-{name}"][0])[0], "id": 0})


@pytest.mark.parametrize("name", TASKS)
def test_the_source_is_the_published_one(name):
    assert first(TASKS[name], name).source == SOURCES[name]


@pytest.mark.parametrize("name", TASKS)
def test_the_sizes_are_the_published_ones(name):
    assert TASKS[name].splits.sizes == SIZES[name]
    dpt = TASKS[name].under("as_published_dpt").splits
    assert dpt.sizes == (*DPT_SIZES[name], DPT_SIZES[name][1]) and dpt.val == dpt.test == "validation"
    assert TASKS[name].under("official_dev").splits.rule == "from_train"


@pytest.mark.parametrize("name", TASKS)
def test_what_other_protocols_read(name):
    changed = {
        ("copa", "official_dev"): f"{SOURCES['copa']} question: effect",
        ("wsc.fixed", "as_published_dpt"): "text: Ann fed the duck because * it * cried.",
    }
    for protocol in ("official_dev", "as_published_dpt"):
        source = first(TASKS[name].under(protocol), name).source
        assert source == changed.get((name, protocol), SOURCES[name])


def test_classes_stand_in_the_hubs_order():
    assert {name: task.label_names for name, task in TASKS.items() if task.label_names != ("False", "True")} == {
        "cb": ("entailment", "contradiction", "neutral"),
        "copa": ("choice1", "choice2"),
        "record": (),
        "rte": ("entailment", "not_entailment"),
    }


def test_lengths_and_reported_numbers():
    lengths = {name: task.max_source_length for name, task in TASKS.items() if task.max_source_length != 256}
    assert lengths == {"multirc": 348, "record": 512}
    assert {task.under("as_published_dpt").max_source_length for task in SUPERGLUE} == {256}
    assert {name for name, task in TASKS.items() if task.headline == "f1"} == {"multirc", "record"}
    assert TASKS["cb"].headline == "accuracy" and TASKS["cb"].selecting == ("accuracy", "f1_macro")


def test_a_constant_predictor_on_wsc_reaches_the_published_score():
    """67.31, which DePT and others report, is 35 of 52."""
    label = [1] * 17 + [0] * 35
    random.Random(0).shuffle(label)
    examples = [WSC.read({**ROWS["superglue-wsc.fixed"][0], "id": i, "label": each}) for i, each in enumerate(label)]
    scores = WSC.score(WSC.constant_answers(examples, [], examples)["majority"], examples)
    assert round(scores["accuracy"], 4) == 0.6731
    assert scores["warnings"] == ["a constant predictor: all 52 predictions are '0'"]


# MultiRC


def test_an_official_passage_of_multirc_is_a_row_for_each_answer():
    answers = [[("ducks", 1), ("<b>Bo</b>", 0)], [("Bo", 1)]]
    paragraph = ROWS["superglue-multirc"][0]["paragraph"]
    questions = [
        {
            "idx": 17 + number,
            "question": asked,
            "answers": [{"idx": 40 + place, "text": text, "label": label} for place, (text, label) in enumerate(given)],
        }
        for number, (asked, given) in enumerate(zip(["Who was fed?", "Who swam?"], answers, strict=True))
    ]
    rows = list(
        MULTIRC.source.unfold({"idx": 3, "version": 1.1, "passage": {"text": paragraph, "questions": questions}})
    )
    assert rows[:2] == ROWS["superglue-multirc"] and len(rows) == 3
    assert [MULTIRC.read(row).group for row in rows] == ["3-17", "3-17", "3-18"]


def test_multirc_is_scored_by_question_under_the_official_protocol():
    labels = [("0", 1), ("0", 0), ("1", 1), ("1", 1)]
    row = ROWS["superglue-multirc"][0]
    rows = [
        {**row, "id": i, "label": label, "idx": {"paragraph": 0, "question": q}} for i, (q, label) in enumerate(labels)
    ]
    given = {0: "1", 1: "0", 2: "1", 3: "0"}
    official, published = MULTIRC.under("official_dev"), MULTIRC
    scores = official.score(given, [official.read(each) for each in rows])
    assert (scores["f1"], scores["f1_a"], scores["exact_match"]) == pytest.approx((0.8, 0.8, 0.5))
    assert scores["f1_m"] == pytest.approx((1 + 1 / 3) / 2)
    assert published.score(given, [published.read(each) for each in rows])["f1"] == pytest.approx(0.8)


# ReCoRD

PASSAGE = "Ann left Ghent.\n@highlight\nGhent and Bruges are old"
OFFICIAL_RECORD = {
    "source": "made up",
    "idx": 5,
    "passage": {
        "text": PASSAGE,
        "entities": [
            {"start": 0, "end": 2},
            {"start": 9, "end": 13},
            {"start": 27, "end": 31},
            {"start": 37, "end": 42},
        ],
    },
    "qas": [
        {
            "idx": 9,
            "query": "@placeholder has old houses.",
            "answers": [
                {"start": 27, "end": 31, "text": "Ghent"},
                {"start": 9, "end": 13, "text": "Ghent"},
                {"start": 37, "end": 42, "text": "Bruges"},
            ],
        },
        {"idx": 10, "query": "@placeholder left.", "answers": [{"start": 0, "end": 2, "text": "Ann"}]},
    ],
}


def test_an_official_passage_of_record_is_a_row_for_each_query():
    first, second = record.unfold(OFFICIAL_RECORD)
    assert first == {
        "passage": PASSAGE,
        "query": "@placeholder has old houses.",
        "entities": ["Ann", "Bruges", "Ghent"],
        "answers": ["Bruges", "Ghent"],
        "idx": {"passage": 5, "query": 9},
    }
    assert second["answers"] == ["Ann"] and second["passage"] == PASSAGE


@pytest.mark.parametrize(
    ("passage", "joined"),
    [
        ("It rained.\n@highlight\nA road broke", "It rained. A road broke"),
        ("Who\n@highlight\nAnn?\n@highlight\nNo!\n@highlight\nBo", "Who. Ann? No! Bo"),
        ("\"Go\"\n@highlight\n'No'\n@highlight\n(yes)\n@highlight\nso", "\"Go\" 'No' (yes). so"),
        ("two\nlines @highlight here", "two\nlines @highlight here"),
    ],
)
def test_highlights_are_joined_as_sentences(passage, joined):
    assert record.fields({**ROWS["superglue-record"][0], "passage": passage})["passage"] == joined


def test_record_has_an_example_for_each_answer_and_one_for_each_query_officially():
    row = ROWS["superglue-record"][0]
    published = [RECORD.read(each) for each in RECORD.rows(row)]
    assert [example.targets for example in published] == [("Bruges",), ("Ghent",)]
    [each] = RECORD.under("official_dev").rows(row)
    official = RECORD.under("official_dev").read(each)
    assert official.targets == ("Bruges", "Ghent") and official.weights == (0.5, 0.5)
    assert {example.references for example in [*published, official]} == {("Bruges", "Ghent")}
    assert {example.group for example in [*published, official]} == {"9"}
    assert RECORD.read({**row, "answers": []}) is None and RECORD.rows({**row, "answers": []}) == []


def test_an_entity_is_scored_against_the_best_of_all_answers():
    examples = [
        RECORD.read({**ROWS["superglue-record"][0], "id": i, "answers": ["New York", "U.S."]}) for i in range(3)
    ]
    scores = RECORD.score({0: "the New York", 1: "us", 2: "York"}, examples)
    assert scores["exact_match"] == pytest.approx(2 / 3) and scores["f1"] == pytest.approx((1 + 1 + 2 / 3) / 3)


# WSC


@pytest.mark.parametrize(
    ("spans", "wanted"),
    [
        ([("the duck", 2, "*"), ("it", 5, "#")], "Ann fed * the duck * because # it # cried; it, too."),
        ([("it", 7, "#")], "Ann fed the duck because it cried; # it #, too."),  # a mark stays outside the span
        ([("it", 5, "#"), ("Ann", 0, "*")], "* Ann * fed the duck because # it # cried; it, too."),
        ([("it", 4, "#")], "Ann fed the duck because # it # cried; it, too."),  # off by a word
        ([("The duck", 1, "*")], "Ann fed * the duck * because it cried; it, too."),
        ([("cried.", 6, "*")], "Ann fed the duck because it * cried *; it, too."),
        ([("the\nduck", 2, "*")], "Ann fed * the duck * because it cried; it, too."),
        ([("i", 5, "#")], "Ann fed the duck because # it # cried; it, too."),  # no word begins a span
        ([("Ann and it", 0, "*")], "* Ann fed the * duck because it cried; it, too."),  # words between its nouns
        ([("the duck", 2, "*"), ("the", 2, "#")], "Ann fed * # the # duck * because it cried; it, too."),
        ([("the duck", 2, "*"), ("duck", 3, "#")], "Ann fed * the # duck # * because it cried; it, too."),
    ],
)
def test_spans_are_marked_at_their_words(spans, wanted):
    assert wsc.marked("Ann fed the duck because it cried; it, too.", *spans) == wanted


def test_a_span_that_is_nowhere_is_refused():
    with pytest.raises(BadRow, match="WSC: wanted the index of one of 2 words, given 7 for 'Bo' in 'Ann swam.'"):
        wsc.marked("Ann swam.", ("Bo", 7, "*"))


def test_an_official_row_of_wsc_has_its_spans_spelled_as_in_the_text():
    target = {"span1_index": 2, "span1_text": "The duck.", "span2_index": 5, "span2_text": "it"}
    text = ROWS["superglue-wsc.fixed"][0]["text"]
    [row] = wsc.unfold({"idx": 0, "label": True, "target": target, "text": text})
    assert row == {**ROWS["superglue-wsc.fixed"][0], "label": True}


def test_dpt_trains_wsc_on_the_referents_alone_and_asks_for_the_noun():
    dpt = WSC.under("as_published_dpt")
    told, untold = ROWS["superglue-wsc.fixed"]
    assert [dpt.splits.trained(row) for row in (told, untold)] == [True, False] and dpt.candidates == ()
    examples = [dpt.read({**row, "id": number}) for number, row in enumerate((told, untold))]
    assert [example.targets for example in examples] == [("the duck",), ("Bo",)]
    assert [example.references for example in examples] == [("the duck", "True"), ("Bo", "False")]
    assert dpt.score({0: "duck", 1: "Ann"}, examples)["accuracy"] == 1.0
    assert dpt.score({0: "Ann", 1: "Bo"}, examples)["accuracy"] == 0.0
    assert WSC.splits.trained is None


def test_a_file_of_both_kinds_keeps_the_false_rows_out_of_dpts_training_only(tmp_path):
    (tmp_path / "WSC").mkdir()
    lines = "\n".join(json.dumps(row) for row in ROWS["superglue-wsc.fixed"])
    for split in ("train", "val"):
        (tmp_path / "WSC" / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    dpt = WSC.under("as_published_dpt")
    loaded = {split: load_text(tmp_path, split, dpt).examples for split in ("train", "val", "test")}
    assert [len(examples) for examples in loaded.values()] == [1, 2, 2]
    assert loaded["train"][0].targets == ("the duck",)
    assert len(load_text(tmp_path, "train", WSC).examples) == 2


# Real rows


@pytest.fixture(scope="module")
def superglue(real):
    return real / "superglue_glue" / "superglue"


def test_the_whole_real_sets_halve_as_published(superglue):
    for name in ("boolq", "cb", "copa", "multirc", "rte", "wsc.fixed"):
        halves = [len(load_text(superglue, split, TASKS[name]).examples) for split in ("val", "test")]
        assert tuple(halves) == SIZES[name][1:], name


def test_the_halves_of_real_wsc_give_the_published_constant_scores(superglue):
    """DePT's log repeats 59.62 on val and its table has 67.31 on test: 31 and 35 of 52 rows have label 0."""
    for split, wanted in (("val", 0.5962), ("test", 0.6731)):
        examples = load_text(superglue, split, WSC).examples
        assert round(WSC.score({example.id: "0" for example in examples}, examples)["accuracy"], 4) == wanted


@pytest.mark.parametrize("protocol", ["as_published", "as_published_dpt"])
def test_every_real_span_of_wsc_is_marked(superglue, protocol):
    task = WSC.under(protocol)
    for split in ("train", "val", "test"):
        for example in load_text(superglue, split, task).examples:
            assert example.source.count("*") == 2
            assert example.source.count("#") == (2 if protocol == "as_published" else 0)


def test_real_pronouns_stand_between_the_marks(superglue):
    rows = [json.loads(line) for line in (superglue / "WSC" / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    for row, example in zip(rows, load_text(superglue, "train", WSC).examples, strict=True):
        assert example.source.split("#")[1] == f" {row['target']['span2_text']} "
        assert example.source.split("*")[1].lower() == f" {row['target']['span1_text'].lower()} "


@pytest.mark.parametrize("name", TASKS)
def test_real_training_rows_have_both_classes_or_entities(superglue, name):
    loaded = load_text(superglue, "train", TASKS[name].under("official_dev"))
    examples = loaded.examples
    assert len(examples) >= 29 and loaded.counts["dropped_no_answer"] == 0
    if name == "record":
        assert all(
            set(each.targets) <= set(each.source.split("entities: ")[1].split(" passage: ")[0].split(", "))
            for each in examples
        )
        assert not any("@highlight" in example.source for example in examples)
    elif name != "wsc.fixed":  # of which only true rows are kept there
        assert {example.targets[0] for example in examples} == set(TASKS[name].candidates)
    if name == "multirc":
        assert len({example.group for example in examples}) > 20
