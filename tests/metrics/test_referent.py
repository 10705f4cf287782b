from types import SimpleNamespace

import pytest

from dept_vl.metrics.referent import names_referent, referent_scores


@pytest.mark.parametrize(
    ("prediction", "referent", "named"),
    [
        ("the bunny", "The fuzzy bunny", True),
        ("His fuzzy bunny", "bunny", True),
        ("fuzzy", "grey bunny", False),
        ("grey fox", "grey bunny", False),
        ("Bob", "Bob's hat", False),
        ("hat", "Bob's hat", False),  # an apostrophe on one side only
        ("Bob's hat", "bob's", True),
        ("", "bunny", False),
        ("the", "bunny", False),  # nothing is left of it
        ("many of the bunnies", "each of your bunnies", True),
    ],
)
def test_who_is_named(prediction, referent, named):
    assert names_referent(prediction, referent) is named


def score(*rows):
    """rows: prediction, candidate, whether it is the referent."""
    examples = [SimpleNamespace(references=(candidate, told)) for _, candidate, told in rows]
    return referent_scores(None, [prediction for prediction, _, _ in rows], examples)


def test_a_candidate_that_is_not_the_referent_is_right_where_it_is_not_named():
    rows = [("Ann", "Ann", "True"), ("Bo", "Ann", "True"), ("Bo", "Ann", "False"), ("Ann", "Ann", "False")]
    assert score(*rows) == {"accuracy": 0.5}
    assert [score(row)["accuracy"] for row in rows] == [1.0, 0.0, 1.0, 0.0]


def test_an_empty_output_is_wrong_either_way():
    assert score(("", "Ann", "True"), ("the", "Ann", "False")) == {"accuracy": 0.0}
