import json

import pytest

from dept_vl.data.text_sources import load_text
from dept_vl.tasks.other import OTHER
from dept_vl.tasks.text_task import BadRow
from dept_vl.untrusted.bad_file import BadFile
from tests.tasks.text_rows import split_sizes

TASKS = {task.name: task for task in OTHER}
WINOGRANDE, YELP, SCITAIL, PAWS = OTHER

# One made-up row each, in the hub's form, with what it becomes as published.
ROWS = {
    "winogrande": {
        "qID": "K1-1",
        "sentence": "The lamp did not fit under the shelf because the _ was too low.",
        "option1": "lamp",
        "option2": "shelf",
        "answer": "2",
    },
    "yelp_polarity": {"text": "Warm bread, kind waiters.\\nWe will come back.", "label": 1},
    "scitail": {"sentence1": "Iron rusts when wet.", "sentence2": "Rust needs water.", "gold_label": "entailment"},
    "paws": {
        "id": 17,
        "sentence1": "The crew left the old port .",
        "sentence2": "The old crew left the port .",
        "label": 0,
    },
}
SOURCES = {
    "winogrande": f"sentence: {ROWS['winogrande']['sentence']} option0: lamp option1: lamp",
    "yelp_polarity": "sentence: Warm bread, kind waiters.\\nWe will come back.",
    "scitail": "premise: Iron rusts when wet. hypothesis: Rust needs water.",
    "paws": "sentence1: The crew left the old port . sentence2: The old crew left the port .",
}
LABELS = {"winogrande": "1", "yelp_polarity": "1", "scitail": "0", "paws": "0"}


@pytest.mark.parametrize("name", list(TASKS))
def test_a_row_becomes_the_published_text_and_digit(name):
    example = TASKS[name].read(ROWS[name])
    assert example.source == SOURCES[name]
    assert example.targets == example.references == (LABELS[name],)
    assert TASKS[name].candidates == ("0", "1")


@pytest.mark.parametrize(
    ("name", "context"),
    [
        ("winogrande", ROWS["winogrande"]["sentence"]),
        ("yelp_polarity", ROWS["yelp_polarity"]["text"]),
        ("scitail", "Iron rusts when wet."),
        ("paws", "The crew left the old port ."),
    ],
)
def test_what_is_cut_first_when_the_text_is_too_long(name, context):
    example = TASKS[name].read(ROWS[name])
    assert example.source[slice(*example.context)] == context


@pytest.mark.parametrize("name", list(TASKS))
def test_right_and_wrong_answers_are_counted(name):
    task = TASKS[name]
    examples = [task.read({**ROWS[name], "id": number}) for number in range(4)]
    right, wrong = LABELS[name], {"0": "1", "1": "0"}[LABELS[name]]
    result = task.score({0: right, 1: right, 2: wrong, 3: "maybe"}, examples)
    assert result[task.headline] == result["accuracy"] == 0.5
    assert result["invalid_outputs"] == 1


def test_winogrande_as_published_shows_option1_twice_and_official_dev_shows_both():
    row = ROWS["winogrande"]
    swapped = {**row, "option2": "rug"}
    assert WINOGRANDE.read(row).source == WINOGRANDE.read(swapped).source
    official = WINOGRANDE.under("official_dev")
    assert official.read(row).source.endswith(" option0: lamp option1: shelf")
    assert official.read(swapped).source.endswith(" option0: lamp option1: rug")
    assert official.read(row).targets == WINOGRANDE.read(row).targets == ("1",)


@pytest.mark.parametrize(("answer", "label"), [("1", "0"), ("2", "1"), (1, "0"), (2, "1")])
def test_winogrande_counts_its_answers_from_1(answer, label):
    assert WINOGRANDE.read({**ROWS["winogrande"], "answer": answer}).targets == (label,)


@pytest.mark.parametrize(
    ("name", "field", "given"),
    [
        ("winogrande", "answer", "0"),
        ("winogrande", "answer", "3"),
        ("winogrande", "answer", ""),  # as in the unpublished test split
        ("yelp_polarity", "label", 2),
        ("scitail", "gold_label", "contradiction"),
        ("paws", "label", "-1"),
    ],
)
def test_a_label_outside_the_set_is_an_error(name, field, given):
    with pytest.raises(BadRow, match=f"{name}: .*label outside the set: wanted .*, given {given!r}"):
        TASKS[name].read({**ROWS[name], field: given})


@pytest.mark.parametrize(
    ("name", "field"), [(name, field) for name, row in ROWS.items() for field in row if field not in ("id", "qID")]
)
def test_a_missing_field_is_named(name, field):
    row = {each: value for each, value in ROWS[name].items() if each != field}
    task = TASKS[name].under("official_dev")  # as published, WinoGrande does without option2
    with pytest.raises(BadRow, match=f"{name}: row .* wanted the field '{field}'"):
        task.read(row)


def test_scitail_labels_have_the_hubs_order():
    assert SCITAIL.read({**ROWS["scitail"], "gold_label": "neutral"}).targets == ("1",)


def test_yelps_official_file_counts_its_classes_from_1_and_the_hub_from_0():
    [official] = YELP.source.unfold({"class": "2", "text": "Good."})
    assert official == {"label": 1, "text": "Good."} and YELP.read(official).targets == ("1",)
    [negative] = YELP.source.unfold({"class": "1", "text": "Bad."})
    assert YELP.read(negative).targets == ("0",)
    assert list(YELP.source.unfold(ROWS["yelp_polarity"])) == [ROWS["yelp_polarity"]]
    with pytest.raises(BadRow, match="label outside the set: wanted 1 or 2, given '0'"):
        list(YELP.source.unfold({"class": "0", "text": "Bad."}))


def test_yelps_official_csv_is_read(tmp_path):
    folder = tmp_path / "yelp_review_polarity_csv"
    folder.mkdir()
    (folder / "test.csv").write_text('"2","He said ""good"", twice.\\nYes."\n"1","Cold, slow."\n')
    examples = load_text(tmp_path, "test", YELP).examples
    assert [example.source for example in examples] == [
        'sentence: He said "good", twice.\\nYes.',
        "sentence: Cold, slow.",
    ]
    assert [example.targets for example in examples] == [("1",), ("0",)]
    assert [example.id for example in examples] == ["test-0", "test-1"]


def test_no_review_is_in_both_train_and_val(tmp_path):
    (tmp_path / "train.csv").write_text("".join(f'"{1 + number % 2}","Review {number}."\n' for number in range(60)))
    texts = {split: [each.text for each in load_text(tmp_path, split, YELP).examples] for split in ("train", "val")}
    assert len(texts["val"]) == 6 and len(texts["train"]) == 54
    assert not set(texts["val"]) & set(texts["train"])


def test_winograndes_official_json_lines_are_read(tmp_path):
    folder = tmp_path / "winogrande_1.1"
    folder.mkdir()
    (folder / "dev.jsonl").write_text(json.dumps(ROWS["winogrande"]) + "\n")
    [example] = load_text(tmp_path, "test", WINOGRANDE).examples
    assert (example.source, example.targets) == (SOURCES["winogrande"], ("1",))


@pytest.mark.parametrize("form", ["snli_format", "tsv_format"])
def test_scitails_official_files_are_read_in_either_form(tmp_path, form):
    folder = tmp_path / "SciTailV1.1" / form
    folder.mkdir(parents=True)
    for split, count in (("dev", 5), ("test", 3)):
        rows = [{**ROWS["scitail"], "sentence1": f'A "{split}" premise {number}.'} for number in range(count)]
        if form == "snli_format":
            text = "".join(json.dumps({"annotator_labels": ["entailment"], **row}) + "\n" for row in rows)
        else:
            text = "".join("\t".join(row.values()) + "\n" for row in rows)
        (folder / f"scitail_1.0_{split}.{'txt' if form == 'snli_format' else 'tsv'}").write_text(text)
    made = {
        (task.protocol, split): [example.text for example in load_text(tmp_path, split, task).examples]
        for task in (SCITAIL, SCITAIL.under("official_dev"))
        for split in ("val", "test")
    }
    halves = made["as_published", "val"] + made["as_published", "test"]
    assert [len(each) for each in made.values()] == [2, 3, 5, 3]
    assert sorted(halves) == made["official_dev", "val"]  # every row once, none of the set's own test split
    assert all('premise: A "test" premise' in text for text in made["official_dev", "test"])


def test_paws_official_tsv_is_read_with_its_quotation_marks(tmp_path):
    (tmp_path / "paws").mkdir()
    text = 'id\tsentence1\tsentence2\tlabel\n1\t"Go , " she said .\tShe said go .\t1\n2\tA b .\tB a .\t0\n'
    (tmp_path / "paws" / "dev.tsv").write_text(text)
    examples = load_text(tmp_path, "val", PAWS).examples
    assert examples[0].source == 'sentence1: "Go , " she said . sentence2: She said go .'
    assert [example.targets for example in examples] == [("1",), ("0",)]
    (tmp_path / "paws" / "test.tsv").write_text(text.replace("\t0\n", "\n"))
    with pytest.raises(BadFile, match=r"test\.tsv: wanted 4 cells in line 3"):
        load_text(tmp_path, "test", PAWS)


def test_whole_sets_split_into_the_published_sizes():
    table = {
        "winogrande": (39_398, 1_000, 1_267),
        "yelp_polarity": (100_000, 1_000, 38_000),
        "scitail": (23_596, 652, 652),
        "paws": (49_401, 8_000, 8_000),
    }  # DePT, Table 9
    for name, task in TASKS.items():
        assert task.splits.sizes == table[name] == split_sizes(task.splits, task.source.whole)
    official = SCITAIL.under("official_dev").splits
    assert official.sizes == (23_596, 1_304, 2_126) == split_sizes(official, SCITAIL.source.whole)
