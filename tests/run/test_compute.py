"""How a run computes: what the config leaves open is chosen by the model, recorded, and taken over by later runs."""

import dataclasses
import json
import math

import pytest
import torch

from dept_vl import threads
from dept_vl.config import BadConfig, Experiment, load_experiment
from dept_vl.run import compute
from dept_vl.run.compute import choose, measure_steps
from dept_vl.run.execute import run
from dept_vl.train import newest_checkpoint
from dept_vl.train.resumable import Compute, read_compute, rng_states
from tests.tiny_runs import batch_of, forget_accelerate, text_experiment, trained_bytes, write_cola

CPU = torch.device("cpu")


@pytest.fixture
def large(monkeypatch):
    """Every model is one whose steps are measured, on a processor that multiplies bfloat16 faster."""
    for module in (compute, threads):
        monkeypatch.setattr(module, "SMALL", 0)
    monkeypatch.setattr(compute, "multiplies_faster", lambda: True)


def seconds(monkeypatch, float32: float, bfloat16: float) -> None:
    monkeypatch.setattr(compute, "measure_steps", lambda *_: {"float32": float32, "bfloat16": bfloat16})


def unasked():
    pytest.fail("made batches to measure")


def batches():
    return [batch_of([3, 5])]


def test_eager_attention_learns_the_same_in_float32(network):
    batch, found = batch_of([3, 5], targets=[2, 1]), []
    for name in ("sdpa", "eager"):
        if name == "eager":
            network.backbone.attend_eagerly()
        else:
            network.backbone.model.set_attn_implementation(name)
        assert network.backbone.model.config._attn_implementation == name
        network.zero_grad()
        loss = network(batch).mean()
        loss.backward()
        found.append((loss.detach(), [weight.grad for weight in network.parameters() if weight.grad is not None]))
    torch.testing.assert_close(*found)


def test_a_small_model_trains_in_float32_on_one_thread_and_nothing_is_measured(network):
    torch.set_num_threads(2)
    chosen = choose(Experiment(), network, unasked, None, CPU, able=True)
    assert chosen.compute == Compute(bf16=False, threads=1) and torch.get_num_threads() == 1
    assert "fewer than 10,000,000 weights" in chosen.why and chosen.lines() == []


@pytest.mark.parametrize(("float32", "bfloat16", "taken"), [(1.2, 1.0, True), (1.1, 1.0, False), (1.0, 2.0, False)])
def test_bfloat16_is_taken_where_it_is_clearly_faster(network, large, monkeypatch, float32, bfloat16, taken):
    seconds(monkeypatch, float32, bfloat16)
    torch.set_num_threads(2)
    chosen = choose(Experiment(), network, batches, None, CPU, able=True)
    assert chosen.compute == Compute(bf16=taken, threads=2)
    (line,) = chosen.lines()
    assert f"{float32:.3g} s in float32 and {bfloat16:.3g} s in bfloat16" in line and "--bf16" in line


def test_what_the_config_says_wins_over_the_record_and_the_record_over_the_model(network, large):
    record = Compute(bf16=True, threads=3)
    assert choose(Experiment(), network, unasked, record, CPU, able=True).compute == record
    asked = choose(Experiment(bf16=False, num_threads=2), network, unasked, record, CPU, able=True)
    assert asked.compute == Compute(bf16=False, threads=2)
    with pytest.raises(BadConfig, match="computed in bfloat16; wanted --bf16 true here, given auto"):
        choose(Experiment(), network, unasked, record, CPU, able=False)


def test_threads_that_the_user_asked_for_are_taken_whatever_the_model(network, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert choose(Experiment(), network, unasked, None, CPU, able=True).compute.threads == 3


def test_a_processor_without_bfloat16_takes_no_step_in_it(network, large, monkeypatch):
    monkeypatch.setattr(compute, "multiplies_faster", lambda: False)
    assert not choose(Experiment(), network, unasked, None, CPU, able=True).compute.bf16
    assert not choose(Experiment(), network, unasked, None, CPU, able=False).compute.bf16


@pytest.mark.parametrize(("lacking", "left"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_a_format_whose_step_has_no_room_leaves_the_other(network, large, monkeypatch, lacking, left):
    def step(network, batch, bf16):
        if bf16 == (lacking == "bfloat16"):
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(compute, "_step", step)
    chosen = choose(Experiment(), network, batches, None, CPU, able=True)
    assert chosen.compute.bf16 == (left == "bfloat16") and set(chosen.seconds) == {left}
    assert f" s in {left}, and more memory than there is in {lacking}, when the run started" in chosen.why


def test_a_step_that_has_no_room_at_all_ends_the_run(network, large, monkeypatch):
    def step(network, batch, bf16):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(compute, "_step", step)
    with pytest.raises(torch.OutOfMemoryError):
        choose(Experiment(), network, batches, None, CPU, able=True)


def test_measuring_leaves_weights_gradients_mode_and_random_states_alone(network):
    network.eval()
    before, states = trained_bytes(network), rng_states()
    found = measure_steps(network, batch_of([3, 5]), CPU)
    assert set(found) == {"float32", "bfloat16"} and all(0 < each < math.inf for each in found.values())
    assert trained_bytes(network) == before and not network.training
    assert all(weight.grad is None for weight in network.parameters())
    now = rng_states()  # Python's own is drawn from by beartype
    assert torch.equal(now["torch"], states["torch"]) and torch.equal(now["numpy"][0], states["numpy"][0])


@pytest.mark.usefixtures("afresh")
class TestRuns:
    @pytest.fixture
    def config(self, byte_t5, tmp_path):
        root = write_cola(tmp_path / "data")

        def config(name="run", **changes):
            forget_accelerate()
            return text_experiment(byte_t5, root, tmp_path / name, **{"num_threads": None, "eval_steps": 0, **changes})

        return config

    @pytest.mark.parametrize(
        ("asked", "bf16", "recorded"),
        [(None, True, "eager"), (None, "auto", "eager"), (None, False, None), ("sdpa", True, "sdpa")],
    )
    def test_a_run_that_may_take_bfloat16_on_a_cpu_attends_eagerly_and_says_so(
        self, config, large, asked, bf16, recorded, monkeypatch, tmp_path
    ):
        seconds(monkeypatch, 2.0, 1.0)
        run(config(bf16=bf16, max_steps=1, backbone={"attn_implementation": asked}))
        assert load_experiment(tmp_path / "run" / "config.yaml").backbone.attn_implementation == recorded

    def test_a_choice_is_recorded_and_a_repeat_takes_it_over(self, config, tmp_path):
        results = run(config(backbone={"dropout": True}))
        recorded = load_experiment(tmp_path / "run" / "config.yaml")
        assert (recorded.bf16, recorded.num_threads) == (False, 1)
        assert read_compute(newest_checkpoint(tmp_path / "run")) == Compute(bf16=False, threads=1)
        assert (results["compute"]["bf16"], results["compute"]["threads"]) == (False, 1)
        assert results["run_info"]["train_config"]["bf16"] == "auto"  # what was asked, with which plans compare
        forget_accelerate()
        run(dataclasses.replace(recorded, output_dir=str(tmp_path / "again")))
        assert weights(tmp_path / "again") == weights(tmp_path / "run")

    def test_bfloat16_that_was_chosen_computes_as_bfloat16_that_was_asked_for(
        self, config, large, monkeypatch, tmp_path
    ):
        plain = run(config("plain", bf16=False))
        seconds(monkeypatch, 2.0, 1.0)
        told = []
        chosen, asked = run(config("chosen"), report=told.append), run(config("asked", bf16=True))
        assert weights(tmp_path / "chosen") == weights(tmp_path / "asked") != weights(tmp_path / "plain")
        assert [each["meta_info"]["system_info"]["mixed_precision"] for each in (plain, chosen, asked)] == [
            "no",
            "bf16",
            "bf16",
        ]
        assert any("bfloat16: a step took" in line for line in told)

    def test_a_resumed_run_computes_as_it_began_whatever_it_would_choose_now(
        self, config, large, monkeypatch, tmp_path
    ):
        seconds(monkeypatch, 2.0, 1.0)
        run(config("whole", num_threads=2))
        run(config("half", num_threads=2, max_steps=4, save_steps=2))
        for step in ("step_4",):
            (tmp_path / "half" / "checkpoints" / step / "progress.json").unlink()
        seconds(monkeypatch, 1.0, 2.0)
        with pytest.warns(match="resuming from step_2"):
            results = run(config("half", resume_from_checkpoint="last", save_steps=2))
        assert results["compute"] == {"bf16": True, "threads": 2, "why": "as the run began", "seconds": {}}
        assert weights(tmp_path / "half") == weights(tmp_path / "whole")

    def test_runs_of_one_process_may_compute_differently(self, config, tmp_path):
        kinds = {"first": "auto", "second": True, "third": False, "fourth": True}
        made = [config(name, bf16=kind) for name, kind in kinds.items()]  # none begins as in a new process
        assert [run(each)["compute"]["bf16"] for each in made] == [False, True, False, True]
        first, second, third, fourth = (weights(tmp_path / name) for name in kinds)
        assert first == third != second == fourth

    def test_a_checkpoint_that_does_not_say_lets_the_run_choose(self, config, tmp_path):
        run(config(num_threads=2))
        path = newest_checkpoint(tmp_path / "run") / "progress.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps({name: value for name, value in record.items() if name != "compute"}))
        assert read_compute(path.parent) is None
        assert run(config(resume_from_checkpoint="last"))["compute"]["threads"] == 1


def weights(folder) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()
