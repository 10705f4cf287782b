import json
import shutil

import pytest

from dept_vl.data.tokenizer import (
    MissingPadToken,
    MissingTokenizer,
    SlowTokenizer,
    WrongTokenizer,
    check_tokenizer,
    load_fitting,
    load_tokenizer,
)
from tests.data.tiny_tokenizers import write_gpt2, write_llama
from tests.tiny_models import write_tokenizer
from tests.untrusted.test_lfs_pointers import POINTER

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
    (tmp_path / "vocab.json").write_text('{"<unk>": 0, "a</w>": 1}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "CTRLTokenizer"}')
    with pytest.raises(SlowTokenizer, match=f"{tmp_path.name}: wanted a fast tokenizer .*, given CTRLTokenizer"):
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
    with pytest.raises(WrongTokenizer, match=f"^google-t5/t5-base: the tokenizer .*t5 is not .*: {message}; copy"):
        check_tokenizer(t5, **T5 | fact)


def test_a_padding_id_is_not_compared_for_a_backbone_that_has_none(tmp_path):
    tokenizer = load_tokenizer(str(write_llama(tmp_path)), pad_token="<unk>")
    check_tokenizer(tokenizer, rows=len(tokenizer), eos_token_id=2, pad_token_id=None, name="llama")


def test_spiece_model_alone_gives_the_ids_of_the_fast_tokenizer(real, tmp_path):
    """As many published T5s come; transformers converts it with sentencepiece and protobuf."""
    facts = {"tokenizer_class": "T5Tokenizer", "extra_ids": 100, "eos_token": "</s>", "pad_token": "<pad>"}
    loaded = {}
    for name, files in (("fast", ["tokenizer.json", "spiece.model"]), ("alone", ["spiece.model"])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer_config.json").write_text(json.dumps(facts))
        for file in files:
            shutil.copy(real / "tokenizers" / "t5" / file, tmp_path / name)
        loaded[name] = load_tokenizer(str(tmp_path / name))
    texts = ["a red circle", "naïve  café\n<b>½</b>", "中文 <extra_id_0> ok", " ﬁne\t", "", "A</s>B"]
    assert loaded["alone"].is_fast and loaded["alone"](texts)["input_ids"] == loaded["fast"](texts)["input_ids"]


def test_a_tokenizer_without_its_vocabulary_is_never_made_of_special_tokens(t5, tmp_path):
    t5.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(
        MissingTokenizer, match="wanted a tokenizer with its vocabulary .*given T5Tokenizer without spie"
    ):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("content", [POINTER, "{", '["T5Tokenizer"]', '{"tokenizer_class": 3}'])
def test_a_broken_tokenizer_file_is_one_sentence(t5, tmp_path, content):
    t5.save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(ValueError, match=f"{tmp_path.name}.*: wanted a (file|folder)") as told:
        load_tokenizer(str(tmp_path))
    assert "\n" not in str(told.value)


def _with_images(folder, **special):
    """A word tokenizer with one more special token behind them."""
    from transformers import PreTrainedTokenizerFast

    rows = write_tokenizer(folder, ["a", "red", "circle"], pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]} | special)
    tokenizer.save_pretrained(folder)
    return rows, {"vocabulary": rows, "eos_token_id": 1, "pad_token_id": 0}


def test_a_special_token_without_a_row_is_read_as_any_text(tmp_path):
    rows, facts = _with_images(tmp_path)
    assert load_tokenizer(str(tmp_path))("a <image> red")["input_ids"] == [3, rows, 4]
    fitting = load_fitting(str(tmp_path), facts, kind="seq2seq")
    assert max(fitting("a <image> red")["input_ids"]) < rows == len(fitting)
    assert fitting("a red")["input_ids"] == [3, 4]


def test_a_padding_token_without_a_row_is_refused(tmp_path):
    rows, facts = _with_images(tmp_path, pad_token="<padding>")
    with pytest.raises(
        WrongTokenizer, match=f"wanted at most {rows}, the rows of the embedding table, given {rows + 2}"
    ):
        load_fitting(str(tmp_path), facts, kind="causal")
