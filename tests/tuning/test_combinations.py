"""An adapter at the input and a method inside the frozen model, as configs/combinations puts them together."""

from pathlib import Path

import pytest
import torch
import yaml

from dept_vl import AdaptedModel
from dept_vl.adapters import build_adapter
from dept_vl.config import InsideConfig, OptimConfig
from dept_vl.methods import count_methods
from dept_vl.model import Network
from dept_vl.run.execute import run
from dept_vl.saved import read_adapter
from dept_vl.tuning import TUNINGS
from tests.tiny_runs import batch_of, json_lines, text_experiment, write_cola
from tests.tiny_tunings import CASES, RATES, attached

FILES = sorted((Path(__file__).resolve().parents[2] / "configs" / "combinations").glob("*.yaml"))
ARGS = {"num_virtual_tokens": 3, "r": 2, "max_length": 24}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_config_says_its_weights_and_has_the_groups_of_both_parts(path):
    config, counted = yaml.safe_load(path.read_text()), count_methods("t5-base")
    parts = [counted[config[place]["name"]] for place in ("adapter", "inside")]
    first, second = (each["total"] for each in parts)
    assert f"{first:,} + {second:,} = {first + second:,} trained weights" in " ".join(path.read_text().split("\n# "))
    assert set(config["optim"]["lr"]) == {*parts[0]["groups"], *TUNINGS[config["inside"]["name"]].groups, "projection"}
    assert path.stem == f"{config['adapter']['name']}_{config['inside']['name']}"


@pytest.mark.parametrize("inside", ["lora", "adapter", "bitfit"])
def test_a_step_moves_all_groups_of_both_and_no_frozen_weight(inside, load):
    backbone = load()
    frozen = {name: weight.clone() for name, weight in backbone.model.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    adapter = build_adapter("dept", torch.randn(3, backbone.d_model, generator=generator), ARGS, generator)
    tuning = attached(inside, backbone, random=True)
    network, groups = Network(backbone, {"adapter": adapter, "inside": tuning}), TUNINGS[inside].groups
    assert set(network.param_groups()) == {"prompt", "low_rank", *groups}
    optimizer = torch.optim.SGD([each for group in network.param_groups().values() for each in group], lr=0.1)
    before = {name: [each.clone() for each in group] for name, group in network.param_groups().items()}
    network.train()(batch_of([4, 2], features=False)).sum().backward()
    optimizer.step()
    for name, group in network.param_groups().items():
        assert not all(torch.equal(now, then) for now, then in zip(group, before[name], strict=True)), name
    tuning.detach()
    assert all(torch.equal(weight, frozen[name]) for name, weight in backbone.model.state_dict().items())


@pytest.mark.usefixtures("afresh")
def test_a_combination_trains_saves_loads_and_answers(folders, tmp_path):
    rates, adapter = {"prompt": 0.05, "low_rank": 0.01, **RATES}, {"name": "dept", "args": ARGS}
    data, inside = write_cola(tmp_path / "glue"), InsideConfig("bitfit", CASES["bitfit"])
    config = text_experiment(
        folders["t5"], data, tmp_path / "run", adapter=adapter, inside=inside, optim=OptimConfig(lr=rates)
    )
    results, folder = run(config), tmp_path / "run"
    saved = read_adapter(folder)
    assert (results["adapter"], results["inside"]) == ("dept", "bitfit") and set(saved.parts) == {"adapter", "inside"}
    logged = next(line for line in json_lines(folder / "metrics.jsonl") if "lr" in line)
    assert set(logged["lr"]) == {"prompt", "low_rank", "bias"} == set(logged["grad_norm"])
    wanted = {
        row["text"].removeprefix("sentence: "): row["prediction"] for row in json_lines(folder / "predictions.jsonl")
    }
    given = AdaptedModel.from_pretrained(folder, backbone=folders["t5"]).classify(list(wanted))
    assert [{"unacceptable": "0", "acceptable": "1"}[each] for each in given] == list(wanted.values())
