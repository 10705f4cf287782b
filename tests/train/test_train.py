"""The training loop on a toy task: what it learns, writes, keeps and refuses."""

import itertools
import warnings

import pytest
import torch

from dept_vl.data.batches import TrainingBatches
from dept_vl.train import LearningWarning, NonFiniteLoss, flat, loop
from dept_vl.train.resumable import load_checkpoint
from tests.tiny_runs import (
    RATES,
    Poisoned,
    build_network,
    losses,
    read_log,
    scripted,
    steps_kept,
    trained_bytes,
)

pytestmark = pytest.mark.usefixtures("afresh")


@pytest.mark.parametrize("name", ["pt", "dpt", "residual_pt", "dept", "rank_probe", "none"])
def test_the_loss_falls_on_a_toy(byte_t5, fit, tmp_path, name):
    network = build_network(byte_t5, name)
    trained = fit(network, steps=40, batch_size=8)
    seen = losses(tmp_path / "run")
    assert len(seen) == 40 and sum(seen[-5:]) / 5 < sum(seen[:5]) / 5 - 0.8  # nats per token
    assert trained.steps == trained.best_step == 40 and trained.first_step == 0 and trained.train_seconds > 0
    assert not network.training


def test_two_runs_of_one_seed_give_equal_bytes(byte_t5, fit):
    first, second, other = (build_network(byte_t5, dropout=True) for _ in range(3))
    fit(first, "a"), fit(second, "b"), fit(other, "c", torch_seed=4)
    assert trained_bytes(first) == trained_bytes(second) != trained_bytes(other)


class Halves(TrainingBatches):
    """Batch k as the halves 2 k and 2 k + 1."""

    def __getitem__(self, number):
        self.rank, self.world = number % 2, 2
        return super().__getitem__(number // 2)


def test_two_half_batches_are_one_batch(byte_t5, fit, tmp_path):
    whole, halves = build_network(byte_t5), build_network(byte_t5)
    fit(whole, "whole", steps=4, batch_size=8, eps=1e-3)
    fit(halves, "halves", steps=4, batch_size=8, eps=1e-3, accumulation=2, batches=Halves)
    for name, value in whole.trained_state().items():
        torch.testing.assert_close(halves.trained_state()[name], value, rtol=1e-4, atol=1e-5)
    assert losses(tmp_path / "halves") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)


def test_the_best_checkpoint_is_restored(fit, tmp_path, network):
    kept = []

    def evaluate():
        assert not network.training and not network.backbone.training
        kept.append({name: value.clone() for name, value in network.trained_state().items()})
        return {"accuracy": [0.1, 0.7, 0.7, 0.2][len(kept) - 1]}

    trained = fit(network, steps=7, eval_steps=2, save_total_limit=1, evaluate=evaluate)
    assert trained.best_step == 4
    assert [each["step"] for each in trained.evaluations] == [2, 4, 6, 7]
    assert all(torch.equal(value, kept[1][name]) for name, value in network.trained_state().items())
    assert not torch.equal(kept[1]["adapter.prompt_embeddings"], kept[3]["adapter.prompt_embeddings"])
    assert steps_kept(tmp_path / "run") == ["step_4", "step_7"]
    assert [line["evaluation"] for line in read_log(tmp_path / "run") if "evaluation" in line] == [
        {"accuracy": value} for value in (0.1, 0.7, 0.7, 0.2)
    ]


def test_evaluation_changes_nothing_of_the_training(byte_t5, fit, network):
    fit(network, "without", steps=5)
    watched = build_network(byte_t5, dropout=True)
    fit(watched, "with", steps=5, eval_steps=1, evaluate=scripted(0.1, 0.2, 0.3, 0.4, 0.5))
    assert trained_bytes(watched) == trained_bytes(network)


def test_old_checkpoints_are_removed(fit, tmp_path, network):
    fit(network, steps=6, save_steps=1, save_total_limit=2)
    assert steps_kept(tmp_path / "run") == ["step_5", "step_6"]


def test_a_loss_that_is_no_number_stops_before_it_reaches_the_weights(byte_t5, fit, tmp_path, network):
    good = build_network(byte_t5, dropout=True)
    fit(good, "good", steps=6, save_steps=1, eval_steps=0)
    message = (
        "step 3: wanted a finite loss .* given loss nan .*gradients in prompt, low_rank, projection; "
        "the state after step 2 is in .*step_2"
    )
    with pytest.raises(NonFiniteLoss, match=message):
        fit(network, steps=6, gather=Poisoned())
    wanted = load_checkpoint(tmp_path / "good" / "checkpoints" / "step_2")[0]
    saved = load_checkpoint(tmp_path / "run" / "checkpoints" / "step_2")[0]
    for name, value in network.trained_state().items():
        assert torch.equal(value, wanted[name]) and torch.equal(saved[name], wanted[name])
    assert len(losses(tmp_path / "run")) == 2


def test_the_group_of_a_gradient_that_is_no_number_is_named(fit, network):
    calls = []

    def spoil(gradient):
        calls.append(1)
        return gradient * float("inf") if len(calls) == 2 else gradient

    network.projection.linear.weight.register_hook(spoil)
    with pytest.raises(NonFiniteLoss, match="step 2: .*non-finite gradients in projection; "):
        fit(network, steps=4)


def test_a_group_without_a_gradient_is_told(fit, network):
    class Dark(TrainingBatches):
        def __getitem__(self, number):
            batch = super().__getitem__(number)
            batch.features = None
            return batch

    with pytest.warns(LearningWarning, match="step 3: the gradient of group 'projection' has been zero on 3") as told:
        fit(network, steps=6, batches=Dark)
    assert len(told) == 1


def test_a_metric_that_stays_flat_is_told(fit, network):
    with pytest.warns(LearningWarning, match="step 6: accuracy has been 0.2500 in 3 evaluations in a row"):
        fit(network, steps=6, eval_steps=2, evaluate=scripted(0.25, 0.25, 0.25))


@pytest.mark.parametrize("scores", [(0.25, 0.25, 0.3, 0.25), (0.9, 1.0, 1.0, 1.0)])
def test_a_metric_that_moves_or_cannot_rise_is_not_told(fit, network, scores):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(network, steps=8, eval_steps=2, evaluate=scripted(*scores))


def test_the_log_has_rates_and_gradient_norms_of_every_group(fit, tmp_path, network):
    fit(network, steps=5, logging_steps=2)
    lines = read_log(tmp_path / "run")
    assert [line["step"] for line in lines] == [2, 4, 5]
    for line in lines:
        assert set(line["lr"]) == set(line["grad_norm"]) == {"prompt", "low_rank", "projection"}
        assert all(norm > 0 for norm in line["grad_norm"].values())
    first = lines[0]["lr"]
    assert first["prompt"] / first["projection"] == pytest.approx(RATES["prompt"] / RATES["projection"])
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds)
    assert not any("diagnostics" in line for line in lines)


def test_the_log_has_what_the_adapter_tells_of_itself(byte_t5, fit, tmp_path):
    """Of the weights after the step, on log lines alone."""
    network = build_network(byte_t5, "rank_probe")
    fit(network, steps=5, logging_steps=2, eval_steps=5, evaluate=scripted(0.5))
    lines = read_log(tmp_path / "run")
    assert [line["step"] for line in lines if "diagnostics" in line] == [2, 4, 5]
    assert [line["step"] for line in lines if "evaluation" in line and "diagnostics" not in line] == [5]
    assert lines[2]["diagnostics"] == network.diagnostics() == network.adapter.diagnostics()
    assert flat(lines[2]).keys() >= {"diagnostics/positive", "diagnostics/negative", "diagnostics/rank"}


def test_a_line_has_the_rates_that_its_step_used(fit, tmp_path, network):
    fit(network, steps=5)
    rates = [line["lr"]["prompt"] / RATES["prompt"] for line in read_log(tmp_path / "run")]
    assert rates == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])


@pytest.mark.parametrize("limit", [0.01, 1e9, None])
def test_all_groups_are_clipped_together(byte_t5, fit, tmp_path, monkeypatch, limit):
    network, used = build_network(byte_t5), []

    def watch(optimizer, *arguments, **keywords):
        used.append([weight.grad.norm() for group in optimizer.param_groups for weight in group["params"]])

    monkeypatch.setattr(torch.optim.AdamW, "step", watch)
    monkeypatch.setattr("torch.optim.lr_scheduler.LambdaLR.step", lambda schedule: None)
    fit(network, steps=1, max_grad_norm=limit)
    before = torch.tensor(list(read_log(tmp_path / "run")[0]["grad_norm"].values())).norm().item()
    after = torch.stack(used[0]).norm().item()
    assert before > 0.01 and after == pytest.approx(0.01 if limit == 0.01 else before, rel=1e-3)


def test_workers_make_the_same_run(byte_t5, fit, network):
    fit(network, "alone", steps=3)
    helped = build_network(byte_t5, dropout=True)
    fit(helped, "helped", steps=3, num_workers=1)
    assert trained_bytes(helped) == trained_bytes(network)


def test_backward_runs_outside_autocast(monkeypatch, fit, network):
    """Inside it, fp32 weights would get gradients of bf16 products."""
    from accelerate import Accelerator

    seen, backward = [], Accelerator.backward
    monkeypatch.setattr(
        Accelerator,
        "backward",
        lambda self, loss: (seen.append(torch.is_autocast_enabled("cpu")), backward(self, loss)),
    )
    monkeypatch.setattr(Accelerator, "autocast", lambda self: torch.autocast("cpu", torch.bfloat16))
    fit(network, "run", steps=2)
    assert seen == [False, False]


def test_a_score_that_is_no_number_stops_the_run(fit, network):
    with pytest.raises(NonFiniteLoss, match="step 1: wanted a finite .*, given nan"):
        fit(network, "run", steps=2, eval_steps=1, evaluate=scripted(float("nan"), 0.5))


@pytest.fixture
def half_second_steps(monkeypatch):
    """Each step takes half a second by the loop's clock, whose calls are counted."""
    clock = itertools.count()
    monkeypatch.setattr(loop.time, "perf_counter", lambda: next(clock) / 2)


@pytest.mark.usefixtures("half_second_steps")
def test_a_run_ends_at_its_seconds_with_rates_that_follow_their_share(fit, tmp_path, network):
    trained = fit(network, steps=1000, max_seconds=3.0, eval_steps=4, evaluate=scripted(0.1, 0.2), logging_steps=1)
    assert (trained.steps, trained.train_seconds) == (6, 3.0)
    assert [each["step"] for each in trained.evaluations] == [4, 6], "the end is scored, as at max_steps"
    assert steps_kept(tmp_path / "run")[-1] == "step_6"
    rates = [line["lr"]["prompt"] for line in read_log(tmp_path / "run") if "lr" in line]
    wanted = [RATES["prompt"] * (1 - step / 6) / 0.9 for step in range(1, 6)]  # behind a warm-up of a tenth
    assert rates[1:] == pytest.approx(wanted, rel=0.01)


@pytest.mark.usefixtures("half_second_steps")
def test_a_run_that_its_steps_end_before_its_seconds_is_as_without_them(byte_t5, fit):
    plain, timed = build_network(byte_t5), build_network(byte_t5)
    fit(plain, "plain", steps=5)
    assert fit(timed, "timed", steps=5, max_seconds=100.0).steps == 5
    assert trained_bytes(timed) == trained_bytes(plain)


@pytest.mark.usefixtures("half_second_steps")
def test_a_timed_run_resumes_with_the_seconds_that_it_has_left(byte_t5, fit, tmp_path):
    whole, resumed = build_network(byte_t5), build_network(byte_t5)
    fit(whole, "whole", steps=1000, max_seconds=3.0, save_steps=2, save_total_limit=9)
    checkpoint = tmp_path / "whole" / "checkpoints" / "step_4"
    assert fit(resumed, "resumed", steps=1000, max_seconds=3.0, resume_from=checkpoint).steps == 6
    assert trained_bytes(resumed) == trained_bytes(whole)
