"""What is frozen is what its files hold: no weight is drawn at random, left over, or not a number."""

import json
import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from dept_vl.backbones import load_backbone
from dept_vl.backbones.loading import MissingBackbone
from dept_vl.backbones.weights import UnfitWeights
from dept_vl.untrusted.bad_file import BadFile
from dept_vl.untrusted.tensor_files import check_finite
from tests.backbones.conftest import WRITERS
from tests.untrusted.test_lfs_pointers import POINTER

LAST = {
    "t5": "decoder.block.0.layer.2.DenseReluDense.wo.weight",
    "gated_t5": "lm_head.weight",
    "gpt2": "transformer.h.1.mlp.c_fc.weight",
    "llama": "lm_head.weight",
}
LEFTOVERS = {
    "t5": ["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"],
    "gated_t5": ["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"],
    "gpt2": ["transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias"],
    "llama": ["model.layers.1.self_attn.rotary_emb.inv_freq"],
}


@pytest.fixture
def changed(folders, tmp_path):
    """Loads a copy of a tiny model whose weights went through `change`, with other keys in config.json."""

    def changed(name, change=dict, **config):
        folder = tmp_path / name
        shutil.copytree(folders[name], folder)
        save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})
        written = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(written | config))
        return load_backbone(str(folder), kind=WRITERS[name][0])

    return changed


def without(name):
    return lambda weights: {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize("name", WRITERS)
def test_a_missing_weight_is_named_and_never_drawn(changed, name):
    with pytest.raises(UnfitWeights, match=f"{name}: wanted files with every weight .*1 .'{LAST[name]}'. missing: "):
        changed(name, without(LAST[name]))


@pytest.mark.parametrize("name", ["t5", "llama"])
def test_names_with_a_prefix_are_missing_and_unknown(changed, name):
    with pytest.raises(UnfitWeights, match=r"\d+ \('.*, \.\.\.\) missing; \d+ \('module\..*, \.\.\.\) unknown"):
        changed(name, lambda weights: {f"module.{key}": value for key, value in weights.items()})


def test_a_weight_that_the_model_does_not_have_is_named(changed):
    with pytest.raises(UnfitWeights, match="files with 1 .'encoder.block.7.q.weight'. unknown to it"):
        changed("t5", lambda weights: {**weights, "encoder.block.7.q.weight": torch.zeros(2, 2)})


def test_a_weight_of_another_shape_is_named_with_both(changed):
    def cut(weights):
        return {**weights, LAST["t5"]: weights[LAST["t5"]][:, :-8].contiguous()}

    with pytest.raises(UnfitWeights, match=rf"1 .'{LAST['t5']} \[32, 40\] for \[32, 48\]'. of another shape"):
        changed("t5", cut)


@pytest.mark.parametrize("name", WRITERS)
def test_what_older_versions_saved_beside_the_weights_changes_nothing(changed, load, name):
    backbone = changed(name, lambda weights: {**weights, **{key: torch.ones(1) for key in LEFTOVERS[name]}})
    assert backbone.identity() == load(name).identity()


def test_ties_may_be_written_out_or_left_out(changed, load):
    names = {"shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"}

    def written_out(weights):
        (table,) = [weights[name] for name in names & weights.keys()]
        return {**weights, **{name: table.clone() for name in names}}

    assert changed("t5", written_out).identity() == load("t5").identity()


def test_a_base_models_file_is_the_whole_of_a_tied_gpt2(changed, load):
    backbone = changed("gpt2", lambda weights: {key.removeprefix("transformer."): weights[key] for key in weights})
    assert backbone.identity() == load("gpt2").identity()


def test_a_base_models_file_lacks_an_untied_llamas_head(changed):
    def base(weights):
        return {key.removeprefix("model."): value for key, value in weights.items() if key != "lm_head.weight"}

    with pytest.raises(UnfitWeights, match="files with 1 .'lm_head.weight'. missing: "):
        changed("llama", base)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_frozen_weight_that_is_not_finite_is_named(changed, value):
    def spoil(weights):
        weights[LAST["t5"]][3, 5] = value
        return weights

    with pytest.raises(
        UnfitWeights, match=f"wanted finite weights, given {LAST['t5']} with 1 of 1,536 NaN or infinite"
    ):
        changed("t5", spoil)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("place", [0, 15, 16, 1022])
def test_a_nan_is_found_wherever_it_stands(dtype, place):
    values = torch.zeros(1023, dtype=dtype)
    assert check_finite({"bias": values, "none": values[:0]}) is None
    values[place] = float("nan")
    assert check_finite({"bias": values}) == "bias with 1 of 1,023 NaN or infinite"


def test_a_model_with_an_adapter_in_its_folder_is_refused(folders, tmp_path):
    shutil.copytree(folders["t5"], tmp_path / "t5")
    (tmp_path / "t5" / "adapter_config.json").write_text("{}")
    with pytest.raises(MissingBackbone, match="adapter_config.json.*give the folder of the model alone"):
        load_backbone(str(tmp_path / "t5"))


@pytest.mark.parametrize(
    ("quantised", "library"),
    [
        ({"quant_method": "gptq", "bits": 4}, "optimum|gptqmodel"),
        ({"quant_method": "awq", "bits": 4}, "gptqmodel|awq"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors|compressed_tensors"),
    ],
    ids=lambda each: each["quant_method"] if isinstance(each, dict) else "",
)
def test_a_quantised_model_names_the_library_that_reads_it(changed, quantised, library):
    with pytest.raises(MissingBackbone, match=rf"needs another\. .*({library}).*install it or") as told:
        changed("t5", quantization_config=quantised)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin", "config.json", "generation_config.json"])
def test_a_git_lfs_pointer_in_a_models_folder_is_named(folders, tmp_path, file):
    folder = shutil.copytree(folders["t5"], tmp_path / "t5")
    if file == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
    (folder / file).write_text(POINTER)
    with pytest.raises(BadFile, match=f"{file}: wanted a file with its content, given a git-lfs pointer"):
        load_backbone(str(folder))


def test_a_pointer_to_another_librarys_weights_hinders_nothing(folders, tmp_path):
    folder = shutil.copytree(folders["t5"], tmp_path / "t5")
    (folder / "pytorch_model.bin").write_text(POINTER)
    load_backbone(str(folder))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("pytorch_model.bin", b"cos\nsystem\n(S'true'\ntR."),
        ("pytorch_model.bin", b"nothing of the kind"),
        ("model.safetensors", b"\x08\0\0\0\0\0\0\0{}      "),
        ("config.json", b'{"model_type": "t5", "num_layers": "two"}'),
        ("config.json", b'["t5"]'),
        ("config.json", b'{"model_type": null}'),
    ],
)
def test_no_broken_file_of_a_model_ends_in_a_traceback(folders, tmp_path, file, content):
    folder = shutil.copytree(folders["t5"], tmp_path / "t5")
    if file == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
    (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=r"t5.*: wanted ") as told:
        load_backbone(str(folder))
    assert "\n" not in str(told.value)


def test_an_attention_whose_library_is_not_here_is_one_sentence(load):
    with pytest.raises(MissingBackbone, match="llama: wanted a model .*needs another.*[Ff]lash"):
        load("llama", attn_implementation="flash_attention_2")


@pytest.mark.parametrize("name", ["t5", "gpt2"])
def test_a_whole_model_loads_without_a_warning(folders, name):
    logger, records = logging.getLogger("transformers"), []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append
    logger.addHandler(handler)
    try:
        load_backbone(str(folders[name]), kind="causal" if name == "gpt2" else "seq2seq")
    finally:
        logger.removeHandler(handler)
    assert [record.getMessage() for record in records] == []
