"""A user's own files of rows: columns, bad rows by file, line and column, and splits."""

import dataclasses
import json

import pytest

from dept_vl.data.data_root import MissingFile
from dept_vl.data.few_shot import FewShot
from dept_vl.data.own_text import load_own_text, read_own_text
from dept_vl.data.seeded_split import BadShares
from dept_vl.data.sources import EmptySplit
from dept_vl.tasks import OWN_TEXT
from dept_vl.tasks.own_text import with_labels
from dept_vl.untrusted.bad_file import BadFile

SPLITS = {role: (role, None) for role in ("train", "val", "test")}
CLASSES = with_labels(OWN_TEXT, ["bad", "good"])


def write_csv(path, rows, head="text,label"):
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def films(number, first=0):
    return [f"A {'good' if place % 2 else 'dull'} film {place}.,{'good' if place % 2 else 'bad'}"
            for place in range(first, first + number)]  # fmt: skip


def ids(loaded):
    return [example.id for example in loaded.examples]


def test_a_file_of_two_columns_is_read_and_split(tmp_path):
    loaded = load_own_text(write_csv(tmp_path / "films.csv", films(40)), SPLITS, CLASSES)
    assert [len(each.examples) for each in loaded.values()] == [32, 4, 4]
    train = loaded["train"]
    assert train.counts == {"read": 40, "in_split": 32, "examples": 32, "images": 0}
    example = next(each for one in loaded.values() for each in one.examples if each.id == "films-1")
    assert (example.source, example.targets, example.references) == ("A good film 1.", ("good",), ("good",))
    assert train.columns == {"source": "text", "target": "label"}
    first, drawn, sizes = train.notes
    assert first.endswith("films.csv: 'text' is the source, 'label' is the target")
    assert drawn.endswith(": val (0.1) and test (0.1) of the texts held out of train by seed 42")
    assert sizes.endswith(": train 32 rows, val 4 rows, test 4 rows")
    assert len({each for one in loaded.values() for each in ids(one)}) == 40


@pytest.mark.parametrize("form", ["jsonl", "json", "tsv", "parquet", "csv.gz"])
def test_every_form_of_file_gives_the_same_rows(tmp_path, form):
    rows = [dict(zip(("text", "label"), line.rsplit(",", 1), strict=True)) for line in films(20)]
    path = tmp_path / f"films.{form}"
    if form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif form == "json":
        path.write_text(json.dumps(rows))
    elif form == "tsv":
        write_csv(path, [f"{row['text']}\t{row['label']}" for row in rows], "text\tlabel")
    elif form == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        import gzip

        path.write_bytes(gzip.compress("\n".join(["text,label", *films(20)]).encode()))
    loaded = load_own_text(path, SPLITS, CLASSES)
    plain = load_own_text(write_csv(tmp_path / "films.csv", films(20)), SPLITS, CLASSES)
    for role in SPLITS:
        assert [each.source for each in loaded[role].examples] == [each.source for each in plain[role].examples]


def test_columns_are_named_or_fill_any_template(tmp_path):
    path = write_csv(tmp_path / "pairs.csv", [f"p{n},h{n},{n}" for n in range(9)], "premise,the hypothesis,gold")
    task = dataclasses.replace(OWN_TEXT, template="premise: {premise} hypothesis: {other}")
    columns = {"other": "the hypothesis", "target": "gold"}
    rows = read_own_text(path, task, columns=columns).rows
    everything = [row for each in rows.values() for row in each]
    assert {task.fill(row)[0] for row in everything} == {f"premise: p{n} hypothesis: h{n}" for n in range(9)}
    assert {row["target"] for row in everything} == {(str(n),) for n in range(9)}


@pytest.mark.parametrize(
    ("head", "columns", "message"),
    [
        ("review,stars", None, "own.csv: wanted a column for the source, such as source, text, input, sentence, given "
                               "the columns review, stars. Say which it is: --task.columns.source NAME"),
        ("text,stars", None, "wanted a column for the target"),
        ("text,lable", None, "Did you mean 'lable'. Say which it is: --task.columns.target lable"),
        ("text,label", {"source": "txt"}, "wanted the column 'txt' that task.columns.source names, given the columns "
                                          r"text, label. Did you mean 'text'\?"),
        ("text,label", {"sourc": "text"}, r"wanted task.columns of source, target, id, split, given 'sourc'. Did "),
    ],
)  # fmt: skip
def test_a_column_that_is_not_there_is_told_with_those_that_are(tmp_path, head, columns, message):
    path = write_csv(tmp_path / "own.csv", films(5), head)
    with pytest.raises(BadFile, match=message):
        load_own_text(path, SPLITS, CLASSES, columns=columns)


BAD = {
    "an empty cell": ('{"text": "", "label": "bad"}', "line 3, column 'text': wanted text, given an empty cell"),
    "a missing value": ('{"text": null, "label": "bad"}', "line 3, column 'text': wanted text, given nothing"),
    "a missing field": ('{"label": "bad"}', "line 3, column 'text': wanted text, given nothing"),
    "a list": ('{"text": ["a"], "label": "bad"}', r"line 3, column 'text': wanted text, given a list: \['a'\]"),
    "an object": ('{"text": "a", "label": {"b": 1}}', "line 3, column 'label': wanted text, .* given an object"),
    "an unknown class": ('{"text": "a", "label": "god"}',
                         r"'label': wanted one of task.labels \(bad, good\), given 'god'. Did you mean 'good'\?"),
    "no class by place": ('{"text": "a", "label": 1}', "line 3, column 'label': wanted one of .* given '1'"),
    "two classes": ('{"text": "a", "label": ["bad", "good"]}', "column 'label': .* given 'bad, good'"),
    "an unknown split": ('{"text": "a", "label": "bad", "split": "trian"}',
                         r"line 3, column 'split': wanted one of train, .* given 'trian'. Did you mean 'train'\?"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_refused_by_file_line_and_column_or_left_out_and_listed(tmp_path, name):
    line, message = BAD[name]
    split = ["train", "val", "test", "train"]
    good = [{"text": f"film {n}", "label": "good", "split": split[n % 4]} for n in range(12)]
    if "split" not in line:
        line = line[:-1] + ', "split": "train"}'
    lines = [json.dumps(row) for row in good]
    path = tmp_path / "films.jsonl"
    path.write_text("\n".join([*lines[:2], line, *lines[2:]]) + "\n")
    with pytest.raises(BadFile, match=f"films.jsonl, .*{message}"):
        load_own_text(path, SPLITS, CLASSES)
    loaded = load_own_text(path, SPLITS, CLASSES, on_bad_row="skip")
    assert [len(each.examples) for each in loaded.values()] == [6, 3, 3]
    assert loaded["test"].counts["skipped_bad_rows"] == 1 and loaded["test"].counts["read"] == 13
    [skipped] = loaded["test"].skipped
    assert (
        skipped["file"] == str(path)
        and skipped["place"] == "line 3"
        and skipped["column"] in ("text", "label", "split")
    )
    assert any("1 rows left out; the first: " in note and "line 3" in note for note in loaded["test"].notes)


def test_not_a_number_in_parquet_is_refused(tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [{"text": "a", "label": 1.5}, {"text": "b", "label": float("nan")}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "own.parquet")
    with pytest.raises(BadFile, match="row 2, column 'label': wanted text, given NaN"):
        load_own_text(tmp_path / "own.parquet", SPLITS, OWN_TEXT)


def test_a_line_with_too_few_cells_is_refused_or_counted(tmp_path):
    path = write_csv(tmp_path / "films.csv", [*films(20), "alone", "one,good,more"])
    with pytest.raises(BadFile, match=r"films.csv, line 22: wanted 2 cells in line 22"):
        load_own_text(path, SPLITS, CLASSES)
    skipped = load_own_text(path, SPLITS, CLASSES, on_bad_row="skip")["train"].skipped
    assert [each["place"] for each in skipped] == ["line 22", "line 23"]


def test_a_broken_line_of_json_is_left_out_where_rows_may_be(tmp_path):
    path = tmp_path / "films.jsonl"
    good = [json.dumps({"text": f"film {n}", "label": "good"}) for n in range(20)]
    path.write_text("\n".join([*good[:3], '{"text": "cut', "", *good[3:]]) + "\n")
    with pytest.raises(BadFile, match="films.jsonl, line 4: "):
        load_own_text(path, SPLITS, CLASSES)
    [skipped] = load_own_text(path, SPLITS, CLASSES, on_bad_row="skip")["train"].skipped
    assert skipped["place"] == "line 4"  # and a blank line is no row
    path.write_text("not JSON\n")
    with pytest.raises(BadFile, match="films.jsonl"):
        load_own_text(path, SPLITS, CLASSES, on_bad_row="skip")


def test_a_table_writes_quotes_and_nothing_as_pandas_does(tmp_path):
    path = tmp_path / "films.tsv"
    path.write_text("text\tlabel\n" + "".join(f'"film ""{n}"""\tgood\n' for n in range(12)) + "film\tnan\n")
    with pytest.raises(BadFile, match="line 14, column 'label': wanted text"):
        load_own_text(path, SPLITS, CLASSES)
    examples = load_own_text(path, {"a": ("all", None)}, CLASSES, on_bad_row="skip")["a"].examples
    assert examples[0].source.endswith('film "0"') and len(examples) == 12


def test_a_split_column_is_followed_and_what_it_lacks_is_held_out(tmp_path):
    rows = [f"{line},{'Test' if place < 5 else 'train'}" for place, line in enumerate(films(45))]
    loaded = load_own_text(write_csv(tmp_path / "films.csv", rows, "text,label,split"), SPLITS, CLASSES)
    assert [len(each.examples) for each in loaded.values()] == [36, 4, 5]
    assert ids(loaded["test"]) == [f"films-{place}" for place in range(5)]
    assert any("val (0.1) of the texts held out of train by seed 42" in note for note in loaded["train"].notes)


def test_files_are_splits_and_ids_name_their_file(tmp_path):
    for name, first in (("train", 0), ("validation", 20), ("test", 30)):
        write_csv(tmp_path / f"{name}.csv", [f"{place % 10},{line}" for place, line in enumerate(films(10, first))],
                  "id,text,label")  # fmt: skip
    loaded = load_own_text(tmp_path, SPLITS, CLASSES)
    assert [ids(loaded[role])[3] for role in SPLITS] == ["train-3", "validation-3", "test-3"]
    assert len(load_own_text(tmp_path, {"test": ("all", None)}, CLASSES)["test"].examples) == 30


def test_an_id_column_names_rows_where_it_tells_them_apart(tmp_path):
    numbered = [f"{100 + place},{line}" for place, line in enumerate(films(12))]
    path = write_csv(tmp_path / "films.csv", numbered, "id,text,label")
    assert set(ids(load_own_text(path, {"a": ("all", None)}, CLASSES)["a"])) == {str(100 + n) for n in range(12)}
    path = write_csv(tmp_path / "films.csv", [f"7,{line}" for line in films(12)], "id,text,label")
    assert "films-3" in ids(load_own_text(path, {"a": ("all", None)}, CLASSES)["a"])
    with pytest.raises(BadFile, match="line 3, column 'id': wanted every id once, given '7' again"):
        load_own_text(path, SPLITS, CLASSES, columns={"id": "id"})


def test_the_same_text_is_never_on_two_sides(tmp_path):
    rows = [f"film {place % 15},{'good' if place % 2 else 'bad'}" for place in range(90)]
    loaded = load_own_text(write_csv(tmp_path / "films.csv", rows), SPLITS, CLASSES)
    sides = [{each.source for each in one.examples} for one in loaded.values()]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 15


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ((), MissingFile, "or one file of all rows, given no file of rows"),
        (("a.csv", "b.csv"), MissingFile, "or one file of all rows, given a.csv, b.csv"),
        (("test.csv",), MissingFile, "wanted train"),
        (("train.csv", "train.tsv"), BadFile, "wanted one file for train, given a second one beside train.csv"),
    ],
)
def test_a_folder_without_one_set_of_files_is_told(tmp_path, files, error, message):
    for name in files:
        write_csv(tmp_path / name, films(3))
    with pytest.raises(error, match=message.replace("{", r"\{")):
        load_own_text(tmp_path, SPLITS, CLASSES)


def test_few_rows_no_rows_and_unknown_splits_are_told(tmp_path):
    path = write_csv(tmp_path / "films.csv", films(2))
    with pytest.raises(BadFile, match="wanted at least 3 texts that differ, for train, val, test, given 2"):
        load_own_text(path, SPLITS, CLASSES)
    whole = load_own_text(path, {"test": ("all", None)}, CLASSES)["test"]
    assert len(whole.examples) == 2 and whole.notes[-1].endswith("films.csv: all 2 rows")
    with pytest.raises(MissingFile, match="nowhere: wanted your own file"):
        load_own_text(tmp_path / "nowhere", SPLITS, CLASSES)
    path = write_csv(tmp_path / "films.csv", [f"{line},test" for line in films(9)], "text,label,split")
    with pytest.raises(EmptySplit, match="wanted at least one row in split 'train', given none .*test 9"):
        load_own_text(path, SPLITS, CLASSES)
    assert len(load_own_text(path, {"test": ("test", 4)}, CLASSES)["test"].examples) == 4
    with pytest.raises(EmptySplit, match="task.test_split: wanted one of train, val, test, all, given 'tets'"):
        load_own_text(path, {"test": ("tets", None)}, CLASSES)


def test_few_shot_draws_each_class(tmp_path):
    path = write_csv(tmp_path / "films.csv", films(60))
    train = load_own_text(path, SPLITS, CLASSES, few_shot=FewShot(k=3))["train"]
    assert sorted(each.targets[0] for each in train.examples) == ["bad"] * 3 + ["good"] * 3


def test_numbers_are_read_as_they_are_written_and_an_unread_column_is_left_alone(tmp_path):
    rows = [{"id": 7, "text": place / 2, "label": bool(place % 2)} for place in range(12)]
    path = tmp_path / "own.json"
    path.write_text(json.dumps(rows))
    examples = load_own_text(path, {"a": ("all", None)}, OWN_TEXT, columns={"id": ""})["a"].examples
    assert {each.source for each in examples} >= {"0", "0.5", "5", "5.5"}
    assert {each.targets for each in examples} == {("true",), ("false",)}


def test_texts_that_given_splits_share_are_said_and_the_shares_kept(tmp_path):
    write_csv(tmp_path / "train.csv", films(10))
    write_csv(tmp_path / "test.csv", films(3, first=8))
    loaded = load_own_text(tmp_path, SPLITS, CLASSES, shares=(0.7, 0.2, 0.1))["train"]
    [note] = [note for note in loaded.notes if " share " in note]
    assert "share 2 (" in note and "A good film 9." in note and loaded.shares == (0.7, 0.2, 0.1)
    with pytest.raises(BadShares, match="task.split_shares: .*given .0.7, 0.2."):
        load_own_text(tmp_path, SPLITS, CLASSES, shares=(0.7, 0.2))
