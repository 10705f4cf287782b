import pytest

from dept_vl.data.vqa2 import join, read_annotations, read_questions
from dept_vl.untrusted.bad_file import BadFile

SUBTYPES = ("train2014", "val2014")


def files(folder):
    questions = [folder / f"v2_OpenEnded_mscoco_{subtype}_questions.json" for subtype in SUBTYPES]
    return questions, [folder / f"v2_mscoco_{subtype}_annotations.json" for subtype in SUBTYPES]


def test_questions_are_joined_with_their_answers_in_order(root):
    rows = join(*files(root.write()))
    assert [row["question_id"] for row in rows] == [1000, 1001, 2000, 2001, 3000, 3001, 4000, 4001]
    assert rows[2] == {
        "question_id": 2000,
        "image_id": 2,
        "question": "What is 0?",
        "image": "COCO_val2014_000000000002.jpg",
        "question_type": "what is",
        "answer_type": "other",
        "answers": ("red",) * 6 + ("blue",) * 3 + ("a rose",),
    }


def test_a_real_row_of_vqa_v2(real):
    folder = real / "coco_open"
    questions, annotations = files(folder)
    [row, *_] = rows = join(questions[:1], annotations[:1])
    assert len(rows) == 22
    assert row["question_id"] == 71002 and row["image"] == "COCO_train2014_000000000071.jpg"
    assert row["question"] == "Is this train headed towards or from the orange building?"
    assert row["answers"][:3] == ("from", "away from", "from") and row["question_type"] == "is this"


def test_thousands_of_real_questions_read_without_a_subtype(real):
    folder = real / "vqa2_text"
    rows = [
        row
        for part in ("valid", "test")
        for row in join([folder / f"vqa_questions_{part}.json.gz"], [folder / f"vqa_annotations_{part}.json.gz"])
    ]
    assert len(rows) == 8977 + 2962 and all(len(row["answers"]) == 10 for row in rows)
    assert all(row["question_id"] // 1000 == row["image_id"] and row["image"] is None for row in rows)


def test_an_annotation_without_its_question_is_refused(root):
    del root.questions()[1]
    message = r"annotations.json: wanted a question for every annotation in .* question_id 1 \(1001\)"
    with pytest.raises(BadFile, match=message):
        join(*files(root.write()))


def test_a_question_without_its_annotation_is_refused(root):
    del root.annotations()[0]
    message = r"train2014_questions.json: wanted an annotation for every question.* 1 \(1000\)"
    with pytest.raises(BadFile, match=message):
        join(*files(root.write()))


def test_question_and_annotation_agree_about_the_image(root):
    root.annotations()[0]["image_id"] = 9
    with pytest.raises(BadFile, match="wanted image_id 1 for question_id 1000, given 9 in its annotation"):
        join(*files(root.write()))


@pytest.mark.parametrize("kind", ["questions", "annotations"])
def test_an_id_twice_in_a_file_is_refused(root, kind):
    items = getattr(root, kind)()
    items.append(items[0])
    with pytest.raises(BadFile, match=r"every question_id once, given repeated .* 1 \(1000\)"):
        join(*files(root.write()))


@pytest.mark.parametrize("kind", ["questions", "annotations"])
def test_an_id_in_two_files_is_refused(root, kind):
    getattr(root, kind)("val2014").append(getattr(root, kind)()[0])
    with pytest.raises(BadFile, match=r"val2014_\w+.json: .* also in an earlier file: 1 \(1000\)"):
        join(*files(root.write()))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("question", "  ", r"questions\[0\]\.question`"),
        ("question", None, r"`str`, got `null` - at `\$\.questions\[0\]\.question`"),
        ("question_id", "7", r"`int`, got `str` - at `\$\.questions\[0\]\.question_id`"),
    ],
)
def test_a_broken_question_is_refused(root, key, value, message):
    root.questions()[0][key] = value
    with pytest.raises(BadFile, match=message):
        read_questions(files(root.write())[0][0])


def test_a_question_without_a_key_is_refused(root):
    del root.questions()[0]["image_id"]
    with pytest.raises(BadFile, match=r"`image_id` - at `\$\.questions\[0\]`"):
        read_questions(files(root.write())[0][0])


def test_a_subtype_that_is_a_path_is_refused(root):
    root.documents["v2_OpenEnded_mscoco_train2014_questions.json"]["data_subtype"] = "../../x"
    with pytest.raises(BadFile, match="data_subtype"):
        read_questions(files(root.write())[0][0])


@pytest.mark.parametrize(
    ("answers", "given"),
    [
        ([], r"annotations\[1\]: wanted at least 4 .* given 0 "),
        ([{"answer": "x"}] * 3, r"annotations\[1\]: wanted at least 4 .* given 3 .* or each answer 4 times"),
        ([{"answer": 4}] * 10, r"annotations\[1\].* `str`, got `int` - at `\$\.answers\[0\]\.answer`"),
    ],
)
def test_an_annotation_without_enough_answers_is_refused(root, answers, given):
    root.annotations()[1]["answers"] = answers
    with pytest.raises(BadFile, match=given):
        read_annotations(files(root.write())[1][0])
