"""A .gguf is read as the model that it was made of: same logits, same tokens, one identity; and refused by name."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch

from dept_vl.backbones import MissingBackbone, load_backbone
from dept_vl.backbones.frozen import content_hash
from dept_vl.data.tokenizer import MissingTokenizer, load_fitting, load_tokenizer
from dept_vl.registry import DeptVLWarning
from dept_vl.untrusted.converted import cache_root
from tests.untrusted.test_lfs_pointers import POINTER

HERE = importlib.util.find_spec("gguf") is not None
needs_gguf = pytest.mark.skipif(not HERE, reason="skipped: the package gguf is not installed")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a file, its model, and a cache that holds it."""
    if not HERE:
        pytest.skip("skipped: the package gguf is not installed")
    from tests.tiny_gguf import write_tiny_gguf

    folder = tmp_path_factory.mktemp("gguf")
    (folder / "models").mkdir()
    return folder, write_tiny_gguf(folder / "models" / "tiny.gguf")


@pytest.fixture
def tiny(written, monkeypatch):
    monkeypatch.setenv("DEPT_VL_CACHE", str(written[0] / "cache"))
    return written[0] / "models" / "tiny.gguf"


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEPT_VL_CACHE", str(tmp_path / "cache"))


@needs_gguf
def test_the_model_is_the_one_that_the_file_was_made_of(tiny, written):
    backbone, model = load_backbone(str(tiny), kind="causal"), written[1]
    ids = torch.tensor([[5, 9, 200, 33, 17, 120]])
    with torch.no_grad():
        torch.testing.assert_close(backbone.model(ids).logits, model(ids).logits, rtol=0, atol=1e-5)
    assert backbone.identity()["backbone_sha256"] == content_hash(model)
    assert backbone.name == "tiny.gguf"


@needs_gguf
def test_its_tokenizer_cuts_text_as_the_vocabulary_was_made_for(tiny):
    tokenizer = load_tokenizer(str(tiny))  # each digit alone, though "1 2" is a merge
    assert tokenizer.tokenize("the 12 12") == ["the", "Ġ", "1", "2", "Ġ", "1", "2"]
    assert (tokenizer.eos_token, tokenizer.pad_token_id) == ("<|im_end|>", 2)
    assert tokenizer.decode(tokenizer("héllo <|im_end|>")["input_ids"]) == "héllo <|im_end|>"
    turn = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], add_generation_prompt=True, tokenize=False)
    assert turn == "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"


@needs_gguf
def test_a_tokenizer_of_gpt2s_cut_merges_digits(tmp_path, empty_cache):
    from tests.tiny_gguf import write_tiny_gguf

    write_tiny_gguf(tmp_path / "tiny.gguf", pre="default")
    assert load_tokenizer(str(tmp_path / "tiny.gguf")).tokenize("the 12") == ["the", "Ġ", "12"]


@needs_gguf
def test_it_is_dequantised_once_and_then_found_by_its_name_alone(tiny, tmp_path, monkeypatch):
    first = load_backbone(str(tiny), kind="causal")
    monkeypatch.setattr("dept_vl.backbones.gguf._convert", None)  # to be called no more
    shutil.copy(tiny, tmp_path / "tiny.gguf")
    again = load_backbone(str(tmp_path / "tiny.gguf"), kind="causal", dtype="bfloat16")
    assert again.identity() == first.identity()
    monkeypatch.chdir(tmp_path / "..")
    alone = load_backbone("tiny.gguf", kind="causal")
    assert alone.identity() == first.identity()
    assert load_fitting("tiny.gguf", alone.token_facts(), kind="causal").eos_token_id == 2


@needs_gguf
def test_what_lies_beside_the_file_is_not_read(tmp_path, empty_cache, written):
    folder = tmp_path / "crowded"
    folder.mkdir()
    shutil.copy(written[0] / "models" / "tiny.gguf", folder / "tiny.gguf")
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "x"}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<unk>"}))
    backbone = load_backbone(f"{folder}/tiny.gguf", kind="causal")
    assert backbone.identity()["backbone_sha256"] == content_hash(written[1])
    assert load_tokenizer(f"{folder}/tiny.gguf").eos_token == "<|im_end|>"


@needs_gguf
def test_a_file_of_an_installed_package_is_found(tiny, tmp_path, monkeypatch):
    package = tmp_path / "site" / "tiny_llm"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(tiny, package / "tiny.gguf")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert load_backbone("package:tiny_llm/tiny.gguf", kind="causal").name == "package:tiny_llm/tiny.gguf"


@needs_gguf
def test_tensors_that_transformers_leaves_unread_are_named(tmp_path, empty_cache):
    from tests.tiny_gguf import write_tiny_gguf

    write_tiny_gguf(tmp_path / "tiny.gguf", **{"rope_freqs.weight": np.ones(4, dtype=np.float32)})
    with pytest.warns(DeptVLWarning, match=r"tiny\.gguf: .*rope_freqs\.weight"):
        load_backbone(str(tmp_path / "tiny.gguf"), kind="causal")


@needs_gguf
def test_a_cut_file_is_refused_and_leaves_nothing(tiny, tmp_path, empty_cache):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny.read_bytes()[:-2000])
    with pytest.raises(MissingBackbone, match=r"cut\.gguf: wanted a \.gguf file that transformers can dequantise"):
        load_backbone(str(cut), kind="causal")
    assert not [path for path in cache_root().rglob("*") if path.is_file() and path.suffix != ".lock"]


@needs_gguf
def test_a_model_of_the_other_kind_says_which_kind_it_is(tiny):
    with pytest.raises(MissingBackbone, match="set kind to causal"):
        load_backbone(str(tiny), kind="seq2seq")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("pointer.gguf", POINTER.encode(), ["git-lfs pointer"]),
        ("other.gguf", b"PK\x03\x04 and more", ["starts with", "PK"]),
        ("model-00002-of-00003.gguf", b"GGUF and more", ["3 parts"]),
    ],
)
def test_what_is_no_whole_gguf_is_refused_by_name(tmp_path, empty_cache, file, content, words):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(MissingBackbone) as refusal:
        load_backbone(str(tmp_path / file), kind="causal")
    with pytest.raises(MissingTokenizer) as other:
        load_tokenizer(str(tmp_path / file))
    for each in (refusal, other):
        assert all(word in str(each.value) for word in [file, *words])


@pytest.mark.parametrize("name", ["absent.gguf", "folder/absent.gguf", "/folder/of/an/absent.gguf"])
def test_a_file_that_is_nowhere_is_named(name, empty_cache):
    with pytest.raises(MissingBackbone, match=f"{name}: wanted a .gguf file here"):
        load_backbone(name, kind="causal")


def test_a_missing_reader_is_one_plain_sentence(tmp_path, empty_cache, monkeypatch):
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF and more")
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "gguf" else real(name, *more))
    with pytest.raises(MissingBackbone, match=r"tiny\.gguf: wanted the package gguf.*pip install gguf$"):
        load_backbone(str(tmp_path / "tiny.gguf"), kind="causal")
