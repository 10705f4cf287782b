"""Conversations about a picture, and multiple-choice questions as VLMEvalKit has them."""

import pytest

from dept_vl.data.own import read_own
from tests.data.own_files import ROWS, base64_of, write_delimited, write_json, write_parquet, write_pictures

LLAVA = {
    "id": "c1",
    "image": "images/0.png",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "A red square."},
        {"from": "human", "value": "How many?"},
        {"from": "gpt", "value": "1"},
    ],
}
PICTURE, TEXT = {"type": "image"}, {"type": "text", "text": "What is it?"}
TYPED = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [PICTURE, TEXT]},
    {"role": "assistant", "content": [{"type": "text", "text": "A red square."}]},
    {"role": "user", "content": "How many?"},
    {"role": "assistant", "content": "1"},
]
WITH_PATH = [TYPED[0], {"role": "user", "content": [{**PICTURE, "path": "images/0.png"}, TEXT]}, *TYPED[2:]]
WITH_DATA = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64_of(ROWS[0])}"}}
FORMS = {
    "LLaVA": LLAVA,
    "messages": {"id": "c1", "images": ["images/0.png"], "messages": TYPED},
    "messages that hold their picture": {"id": "c1", "messages": WITH_PATH},
    "messages of a chat server": {
        "id": "c1",
        "messages": [{"role": "user", "content": [TEXT, WITH_DATA]}, *TYPED[2:]],
    },
    "nanoVLM": {
        "id": "c1",
        "images": ["images/0.png"],
        "texts": [{"user": "What is it?", "assistant": "A red square."}, {"user": "How many?", "assistant": "1"}],
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_each_pair_of_turns_is_a_question_of_its_own_and_a_note_says_so(tmp_path, form):
    path = write_json(write_pictures(tmp_path) / "chat.json", [FORMS[form]])
    found = read_own(path, family="vqa", cache=tmp_path / "cache")
    rows = found.rows["all"]
    assert [(row["question_id"], row["question"], row["answers"]) for row in rows] == [
        ("c1-1", "What is it?", ("A red square.",)),
        ("c1-2", "How many?", ("1",)),
    ]
    assert len({row["image"] for row in rows}) == 1
    assert any("1 conversations are 2 questions" in note for note in found.notes)
    assert any("1 system turns" in note for note in found.notes) == ("system" in str(FORMS[form]))


def test_turns_of_parquet_read_as_those_of_json(tmp_path):
    path = write_parquet(write_pictures(tmp_path) / "chat.parquet", [LLAVA])
    assert [row["question"] for row in read_own(path, family="vqa").rows["all"]] == ["What is it?", "How many?"]


MCQ = {"index": "7", "question": "Which colour?", "hint": "", "A": "red", "B": "blue", "C": "", "answer": "A"}


def test_options_stand_behind_the_question_and_the_answer_is_the_options_text(tmp_path):
    rows = [
        {**MCQ, "image": base64_of(ROWS[0])},
        {**MCQ, "index": "8", "hint": "Look.", "C": "green", "answer": "C", "image": "7"},
    ]
    found = read_own(write_delimited(tmp_path / "set.tsv", rows, "\t"), family="vqa", cache=tmp_path / "cache")
    first, second = found.rows["all"]
    end = "Please select the correct answer from the options above."
    assert first["question"] == f"Question: Which colour?\nOptions:\nA. red\nB. blue\n{end}"
    assert second["question"] == f"Hint: Look.\nQuestion: Which colour?\nOptions:\nA. red\nB. blue\nC. green\n{end}"
    assert (first["answers"], second["answers"]) == (("red",), ("green",))
    assert first["image"] == second["image"]  # the second names the first's index
    assert [first["question_id"], second["question_id"]] == ["7", "8"]
