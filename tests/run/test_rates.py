"""The range test of learning rates: what it proposes where the right rate is known, and what it leaves as it was."""

import json

import numpy as np
import pytest
import torch
import yaml
from accelerate import Accelerator
from torch import nn
from torch.utils.data import Dataset

from dept_vl import cli
from dept_vl.config import BadConfig, InsideConfig, OptimConfig, config_files, parse_experiment
from dept_vl.data.batches import TrainingBatches
from dept_vl.model import Batch, Network
from dept_vl.run.rates import MARGIN, Proposal, propose_rates, range_test, read_curve
from dept_vl.train.engine import Engine
from dept_vl.train.optim import build_optimizer
from tests.tiny_runs import (
    RATES,
    ToyFeatures,
    encode,
    text_experiment,
    toy_examples,
    trained_bytes,
    write_byte_causal,
    write_cola,
)

STEPS = np.geomspace(1e-5, 10, 61).tolist()


class Bowl(Network):
    """Weights of which each is `distance` from where its loss, a parabola of the given curvature, is lowest. A second
    group has no influence on the loss."""

    def __init__(self, distance: float = 1.0, curvature: float = 1.0) -> None:
        nn.Module.__init__(self)
        self.distance, self.curvature = distance, curvature
        self.weight, self.idle = nn.Parameter(torch.zeros(8)), nn.Parameter(torch.ones(3))

    def param_groups(self):
        return {"weight": [self.weight], "idle": [self.idle]}

    def train(self, mode=True):
        return self

    def forward(self, batch):
        return (self.curvature / 2 * (self.weight - self.distance).square() + 0 * self.idle.sum()).mean()[None]


class Nothing(Dataset):
    """Batches of which a bowl reads nothing."""

    def __getitem__(self, number):
        return Batch(torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.int64))


def adamw(network):
    settings = {"weight_decay": 0.1, "betas": (0.9, 0.999), "eps": 1e-6}
    return build_optimizer(network.param_groups(), dict.fromkeys(network.param_groups(), 0.5), **settings)


def sgd(network):
    groups = network.param_groups().items()
    return torch.optim.SGD([{"params": group, "lr": 0.5, "name": name} for name, group in groups])


def sweep(network, optimizer, rates=STEPS):
    engine = Engine(Accelerator(cpu=True), network, optimizer, None)
    engine.prepare()
    return range_test(engine, Nothing(), rates)


@pytest.fixture
def engine(network, byte_t5):
    """DePT and a projection over a T5 whose dropout acts, and training batches for them."""
    engine = Engine(Accelerator(cpu=True), network, adamw(network), 1.0)
    engine.prepare()
    _, encoded = encode(byte_t5, toy_examples(20))
    return engine, TrainingBatches(encoded, ToyFeatures(), batch_size=4, seed=11)


@pytest.mark.parametrize("distance", [0.01, 1.0, 10.0])
def test_adamws_proposal_goes_the_way_in_a_few_steps(distance):
    """A step of AdamW is as long as its rate, whatever the loss: from a hundredth to all of the way."""
    network = Bowl(distance)
    curve = sweep(network, adamw(network))["weight"]
    assert distance / 30 < curve.proposed < distance and curve.proposed < curve.lowest


@pytest.mark.parametrize("curvature", [1.0, 10.0, 100.0])
def test_sgds_proposal_is_stable_and_within_ten_of_the_best(curvature):
    """On a parabola SGD is there in one step at 1 / curvature, and diverges from 2 / curvature on."""
    network = Bowl(curvature=curvature)
    curve = sweep(network, sgd(network))["weight"]
    assert 0.1 / curvature < curve.proposed < 1 / curvature
    assert curve.diverged is None or curve.diverged > 2 / curvature


def test_a_group_without_influence_gets_no_proposal_and_moves_nothing():
    network = Bowl()
    curve = sweep(network, adamw(network))["idle"]
    assert curve.proposed is None and curve.diverged is None
    assert set(curve.losses) == {curve.start}, "the other group stood still"


def test_the_steepest_fall_is_proposed_and_kept_away_from_divergence():
    falls = 4 - 3 / (1 + np.exp(-8 * (np.log10(STEPS) + 2)))  # from 4 to 1, fastest at 0.01
    curve = read_curve(STEPS, falls.tolist(), [4.0] * len(STEPS))
    assert curve.proposed == curve.steepest == pytest.approx(0.01, rel=0.15) and curve.diverged is None
    end = int(np.searchsorted(STEPS, 0.015))
    curve = read_curve(STEPS, [*falls[:end], 50.0], [4.0] * len(STEPS))
    assert curve.diverged == pytest.approx(0.012, rel=0.4)
    assert curve.proposed == curve.diverged / MARGIN < curve.steepest
    assert read_curve(STEPS, (4 - (4 - falls) / 1000).tolist(), [4.0] * len(STEPS)).proposed is None


def test_weights_optimizer_and_random_state_are_as_before(engine):
    engine, batches = engine
    weights, state = trained_bytes(engine.network), torch.get_rng_state()
    curves = range_test(engine, batches, STEPS[::6])
    assert set(curves) == {"prompt", "low_rank", "projection"}
    assert len({curve.losses[-1] for curve in curves.values()}) == 3, "each group has its own curve"
    assert len({curve.start for curve in curves.values()}) == 1
    assert trained_bytes(engine.network) == weights and torch.equal(torch.get_rng_state(), state)
    assert not engine.optimizer.state and {group["lr"] for group in engine.optimizer.param_groups} == {0.5}
    assert all(weight.grad is None for group in engine.network.param_groups().values() for weight in group)
    assert range_test(engine, batches, STEPS[::6]) == curves


def test_batches_and_dropout_are_no_part_of_a_curve(engine):
    """With rates at which nothing moves every loss is the start's, though batches differ and the T5 drops out."""
    engine, batches = engine
    curves = range_test(engine, batches, [each * 1e-20 for each in STEPS[:10]])
    for curve in curves.values():
        assert curve.losses == pytest.approx([curve.start] * 10, rel=1e-6)


def test_tiny_t5s_prompt_rate_is_within_ten_of_the_shipped_one(tmp_path, afresh):
    file = tmp_path / "films.csv"
    rows = [f'"a {("dull", "nice")[place % 2]} film {place}",{("bad", "good")[place % 2]}' for place in range(60)]
    file.write_text("\n".join(["Film review,label", *rows]) + "\n")
    task = {"name": "own_text", "labels": ("bad", "good"), "columns": {"source": "Film review"}}
    config = text_experiment("tiny-t5", file, tmp_path / "run", task={**task, "max_source_length": 24})
    proposal = propose_rates(config, 24)
    shipped = yaml.safe_load(config_files("adapters/dept.yaml")[0].read_text())["optim"]["lr"]["prompt"]
    assert shipped / 10 < proposal.rates["prompt"] < shipped * 10
    assert proposal.rms == pytest.approx(10.0, rel=0.01)


@pytest.mark.parametrize(("task", "accumulation"), [("vqa", 2), ("caption", 1)])
def test_pictures_have_a_rate_for_the_projection_too(task, accumulation, experiment, tmp_path, afresh):
    task = {"name": task, "max_target_length": 40}
    proposal = propose_rates(experiment(task=task, gradient_accumulation_steps=accumulation), 10)
    assert set(proposal.rates) == set(proposal.curves) == set(RATES) and proposal.configured == RATES
    assert not (tmp_path / "run").exists()


def test_a_method_inside_a_decoder_only_model_gets_a_rate(tmp_path, afresh):
    rates = {**RATES, "lora": 0.003, "unused": 1.0}
    config = text_experiment(
        write_byte_causal(tmp_path / "gpt2"), write_cola(tmp_path / "glue"), tmp_path / "run",
        backbone={"kind": "causal"}, adapter={"name": "none", "args": {}}, inside=InsideConfig("lora", {"r": 2}),
        optim=OptimConfig(lr=rates),
    )  # fmt: skip
    proposal = propose_rates(config, 20)
    assert list(proposal.rates) == ["lora"] and 1e-4 < proposal.rates["lora"] <= 10


def test_flags_and_yaml_say_the_rates_as_a_config_reads_them(tmp_path):
    rates = {"prompt": 0.62, "low_rank": 1e-5}
    proposal = Proposal({}, {}, rates, 1.0)
    (tmp_path / "rates.yaml").write_text(proposal.yaml())
    for words in (proposal.flags().split(), ["--config", str(tmp_path / "rates.yaml")]):
        read = parse_experiment(words, description="", defaults=[]).optim.lr
        assert {name: read[name] for name in rates} == rates


def test_several_processes_and_too_few_steps_are_refused_before_anything_loads(tmp_path, monkeypatch):
    config = text_experiment(tmp_path / "none", tmp_path, tmp_path / "run")
    with pytest.raises(BadConfig, match=r"steps.*10.*3"):
        propose_rates(config, 3)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadConfig, match=r"2 \(WORLD_SIZE\)"):
        propose_rates(config)


def test_the_command_prints_text_or_json_and_draws(byte_t5, tmp_path, capfd, monkeypatch, afresh):
    data = write_cola(tmp_path / "glue")
    words = [
        "tune-rates", "--task", "cola", "--task.root", str(data), "--backbone.model_name_or_path", str(byte_t5),
        "--steps", "10", "--per_device_train_batch_size", "4", "--output_dir", str(tmp_path / "run"), "--num_threads=1",
    ]  # fmt: skip
    cli.main([*words, "--output", str(tmp_path / "curve.svg")])
    printed = capfd.readouterr().out
    assert "--optim.lr.low_rank" in printed and "--optim.lr.prompt" in printed and "optim:\n  lr: {low_rank:" in printed
    drawn = (tmp_path / "curve.svg").read_text()
    assert drawn.startswith("<?xml") and "learning rate" in drawn and not (tmp_path / "run").exists()
    proposal = Proposal({"prompt": read_curve(STEPS, [3.9] * 61, [4.0] * 61)}, {"prompt": 0.3}, {"prompt": 1e-5}, 0.02)
    monkeypatch.setattr("dept_vl.run.rates.propose_rates", lambda config, steps, report: proposal)
    cli.main([*words, "--json"])
    assert json.loads(capfd.readouterr().out) == proposal.as_json()
    with pytest.raises(SystemExit) as stop:
        cli.main([*words, "--output", "curve.pdf"])
    assert stop.value.code == 2 and "curve.pdf" in capfd.readouterr().err


def test_help_names_the_commands_own_flags_and_those_of_training(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["tune-rates", "--help"])
    shown = capsys.readouterr().out
    assert not stop.value.code and all(each in shown for each in ("--steps", "--output", "--json", "--optim.lr"))
