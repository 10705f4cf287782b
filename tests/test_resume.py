"""A run that was stopped goes on as if it never had been."""

import dataclasses
import json
import os
import signal

import pytest
import torch
import yaml
from accelerate import Accelerator

from dept_vl.run.execute import run
from dept_vl.train import NonFiniteLoss, RunLog, newest_checkpoint, resumable
from dept_vl.train.resumable import BadCheckpoint, load_checkpoint
from tests.faults.victims import train_until_renamed
from tests.forks import FORKS
from tests.tiny_runs import (
    Poisoned,
    ToyFeatures,
    build_network,
    forget_accelerate,
    losses,
    read_log,
    scripted,
    steps_kept,
    trained_bytes,
)

pytestmark = pytest.mark.usefixtures("afresh")


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("stop", [3, 4])
def test_a_resumed_run_ends_like_one_that_never_stopped(byte_t5, fit, tmp_path, network, accumulation, stop):
    arguments = {"steps": 7, "save_steps": 1, "eval_steps": 2, "accumulation": accumulation}
    scores = {2: 0.1, 4: 0.2, 6: 0.3, 7: 0.4}
    fit(network, "whole", evaluate=scripted(*scores.values()), **arguments)
    left = [score for step, score in scores.items() if step > stop]
    fresh = build_network(byte_t5, seed=9, dropout=True)
    resumed = fit(
        fresh, "again", torch_seed=8, evaluate=scripted(*left), **arguments,
        resume_from=tmp_path / "whole" / "checkpoints" / f"step_{stop}",
    )  # fmt: skip
    assert trained_bytes(fresh) == trained_bytes(network)
    assert resumed.first_step == stop and fresh.state() == network.state()
    whole, again = (load_checkpoint(tmp_path / run / "checkpoints" / "step_7") for run in ("whole", "again"))
    assert torch.equal(whole[3]["torch"], again[3]["torch"]) and whole[1]["schedule"] == again[1]["schedule"]
    assert whole[2]["evaluations"] == again[2]["evaluations"] == resumed.evaluations
    states = [each[1]["optimizer"]["state"] for each in (whole, again)]
    for one, other in zip(states[0].values(), states[1].values(), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_interrupted_run_goes_on_in_its_folder(byte_t5, fit, tmp_path, network):
    class Interrupted(Exception):
        pass

    def interrupt():
        raise Interrupted

    fit(network, "whole", steps=6, save_steps=2)
    killed = build_network(byte_t5, dropout=True)
    with pytest.raises(Interrupted):
        fit(killed, "killed", steps=6, save_steps=2, evaluate=interrupt, eval_steps=5)
    folder = tmp_path / "killed"
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "loss')  # what a kill leaves of a line
    assert [line["step"] for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()[:-1])] == [
        1, 2, 3, 4, 5
    ]  # fmt: skip
    again = build_network(byte_t5, seed=4, dropout=True)
    fit(again, "killed", steps=6, save_steps=2, resume_from=newest_checkpoint(folder), torch_seed=99)
    assert trained_bytes(again) == trained_bytes(network)
    assert losses(folder) == losses(tmp_path / "whole")
    assert [line["step"] for line in read_log(folder)] == [1, 2, 3, 4, 5, 6]


def test_resuming_from_an_earlier_checkpoint_forgets_the_later_ones(fit, byte_t5, tmp_path, network):
    fit(network, steps=6, save_steps=1)
    checkpoints = tmp_path / "run" / "checkpoints"
    other = build_network(byte_t5, dropout=True)
    plan = {"steps": 6, "save_steps": 1, "save_total_limit": 2}
    fit(other, **plan, gather=Dimmed(), resume_from=checkpoints / "step_2")
    assert trained_bytes(other) != trained_bytes(network)
    assert steps_kept(tmp_path / "run") == ["step_5", "step_6"]
    saved = load_checkpoint(checkpoints / "step_6")[0]
    assert all(torch.equal(saved[name], value) for name, value in other.trained_state().items())


class Dimmed(ToyFeatures):
    def __call__(self, keys):
        return super().__call__(keys) / 2


def test_resuming_a_finished_run_changes_nothing(byte_t5, fit, tmp_path, network):
    fit(network, steps=3, save_steps=1)
    again = build_network(byte_t5, seed=4)
    trained = fit(again, steps=3, save_steps=1, resume_from=newest_checkpoint(tmp_path / "run"))
    assert trained_bytes(again) == trained_bytes(network)
    assert trained.first_step == 3 and len(losses(tmp_path / "run")) == 3


def test_the_best_weights_come_back_from_a_run_resumed_elsewhere(byte_t5, fit, tmp_path, network):
    fit(network, "first", steps=4, save_steps=1, eval_steps=1, evaluate=scripted(0.1, 0.9, 0.3, 0.2))
    best = {name: value.clone() for name, value in network.trained_state().items()}
    again = build_network(byte_t5, seed=4)
    start = tmp_path / "first" / "checkpoints" / "step_3"
    trained = fit(again, "second", steps=4, eval_steps=1, evaluate=scripted(0.2), resume_from=start)
    assert trained.best_step == 2
    assert all(torch.equal(value, best[name]) for name, value in again.trained_state().items())


def test_a_checkpoint_of_another_run_is_refused(byte_t5, fit, tmp_path, network):
    fit(network, steps=3, save_steps=1)
    checkpoint = newest_checkpoint(tmp_path / "run")
    with pytest.raises(BadCheckpoint, match="step_3: wanted a checkpoint of at most 2 steps, given 3"):
        fit(network, steps=2, resume_from=checkpoint)
    with pytest.raises(ValueError, match="weights that do not fit this network: .*unknown adapter.lora_embedding_A"):
        fit(build_network(byte_t5, "pt"), steps=4, resume_from=checkpoint)
    with pytest.raises(BadCheckpoint, match="wanted a checkpoint to resume from, given none"):
        newest_checkpoint(tmp_path / "nothing")
    progress = checkpoint / "progress.json"
    content = json.loads(progress.read_text())
    del content["still"]
    progress.write_text(json.dumps(content))
    with pytest.raises(BadCheckpoint, match="wanted the state of a run with these groups of weights .'still'"):
        fit(network, steps=4, resume_from=checkpoint)


def test_a_run_goes_on_from_the_state_before_the_bad_step(byte_t5, fit, tmp_path, network):
    with pytest.raises(NonFiniteLoss):
        fit(network, steps=4, gather=Poisoned())
    again = build_network(byte_t5, seed=4)
    trained = fit(again, steps=4, resume_from=newest_checkpoint(tmp_path / "run"))
    assert trained.first_step == 2 and len(losses(tmp_path / "run")) == 4


def test_a_full_disk_keeps_the_older_checkpoint(fit, tmp_path, network, monkeypatch):
    whole, calls = resumable.os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 5:
            raise OSError(28, "No space left on device")
        whole(descriptor)

    monkeypatch.setattr(resumable.os, "fsync", full)
    with pytest.raises(OSError, match="could not save the checkpoint .*step_2: No space left"):
        fit(network, steps=4, save_steps=1)
    assert steps_kept(tmp_path / "run") == ["step_1"]
    assert newest_checkpoint(tmp_path / "run").name == "step_1"


def test_the_log_keeps_lines_up_to_the_step_it_starts_at(tmp_path):
    run_log = RunLog(tmp_path, Accelerator(cpu=True))
    run_log.start(0)
    for step in (1, 2, 3):
        run_log.write(step, loss=1.0 / step)
    run_log.start(2)
    assert [line["step"] for line in read_log(tmp_path)] == [1, 2]


def test_a_killed_run_resumes_to_the_same_bytes(experiment, tmp_path):
    """SIGKILL while a checkpoint is being written; dropout on, so that every random state counts."""
    changes = {"max_steps": 8, "save_steps": 2, "eval_steps": 0, "gradient_accumulation_steps": 2}
    whole, killed = experiment("whole", **changes), experiment("killed", **changes)
    assert whole.backbone.dropout
    run(whole)
    process = FORKS.Process(target=train_until_renamed, args=(killed, "step_6"))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    checkpoints = tmp_path / "killed" / "checkpoints"
    assert {".step_6.half", "step_4"} <= {path.name for path in checkpoints.iterdir()}
    assert not (checkpoints / "step_6").exists() and not (tmp_path / "killed" / "results.json").exists()
    forget_accelerate()
    run(dataclasses.replace(killed, resume_from_checkpoint="last"))
    for name in ("adapter_model.safetensors", "predictions.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert losses(tmp_path / "whole") == losses(tmp_path / "killed") and len(losses(tmp_path / "killed")) == 8
    assert yaml.safe_load((tmp_path / "killed" / "config.yaml").read_text())["resume_from_checkpoint"] == "last"


def test_a_checkpoint_of_other_batches_or_rates_is_refused(byte_t5, fit, tmp_path, network):
    fit(network, "first", steps=2, save_steps=1)
    checkpoint = tmp_path / "first" / "checkpoints" / "step_1"
    progress = json.loads((checkpoint / "progress.json").read_text())
    assert progress["settings"]["lr"]["prompt"] > 0
    progress["settings"]["batch_size"] += 1
    (checkpoint / "progress.json").write_text(json.dumps(progress))
    with pytest.raises(BadCheckpoint, match="it would not be the same run"):
        fit(build_network(byte_t5), "second", steps=2, resume_from=checkpoint)


def test_a_run_of_another_optimizer_or_method_is_not_gone_on(byte_t5, fit, tmp_path, network):
    fit(network, "first", steps=2, save_steps=1)
    checkpoint = tmp_path / "first" / "checkpoints" / "step_1"
    settings = json.loads((checkpoint / "progress.json").read_text())["settings"]
    assert settings["betas"] == [0.9, 0.999] and settings["parts"]["adapter"]["num_virtual_tokens"] > 0
    for name, value in (("weight_decay", 0.5), ("eps", 1.0), ("parts", {})):
        progress = json.loads((checkpoint / "progress.json").read_text())
        progress["settings"] = {**settings, name: value}
        (checkpoint / "progress.json").write_text(json.dumps(progress))
        with pytest.raises(BadCheckpoint, match=f"wanted a checkpoint of a run with .'{name}'") as error:
            fit(build_network(byte_t5), name, steps=2, resume_from=checkpoint)
        assert "batch_size" not in str(error.value), "what is the same is not told"


def test_a_run_that_goes_on_for_longer_has_the_rates_of_the_longer_one(byte_t5, fit, tmp_path, network):
    """Its first step is not taken at the end of the shorter schedule."""
    fit(network, "short", steps=2, save_steps=2)
    fit(build_network(byte_t5), "long", steps=4, resume_from=tmp_path / "short" / "checkpoints" / "step_2")
    fit(build_network(byte_t5), "whole", steps=4)
    rates = {run: [line["lr"] for line in read_log(tmp_path / run) if "lr" in line] for run in ("long", "whole")}
    assert rates["long"] and rates["long"] == rates["whole"][-len(rates["long"]) :]
    assert all(rate > 0 for each in rates["long"] for rate in each.values())


def test_another_runs_folder_is_not_gone_on_in(byte_t5, fit, tmp_path, network):
    fit(network, "first", steps=2, save_steps=1)
    fit(build_network(byte_t5), "second", steps=2, save_steps=1)
    with pytest.raises(BadCheckpoint, match="wanted no checkpoints of another run"):
        fit(build_network(byte_t5), "second", steps=2, resume_from=tmp_path / "first" / "checkpoints" / "step_1")


def flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "deleted": (lambda folder: (folder / "optimizer.pt").unlink(), "optimizer.pt: wanted .* given no file"),
    "truncated": (lambda folder: os.truncate(folder / "rng_0.pt", 99), "rng_0.pt: wanted .* bytes, given 99"),
    "a flipped bit": (
        lambda folder: flip(folder / "adapter_model.safetensors"),
        "safetensors: wanted sha256 .*damaged",
    ),
    "its record": (
        lambda folder: os.truncate(folder / "progress.json", 40),
        "progress.json: wanted a checkpoint",
    ),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.values(), ids=DAMAGES)
def test_last_falls_back_to_the_checkpoint_before_a_damaged_one(byte_t5, fit, tmp_path, network, damage, reason):
    fit(network, steps=3, save_steps=1)
    checkpoints = tmp_path / "run" / "checkpoints"
    damage(checkpoints / "step_3")
    with pytest.warns(UserWarning, match=f"resuming from step_2, not from step_3 .*{reason}"):
        newest = newest_checkpoint(tmp_path / "run")
    again = build_network(byte_t5, seed=4, dropout=True)
    assert fit(again, steps=3, save_steps=1, resume_from=newest).first_step == 2
    assert trained_bytes(again) == trained_bytes(network) and newest_checkpoint(tmp_path / "run").name == "step_3"
    for path in checkpoints.iterdir():
        damage(path)
    with pytest.raises(BadCheckpoint, match=f"given only damaged ones: step_3 .*{reason}.* step_2 .* step_1 "):
        newest_checkpoint(tmp_path / "run")


def test_a_damaged_checkpoint_that_is_named_is_an_error_before_anything_is_loaded(experiment, tmp_path, monkeypatch):
    config = experiment(max_steps=2, save_steps=1, eval_steps=0)
    run(config)
    (tmp_path / "run" / "checkpoints" / "step_2" / "optimizer.pt").unlink()
    monkeypatch.setattr("dept_vl.run.execute.build", lambda *arguments: pytest.fail("loaded"))
    with pytest.raises(BadCheckpoint, match="step_2.optimizer.pt: wanted .* given no file"):
        run(dataclasses.replace(config, resume_from_checkpoint=str(tmp_path / "run" / "checkpoints" / "step_2")))


def test_a_damaged_best_checkpoint_is_told_at_the_resume_and_at_the_end(byte_t5, fit, tmp_path, network):
    checkpoints = tmp_path / "run" / "checkpoints"
    plan = {"steps": 4, "save_steps": 1, "eval_steps": 1}
    fit(network, **plan, evaluate=scripted(0.1, 0.9, 0.3, 0.2))
    flip(checkpoints / "step_2" / "adapter_model.safetensors")
    with pytest.warns(UserWarning, match="from step_1, not from step_4 .*best checkpoint step_2 beside it.*step_3"):
        assert newest_checkpoint(tmp_path / "run").name == "step_1"

    def damaging(scores):
        yield from scores[:-1]
        flip(checkpoints / "step_2" / "adapter_model.safetensors")
        yield scores[-1]

    scores, again = damaging([{"accuracy": each} for each in (0.9, 0.3, 0.2)]), build_network(byte_t5, seed=4)
    with pytest.raises(
        BadCheckpoint, match="best weights, those after step 2, are lost: .*damaged.* last ones .*step_4"
    ):
        fit(again, **plan, evaluate=lambda: next(scores), resume_from=checkpoints / "step_1")
