import pytest

from dept_vl.data import karpathy as karpathy_module
from dept_vl.data.karpathy import (
    WHOLE_IMAGES,
    WHOLE_QUESTIONS,
    KarpathyImage,
    check_whole_images,
    members_digest,
    split_questions,
)
from dept_vl.untrusted.bad_file import BadFile


def images(**splits):
    return {i: KarpathyImage(i, split, f"{i}.jpg", "val2014", []) for split, ids in splits.items() for i in ids}


def rows(*image_ids):
    return [{"question_id": 1000 * i + k, "image_id": i} for i in image_ids for k in range(2)]


@pytest.fixture
def small_whole(monkeypatch):
    """Six images and twelve questions count as the whole set."""
    monkeypatch.setattr(karpathy_module, "WHOLE_IMAGES", {"train": 3, "val": 2, "test": 1})
    monkeypatch.setattr(karpathy_module, "WHOLE_QUESTIONS", {"train": 6, "val": 4, "test": 2})
    digests = {"val": members_digest([4, 5]), "test": members_digest([6])}
    monkeypatch.setattr(karpathy_module, "WHOLE_MEMBERS", digests)


def test_the_whole_split_has_the_published_sums():
    assert sum(WHOLE_IMAGES.values()) == 123_287 == 82_783 + 40_504
    assert sum(WHOLE_QUESTIONS.values()) == 658_111 == 443_757 + 214_354


def test_every_question_follows_its_image():
    split = split_questions(rows(3, 1, 2), images(train=[1], val=[2], test=[3]), "f")
    ids = {name: [row["question_id"] for row in members] for name, members in split.items()}
    assert ids == {"train": [1000, 1001], "val": [2000, 2001], "test": [3000, 3001]}


def test_a_question_whose_image_is_in_no_split_is_refused():
    message = r"f.json: wanted the image of every question \(or split 'all'.*given none .* 2 \(9000, 9001\)"
    with pytest.raises(BadFile, match=message):
        split_questions(rows(1, 9), images(train=[1]), "f.json")


def test_the_whole_set_passes_and_so_does_a_part(small_whole):
    whole = images(train=[1, 2, 3], val=[4, 5], test=[6])
    assert len(split_questions(rows(1, 2, 3, 4, 5, 6), whole, "f")["train"]) == 6
    assert len(split_questions(rows(1, 2), images(train=[1], val=[2]), "f")["val"]) == 2


def test_a_whole_set_with_other_image_counts_is_refused(small_whole):
    message = r"f: wanted the images .* \(train 3, val 2, test 1\), given train 2, val 3, test 1"
    with pytest.raises(BadFile, match=message):
        check_whole_images(images(train=[1, 2], val=[3, 4, 5], test=[6]), "f")


def test_a_whole_set_split_anew_is_refused(small_whole):
    with pytest.raises(BadFile, match="Karpathy's val images, not a split drawn anew, given 2 other"):
        check_whole_images(images(train=[1, 2, 5], val=[3, 4], test=[6]), "f")


def test_a_whole_set_with_other_question_counts_is_refused(small_whole):
    moved = [*rows(1, 2, 4, 5, 6), *rows(4)]  # image 3 lost its questions, image 4 has theirs
    message = r"wanted the questions .* \(train 6, val 4, test 2\), given train 4, val 6, test 2"
    with pytest.raises(BadFile, match=message):
        split_questions(moved, images(train=[1, 2, 3], val=[4, 5], test=[6]), "f")


def test_the_published_lists_are_the_split_we_hold_to(real):
    def ids(name):
        lines = (real / "coco_text" / f"karpathy_{name}_images.txt").read_text().splitlines()
        return [int(line.split()[1]) for line in lines]

    val, test = ids("val"), ids("test")
    train = images(train=range(1_000_000, 1_113_287))
    check_whole_images(train | images(val=val, test=test), "f")
    with pytest.raises(BadFile, match="not a split drawn anew, given 5,000 other"):
        check_whole_images(train | images(val=[*val[1:], test[0]], test=[*test[1:], val[0]]), "f")
    with pytest.raises(BadFile, match="given train 113,288, val 4,999, test 5,000"):
        check_whole_images(train | images(train=val[:1], val=val[1:], test=test), "f")
