import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import dept_vl
from dept_vl.adapters import DePT, PromptTuning
from dept_vl.saved import BadAdapterFolder, load_adapter, read_any
from tests.fuzz.bounds import within

RELEASED = Path(__file__).resolve().parents[3] / "shared" / "realdata" / "dept_released"
PEFT = {"peft_type": "PROMPT_TUNING", "task_type": "SEQ_2_SEQ_LM", "num_virtual_tokens": 3, "token_dim": 8}
DEPT = {"peft_type": "PROMPT_TUNING_LORA", "num_virtual_tokens": 3, "token_dim": 8, "r": 2, "max_length": 7}


@pytest.fixture
def write(tmp_path):
    def write(config, state, *, pickled=False):
        (tmp_path / "adapter_config.json").write_text(json.dumps(config))
        if pickled:
            torch.save(state, tmp_path / "adapter_model.bin")
        else:
            save_file(state, tmp_path / "adapter_model.safetensors")
        return tmp_path

    return write


@pytest.fixture
def released():
    """The tensors of a DePT adapter under the authors' names."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "prompt_embeddings": (3, 8),
        "prompt_encoder.lora_embedding_A": (7, 2),
        "prompt_encoder.lora_embedding_B": (2, 8),
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def test_load_adapter_at_the_top_level_reads_ours(method, make_adapter, save):
    adapter = make_adapter(method)
    loaded = dept_vl.load_adapter(save(adapter))
    assert loaded.config() == adapter.config()
    assert all(torch.equal(weight, adapter.state_dict()[name]) for name, weight in loaded.state_dict().items())


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
def test_peft_prompt_tuning(write, pickled):
    prompt = torch.randn(3, 8)
    folder = write(PEFT | {"num_transformer_submodules": 1}, {"prompt_embeddings": prompt}, pickled=pickled)
    adapter = load_adapter(folder)
    assert type(adapter) is PromptTuning and torch.equal(adapter.fold().prompt, prompt)


@pytest.mark.parametrize("submodules", [{"num_transformer_submodules": 2}, {}], ids=["2", "PEFT's default"])
def test_of_two_submodules_the_encoder_s_rows_are_used_and_it_is_said(write, submodules):
    prompt = torch.randn(6, 8)
    folder = write(PEFT | submodules, {"prompt_embeddings": prompt})
    with pytest.warns(UserWarning, match="of 6 prompt rows for 2 submodules the first 3 are used"):
        adapter = load_adapter(folder)
    assert torch.equal(adapter.fold().prompt, prompt[:3])


@pytest.mark.parametrize("peft_type", ["P_TUNING", "CPT"])
def test_a_prompt_that_peft_saved_as_a_constant_is_one(write, peft_type):
    prompt = torch.randn(3, 8)
    folder = write(PEFT | {"peft_type": peft_type, "num_transformer_submodules": 1}, {"prompt_embeddings": prompt})
    assert type(load_adapter(folder)) is PromptTuning and torch.equal(load_adapter(folder).fold().prompt, prompt)


def _peft_mpt(tasks, rows=3, rank=1):
    state = {
        "prompt_embeddings": torch.randn(rows, 8),
        "prefix_task_cols": torch.randn(tasks, rows, rank),
        "prefix_task_rows": torch.randn(tasks, rank, 8),
    }
    return PEFT | {"peft_type": "MULTITASK_PROMPT_TUNING", "num_tasks": tasks, "num_ranks": rank}, state


@pytest.mark.parametrize("rows", [3, 6], ids=["1 submodule", "2"])
@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.filterwarnings("ignore:.*prompt rows for 2 submodules:dept_vl.registry.DeptVLWarning")
def test_peft_s_multitask_prompt_is_mpt(write, tasks, rows):
    config, state = _peft_mpt(tasks, rows)
    adapter = load_adapter(write(config | {"num_transformer_submodules": rows // 3}, state))
    for task in range(tasks):
        wanted = state["prompt_embeddings"] * (state["prefix_task_cols"] @ state["prefix_task_rows"])[task]
        torch.testing.assert_close(adapter.for_task(task).fold().prompt, wanted[:3])


def test_a_multitask_prompt_of_another_rank_or_without_factors_is_refused(write):
    config, state = _peft_mpt(1, rank=2)
    with pytest.raises(BadAdapterFolder, match="wanted num_ranks 1"):
        load_adapter(write(config, state))
    config, state = _peft_mpt(2)
    with pytest.raises(BadAdapterFolder, match=r"task_u: wanted \[2, 3\], given \[2, 1\]"):
        load_adapter(write(config, state | {"prefix_task_cols": torch.randn(2, 1, 1)}))
    del state["prefix_task_rows"]
    with pytest.raises(BadAdapterFolder, match="wanted prefix_task_rows"):
        load_adapter(write(config, state))


def test_half_precision_weights_become_fp32_exactly(write):
    prompt = torch.randn(3, 8).to(torch.bfloat16)
    adapter = load_adapter(write(PEFT, {"prompt_embeddings": prompt}))
    assert adapter.prompt_embeddings.dtype == torch.float32
    assert torch.equal(adapter.prompt_embeddings.to(torch.bfloat16), prompt)


def test_rows_that_do_not_fit_the_config(write):
    folder = write(PEFT, {"prompt_embeddings": torch.randn(5, 8)})
    with pytest.raises(BadAdapterFolder, match=r"prompt_embeddings: wanted \[3, 8\], given \[5, 8\]"):
        load_adapter(folder)


@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "bin"])
def test_the_authors_format_is_the_equation_with_its_scale(write, released, pickled):
    adapter = load_adapter(write(DEPT | {"lora_alpha": 4}, released, pickled=pickled))
    assert type(adapter) is DePT
    shift = 4 / 2**0.5 * released["prompt_encoder.lora_embedding_A"] @ released["prompt_encoder.lora_embedding_B"]
    assert torch.equal(adapter.fold().prompt, released["prompt_embeddings"])
    torch.testing.assert_close(adapter.fold().shift, shift)


def test_the_authors_scale_is_8_where_the_config_has_none(write, released):
    assert load_adapter(write(DEPT, released)).lora_alpha == 8


def test_a_released_adapter_without_its_low_rank_pair_is_refused(write, released):
    folder = write(DEPT, {"prompt_embeddings": released["prompt_embeddings"]}, pickled=True)
    message = "wanted DePT's low-rank pair .*saved without lora_embedding_A and lora_embedding_B .*is another model"
    with pytest.raises(BadAdapterFolder, match=message):
        load_adapter(folder)


def test_an_imported_adapter_has_a_name_for_its_backbone_and_no_hash(write, released):
    saved = read_any(write(DEPT | {"base_model_name_or_path": "t5-base"}, released))
    assert saved.config["base_model_name_or_path"] == "t5-base"
    assert saved.config["backbone_sha256"] is None and saved.config["task"] is None


def test_other_peft_methods_are_named(write):
    folder = write(PEFT | {"peft_type": "LOHA"}, {"a": torch.ones(1)})
    wanted = "MULTITASK_PROMPT_TUNING, PROMPT_TUNING_LORA, LORA, IA3, PREFIX_TUNING, given peft_type 'LOHA'"
    with pytest.raises(BadAdapterFolder, match=wanted):
        load_adapter(folder)


def test_no_weights(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps(PEFT))
    with pytest.raises(BadAdapterFolder, match="wanted weights in adapter_model.safetensors or adapter_model.bin"):
        load_adapter(tmp_path)


class _Executes:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_pickle_that_would_execute_something_is_refused(write, capsys):
    folder = write(PEFT, {"prompt_embeddings": _Executes()}, pickled=True)
    with pytest.raises(BadAdapterFolder, match="adapter_model.bin: wanted a torch file of tensors alone, given"):
        load_adapter(folder)
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(_Executes()))
    with pytest.raises(BadAdapterFolder, match="wanted a torch file of tensors alone"):
        load_adapter(folder)
    assert capsys.readouterr().out == ""


def test_a_bin_that_is_cut_short_or_no_dict(write):
    folder = write(PEFT, {"prompt_embeddings": torch.randn(3, 8)}, pickled=True)
    file = folder / "adapter_model.bin"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(BadAdapterFolder, match="given one that is cut short, damaged or holds other objects"):
        load_adapter(folder)
    write(PEFT, [torch.ones(1)], pickled=True)
    with pytest.raises(BadAdapterFolder, match="wanted a dict of tensors, given list"):
        load_adapter(folder)


def test_weights_that_are_no_numbers_are_refused(write):
    folder = write(PEFT, {"prompt_embeddings": torch.full((3, 8), torch.nan)}, pickled=True)
    with pytest.raises(BadAdapterFolder, match="prompt_embeddings with 24 of 24 NaN or infinite"):
        load_adapter(folder)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft 0.21 asks for it
def test_a_folder_that_peft_itself_saved(tiny_t5, tmp_path):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForSeq2SeqLM

    config = peft.PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=4)
    model = peft.get_peft_model(AutoModelForSeq2SeqLM.from_pretrained(tiny_t5), config)
    model.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="of 8 prompt rows for 2 submodules the first 4 are used"):
        adapter = load_adapter(tmp_path)
    assert torch.equal(adapter.fold().prompt, model.prompt_encoder["default"].embedding.weight[:4])


@pytest.mark.parametrize(("name", "num", "r"), [("cola", 80, 15), ("sst2", 60, 30)])
def test_the_released_adapters_load(name, num, r):
    if not RELEASED.is_dir():
        pytest.skip("no ../shared")
    adapter = load_adapter(RELEASED / name)
    assert (adapter.num_virtual_tokens, adapter.r, adapter.max_length, adapter.token_dim) == (num, r, 256, 768)
    assert sum(weight.numel() for weight in adapter.parameters()) == 76_800
    state = torch.load(RELEASED / name / "adapter_model.bin", weights_only=True, map_location="cpu")
    shift = 8 / r**0.5 * state["prompt_encoder.lora_embedding_A"] @ state["prompt_encoder.lora_embedding_B"]
    torch.testing.assert_close(adapter.fold().shift, shift)


def _with_pickle(file, pickled):
    """The same archive of torch with another pickle in it."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, pickled if name.endswith("data.pkl") else data)


def _pairs_of_pairs(depth):
    """A dict whose key is a tuple of two tuples of two tuples ...: its hash takes 2^depth steps."""
    doubled = (b"h" + bytes([place]) + b"\x86q" + bytes([place + 1]) for place in range(1, depth))
    return b"\x80\x02}q\x00)q\x01" + b"".join(doubled) + b"K\x01s."


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (_pairs_of_pairs(70), "a tuple in two places or a long name"),
        (b"\x80\x02c" + b"x" * 16_000 + b"\ny\n.", "a tuple in two places or a long name"),  # 7 s in torch
        (b"\x80\x02" + b"N" * 20_000 + b".", "20,003 bytes of pickle, more than 16,384"),
        (b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", "cut short, damaged or holds other objects"),
    ],
    ids=["hash", "name", "size", "eval"],
)  # fmt: skip
def test_a_pickle_that_would_take_forever_is_refused_at_once(write, pickled, message):
    folder = write(PEFT, {"prompt_embeddings": torch.randn(3, 8)}, pickled=True)
    _with_pickle(folder / "adapter_model.bin", pickled)
    with within(), pytest.raises(BadAdapterFolder, match=message):
        load_adapter(folder)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.zeros(1).expand(10**6, 10**6), "given 4,000,000,000,000 bytes of them in 1,"),
        (torch.ones(3, 8, device="meta"), "wanted plain tensors, given 'prompt_embeddings' of .* on meta"),
        (torch.ones(3, 8).to_sparse(), "wanted plain tensors, given 'prompt_embeddings' of .*sparse_coo"),
    ],
    ids=["stride 0", "meta", "sparse"],
)
@pytest.mark.filterwarnings("ignore:.*[Ss]parse:UserWarning")  # torch's own, while it reads them
def test_tensors_that_the_file_does_not_hold_are_refused(write, weights, message):
    with pytest.raises(BadAdapterFolder, match=message):
        load_adapter(write(PEFT, {"prompt_embeddings": weights}, pickled=True))


def test_a_packed_bin_is_refused_before_it_is_unpacked(write):
    folder = write(PEFT, {"prompt_embeddings": torch.zeros(3, 8)}, pickled=True)
    with zipfile.ZipFile(folder / "adapter_model.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(10**7))
    with pytest.raises(BadAdapterFolder, match="given one of 9,.* bytes that unpacks to 10,000,000"):
        load_adapter(folder)


def test_the_format_of_torch_before_1_6_is_refused(write):
    folder = write(PEFT, {"prompt_embeddings": torch.zeros(3, 8)}, pickled=True)
    torch.save({}, folder / "adapter_model.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(BadAdapterFolder, match="given one of other bytes"):
        load_adapter(folder)
