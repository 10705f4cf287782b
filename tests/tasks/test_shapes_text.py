import dataclasses
import random

import pytest

from dept_vl.data.data_root import MissingFile
from dept_vl.data.text_sources import load_text
from dept_vl.data.tokenizer import load_tokenizer
from dept_vl.embedded.shapes.language import WORDINGS, word_question
from dept_vl.embedded.shapes.questions import Description, Question
from dept_vl.embedded.shapes.text import TEXT_SIZES, write_text_shapes
from dept_vl.embedded.shapes.text_rows import tell
from dept_vl.embedded.shapes.world import Scene, Thing
from dept_vl.registry import UnknownName
from dept_vl.tasks.glue import GLUE
from dept_vl.tasks.shapes_text import SHAPES_TEXT
from dept_vl.tasks.squad import SQUAD
from dept_vl.tasks.superglue import SUPERGLUE

SIZES = {"train": 80, "val": 16, "test": 24}
SHAPES = {task.name: task for task in SHAPES_TEXT}
OFFICIAL = {f"shapes-{task.name.removeprefix('superglue-')}": task for task in (*GLUE, *SUPERGLUE, *SQUAD)} | {
    "shapes-squad": SQUAD[0].under("official_dev")
}
TOLD = "small red cross at the top left; large blue circle at the middle right; dark background."
ROWS = {
    "shapes-boolq": (
        {"question": "Is there a red cross?", "passage": TOLD, "label": True, "idx": 0},
        f"question: Is there a red cross? passage: {TOLD}",
        "1",
    ),
    "shapes-rte": (
        {"premise": TOLD, "hypothesis": "a picture of a red cross.", "label": "entailment", "idx": 0},
        f"premise: {TOLD} hypothesis: a picture of a red cross.",
        "1",
    ),
    "shapes-qnli": (
        {"index": "0", "question": "Where is the square?", "sentence": TOLD, "label": "not_entailment"},
        f"question: Where is the square? sentence: {TOLD}",
        "0",
    ),
    "shapes-cola": (
        {"source": "shapes", "label": "1", "star": "", "sentence": TOLD},
        f"sentence: {TOLD}",
        "1",
    ),
    "shapes-squad": (
        {
            "question": "Where is the circle?",
            "context": TOLD,
            "answers": {"text": ["middle right"], "answer_start": [53]},
        },
        f"question: Where is the circle? context: {TOLD}",
        "middle right",
    ),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_text_shapes(tmp_path_factory.mktemp("made") / "texts", sizes=SIZES)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_becomes_its_templates_text_and_its_answer(name):
    row, source, target = ROWS[name]
    example = SHAPES[name].read({**row, "id": "test-0"})
    assert (example.source, example.targets, example.references) == (source, (target,), (target,))
    assert example.source[slice(*example.context)] == TOLD and example.id == "test-0"


@pytest.mark.parametrize("name", ["shapes-boolq", "shapes-rte", "shapes-qnli", "shapes-cola"])
def test_classes_may_be_asked_for_in_words(name):
    words = dataclasses.replace(SHAPES[name], label_form="words")
    row, _, digit = ROWS[name]
    assert words.read(row).targets == (words.label_names[int(digit)],)
    longest = max(map(len, load_tokenizer("tiny-t5")(list(words.candidates))["input_ids"]))
    assert longest <= words.max_target_length


@pytest.mark.parametrize("split", SIZES)
@pytest.mark.parametrize("name", SHAPES)
def test_the_official_tasks_reader_reads_the_same_files_to_the_same_texts(root, name, split):
    task = SHAPES[name]
    official = dataclasses.replace(OFFICIAL[name], source=task.source, splits=task.splits)
    ours, theirs = (load_text(root, split, each) for each in (task, official))
    assert ours.counts == theirs.counts and ours.counts["examples"] == ours.counts["in_split"] == SIZES[split]
    turned = {"0": "1", "1": "0"} if name in ("shapes-rte", "shapes-qnli") else {}
    for mine, other in zip(ours.examples, theirs.examples, strict=True):
        assert (mine.id, mine.source, mine.context) == (other.id, other.source, other.context)
        assert mine.references == tuple(turned.get(text, text) for text in other.references)


@pytest.mark.parametrize("name", SHAPES)
def test_who_tells_the_truth_scores_1_and_a_constant_what_half_the_rows_give(root, name):
    task = SHAPES[name]
    train, val, test = (load_text(root, split, task).examples for split in SIZES)
    score = task.score({example.id: example.targets[0] for example in test}, test)
    assert {score[metric] for metric in task.selecting} == {1.0} and score["protocol"] == "own_splits"
    if name != "shapes-squad":
        constant = task.score(task.constant_answers(train, val, test)["majority"], test)
        assert constant["accuracy"] == 0.5 and constant.get("matthews_correlation", 0.0) == 0.0
        assert "constant predictor" in constant["warnings"][0]


def test_no_text_of_a_set_is_cut(root):
    tokenizer = load_tokenizer("tiny-t5")
    for task in SHAPES_TEXT:
        examples = [example for split in SIZES for example in load_text(root, split, task).examples]
        sources = tokenizer([example.source for example in examples])["input_ids"]
        targets = tokenizer([target for example in examples for target in example.targets])["input_ids"]
        assert max(map(len, sources)) <= task.max_source_length and max(map(len, targets)) <= task.max_target_length


def test_the_longest_question_about_three_things_just_fits():
    things = (Thing(0, "small", "red", "cross"), Thing(4, "large", "red", "cross"), Thing(8, "small", "blue", "cross"))
    one, other = (Description(thing.size, thing.color, thing.shape) for thing in things[:2])
    question = word_question(Question("spatial", True, one, "left of", other), WORDINGS["spatial"][1])
    task = SHAPES["shapes-boolq"]
    row = {"question": question, "passage": tell(Scene(things, "dark"), random.Random(0)), "label": True}
    assert len(load_tokenizer("tiny-t5")(task.read(row).source)["input_ids"]) == task.max_source_length


def test_a_whole_set_is_known_by_the_sizes_that_are_written():
    for task in SHAPES_TEXT:
        assert tuple(task.source.whole.values()) == tuple(TEXT_SIZES.values()) == task.splits.sizes
        assert task.source.hub is None and len(set(task.source.files)) == 3
    assert len({task.source.folders for task in SHAPES_TEXT}) == len(SHAPES) == 5


def test_the_official_folders_are_not_taken_for_a_shapes_set(tmp_path):
    (tmp_path / "BoolQ").mkdir()
    (tmp_path / "BoolQ" / "train.jsonl").write_text(
        '{"question": "do ducks fly", "passage": "They do.", "label": true}\n'
    )
    with pytest.raises(MissingFile, match="Shapes-BoolQ.*scripts/prepare_data.py"):
        load_text(tmp_path, "train", SHAPES["shapes-boolq"])


def test_the_only_protocol_is_the_sets_own_splits():
    for task in SHAPES_TEXT:
        assert task.under("own_splits") == task
        with pytest.raises(UnknownName, match="protocol: wanted one of own_splits, given 'as_published'"):
            task.under("as_published")
