import hashlib
import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dept_vl.embedded.pretraining import tokenizer as module
from dept_vl.embedded.pretraining.tokenizer import train_tokenizer
from dept_vl.embedded.shapes.language import _SYNONYMS, WORDINGS
from dept_vl.embedded.shapes.world import COLORS, COLUMNS, GROUNDS, ROWS, SHAPES, SIZES
from tests.scene_reading import SINGULAR

SPECIAL = ("<pad>", "</s>", "<unk>")
OF_SHAPES = {*SHAPES, *COLORS, *SIZES, *GROUNDS, *ROWS, *COLUMNS, *SINGULAR, "empty"}


@given(st.text())
def test_any_text_comes_back_in_lower_case_without_unknowns(tokenizer, text):
    assume(not any(special in text for special in SPECIAL))
    normal = tokenizer.backend_tokenizer.normalizer.normalize_str(text)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    decoded = tokenizer.decode(ids)
    assert decoded == normal or decoded == " " + normal


@given(st.text(st.characters(codec="ascii")))
def test_ascii_is_only_lowered(tokenizer, text):
    assume(not any(special in text for special in SPECIAL))
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]).strip() == text.lower().strip()


@pytest.mark.parametrize("word", sorted(OF_SHAPES | set("01234") | {"yes", "no", "left", "right", "above", "below"}))
def test_every_word_of_shapes_is_one_piece(tokenizer, word):
    assert len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1


def test_the_words_of_wordings_captions_and_answers_are_one_piece_each(tokenizer):
    words = {word for wordings in WORDINGS.values() for wording in wordings
             for word in wording.replace("?", "").split() if "{" not in word}  # fmt: skip
    words |= {"a", "an", "we", "can", "see", "there", "here", "picture", "showing", "background", "shapes"}
    pieces = {word: len(tokenizer(word, add_special_tokens=False)["input_ids"]) for word in words | {*_SYNONYMS}}
    assert {word: count for word, count in pieces.items() if count > 1} == {}


def test_special_tokens_stand_where_t5_has_them(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer("red")["input_ids"][-1] == 1 and tokenizer.decode([0, 1], skip_special_tokens=True) == ""
    assert len(tokenizer) <= 4000


@pytest.fixture
def few_lines(monkeypatch):
    """Text enough for some merges: the whole takes seconds."""
    monkeypatch.setattr(module, "_SHAPES_LINES", 60)
    monkeypatch.setattr(module, "_WORD_WEIGHT", 1)


def test_training_is_deterministic_and_never_reads_a_held_out_scene(few_lines, tmp_path, watch_scenes, none_held_out):
    seen = watch_scenes(module)
    for name in ("one", "two"):
        fast = train_tokenizer(tmp_path / name, seed=3)
    files = [
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    ]
    assert files[0] == files[1] and "tokenizer.json" in files[0]
    assert len(seen) == 120 and none_held_out(seen)
    assert fast("The RED circle é 漢")["input_ids"][-1] == fast.eos_token_id


def test_every_byte_is_a_piece_even_after_little_text(few_lines, tmp_path):
    train_tokenizer(tmp_path, seed=3)
    vocabulary = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    assert sum(len(piece) == 1 for piece in vocabulary) == 256
    assert [vocabulary[special] for special in SPECIAL] == [0, 1, 2]
