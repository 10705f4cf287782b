import json
import os

import pytest
import torch
from safetensors.torch import load_file
from transformers import T5ForConditionalGeneration
from transformers.cache_utils import DynamicLayer

from dept_vl.backbones import load_backbone
from dept_vl.backbones.loading import MissingBackbone, UnsupportedPrecision
from dept_vl.data.tokenizer import MissingTokenizer, load_tokenizer
from tests.tiny_runs import batch_of, write_byte_t5


@pytest.fixture(scope="module")
def backbone(byte_t5):
    return load_backbone(str(byte_t5), attn_implementation="eager")


def test_no_weight_asks_for_a_gradient_and_dropout_is_off(backbone):
    assert not any(weight.requires_grad for weight in backbone.parameters())
    assert not any(module.training for module in backbone.model.modules())


@pytest.mark.parametrize("name", ["float16", "fp16"])
def test_float16_is_refused_with_the_reason(byte_t5, name):
    with pytest.raises(UnsupportedPrecision, match="65,504.*wanted float32 or bfloat16"):
        load_backbone(str(byte_t5), dtype=name)


def test_an_unknown_dtype_is_refused(byte_t5):
    with pytest.raises(UnsupportedPrecision, match="wanted a dtype of float32, bfloat16, given 'float64'"):
        load_backbone(str(byte_t5), dtype="float64")


def test_the_hash_does_not_depend_on_the_dtype_it_was_loaded_in(backbone, byte_t5):
    half = load_backbone(str(byte_t5), dtype="bfloat16")
    assert half.embedding_table.dtype == torch.bfloat16
    assert half.identity() == backbone.identity() and len(backbone.identity()["backbone_sha256"]) == 64


@pytest.mark.parametrize("weight", ["shared.weight", "decoder.block.0.layer.2.DenseReluDense.wo.weight"])
def test_the_hash_changes_with_a_weight(backbone, byte_t5, weight):
    other = load_backbone(str(byte_t5))
    with torch.no_grad():
        other.model.get_parameter(weight)[0, 0] += 1
    assert other.identity()["backbone_sha256"] != backbone.identity()["backbone_sha256"]


def test_two_seeds_have_two_hashes(backbone, tmp_path):
    other = load_backbone(str(write_byte_t5(tmp_path / "other", seed=1)))
    assert other.identity()["backbone_sha256"] != backbone.identity()["backbone_sha256"]


def test_a_missing_backbone_says_where_it_was_sought(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingBackbone, match="nowhere/t5: wanted a folder with config.json.*HF_HUB_OFFLINE=1"):
        load_backbone("nowhere/t5")
    with pytest.raises(MissingBackbone, match="wanted a folder with config.json and weights"):
        load_backbone(str(tmp_path))


@pytest.mark.parametrize("load", [load_backbone, load_tokenizer])
def test_a_strangers_code_is_neither_run_nor_asked_about(tmp_path, monkeypatch, load):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    (tmp_path / "code.py").write_text("raise SystemExit('executed')")
    code = {"AutoConfig": "code.Config", "AutoTokenizer": ["code.Tokenizer", None]}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "stranger", "auto_map": code}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": code, "tokenizer_class": "Stranger"}))
    with pytest.raises((MissingBackbone, MissingTokenizer), match="wanted a folder with"):
        load(str(tmp_path))


def test_no_model_is_sent_to_a_conversion_service(byte_t5, monkeypatch):
    monkeypatch.delenv("DISABLE_SAFETENSORS_CONVERSION", raising=False)
    load_backbone(str(byte_t5))
    assert os.environ["DISABLE_SAFETENSORS_CONVERSION"] == "1"  # transformers asks it before it posts a model's name


def test_weights_cut_short_are_told(tmp_path):
    folder = write_byte_t5(tmp_path / "t5")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(MissingBackbone, match="wanted a folder with config.json and weights.*incomplete"):
        load_backbone(str(folder))


def test_a_decoder_alone_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(MissingBackbone, match="wanted an encoder-decoder .T5., given a gpt2 model; set kind to causal"):
        load_backbone(str(tmp_path))


def test_loss_is_that_of_transformers_when_targets_are_equally_long(backbone, byte_t5):
    batch, model = batch_of([5, 3, 4]), T5ForConditionalGeneration.from_pretrained(byte_t5).eval()
    with torch.no_grad():
        theirs = model(input_ids=batch.input_ids, attention_mask=batch.mask, labels=batch.labels).loss
    ours = backbone.loss(backbone.embed(batch.input_ids), batch.mask, batch.labels)
    torch.testing.assert_close(ours.mean(), theirs)


def test_loss_averages_over_each_rows_own_tokens(backbone):
    batch = batch_of([5, 3], targets=[4, 1])
    embeds = backbone.embed(batch.input_ids)
    both = backbone.loss(embeds, batch.mask, batch.labels)
    alone = backbone.loss(embeds[1:], batch.mask[1:], batch.labels[1:, :1])
    torch.testing.assert_close(both[1:], alone)
    nats = -backbone.logits(embeds, batch.mask, batch.labels)[0].log_softmax(-1)
    torch.testing.assert_close(both[0], nats.gather(1, batch.labels[0, :, None]).mean())


@pytest.mark.parametrize("num_beams", [1, 3])
def test_generation_from_embeddings_is_that_from_ids(backbone, num_beams):
    batch = batch_of([6, 2, 4])
    ours = backbone.generate(backbone.embed(batch.input_ids), batch.mask, max_new_tokens=7, num_beams=num_beams)
    theirs = backbone.model.generate(
        input_ids=batch.input_ids,
        attention_mask=batch.mask,
        max_new_tokens=7,
        num_beams=num_beams,
        do_sample=False,
    )
    assert torch.equal(ours, theirs) and len({tuple(row) for row in ours.tolist()}) > 1


def test_a_search_reads_each_text_once_whatever_its_beams(backbone):
    batch, read, moved = batch_of([6, 2, 4]), [], []
    keys = backbone.model.decoder.block[0].layer[1].EncDecAttention.k
    handle = keys.register_forward_hook(lambda module, inputs, output: read.append(output.shape[:2]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DynamicLayer, "reorder_cache", lambda layer, beams: moved.append(layer.keys.shape[2]))
        backbone.generate(backbone.embed(batch.input_ids), batch.mask, max_new_tokens=4, num_beams=3)
    handle.remove()
    assert read == [(3, 6)], "the decoder's keys of the text were computed again, or for every beam"
    assert moved and max(moved) < 6, "the text's keys were moved with the beams"


def test_embedding_writes_nothing_and_is_the_table(backbone):
    before, ids = backbone.embedding_table.clone(), torch.tensor([[3, 299]])
    embeds = backbone.embed(ids)
    embeds.add_(1)
    assert torch.equal(backbone.embedding_table, before)
    assert torch.equal(backbone.embed(ids)[0], before[[3, 299]])


@pytest.fixture(scope="module")
def gated(folders):
    """As T5 v1.1 and the LM-adapted ones are: a gated feed-forward, and a head that is not the table."""
    return load_backbone(str(folders["gated_t5"]))


@torch.no_grad()
def test_a_gated_untied_t5_reads_embeddings_as_it_reads_ids(gated, folders):
    model = T5ForConditionalGeneration.from_pretrained(folders["gated_t5"]).eval()
    ids = torch.tensor([[5, 9, 14, 1], [7, 30, 1, 0]])
    mask, labels = (ids != 0).long(), torch.tensor([[8, 1], [12, 1]])
    embeds = gated.embed(ids)
    theirs = model(input_ids=ids, attention_mask=mask, labels=labels)
    torch.testing.assert_close(gated.logits(embeds, mask, labels), theirs.logits)
    torch.testing.assert_close(gated.loss(embeds, mask, labels).mean(), theirs.loss)
    ours = gated.generate(embeds, mask, max_new_tokens=6, num_beams=1)
    assert torch.equal(ours, model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=6, do_sample=False))
    assert ours[0].tolist() != ours[1].tolist()


@pytest.mark.parametrize(("name", "scale"), [("t5", 32**-0.5), ("gated_t5", 1.0)])
@torch.no_grad()
def test_v1_1_has_a_head_of_its_own_that_is_not_scaled(folders, name, scale):
    backbone, read = load_backbone(str(folders[name])), []
    backbone.model.decoder.register_forward_hook(lambda *call: read.append(call[2].last_hidden_state))
    embeds, ones, labels = backbone.embed(torch.tensor([[5, 9, 14]])), torch.ones(1, 3).long(), torch.tensor([[8, 1]])
    logits = backbone.logits(embeds, ones, labels)
    head = load_file(folders[name] / "model.safetensors").get("lm_head.weight", backbone.embedding_table)
    torch.testing.assert_close(logits, scale * read[0] @ head.T)
    assert (name == "t5") == torch.equal(head, backbone.embedding_table)


@pytest.mark.parametrize("name", ["t5", "gated_t5"])
def test_logits_behind_beginnings_are_the_taught_ones(folders, name):
    backbone, batch = load_backbone(str(folders[name])), batch_of([5, 3, 4])
    ids, prefixes = batch.input_ids % 30, torch.tensor([[4, 8, 15], [16, 23, 0]])
    embeds = backbone.embed(ids)
    said = backbone.next_token_logits(embeds, batch.mask, prefixes, prompt_length=2)
    assert said.shape == (3, 2, 4, len(backbone.embedding_table)) and not said.requires_grad
    for path, length in enumerate((3, 2)):
        taught = backbone.logits(
            embeds, batch.mask, torch.cat([prefixes[path, :length], torch.tensor([1])]).expand(3, -1)
        )
        torch.testing.assert_close(said[:, path, : length + 1], taught)
    first = backbone.next_token_logits(embeds, batch.mask, prefixes[:1, :0])
    torch.testing.assert_close(first, said[:, :1, :1])


@pytest.mark.parametrize("name", ["t5", "gated_t5"])
def test_bf16_autocast_trains_answers_and_scores(folders, name):
    backbone = load_backbone(str(folders[name]))
    ids = torch.tensor([[5, 9, 14, 1]])
    embeds, mask, labels = backbone.embed(ids).requires_grad_(), torch.ones_like(ids), torch.tensor([[8, 1]])
    full = backbone.loss(embeds, mask, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = backbone.loss(embeds, mask, labels)
        said = backbone.next_token_logits(embeds, mask, labels[:, :1])
        assert backbone.generate(embeds, mask, max_new_tokens=3, num_beams=2).shape[0] == 1
    half.sum().backward()
    assert embeds.grad.isfinite().all() and half.dtype == torch.float32
    torch.testing.assert_close(half, full.detach(), rtol=0.05, atol=0.1)
    exact = backbone.next_token_logits(embeds, mask, labels[:, :1])
    torch.testing.assert_close(said.float(), exact, rtol=0.05, atol=0.03 * float(exact.abs().max()))
