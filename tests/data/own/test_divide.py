"""Rows drawn into train, val and test: by image content, the same way every time, no image on two sides."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dept_vl.data.own.divide import divide
from dept_vl.data.seeded_split import SHARES, BadShares


def rows_of(images):
    return [{"image": key, "question_id": place} for place, key in enumerate(images)]


def files(folder, contents):
    folder.mkdir(exist_ok=True)
    paths = {}
    for key, content in contents.items():
        paths[key] = folder / key
        paths[key].write_bytes(content)
    return paths


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """40 files of 20 contents."""
    return files(tmp_path_factory.mktemp("images"), {f"{n}.png": bytes([n % 20]) for n in range(40)})


@settings(max_examples=30)
@given(
    images=st.lists(st.integers(0, 39), min_size=1, max_size=60), val=st.floats(0.01, 0.45), test=st.floats(0.01, 0.45)
)
def test_no_content_is_on_two_sides_and_no_row_is_lost(paths, images, val, test):
    rows = rows_of(f"{n}.png" for n in images)
    if len({n % 20 for n in images}) < 3:
        with pytest.raises(BadShares, match="images.*at least 3"):
            divide({"all": rows}, (1 - val - test, val, test), paths, "all")
        return
    parts, _ = divide({"all": rows}, (1 - val - test, val, test), paths, "all")
    assert list(parts) == ["train", "val", "test"] and all(parts.values())
    contents = {name: {paths[row["image"]].read_bytes() for row in each} for name, each in parts.items()}
    assert (
        not contents["train"] & contents["val"]
        and not contents["val"] & contents["test"]
        and not contents["train"] & contents["test"]
    )
    assert sorted(row["question_id"] for each in parts.values() for row in each) == list(range(len(rows)))


def test_shares_are_of_the_images_and_the_draw_depends_on_their_content_alone(paths):
    rows = rows_of(f"{n}.png" for n in range(20))
    parts, notes = divide({"all": rows}, SHARES, paths, "all")
    assert {name: len(each) for name, each in parts.items()} == {"train": 16, "val": 2, "test": 2}
    assert (
        "train 16 rows of 16 images, val 2 rows of 2 images, test 2 rows of 2 images" in notes[0]
        and "out of all" in notes[0]
    )
    again, _ = divide({"all": list(reversed(rows))}, SHARES, paths, "all")
    twins, _ = divide({"all": rows_of(f"{n + 20}.png" for n in range(20))}, SHARES, paths, "all")
    for name, each in parts.items():
        images = {row["image"] for row in each}
        assert {row["image"] for row in again[name]} == images
        assert {f"{int(row['image'][:-4]) - 20}.png" for row in twins[name]} == images


def test_given_splits_stay_and_a_missing_one_is_drawn_out_of_train(paths):
    given = {"train": rows_of(f"{n}.png" for n in range(18)), "test": rows_of(["18.png", "0.png"])}
    parts, notes = divide(given, SHARES, paths, "all")
    assert parts["test"] == given["test"] and len(parts["val"]) == 2 and len(parts["train"]) == 16
    assert "val drawn by image out of train" in notes[0]
    assert any("share 1 ('0.png') images" in note for note in notes[1:])
    assert divide({"test": given["test"]}, SHARES, paths, "all")[0] == {"test": given["test"]}


def test_one_picture_under_two_names_in_given_splits_is_reported(paths):
    given = {"train": rows_of(["1.png", "2.png"]), "test": rows_of(["21.png", "3.png"])}
    parts, notes = divide(given, (0.9, 0.0, 0.1), paths, "all")
    assert parts == given and notes[1:] == ["train and test share 1 ('1.png = 21.png') images"]


def test_a_share_of_zero_draws_nothing(paths):
    parts, _ = divide({"all": rows_of(["1.png"])}, (1.0, 0.0, 0.0), paths, "all")
    assert list(parts) == ["train"]


@pytest.mark.parametrize(
    "shares", [(0.5, 0.5), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1), (0.0, 0.5, 0.5), (float("nan"), 0.5, 0.5)]
)
def test_shares_that_divide_nothing_are_refused(shares):
    with pytest.raises(BadShares, match="task.split_shares"):
        divide({"all": rows_of(["a"])}, shares, {}, "all")
