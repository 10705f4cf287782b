import json

import pytest

from dept_vl.data.aokvqa import names_by_coco_id, read_aokvqa
from dept_vl.untrusted.bad_file import BadFile


def entry(**changes):
    row = {"image_id": 5, "question_id": "abc", "question": "Who?", "direct_answers": ["me"] * 10}
    return {**row, **changes}


def read(tmp_path, document):
    path = tmp_path / "aokvqa_v1p0_val.json"
    path.write_text(json.dumps(document))
    return read_aokvqa(path)


def test_a_real_row_of_aokvqa(real):
    rows = read_aokvqa(real / "coco_open" / "aokvqa_v1p0_val.json.gz")
    assert len(rows) == 1145
    assert rows[0] == {
        "question_id": "22jbM6gDxdaMaunuzgrsBB",
        "image_id": 461751,
        "question": "What is in the motorcyclist's mouth?",
        "answers": ("cigarette",) * 10,
        "question_type": None,
        "answer_type": None,
    }


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"questions": []}, "`array`, got `object`"),
        ([], "length >= 1"),
        ([entry(), entry()], r"wanted every question_id once, given 'abc' again at \[1\]"),
        ([entry(question_id=7)], r"`str`, got `int` - at `\$\[0\]\.question_id`"),
        ([entry(direct_answers=["me"])], r"given \[0\]: wanted at least 4 .* given 1 "),
        ([{"question_id": "abc"}], r"`image_id` - at `\$\[0\]`"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, document, message):
    with pytest.raises(BadFile, match=message):
        read(tmp_path, document)


def test_coco_ids_are_read_off_both_years_names():
    names = ["COCO_val2014_000000000285.jpg", "000000000086.jpg", "000000000285.jpg", "cover.jpg"]
    assert names_by_coco_id(names) == {86: "000000000086.jpg", 285: "000000000285.jpg"}
