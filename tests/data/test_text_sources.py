import dataclasses
import gzip
import io
import json

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from dept_vl.data.data_root import BadFile, MissingFile
from dept_vl.data.few_shot import BadFewShot, FewShot
from dept_vl.data.sources import EmptySplit
from dept_vl.data.text_sources import HubError, WrongSizes, load_text
from dept_vl.data.text_splits import BadSplit, permutation
from dept_vl.tasks.source import Files, Source, Splits
from dept_vl.tasks.text_task import Answer, BadRow, TextTask
from tests.data.test_text_splits import text_tasks

SOURCE = Source(
    hub="somebody/kettle-set",
    subset="small",
    folders=("Kettles", "kettle-files"),
    files={
        "train": (Files(("train.tsv",)), Files(("one.jsonl", "two.jsonl"))),
        "validation": (Files(("dev.tsv",)),),
    },
    home="the kettle makers' site",
)
TASK = TextTask(
    name="kettles",
    source=SOURCE,
    splits=Splits("halve"),
    template="text: {text}",
    context="text",
    scores=lambda task, predictions, examples: {"accuracy": 0.0},
    selecting=("accuracy",),
    protocols={"as_published": {}},
    label_names=("cold", "hot"),
)
OWN = dataclasses.replace(TASK, splits=Splits("own"))
ROWS = [{"text": f"kettle {n}", "label": n % 2} for n in range(30)]


def tsv(rows):
    return "text\tlabel\n" + "".join(f"{row['text']}\t{row['label']}\n" for row in rows)


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(rows):
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def ids(loaded):
    return [example.id for example in loaded.examples]


@pytest.fixture
def root(tmp_path):
    """30 rows of train and 11 of validation, in the layout of the set's own site."""
    put(tmp_path / "root" / "Kettles" / "train.tsv", tsv(ROWS))
    put(tmp_path / "root" / "Kettles" / "dev.tsv", tsv(ROWS[:11]))
    return tmp_path / "root"


def test_train_is_whole_and_in_order(root):
    loaded = load_text(root, "train", TASK)
    assert ids(loaded) == [f"train-{n}" for n in range(30)] and loaded.image_paths == {}
    assert loaded.examples[3].source == "text: kettle 3" and loaded.examples[3].targets == ("1",)
    assert loaded.counts == {"read": 30, "in_split": 30, "dropped_no_answer": 0, "examples": 30, "images": 0}


def test_halves_are_rows_of_the_published_permutation(root):
    val, test = (load_text(root, split, TASK) for split in ("val", "test"))
    assert ids(val) + ids(test) == [f"validation-{n}" for n in permutation(11)]
    assert val.counts == {"read": 11, "in_split": 5, "dropped_no_answer": 0, "examples": 5, "images": 0}
    assert [each.source for each in test.examples] == [f"text: kettle {n}" for n in permutation(11)[5:]]


def test_held_out_rows_leave_train(root):
    task = dataclasses.replace(TASK, splits=Splits("from_train", most_train=20))
    train, val, test = (load_text(root, split, task) for split in ("train", "val", "test"))
    assert ids(val) == [f"train-{n}" for n in permutation(30)[:3]]
    assert ids(train) == [f"train-{n}" for n in permutation(30)[3:23]]
    assert ids(test) == [f"validation-{n}" for n in range(11)]


def test_limit_takes_the_first_and_keeps_the_size_of_the_split(root):
    whole, part = load_text(root, "test", TASK), load_text(root, "test", TASK, limit=2)
    assert part.examples == whole.examples[:2]
    assert part.counts["in_split"] == 6 and part.counts["examples"] == 2


@pytest.mark.parametrize("base", ["", "glue", "superglue", "mrqa", "kettles"])
@pytest.mark.parametrize("folder", ["Kettles", "kettle-files", ""])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
def test_official_files_are_found_where_people_unpack_them(tmp_path, base, folder, packed):
    data = tsv(ROWS).encode()
    put(tmp_path / base / folder / ("train.tsv" + ".gz" * packed), gzip.compress(data) if packed else data)
    assert len(load_text(tmp_path, "train", TASK).examples) == 30


def test_names_of_one_alternative_are_read_one_after_another(tmp_path):
    put(tmp_path / "Kettles" / "one.jsonl", jsonl(ROWS[:4]))
    put(tmp_path / "Kettles" / "two.jsonl.gz", gzip.compress(jsonl(ROWS[4:9]).encode()))
    loaded = load_text(tmp_path, "train", TASK)
    assert ids(loaded) == [f"train-{n}" for n in range(9)]
    assert loaded.examples[4].source == "text: kettle 4"


def test_the_first_alternative_wins(root):
    put(root / "Kettles" / "one.jsonl", jsonl(ROWS[:4]))
    put(root / "Kettles" / "two.jsonl", jsonl(ROWS[:4]))
    put(root / "small" / "train-00000-of-00001.parquet", parquet(ROWS[:5]))
    assert len(load_text(root, "train", TASK).examples) == 30


def test_two_copies_of_a_file_are_refused(root):
    put(root / "Kettles" / "train.tsv.gz", gzip.compress(tsv(ROWS).encode()))
    with pytest.raises(BadFile, match=r"train\.tsv\.gz: wanted one copy of train\.tsv, given a second one beside"):
        load_text(root, "train", TASK)


@pytest.mark.parametrize(
    "place",
    ["", "small", "data", "plain_text", "kettle-set/small", "kettle-set", "kettle-set/data", "glue/kettle-set/small"],
)
def test_a_hub_download_is_read_shard_by_shard(tmp_path, place):
    put(tmp_path / place / "train-00001-of-00002.parquet", parquet(ROWS[20:]))
    put(tmp_path / place / "train-00000-of-00002.parquet", parquet(ROWS[:20]))
    put(tmp_path / place / "train_odd-00000-of-00001.parquet", parquet(ROWS[:2]))
    loaded = load_text(tmp_path, "train", TASK)
    assert [each.source for each in loaded.examples] == [f"text: kettle {n}" for n in range(30)]


def test_a_lost_shard_is_noticed(tmp_path):
    put(tmp_path / "small" / "train-00000-of-00002.parquet", parquet(ROWS[:20]))
    with pytest.raises(BadFile, match="train-00000-of-00002.parquet: wanted 2 shards beside each other, given 1"):
        load_text(tmp_path, "train", TASK)


def test_what_datasets_writes_is_what_official_files_say(root, tmp_path):
    """Classes as numbers of a ClassLabel there, as strings here: the examples are the same."""
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["cold", "hot"])}
    )
    (tmp_path / "small").mkdir()
    datasets.Dataset.from_list(ROWS, features=features).to_parquet(tmp_path / "small" / "train-00000-of-00001.parquet")
    assert load_text(tmp_path, "train", TASK) == load_text(root, "train", TASK)


def test_the_hub_is_asked_for_the_published_split(root, monkeypatch):
    asked = []

    def load_dataset(hub, subset, split):
        asked.append((hub, subset, split))
        return datasets.Dataset.from_list(ROWS[:11])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load_text("hub", "test", TASK) == load_text(root, "test", TASK)
    assert asked == [("somebody/kettle-set", "small", "validation")]


@pytest.mark.parametrize("error", [ConnectionError("no route\nat all"), ValueError("Unknown split"), RuntimeError()])
def test_a_failing_hub_says_what_it_needs(monkeypatch, error):
    def load_dataset(hub, subset, split):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    given = f"{type(error).__name__}: {(str(error) or type(error).__name__).splitlines()[0]}. It needs the network"
    message = rf"kettles: wanted split 'train' of somebody/kettle-set \(small\) from the hub, given {given}"
    with pytest.raises(HubError, match=message) as caught:
        load_text("hub", "train", TASK)
    for wanted in ("HF_HUB_OFFLINE=1", "<root>/Kettles", "the kettle makers' site"):
        assert wanted in str(caught.value)


def test_a_set_that_the_hub_has_not_is_refused():
    task = dataclasses.replace(TASK, source=dataclasses.replace(SOURCE, hub=None))
    with pytest.raises(HubError, match="kettles: wanted a set that the hub has, .* come from the kettle makers' site"):
        load_text("hub", "train", task)


def test_a_missing_set_says_what_goes_where_and_how_to_get_it(tmp_path):
    with pytest.raises(MissingFile) as caught:
        load_text(tmp_path, "train", TASK)
    for wanted in (
        "kettles: wanted its split 'train' as train.tsv, or one.jsonl with two.jsonl, or train-*.parquet",
        f"for instance {tmp_path}/Kettles/train.tsv; given none below {tmp_path}",
        "It comes from the kettle makers' site, or --task.root hub to fetch somebody/kettle-set",
    ):
        assert wanted in str(caught.value)
    with pytest.raises(
        MissingFile, match="nowhere: wanted a folder laid out as in data/README.md, given no such folder"
    ):
        load_text(tmp_path / "nowhere", "train", TASK)


def test_half_an_alternative_is_named(tmp_path):
    put(tmp_path / "Kettles" / "two.jsonl", jsonl(ROWS[:4]))
    with pytest.raises(MissingFile, match=r"given only \S+/Kettles/two\.jsonl below"):
        load_text(tmp_path, "train", TASK)


def test_unfolded_records_are_numbered_as_rows(tmp_path):
    """One object with all rows inside, as SQuAD's official file; a hub row passes as it is."""

    def unfold(record):
        return record["shelves"] if "shelves" in record else [record]

    files = {"train": (Files(("train.json",)),)}
    task = dataclasses.replace(OWN, source=dataclasses.replace(SOURCE, files=files, unfold=unfold))
    put(tmp_path / "Kettles" / "train.json", json.dumps({"shelves": ROWS[:7]}))
    put(tmp_path / "other" / "train.parquet", parquet(ROWS[:7]))
    loaded = load_text(tmp_path, "train", task)
    assert ids(loaded) == [f"train-{n}" for n in range(7)] and loaded.counts["read"] == 7
    assert load_text(tmp_path / "other", "train", task) == loaded
    put(tmp_path / "Kettles" / "train.json", json.dumps({"shelves": None}))
    message = r"train\.json: wanted record 1 in the set's official form, given TypeError: .*, with shelves"
    with pytest.raises(BadFile, match=message):
        load_text(tmp_path, "train", task)


def test_a_row_that_is_expanded_gives_numbered_examples(root):
    def expand(row):
        return [{**row, "text": f"{row['text']}, cup {cup}"} for cup in range(int(row["text"].split()[1]) % 3)]

    task = dataclasses.replace(OWN, expand=expand)
    loaded = load_text(root, "train", task, limit=4)
    assert ids(loaded) == ["train-1", "train-2-0", "train-2-1", "train-4"]
    assert loaded.examples[2].source == "text: kettle 2, cup 1"
    assert loaded.counts["in_split"] == 30 and loaded.counts["read"] == 30 and loaded.counts["examples"] == 4
    with pytest.raises(
        BadRow, match=r"train\.tsv: kettles: row 'train-0': wanted the field 'cups', given text, label, id"
    ):
        load_text(root, "train", dataclasses.replace(OWN, expand=lambda row: row["cups"]))


def test_training_may_keep_some_rows_only(root):
    splits = Splits("halve", trained=lambda row: row["label"] == "1")
    task = dataclasses.replace(TASK, splits=splits)
    loaded = load_text(root, "train", task)
    assert ids(loaded) == [f"train-{n}" for n in range(1, 30, 2)] and loaded.counts["in_split"] == 15
    for split in ("val", "test"):
        assert load_text(root, split, task) == load_text(root, split, TASK)


def test_rows_without_an_answer_are_dropped_and_counted(root):
    def answers(task, row):
        return Answer((), ()) if row["text"].endswith("7") else Answer((row["label"],), (row["label"],))

    loaded = load_text(root, "train", dataclasses.replace(OWN, answers=answers))
    assert "train-7" not in ids(loaded) and "train-8" in ids(loaded)
    assert loaded.counts == {"read": 30, "in_split": 30, "dropped_no_answer": 3, "examples": 27, "images": 0}
    with pytest.raises(
        EmptySplit, match=r"train\.tsv: wanted at least one example in split 'train', given none \(counts"
    ):
        load_text(root, "train", dataclasses.replace(OWN, answers=lambda task, row: Answer((), ())))


def test_a_whole_set_has_the_published_sizes(root):
    source = dataclasses.replace(SOURCE, whole={"train": 30, "validation": 11})
    right = dataclasses.replace(TASK, source=source, splits=Splits("halve", sizes=(30, 5, 6)))
    assert [len(load_text(root, split, right).examples) for split in ("train", "val", "test")] == [30, 5, 6]
    wrong = dataclasses.replace(TASK, source=source, splits=Splits("halve", sizes=(30, 6, 5)))
    assert load_text(root, "train", wrong).counts["examples"] == 30
    for split, wanted, given in (("val", 6, 5), ("test", 5, 6)):
        message = f"kettles: wanted {wanted} examples in {split} of the whole set under as_published, given {given}"
        with pytest.raises(WrongSizes, match=message):
            load_text(root, split, wrong, limit=1)
    part = dataclasses.replace(wrong, source=dataclasses.replace(SOURCE, whole={"train": 30, "validation": 12}))
    assert load_text(root, "val", part).counts["read"] == 11


def test_short_lines_belong_to_a_whole_set_only(root):
    lines = tsv(ROWS).splitlines(keepends=True)
    put(root / "Kettles" / "train.tsv", "".join([*lines[:4], "a kettle cut\n", *lines[4:]]))
    with pytest.raises(BadFile, match=r"train\.tsv: wanted 2 cells in line 5 \(text, label\), given 1: 'a kettle cut'"):
        load_text(root, "train", TASK)
    whole = dataclasses.replace(TASK, source=dataclasses.replace(SOURCE, whole={"train": 30}))
    loaded = load_text(root, "train", whole)
    assert loaded.counts["dropped_short_lines"] == 1 and ids(loaded) == [f"train-{n}" for n in range(30)]


def test_few_shot_draws_from_train_before_the_limit(root):
    whole = load_text(root, "train", TASK, few_shot=FewShot(k=4))
    assert [each.targets[0] for each in whole.examples].count("0") == 4 == len(whole.examples) / 2
    assert load_text(root, "train", TASK, limit=3, few_shot=FewShot(k=4)).examples == whole.examples[:3]
    assert whole.counts == {"read": 30, "in_split": 30, "dropped_no_answer": 0, "examples": 8, "images": 0}
    with pytest.raises(BadFewShot, match="kettles: wanted 16 training examples of the class 'cold', given 15"):
        load_text(root, "train", TASK, limit=3, few_shot=FewShot(k=16))


def test_few_shot_leaves_test_alone_and_val_unless_asked(root):
    for split in ("val", "test"):
        assert load_text(root, split, TASK, few_shot=FewShot(k=2)) == load_text(root, split, TASK)
    assert load_text(root, "test", TASK, few_shot=FewShot(k=2, val="k")) == load_text(root, "test", TASK)
    val = load_text(root, "val", TASK, few_shot=FewShot(k_total=3, val="k"))
    assert val.counts["few_shot_val"] == 3 == len(val.examples) and val.counts["in_split"] == 5
    assert load_text(root, "val", TASK, few_shot=FewShot(k_total=30, val="k")).counts["few_shot_val"] == 5


@pytest.mark.parametrize("limit", [0, -4])
def test_a_limit_below_one_is_refused(root, limit):
    with pytest.raises(ValueError, match=f"limit: wanted at least 1 or None for everything, given {limit}"):
        load_text(root, "train", TASK, limit=limit)


def test_an_unknown_split_is_refused(root):
    with pytest.raises(BadSplit, match=r"split: wanted one of train, val, test, given 'trian'. Did you mean 'train'\?"):
        load_text(root, "trian", TASK)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ("text\tlabel\n", BadFile, r"train\.tsv: wanted at least one row, given an empty file"),
        ("text\tname\na\t1\n", BadRow,
         r"train\.tsv: kettles: row 'train-0': wanted the field 'label', given text, name, id"),
        ("text\tlabel\na\t1\nb\t2\n", BadRow,
         r"train\.tsv: kettles: row 'train-1': label outside the set: wanted one of 0 \(cold\), 1 \(hot\), given '2'"),
        ("text\tlabel\na\t1\n\n", None, ""),
        ("text\tlabel\na\t1\textra\n", BadFile, r"train\.tsv: wanted 2 cells in line 2 \(text, label\), given 3"),
    ],
)  # fmt: skip
def test_bad_rows_name_the_file_and_the_row(root, rows, error, message):
    put(root / "Kettles" / "train.tsv", rows)
    if error is None:
        assert ids(load_text(root, "train", TASK)) == ["train-0"]
        return
    with pytest.raises(error, match=message):
        load_text(root, "train", TASK)


# The published files that stand beside the project; whole where the number of rows is the set's.
REAL = ["cola", "sst2", "rte", "stsb", "mrpc", "superglue-boolq", "superglue-cb", "superglue-copa"]
REAL += ["superglue-multirc", "superglue-rte", "superglue-wic", "superglue-wsc.fixed"]


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("name", REAL)
def test_real_rows_of_every_split(real, name, split):
    for protocol in text_tasks()[name].protocols:
        task = text_tasks()[name].under(protocol)
        loaded = load_text(real / "superglue_glue", split, task)
        assert len(loaded.examples) == loaded.counts["in_split"] - loaded.counts["dropped_no_answer"] > 0
        assert len(set(ids(loaded))) == len(loaded.examples)
        assert all(each.source and each.targets and each.references for each in loaded.examples)
        answers = {each.targets[0] for each in loaded.examples}
        assert not task.candidates or answers <= set(task.candidates)
        assert len(answers) > 1 or split != "test"  # the others are the few rows of a small part


@pytest.mark.parametrize(
    ("name", "protocol", "split", "examples"),
    [
        ("superglue-boolq", "as_published", "test", 1635),
        ("superglue-boolq", "official_dev", "test", 3270),
        ("superglue-cb", "as_published", "val", 28),
        ("superglue-copa", "as_published", "test", 50),
        ("superglue-wsc.fixed", "as_published", "test", 52),
        ("superglue-multirc", "as_published", "val", 2424),
        ("superglue-rte", "as_published", "test", 139),
        ("stsb", "as_published", "train", 5749),
        ("stsb", "as_published", "test", 750),
    ],
)
def test_whole_real_sets_come_to_the_published_sizes(real, name, protocol, split, examples):
    loaded = load_text(real / "superglue_glue", split, text_tasks()[name].under(protocol))
    assert len(loaded.examples) == loaded.counts["in_split"] == examples


def test_few_shot_of_real_rows(real):
    root = real / "superglue_glue"
    stsb = load_text(root, "train", text_tasks()["stsb"], few_shot=FewShot(k=16, draw=1))
    assert [float(each.targets[0]) > 2.5 for each in stsb.examples].count(True) == 16 == len(stsb.examples) / 2
    cola = load_text(root, "train", text_tasks()["cola"], few_shot=FewShot(k=8))
    assert [each.targets[0] for each in cola.examples].count("1") == 8 == len(cola.examples) / 2
