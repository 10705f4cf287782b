"""Token tables from the cache are those that would be made, and only of the very same texts and tokenizer."""

import os
from collections import Counter

import numpy as np
import pytest

from dept_vl.data import token_cache
from dept_vl.data.text import tokenise, tokenise_targets
from dept_vl.data.token_cache import kept
from dept_vl.data.token_table import TokenTable
from dept_vl.data.tokenizer import load_tokenizer

TEXTS = ["one two", "three", "", "four five six", "one two three four five six seven"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A cache of its own, in which tables of few texts are kept too."""
    monkeypatch.setenv("DEPT_VL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(token_cache, "FEWEST", 1)
    return tmp_path / "cache" / "tokens"


@pytest.fixture
def tokenizer(byte_t5):
    return load_tokenizer(str(byte_t5))


def same(one: TokenTable, other: TokenTable) -> bool:
    spans = (one.spans is None and other.spans is None) or np.array_equal(one.spans, other.spans)
    rows = all(np.array_equal(one[row], other[row]) for row in range(len(one)))
    return len(one) == len(other) and rows and one.counts == other.counts and spans


def made_again(*_):
    pytest.fail("made again")


def small() -> TokenTable:
    return TokenTable([[1, 2], [3]], Counter(cut=1))


def test_a_second_call_reads_what_the_first_one_made(tokenizer, monkeypatch, place):
    first = tokenise(tokenizer, TEXTS, 12), tokenise_targets(tokenizer, TEXTS, 12, kind="seq2seq", may_cut=True)
    assert len(list(place.iterdir())) == 2 and first[0].counts["cut"] == 2
    monkeypatch.setattr("dept_vl.data.text._encode", made_again)
    again = tokenise(tokenizer, TEXTS, 12), tokenise_targets(tokenizer, TEXTS, 12, kind="seq2seq", may_cut=True)
    assert all(map(same, first, again))
    assert (
        np.array_equal(again[0].padded([0, 4], 7), first[0].padded([0, 4], 7))
        and again[0].rows_with([262]) == first[0].rows_with([262]) != []
    )


def test_anything_that_differs_makes_another_table(tokenizer, place):
    tokenise(tokenizer, TEXTS, 12)
    changed = [
        lambda: tokenise(tokenizer, TEXTS[::-1], 12),
        lambda: tokenise(tokenizer, ["one tw", "othree", *TEXTS[2:]], 12),  # the same letters, cut elsewhere
        lambda: tokenise(tokenizer, TEXTS, 13),
        lambda: tokenise(tokenizer, TEXTS, 12, contexts=[(0, 3), None, None, None, None]),
        lambda: tokenise_targets(tokenizer, TEXTS, 12, kind="seq2seq", may_cut=True),
    ]
    for number, each in enumerate(changed, 2):
        each()
        assert len(list(place.iterdir())) == number
    tokenizer.backend_tokenizer.add_special_tokens(["<one>"])
    tokenise(tokenizer, TEXTS, 12)
    assert len(list(place.iterdir())) == number + 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:-20] + b"\x09" + data[-19:],
        lambda data: b"",
        lambda data: data + b"0",
    ],
)
def test_a_damaged_table_is_made_anew(place, damage):
    kept(small, ["a", "b"], tuple)
    (path,) = place.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert same(kept(small, ["a", "b"], tuple), small())
    assert same(kept(made_again, ["a", "b"], tuple), small())  # and kept whole


def test_few_texts_are_not_kept(place, monkeypatch):
    monkeypatch.setattr(token_cache, "FEWEST", 3)
    assert same(kept(small, ["a", "b"], made_again), small()) and not place.exists()


def test_tables_that_were_not_used_for_longest_go_first(place, monkeypatch):
    for number in range(3):
        kept(small, ["a", "b"], lambda number=number: (number,))
        for path in place.iterdir():  # an hour passes
            os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns - 3_600_000_000_000))
    oldest = min(place.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    kept(small, ["a", "b"], lambda: (0,))  # the oldest is used again
    monkeypatch.setattr(token_cache, "MOST_BYTES", 3 * oldest.stat().st_size)
    kept(small, ["a", "b"], lambda: (3,))
    assert len(list(place.iterdir())) == 3 and oldest.exists()


def test_a_cache_that_cannot_be_written_is_gone_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEPT_VL_CACHE", str(tmp_path / "file"))
    assert same(kept(small, ["a", "b"], tuple), small())


def test_frames_of_which_there_are_none_are_no_list_in_the_address(tokenizer, place, monkeypatch):
    """Batches name a frame for each text; a million of them would be hashed as their `repr`."""
    lengths = []
    address = token_cache._address

    def noted(texts, facts):
        lengths.append(len(repr(facts[2])))
        return address(texts, facts)

    monkeypatch.setattr(token_cache, "_address", noted)
    tokenise(tokenizer, TEXTS, 12)
    tokenise(tokenizer, TEXTS, 12, frames=[None] * len(TEXTS))
    assert len(list(place.iterdir())) == 1 and lengths[0] == lengths[1]
