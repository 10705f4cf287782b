import pickle

import numpy as np
import pytest

from dept_vl.data.text import MissingTokenizer, TokenTable, load_tokenizer, tokenise

TEXTS = ["red", "what color is the circle", "how many squares are there", ""]


@pytest.fixture(scope="module")
def tokenizer(byte_t5):
    return load_tokenizer(str(byte_t5))


def test_tokens_are_the_tokenizers_own_with_the_end_token(tokenizer):
    table = tokenise(tokenizer, TEXTS, 100)
    for row, text in enumerate(TEXTS):
        assert table[row].tolist() == tokenizer(text)["input_ids"]
        assert table[row][-1] == tokenizer.eos_token_id
    assert table.lengths.tolist() == [len(table[row]) for row in range(4)]
    assert len(table) == 4 and table.cut == 0 and table[0].dtype == np.int32


def test_cutting_keeps_the_end_token_and_is_counted(tokenizer):
    whole, cut = tokenise(tokenizer, TEXTS, 100), tokenise(tokenizer, TEXTS, 4)
    longer = [row for row in range(4) if len(whole[row]) > 4]
    assert longer and cut.cut == len(longer)
    for row in range(4):
        wanted = whole[row].tolist() if row not in longer else [*whole[row][:3].tolist(), tokenizer.eos_token_id]
        assert cut[row].tolist() == wanted


def test_a_text_as_long_as_allowed_is_not_cut(tokenizer):
    length = len(tokenizer("red")["input_ids"])
    assert tokenise(tokenizer, ["red"], length).cut == 0
    assert tokenise(tokenizer, ["red"], length - 1).cut == 1


def test_any_text_comes_back(tokenizer):
    text = " où est le café ? 😀 日本"
    table = tokenise(tokenizer, [text], 200)
    assert tokenizer.decode(table[0].tolist(), skip_special_tokens=True).strip() == text.strip()


def test_padding_is_on_the_right_up_to_the_longest_of_the_rows():
    table = TokenTable([[5], [6, 7, 8], [9, 9], []])
    assert table.padded([2, 0], fill=-1).tolist() == [[9, 9], [5, -1]]
    assert table.padded([1, 3], fill=0).tolist() == [[6, 7, 8], [0, 0, 0]]
    assert table.padded([0], fill=0).dtype == np.int64


def test_an_empty_table_and_pickling():
    assert len(TokenTable([])) == 0
    again = pickle.loads(pickle.dumps(TokenTable([[1, 2], [3]], cut=1)))
    assert [again[row].tolist() for row in range(2)] == [[1, 2], [3]] and again.cut == 1


def test_a_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(MissingTokenizer, match=f"{tmp_path.name}: wanted a folder with tokenizer files"):
        load_tokenizer(str(tmp_path))
