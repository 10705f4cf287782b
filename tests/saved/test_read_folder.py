"""Every way in which an adapter folder can be broken: the error names the file, the wanted and the given."""

import functools
import json
import operator
import random

import pytest
import torch
from safetensors.torch import load_file, save_file

from dept_vl.adapters import ADAPTERS
from dept_vl.saved import BadAdapterFolder, read_adapter
from tests.saved.conftest import TASK

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture
def folder(make_adapter, save):
    return save(make_adapter("dept"))


def _edit(folder, changes):
    """Changes of the config by dotted name; "drop" removes it."""
    path = folder / CONFIG
    config = json.loads(path.read_text())
    for name, value in changes.items():
        *above, last = name.split(".")
        group = functools.reduce(operator.getitem, above, config)
        group[last] = value
        if value == "drop":
            del group[last]
    path.write_text(json.dumps(config))


def _edit_weights(folder, change):
    state = load_file(folder / WEIGHTS)
    change(state)
    save_file(state, folder / WEIGHTS)


def _refused(folder, file, message):
    with pytest.raises(BadAdapterFolder, match=message) as error:
        read_adapter(folder)
    assert str(error.value).startswith(str(folder / file)), error.value
    assert "wanted" in str(error.value) and "given" in str(error.value)


def test_no_folder(tmp_path):
    _refused(tmp_path / "none", "", "wanted a folder with adapter_config.json, given no such folder")


def test_no_config_points_to_sub_folders(folder):
    _refused(folder.parent, CONFIG, r"given no such file; its sub-folders \['saved'\] have one")


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_config_cut_in_the_middle(folder, share):
    text = (folder / CONFIG).read_text()
    (folder / CONFIG).write_text(text[: int(len(text) * share)])
    _refused(folder, CONFIG, "wanted a whole JSON object, given one cut or broken at character")


def test_a_config_that_is_no_object_or_no_text(folder):
    (folder / CONFIG).write_text("[]")
    _refused(folder, CONFIG, "wanted a JSON object at the top, given list")
    (folder / CONFIG).write_bytes(b"\xff\xfe")
    _refused(folder, CONFIG, "wanted UTF-8 text")


def test_no_weights(folder):
    (folder / WEIGHTS).unlink()
    _refused(folder, WEIGHTS, "given no such file")


@pytest.mark.parametrize("keep", [0, 5, 40, 0.5, -1], ids=str)
def test_weights_cut_short(folder, keep):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: int(len(data) * keep)] if isinstance(keep, float) else data[:keep])
    _refused(folder, WEIGHTS, "wanted a whole safetensors file, given one cut short: ")


def test_damaged_weights_are_refused_or_whole(folder):
    """Whatever bytes of the header change, the answer is the named error or weights of the right shapes."""
    data = (folder / WEIGHTS).read_bytes()
    draw = random.Random(0)
    for _ in range(60):
        damaged = bytearray(data)
        damaged[draw.randrange(300)] ^= 1 << draw.randrange(8)
        (folder / WEIGHTS).write_bytes(damaged)
        try:
            assert read_adapter(folder).adapter.r == 2
        except BadAdapterFolder:
            pass


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers(folder, value):
    _edit_weights(folder, lambda state: state["projection.positions"].fill_(value))
    _refused(folder, WEIGHTS, "wanted finite .* given projection.positions with 32 of 32 NaN or infinite")


def test_whole_numbers_are_no_weights(folder):
    _edit_weights(folder, lambda state: state.update({"adapter.lora_embedding_A": torch.ones(7, 2, dtype=torch.int64)}))
    _refused(folder, WEIGHTS, "wanted finite floating point weights, given adapter.lora_embedding_A of torch.int64")


def test_weights_of_other_shapes_than_the_config_says(folder):
    _edit(folder, {"parts.adapter.args.r": 3})
    _refused(folder, WEIGHTS, r"lora_embedding_A: wanted \[7, 3\], given \[7, 2\]")


def test_weights_missing_and_unknown(folder):
    _edit_weights(folder, lambda state: state.update({"adapter.other": state.pop("adapter.prompt_embeddings")}))
    _refused(folder, WEIGHTS, "no prompt_embeddings; unknown other")


def test_weights_of_a_part_that_the_config_does_not_have(folder):
    _edit_weights(folder, lambda state: state.update({"inside.lora_A": torch.zeros(2)}))
    _refused(folder, WEIGHTS, "wanted weights of adapter, projection, given inside.lora_A")


@pytest.mark.parametrize(
    "name", ["adapter.args.num_virtual_tokens", "adapter.args.max_length", "adapter.token_dim", "projection.in_dim"]
)
def test_a_size_that_no_weight_has_takes_no_memory(folder, name):
    _edit(folder, {f"parts.{name}": 10**13})
    _refused(folder, "", "given .*10000000000000")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts.adapter.name": "depth"}, "unknown adapter 'depth'.*Did you mean 'dept'"),
        ({"parts.adapter.name": "drop"}, "wanted the key 'name'"),
        ({"parts.adapter": "drop"}, "wanted parts of adapter, projection, .* given projection"),
        ({"parts.adapter": 3}, "wanted parts.adapter as an object, given 3"),
        ({"parts.other": {}}, "given adapter, projection, other"),
        ({"task.split_shares": [0.5, 0.5]}, r"wanted task.split_shares as three numbers from 0 to 1, given \[0.5, 0.5"),
        ({"task.split_shares": [0.5, 2, 0]}, "three numbers from 0 to 1, given .*2"),
        ({"task.split_shares": [True, 0, 0]}, "three numbers from 0 to 1, given .*True"),
        ({"library_name": "peft"}, "wanted library_name of dept_vl, given 'peft'"),
        ({"token_order": ["visual"]}, "wanted token_order .*, given \\['visual'\\]"),
        ({"covers": "all"}, "wanted covers of text, text_and_visual, given 'all'"),
        ({"parts.adapter.args.lora_alpha": "drop"}, "wanted the argument 'lora_alpha'"),
        ({"parts.adapter.args.r": "drop"}, "given others: .*no r"),
        ({"parts.adapter.args.gates": 3}, "given others: .*unknown gates"),
        ({"parts.adapter.state": {"trained_length": -2}}, "given others: .*trained_length .*given -2"),
        ({"task": TASK | {"num_beams": 10**9}}, "wanted task.num_beams <= 100, given 1,000,000,000"),
        ({"task": TASK | {"template": "{question:9999999999}"}}, "wanted a name alone in each pair of braces"),
        ({"task": TASK | {"template": "{question.__class__}"}}, "wanted a name alone in each pair of braces"),
        ({"parts.adapter.args.r": "2"}, "given others: "),
        ({"parts.adapter.args.r": [2]}, "given others: "),
        ({"parts.adapter.args.r": 0}, "wanted r to be an integer >= 1, given 0"),
        ({"parts.adapter.args.num_virtual_tokens": -1}, "wanted num_virtual_tokens .* given -1"),
        ({"parts.adapter.args.lora_alpha": -8.0}, "wanted lora_alpha > 0, .* given -8.0"),
        ({"backbone_sha256": "drop"}, "wanted the key 'backbone_sha256'"),
        ({"backbone_sha256": 7}, "wanted backbone_sha256 as str, given 7"),
        ({"vision": None}, "wanted a projection and vision together, given one of them alone"),
        ({"vision.vision_pooling": "drop"}, "wanted the key 'vision_pooling' in vision"),
        ({"parts.projection.in_dim": 0}, "wanted in_dim as int >= 1, given 0"),
        ({"parts.projection.name": "linaer"}, "wanted sizes of a projection, given .*Did you mean 'linear'"),
        ({"parts.projection.name": 3}, "wanted sizes of a projection, given .*3"),
        ({"parts.projection.args": [1]}, "wanted sizes of a projection, given"),
        ({"parts.projection.args": {"factor": 2}}, "wanted sizes of a projection, given .*factor"),
        ({"weights_sha256": "drop"}, "wanted the key 'weights_sha256'"),
        ({"task": "drop"}, "wanted the key 'task'"),
        ({"task": {"name": "vqa"}}, "wanted the key 'task.template'"),
        ({"task": TASK | {"max_source_length": 0}}, "wanted max_source_length as int >= 1, given 0"),
    ],
    ids=str,
)
def test_a_config_that_says_what_cannot_be(folder, change, message):
    _edit(folder, change)
    _refused(folder, CONFIG, message)


def test_fields_of_a_later_version_are_said_to_be_ignored(folder):
    _edit(folder, {"gates": 3})
    with pytest.warns(UserWarning, match=r"fields that this version does not know are ignored: \['gates'\]"):
        read_adapter(folder)


def test_reading_moves_no_random_stream(folder):
    before = torch.get_rng_state()
    read_adapter(folder)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("method", sorted(set(ADAPTERS) - {"none"}))
def test_two_great_sizes_take_no_memory_for_their_product(make_adapter, save, method):
    folder = save(make_adapter(method))
    sizes = json.loads((folder / CONFIG).read_text())["parts"]["adapter"]["args"]
    great = {f"parts.adapter.args.{name}": 2**20 for name, size in sizes.items() if isinstance(size, int)}
    _edit(folder, {"parts.adapter.token_dim": 2**20, **great})
    _refused(folder, WEIGHTS, r"wanted \[.*1048576")  # of 4 TiB


def test_a_great_projection_takes_no_memory(folder):
    _edit(folder, {"parts.projection.in_dim": 2**20, "parts.projection.num_patches": 2**20})
    _refused(folder, WEIGHTS, r"linear.weight: wanted \[8, 1048576\], given \[8, 5\]")


def test_a_double_beyond_the_range_of_fp32_is_no_number(folder):
    _edit_weights(
        folder,
        lambda state: state.update({"adapter.prompt_embeddings": torch.full((3, 8), 1e300, dtype=torch.float64)}),
    )
    _refused(folder, WEIGHTS, "given adapter.prompt_embeddings with 24 of 24 NaN or infinite")


def test_a_card_that_is_no_text_is_named(folder):
    (folder / "README.md").write_bytes(b"\xff\xfe")
    _refused(folder, "README.md", "wanted UTF-8 text, given bytes that are not")


def test_a_great_header_is_not_read_to_say_what_is_cut(folder):
    header = b"[" * (2**20 + 1)
    (folder / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header)
    _refused(folder, WEIGHTS, "given one whose header has 1,048,577 bytes")


def test_weights_of_another_adapter_of_the_same_sizes_are_refused(folder, make_adapter, save):
    """What a copy, two writers at once or a kill could leave: nothing but the hash tells them apart."""
    other = save(make_adapter("dept", seed=1), "other")
    (folder / WEIGHTS).write_bytes((other / WEIGHTS).read_bytes())
    _refused(folder, WEIGHTS, r"saved \(sha256 [0-9a-f]{12}\), given others \([0-9a-f]{12}\): damaged, or of another")


def test_one_flipped_bit_is_refused(folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-3] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    _refused(folder, WEIGHTS, "wanted the weights with which adapter_config.json was saved")
