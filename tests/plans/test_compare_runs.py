"""Paired comparisons of run folders: what is read, what is refused, and whose score it is."""

import json
from pathlib import Path

import pytest
import yaml

from dept_vl.config import Experiment, TaskConfig
from dept_vl.plans.compare_runs import NotComparable, compare_runs, read_run
from dept_vl.run import build_task
from dept_vl.tasks.example import Example
from dept_vl.untrusted.bad_file import BadFile

COLOURS = ["red", "blue", "green", "red", "two", "blue"]


def vqa_examples(answers=COLOURS):
    return [
        Example(
            id=10 + place, source="", targets=(), weights=(), references=(answer,) * 9 + ("grey",), text="what?",
            question_type="what", group=None,
        )
        for place, answer in enumerate(answers)
    ]  # fmt: skip


def cola_examples(number=40):
    return [
        Example(id=f"validation-{place}", source="", targets=(), weights=(), references=(str(int(place % 3 > 0)),))
        for place in range(number)
    ]


def write(folder: Path, predictions, examples=None, *, task=None, **results) -> Path:
    """A finished run's files, scored by the task itself."""
    config = Experiment(output_dir=str(folder), task=TaskConfig(**(task or {"name": "vqa"})))
    examples = vqa_examples() if examples is None else examples
    by_id = {example.id: prediction for example, prediction in zip(examples, predictions, strict=True)}
    scores = build_task(config).score(by_id, examples)
    folder.mkdir()
    content = {"task": config.task.name, "protocol": scores["protocol"], "metrics": {"test": scores}, **results}
    (folder / "results.json").write_text(json.dumps(content))
    (folder / "config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(config.to_dict()))))
    rows = [
        {
            "id": example.id, "prediction": by_id[example.id], "references": list(example.references),
            "image": example.image, "text": example.text, "question_type": example.question_type,
            "group": example.group,
        }
        for example in examples
    ]  # fmt: skip
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_line_mark_inside_an_answer_parts_no_row_and_a_cut_file_is_named(tmp_path):
    folder = write(tmp_path / "a", ["a\u2028b", *COLOURS[1:]])
    (file := folder / "predictions.jsonl").write_text(file.read_text(encoding="utf-8").replace("\\u2028", "\u2028"))
    assert read_run(folder).predictions[10] == "a\u2028b"
    file.write_text(file.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    with pytest.raises(BadFile, match=r"predictions.jsonl: wanted a whole JSON file, .*in line 6"):
        read_run(folder)


def test_the_difference_is_the_one_of_the_scores_that_the_runs_report(tmp_path):
    """In whatever order the files have the items."""
    first = write(tmp_path / "a", COLOURS)
    second = write(tmp_path / "b", ["red", "red", "red", "red", "two", "red"][::-1], vqa_examples()[::-1])
    found = compare_runs([first], [second], resamples=50)
    assert (found.metric, found.protocol) == ("vqa_accuracy", "official-2021")
    assert (found.first_runs, found.second_runs) == ((1.0,), (0.5,))
    assert found.paired.difference == 0.5 and found.paired.as_items == 3.0
    assert (found.paired.items, found.paired.differing, found.paired.is_mean) == (6, 3, True)


def test_a_run_beside_itself_differs_by_nothing(tmp_path):
    folder = write(tmp_path / "a", COLOURS)
    found = compare_runs([folder], [folder], resamples=50).paired
    assert (found.difference, found.p, found.interval) == (0.0, 1.0, (0.0, 0.0))


def test_several_seeds_are_averaged(tmp_path):
    good, bad = write(tmp_path / "a", COLOURS), write(tmp_path / "b", ["red"] * 6)
    found = compare_runs([good, bad], [bad, bad], resamples=50)
    assert found.first_runs == (1.0, pytest.approx(2 / 6))
    assert found.paired.difference == pytest.approx(2 / 6)


def test_a_text_task_is_scored_in_the_words_and_by_the_headline_of_its_runs(tmp_path):
    """Matthews correlation, through the task's own score on items drawn again."""
    examples = cola_examples()
    right = [example.references[0] for example in examples]
    wrong = ["1" if place % 5 == 0 else each for place, each in enumerate(right)]
    first, second = write(tmp_path / "a", right, examples, task={"name": "cola"}), tmp_path / "b"
    write(second, wrong, examples, task={"name": "cola"})
    found = compare_runs([first], [second], resamples=30)
    assert found.metric == "matthews_correlation" and not found.paired.is_mean
    assert found.first_runs == (1.0,) and 0 < found.second_runs[0] < 1
    assert found.paired.interval[0] <= found.paired.difference <= found.paired.interval[1]
    accuracy = compare_runs([first], [second], metric="accuracy", resamples=30)
    assert accuracy.paired.is_mean and accuracy.paired.as_items == pytest.approx(accuracy.paired.differing)


def test_label_words_come_from_the_run(tmp_path):
    examples = [
        Example(id=str(place), source="", targets=(), weights=(), references=(word,))
        for place, word in enumerate(["acceptable", "unacceptable"] * 3)
    ]
    words = [example.references[0] for example in examples]
    folder = write(tmp_path / "a", words, examples, task={"name": "cola", "label_form": "words"})
    assert read_run(folder).task.label_form == "words"
    assert compare_runs([folder], [folder], resamples=5).first_runs == (1.0,)


def test_other_items_are_refused_and_counted(tmp_path):
    first = write(tmp_path / "a", COLOURS)
    fewer = write(tmp_path / "b", COLOURS[:4], vqa_examples(COLOURS[:4]))
    other = write(tmp_path / "c", COLOURS, vqa_examples(["grey", *COLOURS[1:5], "two"]))
    with pytest.raises(NotComparable, match=r"given 2 \(14, 15\) that only one has and 0 with other"):
        compare_runs([first], [fewer])
    with pytest.raises(NotComparable, match=r"given 0 that only one has and 2 \(10, 15\) with other"):
        compare_runs([first], [other])


def test_other_tasks_and_protocols_are_refused_with_both_named(tmp_path):
    first = write(tmp_path / "a", COLOURS)
    older = write(tmp_path / "b", COLOURS, task={"name": "vqa", "protocol": "official-2017"})
    text = write(tmp_path / "c", ["1"] * 40, cola_examples(), task={"name": "cola"})
    with pytest.raises(NotComparable, match="protocol: .*a has 'official-2021', .*b 'official-2017'"):
        compare_runs([first], [older])
    with pytest.raises(NotComparable, match="task: .*a has 'vqa', .*c 'cola'"):
        compare_runs([first], [text])


def test_a_folder_whose_score_its_own_answers_do_not_give_is_refused(tmp_path):
    first = write(tmp_path / "a", COLOURS)
    changed = write(tmp_path / "b", COLOURS, metrics={"test": {"vqa_accuracy": 0.5}})
    with pytest.raises(NotComparable, match=r"results.json says vqa_accuracy 0.5, its predictions.jsonl gives 1.0"):
        compare_runs([first], [changed])


def test_an_unknown_metric_and_unpaired_runs_are_refused(tmp_path):
    folder = write(tmp_path / "a", COLOURS)
    with pytest.raises(NotComparable, match="given 'vqa_acuracy'. Did you mean 'vqa_accuracy'"):
        compare_runs([folder], [folder], metric="vqa_acuracy")
    with pytest.raises(NotComparable, match="as many first as second runs, at least one, given 1 and 2"):
        compare_runs([folder], [folder, folder])


@pytest.mark.parametrize("name", ["results.json", "predictions.jsonl", "config.yaml"])
def test_a_folder_without_a_finished_run_is_named(tmp_path, name):
    folder = write(tmp_path / "a", COLOURS)
    (folder / name).unlink()
    with pytest.raises(NotComparable, match=f"a: wanted a finished run, given no {name}"):
        compare_runs([folder], [folder])
