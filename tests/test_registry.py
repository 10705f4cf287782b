import pytest

from dept_vl.registry import Registry, UnknownName, did_you_mean


@pytest.fixture
def fruits() -> Registry:
    registry = Registry("fruit")
    registry.add("apple", 1)
    registry.add("pear", 2)
    return registry


def test_a_registry_is_a_mapping_in_order_of_entry(fruits):
    assert dict(fruits) == {"apple": 1, "pear": 2}
    assert list(fruits) == ["apple", "pear"] and len(fruits) == 2


def test_the_decorator_leaves_what_it_decorates(fruits):
    @fruits.register("fig")
    class Fig:
        pass

    assert fruits["fig"] is Fig and isinstance(Fig(), Fig)


def test_an_unknown_name_lists_the_choices_and_suggests_a_spelling(fruits):
    with pytest.raises(UnknownName) as error:
        fruits["aple"]
    assert str(error.value) == "unknown fruit 'aple': wanted one of apple, pear. Did you mean 'apple'?"
    assert isinstance(error.value, ValueError)


def test_an_unknown_name_close_to_nothing_gets_no_suggestion(fruits):
    with pytest.raises(UnknownName, match=r"wanted one of apple, pear\.$"):
        fruits["zucchini"]


def test_an_empty_registry_says_so():
    with pytest.raises(UnknownName, match="wanted one of nothing: the registry is empty"):
        Registry("fruit")["apple"]


def test_membership_and_get_answer_without_an_error(fruits):
    assert "apple" in fruits and "aple" not in fruits and 3 not in fruits
    assert fruits.get("pear") == 2 and fruits.get("aple") is None and fruits.get("aple", 7) == 7


def test_a_second_entry_of_one_name_is_refused(fruits):
    with pytest.raises(ValueError, match="fruit 'apple' is registered twice: 1 and 9"):
        fruits.add("apple", 9)
    assert fruits["apple"] == 1


def test_did_you_mean_is_a_sentence_or_nothing():
    assert did_you_mean("dep", ["pt", "dept"]) == " Did you mean 'dept'?"
    assert did_you_mean("quantum", ["pt", "dept"]) == ""
    assert did_you_mean("quantum", []) == ""
