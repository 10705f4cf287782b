"""A checkpoint in shards, as .bin, with more tokens or more rows: read whole, or refused by name."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from dept_vl.backbones import MissingBackbone, load_backbone
from dept_vl.backbones.weights import UnfitWeights
from dept_vl.data.tokenizer import WrongTokenizer, load_fitting
from tests.tiny_models import write_tiny_llama


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write_tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def whole(llama):
    return load_backbone(str(llama), kind="causal").identity()["backbone_sha256"]


@pytest.fixture
def sharded(llama, tmp_path):
    """The same model in several files and an index."""
    folder = shutil.copytree(llama, tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    AutoModelForCausalLM.from_pretrained(llama).save_pretrained(folder, max_shard_size="8KB")
    assert len([*folder.glob("model-*.safetensors")]) > 2
    return folder


def write_bin(folder, weights):
    torch.save(weights, folder / "pytorch_model.bin")


def test_a_sharded_checkpoint_is_the_whole_model(sharded, whole):
    assert load_backbone(str(sharded), kind="causal").identity()["backbone_sha256"] == whole


def test_a_missing_shard_is_named(sharded):
    shard = min(sharded.glob("model-*.safetensors"))
    shard.unlink()
    with pytest.raises(MissingBackbone, match=shard.name):
        load_backbone(str(sharded), kind="causal")


def test_an_index_that_leaves_a_weight_out_is_refused_by_its_name(sharded):
    path = sharded / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    last = "model.layers.1.mlp.down_proj.weight"
    shard = index["weight_map"].pop(last)
    weights = {name: value for name, value in load_file(sharded / shard).items() if name != last}
    save_file(weights, sharded / shard, {"format": "pt"})
    path.write_text(json.dumps(index))
    with pytest.raises(UnfitWeights, match=last):
        load_backbone(str(sharded), kind="causal")


def test_of_bin_beside_safetensors_the_safetensors_are_read(llama, tmp_path, whole):
    folder = shutil.copytree(llama, tmp_path / "both")
    write_bin(folder, {name: torch.zeros_like(value) for name, value in load_file(llama / "model.safetensors").items()})
    assert load_backbone(str(folder), kind="causal").identity()["backbone_sha256"] == whole


def test_a_bin_alone_is_the_same_model(llama, tmp_path, whole):
    folder = shutil.copytree(llama, tmp_path / "bin")
    write_bin(folder, load_file(llama / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    assert load_backbone(str(folder), kind="causal").identity()["backbone_sha256"] == whole


@pytest.fixture
def resized(llama, tmp_path):
    """The model with so many rows more, beside a tokenizer with these tokens more."""

    def resized(rows=0, tokens=()):
        folder = shutil.copytree(llama, tmp_path / "resized")
        tokenizer = AutoTokenizer.from_pretrained(llama)
        tokenizer.add_tokens(list(tokens))
        tokenizer.save_pretrained(folder)
        if rows:
            model = AutoModelForCausalLM.from_pretrained(llama)
            model.resize_token_embeddings(model.config.vocab_size + rows, mean_resizing=False)
            model.save_pretrained(folder)
        backbone = load_backbone(str(folder), kind="causal")
        facts = backbone.token_facts()
        return backbone, load_fitting(str(folder), facts, kind="causal", pad_token="</s>")

    return resized


def test_added_tokens_with_their_rows_are_read_whole(resized):
    backbone, tokenizer = resized(rows=2, tokens=["<image>", "<box>"])
    ids = tokenizer("the <box> color", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["the", "<box>", "color"]
    assert max(ids) == backbone.vocabulary - 1


def test_added_tokens_without_rows_are_refused_with_both_numbers(resized, llama):
    size = len(AutoTokenizer.from_pretrained(llama))
    with pytest.raises(WrongTokenizer, match=f"wanted at most {size}, .*given {size + 2}"):
        resized(tokens=["<image>", "<box>"])


def test_rows_that_no_token_uses_are_read_and_say_nothing(resized):
    backbone, tokenizer = resized(rows=7)
    spare = backbone.vocabulary - 1
    assert spare == len(tokenizer) + 6
    assert tokenizer.batch_decode([[5, spare]], skip_special_tokens=True) == tokenizer.batch_decode([[5]])


def test_far_more_rows_than_tokens_are_refused_with_both_numbers(resized, llama):
    size = len(AutoTokenizer.from_pretrained(llama))
    with pytest.raises(WrongTokenizer, match=rf"wanted about {size + 1500:,}, .*given {size}"):
        resized(rows=1500)
