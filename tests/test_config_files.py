"""The files of configs/: each parses, fits the others, and makes an experiment that can be built."""

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from dept_vl.config import Experiment, config_files, find_config, parse_experiment
from dept_vl.run import check
from tests.toy_arguments import with_sources

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
DEFAULTS, TEXT_DEFAULTS = (
    config_files("backbones/tiny.yaml", f"tasks/{kind}_shapes.yaml", "adapters/dept.yaml") for kind in ("vqa", "text")
)
FOLDERS = ("tasks", "own", "adapters", "inside", "combinations", "backbones", "paper")
FILES = sorted(path for folder in FOLDERS for path in (CONFIGS / folder).glob("*.yaml") if path.stem != "contents")
NAMES = [str(path.relative_to(CONFIGS)) for path in FILES]


def parse(*argv: object) -> Experiment:
    return parse_experiment([*map(str, argv)], description="Trains.", defaults=DEFAULTS)


def test_a_config_is_the_file_that_is_here_or_else_the_packages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = CONFIGS / "adapters" / "dpt.yaml"
    assert find_config(Path("configs/adapters/dpt.yaml")) == find_config(Path("adapters/dpt.yaml")) == own
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "dpt.yaml").write_text("adapter: {name: pt, args: {num_virtual_tokens: 3}}\n")
    assert find_config(Path("adapters/dpt.yaml")) == Path("adapters/dpt.yaml")
    assert parse("--config", "adapters/dpt.yaml").adapter.name == "pt"
    assert parse("--config=configs/adapters/dpt.yaml").adapter.name == "dpt"
    for absent in ("configs/adapters/dpd.yaml", "/adapters/dpt.yaml", "configs/adapters"):
        assert find_config(Path(absent)) == Path(absent)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_kind_of_config_is_there(folder):
    assert any(name.startswith(folder) for name in NAMES)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_each_config_parses_alone_and_fits_the_defaults(path, tmp_path):
    text = path.name.startswith("text") or "kind: causal" in path.read_text()
    first = TEXT_DEFAULTS if text else DEFAULTS
    alone, merged = parse("--config", path), parse(*(word for each in [*first, path] for word in ("--config", each)))
    for name in merged.task.name.split(","):
        config = dataclasses.replace(merged, task=dataclasses.replace(merged.task, name=name))
        check(with_sources(config, tmp_path))
    for name, value in yaml.safe_load(path.read_text()).items():
        assert name in alone.to_dict() and (isinstance(value, dict) or getattr(merged, name) == value)
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name == "paper"], ids=lambda path: path.stem)
def test_each_paper_config_is_a_whole_experiment(path):
    """It opens with its command, the published score and the protocol."""
    check(parse("--config", path))
    head = re.match(r"(#.*\n)+", path.read_text())[0]
    assert f"configs/paper/{path.name}" in head and re.search(r"\d\d", head)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--adapter.name", "depts"], "unknown adapter 'depts': wanted one of .* Did you mean 'dept'"),
        (["--adapter.args.r", 0], "DePT: wanted r to be an integer >= 1, given 0"),
        (["--adapter.args.num_virtual_tokens", -1], "wanted num_virtual_tokens"),
        (["--adapter.args.max_length", 0], "wanted max_length"),
        (
            ["--adapter.name", "pt", "--adapter.args.r", 8],
            "adapter .pt.: wanted the arguments num_virtual_tokens; given unknown r",
        ),
        (["--optim.lr.promt", 3], "optim.lr: unknown group 'promt', wanted prompt, low_rank, projection.*'prompt'"),
        (["--task.name", "vqqa"], "unknown task 'vqqa'.* Did you mean 'vqa'"),
        (["--task.protocol", "2021"], "protocol: wanted one of official-2021, .*given '2021'"),
        (["--task.template", "vqa:"], "template: wanted the field {question}"),
    ],
)
def test_impossible_adapters_and_tasks_are_told_before_a_weight_is_loaded(flags, message):
    with pytest.raises(ValueError, match=message):
        check(parse(*flags))


def test_dept_without_a_prompt_is_possible():
    check(parse("--adapter.args.num_virtual_tokens", 0))
