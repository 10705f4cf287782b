"""The memory of a step: what is kept for the backward pass, no weights among it."""

import dataclasses

import pytest
import torch

from dept_vl.config import InsideConfig
from dept_vl.model import Batch, Network
from dept_vl.plans.costs import costs_path, measure_costs, read_costs
from dept_vl.plans.settings import BadPlan
from dept_vl.run.measure import step_bytes
from tests.tiny_runs import build_network, text_experiment, write_cola


def batch(rows=2, seq=6):
    ids = torch.randint(3, 200, (rows, seq), generator=torch.Generator().manual_seed(0))
    return Batch(ids, torch.ones_like(ids), ids[:, :3].clone(), None, tuple(range(rows)))


def text_network(byte_t5):
    network = build_network(byte_t5, dropout=False)
    return Network(network.backbone, {"adapter": network.adapter}, backbone_dropout=False)


def test_memory_is_the_same_each_time_and_grows_with_the_batch(byte_t5):
    network = text_network(byte_t5)
    one = step_bytes(network, batch())
    assert step_bytes(network, batch()) == one > 0
    assert 1.8 < step_bytes(network, batch(rows=4)) / one < 2.2, "weights would not grow with the rows"
    assert step_bytes(network, batch(seq=12)) > one


@pytest.mark.usefixtures("afresh")
def test_costs_have_each_round_of_each_cell(byte_t5, tmp_path):
    write_cola(tmp_path / "data")
    none = {"name": "none", "args": {}}
    methods = {
        "pt": {"adapter": {"name": "pt", "args": {"num_virtual_tokens": 3}}},
        "lora": {"adapter": none, "inside": InsideConfig("lora", {"r": 2})},
        "adapter": {"adapter": none, "inside": InsideConfig("adapter", {"reduction": 4})},
        "prefix": {"adapter": none, "inside": InsideConfig("p_tuning_v2", {"num_virtual_tokens": 2})},
    }
    configs = {
        name: text_experiment(byte_t5, tmp_path / "data", tmp_path / name, **method) for name, method in methods.items()
    }
    measure_costs(configs, tmp_path / "costs.json", rounds=2, rows=4)
    costs = read_costs(tmp_path / "costs.json")
    assert costs is not None and set(costs) == set(methods)
    for name, cell in costs.items():
        folded = {"folded_ms": 2} if name in ("pt", "lora") else {}  # the others neither fold nor merge
        assert {key: len(values) for key, values in cell.items()} == {
            "train_ms": 2, "eval_ms": 2, "memory_mb": 1, "eval_gflops": 1, **folded
        }  # fmt: skip
        assert all(value > 0 for values in cell.values() for value in values)


def test_costs_of_cells_that_compute_otherwise_are_not_taken_together(byte_t5, tmp_path):
    configs = {
        name: dataclasses.replace(text_experiment(byte_t5, tmp_path, tmp_path / name), bf16=name == "half")
        for name in ("half", "whole")
    }
    with pytest.raises(BadPlan, match="wanted one bf16 for all cells, .* given half True, whole False"):
        measure_costs(configs, tmp_path / "costs.json", rounds=1, rows=1)


def test_costs_of_a_cell_under_another_name_are_others(plans, tmp_path):
    cells = [dataclasses.replace(each, measure=("costs",)) for each in plans["first"].cells]
    plan = dataclasses.replace(plans["first"], cells=tuple(cells))
    renamed = dataclasses.replace(plan, cells=(dataclasses.replace(plan.cells[0], name="brief"), *plan.cells[1:]))
    assert costs_path(plan, tmp_path) == costs_path(plan, tmp_path) != costs_path(renamed, tmp_path)
