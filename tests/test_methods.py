"""Every method is counted, has its row in docs/methods.md and a config of its name."""

import functools
import json
import re
from pathlib import Path

import pytest
import yaml

from dept_vl.adapters import ADAPTERS
from dept_vl.cli.methods import main as methods
from dept_vl.methods import SHAPES, count_methods

counted_on = functools.cache(count_methods)
REPOSITORY = Path(__file__).resolve().parents[1]
INSIDE = {
    "lora": 3_870_720, "lora_bitfit": 3_822_180, "bitfit": 282_468, "ia3": 129_024, "adapter": 1_855_104,
    "adapterdrop": 1_101_984, "full": 222_882_048, "hyperformer": 5_211_056, "hyperdecoder": 15_259_192,
    "lst": 3_878_706, "prefix": 29_571_072, "p_tuning_v2": 1_105_920,
}  # fmt: skip
KNOWN = INSIDE | {"pt": 76_800, "dpt": 8_680, "residual_pt": 693_904, "dept": 76_800, "rank_probe": 86_900, "none": 0}


def test_the_published_counts_at_t5_base():
    """Others have theirs in the tests of their own files."""
    counted = counted_on("t5-base")
    assert {name: counted[name]["total"] for name in KNOWN} == KNOWN
    assert counted["dept"]["groups"] == {"prompt": 60 * 768, "low_rank": (256 + 768) * 30}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_method_is_counted_on_every_shape_and_its_groups_add_up(shape):
    counted = counted_on(shape)
    assert counted.keys() >= ADAPTERS.keys() | INSIDE.keys()
    assert all(sum(each["groups"].values()) == each["total"] for each in counted.values())
    assert counted["pt"]["total"] == 100 * SHAPES[shape]["d_model"]


def test_the_command_prints_them_as_one_json_object_or_as_lines(capsys):
    methods(["--shape", "t5-small", "--json"])
    assert json.loads(capsys.readouterr().out) == {"methods": counted_on("t5-small")}
    methods([])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if re.match(r"dept +76,800  prompt 46,080, low_rank 30,720$", line)], lines


def test_another_shape_is_refused_by_name():
    with pytest.raises(SystemExit, match="shape: wanted one of t5-small, .*, given 't5-bass'. Did you mean 't5-base'"):
        methods(["--shape", "t5-bass"])


@pytest.mark.parametrize("name", sorted(ADAPTERS))
def test_every_adapter_has_a_row_and_a_config(name):
    rows = (REPOSITORY / "docs" / "methods.md").read_text()
    assert len(re.findall(rf"^\| `{name}` \|", rows, re.MULTILINE)) == 1
    config = yaml.safe_load((REPOSITORY / "configs" / "adapters" / f"{name}.yaml").read_text())
    assert config["adapter"]["name"] == name
