import pytest

from dept_vl.data.tokenizer import (
    MissingPadToken,
    MissingTokenizer,
    SlowTokenizer,
    WrongTokenizer,
    check_tokenizer,
    load_tokenizer,
)
from tests.data.tiny_tokenizers import write_gpt2, write_llama

T5 = {"rows": 32_128, "eos_token_id": 1, "pad_token_id": 0, "name": "google-t5/t5-base"}


@pytest.fixture(scope="module")
def t5(real):
    return load_tokenizer(str(real / "tokenizers" / "t5"))


@pytest.fixture(scope="module")
def gpt2_folder(real, tmp_path_factory):
    return write_gpt2(tmp_path_factory.mktemp("gpt2"), real)


def test_a_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(MissingTokenizer, match=f"{tmp_path.name}: wanted a folder with tokenizer files"):
        load_tokenizer(str(tmp_path))


def test_a_tokenizer_without_padding_token_asks_for_one(gpt2_folder):
    with pytest.raises(MissingPadToken, match=r"gpt2.*set backbone\.pad_token .* such as .*'<\|endoftext\|>'"):
        load_tokenizer(str(gpt2_folder))


def test_gpt2_pads_with_its_end_token_and_gets_no_new_token(gpt2_folder):
    tokenizer = load_tokenizer(str(gpt2_folder), pad_token="<|endoftext|>")
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 50_256
    assert len(tokenizer) == 50_257


def test_a_padding_token_outside_the_vocabulary_is_refused(gpt2_folder):
    with pytest.raises(MissingPadToken, match=r"50,257 tokens, given '<pad>'\.$"):
        load_tokenizer(str(gpt2_folder), pad_token="<pad>")
    with pytest.raises(MissingPadToken, match=r"given '<endoftext>'\. Did you mean '<\|endoftext\|>'\?"):
        load_tokenizer(str(gpt2_folder), pad_token="<endoftext>")


def test_a_tokenizer_keeps_its_own_padding_token_unless_told(t5, real):
    assert t5.pad_token_id == 0
    assert load_tokenizer(str(real / "tokenizers" / "t5"), pad_token="</s>").pad_token_id == 1


def test_a_slow_tokenizer_is_refused(tmp_path):
    from transformers import ByT5Tokenizer

    ByT5Tokenizer().save_pretrained(tmp_path)
    with pytest.raises(SlowTokenizer, match=f"{tmp_path.name}: wanted a fast tokenizer .*, given ByT5Tokenizer"):
        load_tokenizer(str(tmp_path))


def test_a_backbone_may_have_more_rows_than_its_tokenizer_tokens(t5):
    check_tokenizer(t5, **T5)
    check_tokenizer(t5, **T5 | {"rows": 32_100})
    check_tokenizer(t5, **T5 | {"eos_token_id": [7, 1]})
    check_tokenizer(t5, **T5 | {"eos_token_id": None, "pad_token_id": None})


@pytest.mark.parametrize(
    ("fact", "message"),
    [
        ({"rows": 500}, "tokens: wanted at most 500, the rows of the embedding table, given 32,100"),
        ({"rows": 32_099}, "tokens: wanted at most 32,099, .*, given 32,100"),
        ({"rows": 50_000}, "tokens: wanted about 50,000, the rows of the embedding table, given 32,100"),
        ({"eos_token_id": 2}, "end-of-sequence id: wanted the backbone's 2, given 1"),
        ({"eos_token_id": [2, 3]}, r"end-of-sequence id: wanted the backbone's \[2, 3\], given 1"),
        ({"pad_token_id": 5}, "padding id: wanted the backbone's 5, given 0"),
    ],
)
def test_the_tokenizer_of_another_model_is_refused(t5, fact, message):
    with pytest.raises(WrongTokenizer, match=f"^google-t5/t5-base: the tokenizer .*t5 is not .*: {message}$"):
        check_tokenizer(t5, **T5 | fact)


def test_a_padding_id_is_not_compared_for_a_backbone_that_has_none(tmp_path):
    tokenizer = load_tokenizer(str(write_llama(tmp_path)), pad_token="<unk>")
    check_tokenizer(tokenizer, rows=len(tokenizer), eos_token_id=2, pad_token_id=None, name="llama")
