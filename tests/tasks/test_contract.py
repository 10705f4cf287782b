"""What every registered task keeps."""

import dataclasses

import pytest

from dept_vl.registry import UnknownName
from dept_vl.tasks import TASKS, CaptionTask, VqaTask

# as they are, but without the metrics that take seconds
BUILT = {"vqa": VqaTask(), "caption": CaptionTask(metrics=("CIDEr",))}

ROWS = {
    "vqa": {
        "question_id": 7000,
        "image": "7.jpg",
        "question": " What {colour} is it? ",
        "question_type": "what",
        "answer_type": "other",
        "answers": ("red",) * 4 + ("dark red",) * 3 + ("Two", "2", ""),
    },
    "caption": {"image_id": 7, "image": "7.jpg", "captions": ("A cat.\n", "The cat sits.", "A cat.")},
}


def test_the_tasks_are_found_by_name():
    assert {name for name, task in TASKS.items() if task.visual} == set(ROWS) == set(BUILT)
    assert all(task.headline in task.selecting for task in TASKS.values())
    published = "cola sst2 mrpc qqp stsb mnli qnli rte nq hotpotqa searchqa newsqa squad squad_v2 xsum winogrande"
    superglue = [f"superglue-{name}" for name in "boolq cb copa multirc record rte wic wsc.fixed".split()]
    assert {*published.split(), *superglue, "yelp_polarity", "scitail", "paws"} <= set(TASKS)
    assert TASKS["wsc"] is TASKS["superglue-wsc.fixed"] and TASKS["rte"] is not TASKS["superglue-rte"]
    with pytest.raises(UnknownName, match=r"unknown task 'captions': .* Did you mean 'caption'\?"):
        TASKS["captions"]


@pytest.mark.parametrize("name", sorted(ROWS))
def test_an_example_is_whole_and_leaves_its_row_alone(name):
    row, task = dict(ROWS[name]), BUILT[name]
    example = task.read(row)
    assert row == ROWS[name]
    assert len(example.targets) == len(example.weights) > 0 and sum(example.weights) == pytest.approx(1)
    assert all(weight > 0 for weight in example.weights)
    assert all(target == target.strip() != "" for target in example.targets)
    assert example.visits >= 1 and example.image == "7.jpg" and example.references
    with pytest.raises(dataclasses.FrozenInstanceError):
        example.source = "another"


@pytest.mark.parametrize("name", sorted(ROWS))
def test_the_right_answer_scores_and_a_missing_one_is_an_error(name):
    task = BUILT[name]
    example = task.read(ROWS[name])
    result = task.score({example.id: example.references[0]}, [example])
    assert task.headline in result and isinstance(result["warnings"], list)
    with pytest.raises(ValueError, match=str(example.id)):
        task.score({}, [example])


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_part_of_a_split_is_scored_with_a_warning(name):
    task = BUILT[name]
    example = task.read(ROWS[name])
    predictions = {example.id: example.references[0]}
    whole = task.score(predictions, [example], split_size=1)["warnings"]
    part = task.score(predictions, [example], split_size=5000)["warnings"]
    [warning] = [line for line in part if line not in whole]
    assert warning.startswith("scored 1 of the 5,000 ") and "not comparable" in warning
