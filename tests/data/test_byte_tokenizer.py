"""The reference is transformers' own ByT5Tokenizer."""

import pytest
from transformers import ByT5Tokenizer

from dept_vl.data.tokenizer import check_tokenizer, load_tokenizer

TEXTS = (
    "", "a", "What color is it?", "naïve café 中文 🙂", " two  spaces ", "line\nbreak\ttab", "\x00\x7f¡­ÿ",
    "a</s>b<extra_id_3>c",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("byt5")
    ByT5Tokenizer(model_max_length=77).save_pretrained(place)
    return place


@pytest.mark.parametrize("text", TEXTS)
def test_ids_and_text_are_those_of_the_slow_one(folder, text):
    slow, fast = ByT5Tokenizer(), load_tokenizer(str(folder))
    ids = slow(text)["input_ids"]
    assert fast(text)["input_ids"] == ids
    assert fast.decode(ids, skip_special_tokens=True) == slow.decode(ids, skip_special_tokens=True)


def test_it_belongs_to_a_byt5(folder):
    fast = load_tokenizer(str(folder))
    assert fast.get_vocab()["<extra_id_124>"] == ByT5Tokenizer().get_vocab()["<extra_id_124>"] == 383
    assert (fast.pad_token_id, fast.eos_token_id, fast.unk_token_id, fast.model_max_length) == (0, 1, 2, 77)
    check_tokenizer(fast, rows=384, eos_token_id=1, pad_token_id=0, name="google/byt5-small")


def test_each_byte_of_a_character_stands_for_all_of_it(folder):
    fast = load_tokenizer(str(folder))
    assert fast("aé🙂", return_offsets_mapping=True)["offset_mapping"] == [(0, 1), *[(1, 2)] * 2, *[(2, 3)] * 4, (0, 0)]
