"""Laws of text tasks, over GLUE and SuperGLUE under every protocol."""

import dataclasses

import pytest

from dept_vl.registry import UnknownName
from dept_vl.tasks.example import Example, template_fields
from dept_vl.tasks.glue import GLUE
from dept_vl.tasks.superglue import SUPERGLUE
from dept_vl.tasks.text_task import BadRow, TextTask, class_index, render
from tests.tasks.text_rows import ROWS

TASKS = {task.name: task for task in (*GLUE, *SUPERGLUE)}
UNDER = [(name, protocol) for name, task in TASKS.items() for protocol in task.protocols]
CLASSES = [name for name, task in TASKS.items() if task.label_names]

every_task = pytest.mark.parametrize("name", TASKS)
every_protocol = pytest.mark.parametrize(("name", "protocol"), UNDER)
every_class_task = pytest.mark.parametrize("name", CLASSES)


def read(task: TextTask, rows) -> list[Example]:
    """As the loader does, but for the ids, which count from 0."""
    expanded = [each for row in rows for each in task.rows(row)]
    return [task.read({**row, "id": number}) for number, row in enumerate(expanded)]


def right(examples) -> dict:
    """The right outputs, which for DPT's WSC are another noun where the candidate is not the referent."""
    return {each.id: "nobody" if each.references[1:] == ("False",) else each.targets[0] for each in examples}


def test_every_task_of_the_families_has_rows_here():
    assert list(ROWS) == list(TASKS) and len(TASKS) == 16


@every_task
def test_each_task_has_the_published_protocol_first(name):
    protocols = ["as_published", "official_dev"] + ["as_published_dpt"] * name.startswith("superglue")
    assert list(TASKS[name].protocols) == protocols and TASKS[name].protocol == "as_published"


@every_protocol
def test_a_protocol_changes_what_it_says_and_nothing_else(name, protocol):
    task, changed = TASKS[name], TASKS[name].protocols[protocol]
    under = task.under(protocol)
    assert under.protocol == protocol
    for field in dataclasses.fields(TextTask):
        if field.name not in ("protocol", "base"):
            assert getattr(under, field.name) == changed.get(field.name, getattr(task, field.name)), field.name


@every_protocol
def test_there_and_back_again_is_the_task_itself(name, protocol):
    assert TASKS[name].under(protocol).under("as_published") == TASKS[name]
    assert TASKS[name].under("official_dev").under(protocol) == TASKS[name].under(protocol)


@every_task
def test_an_unknown_protocol_is_refused(name):
    with pytest.raises(UnknownName, match=rf"{name}: protocol: wanted one of as_published, official_dev.*given 'dev'"):
        TASKS[name].under("dev")


@every_protocol
def test_an_example_is_whole_and_leaves_its_row_alone(name, protocol):
    task, before = TASKS[name].under(protocol), repr(ROWS[name])
    for example in read(task, ROWS[name]):
        assert "{" not in example.source and example.source == " ".join(example.source.split()) == example.text
        assert len(example.weights) == len(example.targets) >= 1 and sum(example.weights) == pytest.approx(1)
        assert set(example.targets) <= set(task.candidates or example.references)
    assert repr(ROWS[name]) == before


@every_protocol
def test_the_context_is_where_the_example_says(name, protocol):
    task = TASKS[name].under(protocol)
    expanded = [each for row in ROWS[name] for each in task.rows(row)]
    for example, row in zip(read(task, ROWS[name]), expanded, strict=True):
        values = row if task.fields is None else task.fields(row)
        start, end = example.context
        assert example.source[start:end] == values[task.context].strip() != ""
        cut = render(task.template, {**values, task.context: ""}, task.context)[0]
        assert example.source[:start] + example.source[end:] == cut


@every_protocol
def test_right_outputs_score_one_in_every_number(name, protocol):
    task = TASKS[name].under(protocol)
    examples = read(task, ROWS[name])
    scores = task.score(right(examples), examples)
    numbers = {key: value for key, value in scores.items() if isinstance(value, float)}
    assert task.headline == task.selecting[0] and set(task.selecting) == set(numbers)
    if name == "superglue-cb":  # the mean over three classes, of which the rows have two
        numbers["f1_macro"] *= 3 / 2
    assert numbers == pytest.approx(dict.fromkeys(numbers, 1.0))
    assert scores["protocol"] == protocol and scores["invalid_outputs"] == 0 and scores["warnings"] == []


@every_protocol
def test_outputs_that_are_nothing_score_zero_or_less_and_are_counted(name, protocol):
    task = TASKS[name].under(protocol)
    examples = read(task, ROWS[name])
    scores = task.score({example.id: f"?{number}" for number, example in enumerate(examples)}, examples)
    assert scores["invalid_outputs"] == (len(examples) if task.candidates else 0)
    if (name, protocol) != ("superglue-wsc.fixed", "as_published_dpt"):  # there another noun may be right
        assert scores[task.headline] <= 0


@every_class_task
def test_wrong_classes_score_zero_or_less(name):
    examples = read(TASKS[name], ROWS[name])
    labels = TASKS[name].labels
    turned = {example.id: labels[labels.index(example.references[0]) - 1] for example in examples}
    assert all(TASKS[name].score(turned, examples)[number] <= 0 for number in TASKS[name].selecting)


@every_class_task
def test_a_label_may_be_given_as_number_text_or_name(name):
    task = TASKS[name]
    for row in ROWS[name]:
        number = row["label"]
        given = [number, str(number), task.label_names[number]]
        if len(task.label_names) == 2:
            given += [bool(number), str(bool(number)), str(bool(number)).lower()]
        assert {task.read({**row, "label": each}) for each in given} == {task.read(row)}
        assert task.read(row).targets == task.read(row).references == (str(number),)


@every_class_task
def test_classes_are_written_as_digits_or_as_words(name):
    digits, words = TASKS[name], dataclasses.replace(TASKS[name], label_form="words")
    assert digits.candidates == tuple("012"[: len(digits.label_names)]) and words.candidates == words.label_names
    for row in ROWS[name]:
        assert words.read(row).targets == (words.label_names[row["label"]],)
        assert words.read(row).source == digits.read(row).source
    examples = read(words, ROWS[name])
    assert words.score(right(examples), examples)["accuracy" if "accuracy" in words.selecting else "f1"] == 1.0
    assert words.score({each.id: str(each.id) for each in examples}, examples)["invalid_outputs"] == len(examples)


@every_class_task
@pytest.mark.parametrize("label", [-1, 3, "perhaps", 0.5, "²"])
def test_a_label_outside_the_set_is_an_error_that_names_the_row(name, label):
    task = TASKS[name]
    with pytest.raises(BadRow) as error:
        task.read({**ROWS[name][0], "id": "validation-7", "label": label})
    names = ", ".join(f"{number} ({each})" for number, each in enumerate(task.label_names))
    wanted = f"{name}: row 'validation-7': label outside the set: wanted one of {names}, given {label!r}"
    assert str(error.value) == wanted


@every_protocol
def test_a_missing_field_is_an_error_that_names_it(name, protocol):
    task = TASKS[name].under(protocol)
    [row, *_] = task.rows(ROWS[name][0])
    read_fields = set(row) & (template_fields(task.template) | {"label", "answers", "paragraph", "passage"})
    assert len(read_fields) >= 2
    for field in read_fields:
        without = {"id": 7, **{key: value for key, value in row.items() if key != field}}
        if field == "label" and not task.label_names and name == "superglue-record":
            continue
        with pytest.raises(BadRow, match=rf"{name}: row 7: wanted the field '{field}', given id, "):
            task.read(without)


@every_protocol
def test_an_empty_cell_is_no_text(name, protocol):
    """Whatever a task reads of a row: a null where it should be names the field, or the row passes without it."""
    task = TASKS[name].under(protocol)
    row = {**task.rows(ROWS[name][0])[0], "id": 7}
    whole, needed = task.read(row), set()
    for field in ROWS[name][0]:
        try:
            without = task.read({**row, field: None})
            assert (without.source, without.targets) == (whole.source, whole.targets)
        except BadRow as error:
            needed.add(field)
            assert f"{name}: row" in str(error) and f"wanted the field {field!r}, given" in str(error)
    assert len(needed) >= 2


@every_protocol
def test_a_value_of_another_type_is_an_error_that_names_the_row(name, protocol):
    task = TASKS[name].under(protocol)
    row = {**task.rows(ROWS[name][0])[0], "id": 7}
    for field in row:
        for odd in (5, [], {}):
            try:
                task.read({**row, field: odd})
            except BadRow as error:
                assert f"{name}: row " in str(error)


@every_task
def test_a_row_of_the_hub_passes_unfolding_unchanged(name):
    unfold = TASKS[name].source.unfold
    if unfold is not None:
        for row in ROWS[name]:
            assert list(unfold(row)) == [row]


@pytest.mark.parametrize(("name", "protocol"), [each for each in UNDER if TASKS[each[0]].under(each[1]).candidates])
def test_a_constant_predictor_is_told(name, protocol):
    task = TASKS[name].under(protocol)
    examples = read(task, ROWS[name])
    constant = task.candidates[0]
    [warning] = task.score({example.id: constant for example in examples}, examples)["warnings"]
    assert warning == f"a constant predictor: all 2 predictions are {constant!r}"


@every_protocol
def test_the_majority_is_the_commonest_training_answer(name, protocol):
    task = TASKS[name].under(protocol)
    first, *_, second = read(task, ROWS[name])
    baseline = task.constant_answers([first, second, second], [], [first, second])
    assert baseline == {"majority": {first.id: second.targets[0], second.id: second.targets[0]}}


def published_rows(task: TextTask) -> tuple[int, int, int]:
    """Rows of train, val and test of a whole set, before a protocol makes more of them or keeps some."""
    whole, splits = task.source.whole, task.splits
    if splits.rule == "own":
        return whole["train"], whole[splits.val], whole[splits.test]
    if splits.rule == "halve":
        return whole["train"], whole[splits.val] // 2, whole[splits.val] - whole[splits.val] // 2
    return whole["train"] - splits.held_out, splits.held_out, whole[splits.test]


# ReCoRD has an example for each answer, DPT's WSC trains on true rows.
COUNTED_ELSEWHERE = [
    (name, p) for name, p in UNDER if name == "superglue-record" or (name[10:13], p[13:]) == ("wsc", "dpt")
]


@pytest.mark.parametrize(("name", "protocol"), [each for each in UNDER if each not in COUNTED_ELSEWHERE])
def test_the_sizes_that_a_whole_set_must_come_to_are_those_of_its_rule(name, protocol):
    task = TASKS[name].under(protocol)
    assert task.splits.sizes == (None if protocol == "official_dev" else published_rows(task))


@every_task
def test_every_split_that_a_protocol_reads_has_files_and_a_size(name):
    source = TASKS[name].source
    assert set(source.files) == set(source.whole) and source.folders and source.home
    for protocol in TASKS[name].protocols:
        splits = TASKS[name].under(protocol).splits
        assert {"train", splits.test} <= set(source.files)
        assert splits.rule == "from_train" or splits.val in source.files


def test_a_class_is_found_by_number_name_or_truth_value():
    assert [class_index(("no", "yes"), given) for given in (0, "1", "yes", True, "False")] == [0, 1, 1, 1, 0]
    assert class_index(("False", "True"), False) == 0
    with pytest.raises(BadRow, match=r"label outside the set: wanted one of 0 \(a\), 1 \(b\), 2 \(c\), given True"):
        class_index(("a", "b", "c"), True)


def test_a_template_without_its_context_is_refused():
    with pytest.raises(ValueError, match=r"cola: wanted a template that uses \{sentence\}, given 'text: \{text\}'"):
        dataclasses.replace(TASKS["cola"], template="text: {text}")


def test_a_field_with_braces_stands_as_it_is():
    text, span = render("a: {a} b: {b}", {"a": " {b} ", "b": "x"}, "b")
    assert text == "a: {b} b: x" and text[slice(*span)] == "x"
