"""The official tokenizer through java, and the Python one that stands in for it."""

import pytest

from dept_vl.metrics.java import JavaFailed, find_javas
from dept_vl.metrics.tokens import one_line, ptb_tokens, python_tokens

# The lines of the oracle that the Python tokenizer splits otherwise: an open list, so that it only shrinks.
PYTHON_DIFFERS = {"She can't, won't and shouldn't've gone."}


@pytest.mark.parametrize("java", find_javas())
def test_ptb_tokens_equal_the_official_ones_under_every_java(java, shared_oracle):
    cases = shared_oracle("ptb_tokenizer.json")
    assert ptb_tokens([case["raw"] for case in cases], java) == [case["tokens_joined"] for case in cases]


def test_python_tokens_equal_the_official_ones_but_for_a_known_few(shared_oracle):
    cases = shared_oracle("ptb_tokenizer.json")
    tokens = python_tokens([case["raw"] for case in cases])
    differ = {case["raw"] for case, given in zip(cases, tokens, strict=True) if given != case["tokens_joined"]}
    assert differ <= PYTHON_DIFFERS


def test_every_caption_of_coco_val2017_is_tokenised_as_officially(coco_text, shared_json):
    rows = shared_json(coco_text / "captions_val2017.json.gz")["annotations"]
    official = dict(pair for pairs in shared_json(coco_text / "ptb_tokens_val2017.json.gz").values() for pair in pairs)
    rows.sort(key=lambda row: (str(row["image_id"]), row["id"]))
    captions, wanted = [row["caption"] for row in rows], [official[row["id"]] for row in rows]
    assert len(captions) == 25_014
    ptb, python = ptb_tokens(captions, find_javas()[0]), python_tokens(captions)
    # Stanford's end of an abbreviation depends on the line that follows: one caption ends in "Ave/CTH D.".
    assert sum(a == b for a, b in zip(ptb, wanted, strict=True)) >= 25_013
    assert sum(a == b for a, b in zip(python, wanted, strict=True)) >= 25_009


def test_the_thousand_published_captions_have_9893_tokens(coco_text, shared_json):
    captions = [row["caption"] for row in shared_json(coco_text / "captions_val2014_fakecap_results.json")]
    ptb = ptb_tokens(captions, find_javas()[0])
    assert ptb == python_tokens(captions)
    assert sum(len(tokens.split()) for tokens in ptb) == 9_893


@pytest.mark.parametrize("mark", ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_a_line_break_inside_a_caption_never_moves_its_neighbours(mark):
    captions = ["One dog", f"two{mark}cats", "", "three birds"]
    wanted = ["one dog", "two cats", "", "three birds"]
    assert python_tokens(captions) == wanted
    assert one_line(captions[1]) == "two cats"


def test_odd_captions_keep_their_line_in_the_official_tokenizer():
    odd = ["two\r\ncats", "a\u2028b", "", "\x00", "a\ud800b", "🐕 dog", "\ufeffx", "x\x1cy", "caf\u00e9"]
    tokens = ptb_tokens([line for text in odd for line in (text, "one dog")], find_javas()[0])
    assert tokens[1::2] == ["one dog"] * len(odd)
    assert tokens[0] == "two cats" and tokens[-2] == "caf\u00e9"


def test_a_java_that_fails_is_reported_with_its_words(fake_java):
    java = fake_java("cat >/dev/null; echo out of luck >&2; exit 3")
    with pytest.raises(JavaFailed, match=r"gave 0 lines, wanted 2 \(exit status 3 of .*java\): out of luck"):
        ptb_tokens(["a", "b"], str(java))


def test_a_java_that_does_not_start_is_reported(tmp_path):
    with pytest.raises(JavaFailed, match="the PTB tokenizer did not start with .*absent"):
        ptb_tokens(["a"], str(tmp_path / "absent"))
