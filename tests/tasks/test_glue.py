from dataclasses import replace

import numpy as np
import pytest

from dept_vl.data.text_sources import load_text
from dept_vl.tasks.glue import GLUE
from dept_vl.tasks.text_task import BadRow
from tests.tasks.text_rows import ROWS

TASKS = {task.name: task for task in GLUE}

# DePT's fields and words, in its order.
SOURCES = {
    "cola": "sentence: The boat sails.",
    "sst2": "sentence: a warm film",
    "mrpc": "sentence1: Ann left. sentence2: Ann is gone.",
    "qqp": "question1: How tall is it? question2: What is its height?",
    "stsb": "sentence1: A cat sat. sentence2: A cat sat down.",
    "mnli": "premise: Ann sings. hypothesis: Ann is silent.",
    "qnli": "question: Who sings? sentence: Ann sings.",
    "rte": "sentence1: Ann sings in Ghent. sentence2: Ann sings.",
}

# DePT's Table 9, but for the 40,431 that it prints for the test set of QQP.
SIZES = {
    "cola": (8551, 521, 522),
    "sst2": (66_349, 1000, 872),
    "mrpc": (3668, 204, 204),
    "qqp": (362_846, 1000, 40_430),
    "stsb": (5749, 750, 750),
    "mnli": (392_702, 9832, 9815),
    "qnli": (103_743, 1000, 5463),
    "rte": (2490, 138, 139),
}

# The official files: name, header or None, and the cells of a line.
OFFICIAL = {
    "cola": ("CoLA/dev.tsv", None, ["xy01", "1", "", "The boat sails."]),
    "sst2": ("SST-2/dev.tsv", "sentence\tlabel", ["a warm film ", "1"]),
    "mrpc": (
        "MRPC/dev.tsv",
        "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        "1 7 8".split() + ["Ann left.", "Ann is gone."],
    ),
    "qqp": (
        "QQP/dev.tsv",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        ["4", "7", "8", "How tall is it?", "What is its height?", "1"],
    ),
    "stsb": (
        "STS-B/dev.tsv",
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        ["0", "news", "x", "2012", "3", "none", "none", "A cat sat.", "A cat sat down.", "4.25"],
    ),
    "mnli": (
        "MNLI/dev_matched.tsv",
        "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
        "sentence2_parse\tsentence1\tsentence2\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label",
        [*"012345", "( )", "( )", "Ann sings.", "Ann is silent.", *["neutral"] * 5, "contradiction"],
    ),
    "qnli": ("QNLI/dev.tsv", "index\tquestion\tsentence\tlabel", ["0", "Who sings?", "Ann sings.", "entailment"]),
    "rte": (
        "RTE/dev.tsv",
        "index\tsentence1\tsentence2\tlabel",
        ["0", "Ann sings in Ghent.", "Ann sings.", "entailment"],
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_the_source_is_the_published_one(name):
    assert TASKS[name].read(ROWS[name][0]).source == SOURCES[name]


@pytest.mark.parametrize("name", TASKS)
def test_the_sizes_are_those_of_table_9(name):
    assert TASKS[name].splits.sizes == SIZES[name]


@pytest.mark.parametrize("name", TASKS)
def test_an_official_line_reads_as_the_hubs_row(name, tmp_path):
    file, header, cells = OFFICIAL[name]
    path = tmp_path / "GLUE" / file
    path.parent.mkdir(parents=True)
    path.write_text("\n".join([*([header] if header else []), "\t".join(cells)]) + "\n", encoding="utf-8")
    [example] = load_text(tmp_path / "GLUE", "test", TASKS[name].under("official_dev")).examples
    hub = TASKS[name].under("official_dev").read(ROWS[name][0])
    assert (example.source, example.targets, example.references) == (hub.source, hub.targets, hub.references)


def test_classes_stand_in_the_hubs_order():
    assert {name: task.label_names for name, task in TASKS.items()} == {
        "cola": ("unacceptable", "acceptable"),
        "sst2": ("negative", "positive"),
        "mrpc": ("not_equivalent", "equivalent"),
        "qqp": ("not_duplicate", "duplicate"),
        "stsb": (),
        "mnli": ("entailment", "neutral", "contradiction"),
        "qnli": ("entailment", "not_entailment"),
        "rte": ("entailment", "not_entailment"),
    }


def test_mnli_selects_on_mismatched_and_reports_matched():
    assert (TASKS["mnli"].splits.val, TASKS["mnli"].splits.test) == ("validation_mismatched", "validation_matched")
    official = TASKS["mnli"].under("official_dev").splits
    assert (official.rule, official.test) == ("from_train", "validation_matched")


def test_the_reported_numbers_come_first():
    assert {name: task.headline for name, task in TASKS.items() if task.headline != "accuracy"} == {
        "cola": "matthews_correlation",
        "stsb": "pearson",
    }
    assert all(task.max_source_length == 256 and task.max_target_length == 10 for task in GLUE)


@pytest.mark.parametrize(
    ("score", "target"),
    [
        (5, "5.0"),
        (0.0, "0.0"),
        ("2.3", "2.3"),
        (2.25, "2.2"),
        (4.75, "4.8"),
        (3.867, "3.9"),
        (0.85, "0.9"),
        ("1e0", "1.0"),
    ],
)
def test_a_similarity_is_rounded_to_one_decimal_and_its_gold_only_where_published(score, target):
    example = TASKS["stsb"].read({**ROWS["stsb"][0], "label": score})
    assert example.targets == example.references == (target,)
    official = TASKS["stsb"].under("official_dev").read({**ROWS["stsb"][0], "label": score})
    assert official.targets == (target,) and float(official.references[0]) == float(score)
    assert target == str(
        np.round(float(np.float32(score)) * 5 / 5, 1)
    )  # what the published helper makes of the hub's score


def test_the_candidates_of_a_similarity_are_51_numbers():
    candidates = TASKS["stsb"].candidates
    assert len(candidates) == len(set(candidates)) == 51 and candidates[::25] == ("0.0", "2.5", "5.0")


@pytest.mark.parametrize("score", [5.01, -0.1, "high", float("nan"), ""])
def test_a_similarity_outside_its_range_is_refused(score):
    with pytest.raises(BadRow, match=r"stsb: row 'train-3': wanted a score from 0 to 5 as label, given "):
        TASKS["stsb"].read({**ROWS["stsb"][0], "id": "train-3", "label": score})


def test_similarities_are_scored_against_the_exact_gold_under_official_dev():
    task = TASKS["stsb"].under("official_dev")
    rows = [{**ROWS["stsb"][0], "label": label, "id": number} for number, label in enumerate([2.34, 2.26, 2.3])]
    examples = [task.read(row) for row in rows]
    assert {example.targets for example in examples} == {("2.3",)}
    assert task.score({0: "2.4", 1: "2.2", 2: "2.3"}, examples)["pearson"] == pytest.approx(1)
    assert task.score({0: "2.3", 1: "2.3", 2: "2.3"}, examples)["pearson"] == 0.0


def test_questions_cut_by_a_line_break_are_left_out_of_qqp(tmp_path):
    _, header, cells = OFFICIAL["qqp"]
    (tmp_path / "QQP").mkdir()
    broken = ["5\t9\t10\tHow", "long is it?\tWhat is its length?\t1"]
    lines = [header, "\t".join(cells), *broken, "\t".join(cells)]
    (tmp_path / "QQP" / "dev.tsv").write_text("\n".join(lines), encoding="utf-8")
    source = replace(TASKS["qqp"].source, whole={"validation": 2})
    loaded = load_text(tmp_path, "test", replace(TASKS["qqp"].under("official_dev"), source=source))
    assert loaded.counts["dropped_short_lines"] == 2 and len(loaded.examples) == 2


@pytest.fixture(scope="module")
def glue(real):
    return real / "superglue_glue" / "glue"


def cells(path):
    return [line.split("\t") for line in path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")]


@pytest.mark.parametrize(
    ("name", "file", "header", "sentence", "label"),
    [
        ("cola", "CoLA/in_domain_train.tsv", 0, 3, 1),
        ("mrpc", "MRPC/msr_paraphrase_train.txt", 1, 3, 0),
        ("rte", "RTE/train.tsv", 1, 1, 3),
    ],
)
def test_real_training_rows_keep_their_order_texts_and_labels(glue, name, file, header, sentence, label):
    examples, lines = load_text(glue, "train", TASKS[name]).examples, cells(glue / file)[header:]
    assert len(examples) == len(lines) >= 299
    for example, line in zip(examples, lines, strict=True):
        start, end = example.context
        assert example.source[start:end] == line[sentence].strip()
        given = TASKS[name].label_names.index(line[label]) if name == "rte" else line[label]
        assert example.targets == (str(given),)


@pytest.mark.parametrize(
    ("name", "files", "header", "label"),
    [
        ("cola", ("CoLA/in_domain_dev.tsv", "CoLA/out_of_domain_dev.tsv"), 0, 1),
        ("sst2", ("SST-2/dev.tsv",), 0, 1),
        ("mrpc", ("MRPC/msr_paraphrase_test.txt",), 1, 0),
        ("rte", ("RTE/dev.tsv",), 1, 3),
    ],
)
def test_real_development_rows_keep_their_labels(glue, name, files, header, label):
    examples = load_text(glue, "test", TASKS[name].under("official_dev")).examples
    given = [line[label] for file in files for line in cells(glue / file)[header:]]
    numbers = {word: str(number) for number, word in enumerate(TASKS[name].label_names)}
    assert [example.targets[0] for example in examples] == [numbers.get(each, each) for each in given]
    assert set(example.targets[0] for example in examples) == {"0", "1"}


def test_the_whole_of_sts_b_comes_to_the_published_sizes(glue):
    sizes = [len(load_text(glue, split, TASKS["stsb"]).examples) for split in ("train", "val", "test")]
    assert tuple(sizes) == SIZES["stsb"]
    test = load_text(glue, "test", TASKS["stsb"]).examples
    told = TASKS["stsb"].score({example.id: example.targets[0] for example in test}, test)
    # Both sides are the same rounded numbers; a sum of 750 products in fp64 is off by 750 * 2.2e-16 at most.
    assert told["pearson"] == pytest.approx(1, abs=2e-13) and told["invalid_outputs"] == 0
