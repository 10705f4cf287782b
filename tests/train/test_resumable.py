import errno
import json
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from dept_vl.train import resumable
from dept_vl.train.resumable import (
    BadCheckpoint,
    check_checkpoint,
    copy_checkpoint,
    find_checkpoints,
    load_checkpoint,
    remove_older,
    rng_states,
    save_checkpoint,
    set_rng_states,
)


@pytest.fixture
def optimizer():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([{"params": [weight], "name": "prompt"}], lr=0.1)
    weight.grad = torch.arange(3.0)
    optimizer.step()
    return optimizer


@pytest.fixture
def save(tmp_path, optimizer):
    def save(step=1, value=0.0, folder=tmp_path, processes=1, best=None):
        return save_checkpoint(
            folder,
            step,
            weights={"prompt": torch.full((2, 3), value)},
            optimizer=optimizer.state_dict(),
            schedule={"last_epoch": step},
            progress={"best": best and {"step": best, "value": 0.5}, "seconds": 1.5},
            rng_states=[rng_states() for _ in range(processes)],
        )

    return save


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_checkpoint_comes_back_whole(save, optimizer):
    folder = save(7, value=2.5)
    weights, states, progress, rng = load_checkpoint(folder)
    assert folder.name == "step_7"
    assert names(folder) == ["adapter_model.safetensors", "optimizer.pt", "progress.json", "rng_0.pt"]
    assert torch.equal(weights["prompt"], torch.full((2, 3), 2.5))
    wanted = optimizer.state_dict()["state"][0]
    assert all(torch.equal(states["optimizer"]["state"][0][name], wanted[name]) for name in wanted)
    assert states["schedule"] == {"last_epoch": 7}
    assert progress["step"] == 7 and progress["seconds"] == 1.5 and progress["best"] is None
    assert progress["files"] == {
        path.name: path.stat().st_size for path in folder.iterdir() if path.name != "progress.json"
    }
    assert rng is not None


def test_random_states_go_round_through_the_file(save):
    folder = save(processes=2)
    _, _, _, rng = load_checkpoint(folder, rank=1)

    def draw():
        return [torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random(), np.random.randn(), random.gauss()]

    saved = torch.get_rng_state()
    wanted, moved_on = draw(), draw()
    set_rng_states(rng)
    assert torch.equal(torch.get_rng_state(), saved)
    first = draw()
    set_rng_states(rng)
    assert draw() == first != moved_on
    assert first[:2] == wanted[:2]  # beartype draws from `random` when it checks a list


def test_a_process_that_did_not_write_has_no_random_state(save):
    assert load_checkpoint(save(processes=2), rank=2)[3] is None


FAILURES = {
    "in the weights": ("save_file", SafetensorError("Error: No space left on device (os error 28)")),
    "in the optimizer": ("torch.save", RuntimeError("PytorchStreamWriter failed writing file: file write failed")),
    "in the record": ("Path.write_text", OSError(errno.ENOSPC, "No space left on device")),
    "when it is synchronised": ("os.fsync", OSError(errno.ENOSPC, "No space left on device")),
    "when it is renamed": ("os.replace", OSError(errno.EROFS, "Read-only file system")),
}


@pytest.mark.parametrize(("where", "error"), FAILURES.values(), ids=FAILURES)
def test_a_full_disk_leaves_the_older_checkpoint_and_nothing_half(save, tmp_path, monkeypatch, where, error):
    older = save(1, value=1.0)
    before = {path: path.read_bytes() for path in older.iterdir()}

    def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr(f"dept_vl.train.resumable.{where}", fail)
    with pytest.raises(OSError, match="could not save the checkpoint .*step_2: .*([Nn]o space|failed|Read-only)"):
        save(2)
    assert names(tmp_path) == ["step_1"]
    assert {path: path.read_bytes() for path in older.iterdir()} == before
    monkeypatch.undo()
    assert save(2).name == "step_2" and find_checkpoints(tmp_path) == [tmp_path / "step_1", tmp_path / "step_2"]


def test_what_a_kill_left_half_is_never_picked_up(save, tmp_path):
    save(3)
    half = tmp_path / ".step_9.half"
    half.mkdir()
    (half / "adapter_model.safetensors").write_bytes(b"half")
    (tmp_path / "step_x").mkdir()
    (tmp_path / "step_5.old").mkdir()
    assert [path.name for path in find_checkpoints(tmp_path)] == ["step_3"]
    save(9)
    assert [path.name for path in find_checkpoints(tmp_path)] == ["step_3", "step_9"] and not half.exists()


def test_checkpoints_are_found_by_number_not_by_name(save, tmp_path):
    for step in (10, 9, 100):
        save(step)
    assert [path.name for path in find_checkpoints(tmp_path)] == ["step_9", "step_10", "step_100"]
    assert find_checkpoints(tmp_path / "nothing") == []


def test_older_checkpoints_go_and_the_best_stays(save, tmp_path):
    for step in (1, 2, 3, 4):
        save(step)
    remove_older(tmp_path, 2, {tmp_path / "step_1"})
    assert names(tmp_path) == ["step_1", "step_3", "step_4"]


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "optimizer.pt", "rng_0.pt"])
def test_a_cut_file_is_named_with_its_bytes(save, name):
    path = save() / name
    data = path.read_bytes()
    path.write_bytes(data[:-7])
    message = f"{name}: wanted {len(data):,} bytes, given {len(data) - 7:,}: the checkpoint is cut short"
    with pytest.raises(BadCheckpoint, match=message):
        load_checkpoint(path.parent)
    path.unlink()
    with pytest.raises(BadCheckpoint, match=f"{name}: wanted {len(data):,} bytes, given no file"):
        load_checkpoint(path.parent)


def test_a_cut_record_is_told(save, tmp_path):
    path = save() / "progress.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(
        BadCheckpoint, match="progress.json: wanted a checkpoint's record, given another .*cut or broken"
    ):
        load_checkpoint(path.parent)
    path.write_text("[1]")
    with pytest.raises(BadCheckpoint, match="progress.json: .*`object`, got `array`"):
        load_checkpoint(path.parent)
    with pytest.raises(BadCheckpoint, match="wanted a checkpoint with progress.json, given no such file"):
        load_checkpoint(tmp_path / "nothing")


class Payload:
    """What an attacker would pickle: loading it runs a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_0.pt"])
@pytest.mark.parametrize("write", [lambda value, path: path.write_bytes(pickle.dumps(value)), torch.save])
def test_a_pickle_that_would_run_something_is_refused(save, tmp_path, name, write):
    folder, marker = save(), tmp_path / "ran"
    write(Payload(marker), folder / name)
    progress = json.loads((folder / "progress.json").read_text())
    progress["files"][name] = (folder / name).stat().st_size
    (folder / "progress.json").write_text(json.dumps(progress))
    with pytest.raises(BadCheckpoint, match="its files do not read"):
        load_checkpoint(folder)
    assert not marker.exists()


def test_other_bytes_of_the_same_size_are_refused(save):
    path = save() / "adapter_model.safetensors"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(BadCheckpoint, match="step_1: wanted a whole checkpoint, its files do not read"):
        load_checkpoint(path.parent)


def test_the_module_names_what_it_writes(save):
    documented = set(resumable.__doc__.split())
    assert {"adapter_model.safetensors", "optimizer.pt", "progress.json"} <= documented & set(names(save()))


def test_a_removal_that_is_cut_short_leaves_no_half_checkpoint(save, tmp_path, monkeypatch):
    for step in (1, 2, 3):
        save(step)

    def killed(path, **_):
        (path / "progress.json").unlink(missing_ok=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("dept_vl.train.resumable.shutil.rmtree", lambda path, **_: path.exists() and killed(path))
        remove_older(tmp_path, 2, set())
    kept = find_checkpoints(tmp_path)
    assert [path.name for path in kept] == ["step_2", "step_3"]
    assert all(load_checkpoint(path) for path in kept) and (tmp_path / ".step_1.gone").exists()
    remove_older(tmp_path, 1, set())
    assert names(tmp_path) == ["step_3"]


def test_a_checkpoint_that_is_brought_half_way_has_no_name(save, tmp_path, monkeypatch):
    source, folder = save(4, folder=tmp_path / "first"), tmp_path / "second"

    def killed(checkpoint, half):
        half.mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("dept_vl.train.resumable.shutil.copytree", killed)
        copy_checkpoint(source, folder)
    assert find_checkpoints(folder) == [] and (folder / ".step_4.half").is_dir()
    copy_checkpoint(source, folder)
    assert names(folder) == ["step_4"] and load_checkpoint(folder / "step_4")[2] == load_checkpoint(source)[2]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(save, value):
    folder = save(value=value)
    with pytest.raises(BadCheckpoint, match="adapter_model.safetensors: wanted finite weights, given .* NaN or inf"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "optimizer.pt", "rng_0.pt", "rng_1.pt"])
def test_a_flipped_bit_is_told_to_every_process(save, name):
    path = save(processes=2) / name
    data = bytearray(path.read_bytes())
    data[-300 if name.endswith(".pt") else -3] ^= 1
    path.write_bytes(data)
    for rank in range(3):
        with pytest.raises(
            BadCheckpoint, match=f"{name}: wanted sha256 .{{12}}, given .{{12}}: the file is damaged|read"
        ):
            load_checkpoint(path.parent, rank)


def test_a_checkpoint_without_hashes_is_refused(save):
    path = save() / "progress.json"
    progress = json.loads(path.read_text())
    del progress["sha256"]
    path.write_text(json.dumps(progress))
    with pytest.raises(BadCheckpoint, match="progress.json: .*`sha256`"):
        load_checkpoint(path.parent)


def test_a_checkpoint_is_as_good_as_the_best_one_that_it_names(save, tmp_path):
    best, later = save(1, best=1), save(2, best=1)
    check_checkpoint(best)
    check_checkpoint(later)
    (best / "optimizer.pt").unlink()
    with pytest.raises(
        BadCheckpoint, match="step_2: wanted the run's best checkpoint step_1 beside it: .*optimizer.pt"
    ):
        check_checkpoint(later)


def test_each_checkpoint_that_is_kept_keeps_the_best_that_it_names(save, tmp_path):
    """Or the last but one would be of no use where the last one, which was the best, is damaged."""
    for step, best in ((1, 1), (2, 1), (3, 1), (4, 4)):
        save(step, best=best)
    remove_older(tmp_path, 2, {tmp_path / "step_4"})
    assert names(tmp_path) == ["step_1", "step_3", "step_4"]
    (tmp_path / "step_3" / "progress.json").write_text("{")  # training does not stop for it
    remove_older(tmp_path, 2, {tmp_path / "step_4"})
    assert names(tmp_path) == ["step_3", "step_4"]


def test_a_process_keeps_the_state_of_the_one_gpu_that_it_draws_on(monkeypatch):
    """However many it sees: a run may go on where fewer are seen."""
    state, put = torch.arange(3), []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_rng_state", lambda: state)
    monkeypatch.setattr("torch.cuda.set_rng_state", put.append)
    set_rng_states(rng_states())
    assert len(put) == 1 and torch.equal(put[0], state)
