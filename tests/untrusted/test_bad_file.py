import pickle

import pytest

from dept_vl.untrusted.bad_file import BadFile, listed, reason_of


def test_the_error_survives_a_worker_process():
    error = pickle.loads(pickle.dumps(BadFile("f.json", "this", "that")))
    assert str(error) == "f.json: wanted this, given that" and error.file == "f.json"


def test_long_lists_are_counted_and_shortened():
    assert listed(range(1204)) == "1,204 (0, 1, 2, 3, 4, ...)"
    assert listed(["a"]) == "1 ('a')" and listed([]) == "0"


@pytest.mark.parametrize(
    ("said", "reason"),
    [("\n  no route \nto it", "no route"), ("", "OSError"), (" \n", "OSError"), ("x" * 999, "x" * 300)],
)
def test_a_librarys_error_is_told_in_its_first_line(said, reason):
    assert reason_of(OSError(said)) == reason
