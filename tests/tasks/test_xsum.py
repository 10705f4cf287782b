import json

import pytest

from dept_vl.data.text_sources import load_text
from dept_vl.data.text_splits import published_split
from dept_vl.tasks.text_task import BadRow
from dept_vl.tasks.xsum import XSUM

[TASK] = XSUM
ROW = {
    "id": "10000001",
    "document": "A ferry ran aground off Skerry Point on Monday.\nAll 40 passengers were taken ashore.",
    "summary": " Forty people were rescued when a ferry hit rocks. ",
}


def test_an_article_and_its_summary():
    example = TASK.read(ROW)
    assert example.source == f"document: {ROW['document']}"
    assert example.source[slice(*example.context)] == ROW["document"]
    assert example.targets == example.references == ("Forty people were rescued when a ferry hit rocks.",)


def test_rouge_l_of_one_row():
    # forty PEOPLE WERE RESCUED when A FERRY hit rocks: 5 of 6 words given, of 9 wanted
    result = TASK.score({ROW["id"]: "People were rescued from a ferry"}, [TASK.read(ROW)])
    assert result["rougeL"] == pytest.approx(2 * 5 / (6 + 9))
    assert TASK.headline == "rougeL" and TASK.selecting == ("rougeL",)
    assert TASK.score({ROW["id"]: ROW["summary"]}, [TASK.read(ROW)])["rougeL"] == 1.0


def test_an_article_without_a_summary_gives_no_example():
    assert TASK.read({**ROW, "summary": " "}) is None


def test_a_summary_that_rouge_cannot_count_is_refused_not_scored_0():
    with pytest.raises(BadRow, match="xsum: row '10000001': wanted a summary in letters a to z, .* given '四十人获救'"):
        TASK.read({**ROW, "summary": "四十人获救"})
    assert TASK.read({**ROW, "summary": "Zürich: 40 人"}).targets == ("Zürich: 40 人",)


@pytest.mark.parametrize("field", ["document", "summary"])
def test_a_missing_field_is_named(field):
    row = {name: value for name, value in ROW.items() if name != field}
    with pytest.raises(BadRow, match=f"xsum: row '10000001': wanted the field '{field}', given id, "):
        TASK.read(row)


def test_as_published_selects_and_reports_on_dev_and_official_dev_has_the_sets_own_test():
    for protocol, wanted in (("as_published", "validation"), ("official_dev", "test")):
        splits = TASK.under(protocol).splits
        assert published_split(splits, "val") == "validation" and published_split(splits, "test") == wanted


def test_rows_as_json_lines_or_csv_are_read(tmp_path):
    (tmp_path / "xsum").mkdir()
    (tmp_path / "xsum" / "validation.jsonl").write_text(json.dumps(ROW) + "\n")
    document = ROW["document"].replace("\n", " ")
    (tmp_path / "xsum" / "test.csv").write_text(f'id,document,summary\n10000001,"{document}",A ferry sank.\n')
    assert load_text(tmp_path, "test", TASK).examples[0].targets == TASK.read(ROW).targets
    [example] = load_text(tmp_path, "test", TASK.under("official_dev")).examples
    assert (example.id, example.source, example.targets) == ("test-0", f"document: {document}", ("A ferry sank.",))
