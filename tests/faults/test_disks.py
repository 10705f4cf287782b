"""A disk that fills up or is read-only: what was there stays, the message names the place, with room it goes on."""

import dataclasses
import errno
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from dept_vl.run.execute import run
from dept_vl.saved import read_adapter
from dept_vl.train.resumable import find_checkpoints, load_checkpoint
from dept_vl.vision import FrozenClip
from dept_vl.vision.store import extract
from tests.faults.victims import do_grid, write_numbered_adapter, write_numbered_checkpoint
from tests.tiny_runs import forget_accelerate, text_experiment, write_cola

pytestmark = pytest.mark.usefixtures("afresh")
PAGE = 4096


class Disk:
    """A filesystem in memory of a few MB."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._ballast = folder, folder / "ballast"

    def leave(self, room: int) -> None:
        """Fills it up to so many bytes, in whole pages."""
        self._ballast.unlink(missing_ok=True)
        free = os.statvfs(self.folder)
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize - room))

    def empty(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def make_read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", self.folder], check=True)


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"skipped: a small disk is mounted by root alone ({error})")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def config(byte_t5, disk, tmp_path):
    write_cola(tmp_path / "data")
    return text_experiment(byte_t5, tmp_path / "data", disk.folder / "run", max_steps=6, save_steps=2, eval_steps=3)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("write", [write_numbered_adapter, write_numbered_checkpoint])
def test_at_every_page_of_room_saving_is_whole_or_changes_nothing(write, disk):
    folder, failures = disk.folder / "saved", 0
    write(folder, 1)
    before = contents(folder)
    for room in range(0, 100 * PAGE, PAGE):
        disk.leave(room)
        try:
            write(folder, 2)
            break
        except OSError as error:
            assert "could not save" in str(error) and str(folder) in str(error)
            failures += 1
            assert contents(folder) == before
    assert failures >= 2 and contents(folder) != before
    if write is write_numbered_adapter:
        assert read_adapter(folder).config["revision"] == "2"
    else:
        assert [load_checkpoint(path)[2]["step"] for path in find_checkpoints(folder / "checkpoints")] == [1, 2]


def test_an_extraction_goes_on_when_there_is_room(disk, place, tmp_path):
    images = {path.name: path for path in sorted((place / "shapes").rglob("*.jpg"))}
    clip = FrozenClip.load(f"local-dir:{place / 'clip'}", layer=3, pooling="none", resize="squash")
    wanted, folder, failures = contents(extract(clip, images, tmp_path / "whole", shard_size=4).folder), disk.folder, 0
    for room in range(2 * PAGE, 100 * PAGE, 3 * PAGE):
        disk.leave(room)
        try:
            store = extract(clip, images, folder, shard_size=4)
            break
        except OSError as error:
            assert error.errno == errno.ENOSPC and str(error.filename).startswith(str(folder))
            failures += 1
            assert not list(folder.rglob("*.tmp"))
    assert failures >= 2 and contents(store.folder) == wanted


def test_a_run_that_filled_the_disk_goes_on_to_the_same_bytes(config, disk, tmp_path):
    run(dataclasses.replace(config, output_dir=str(tmp_path / "whole")))
    failures, room = [], 2 * PAGE
    while True:
        forget_accelerate()
        disk.leave(room)
        begun = any(load_checkpoint(path) for path in find_checkpoints(disk.folder / "run" / "checkpoints"))
        try:
            run(dataclasses.replace(config, resume_from_checkpoint="last") if begun else config)
            break
        except OSError as error:
            failures.append(str(error))
            assert str(disk.folder) in failures[-1]
        room += 6 * PAGE
    assert any("could not save the checkpoint" in each for each in failures), failures
    assert any(re.search(r"results.json|predictions|adapter_|report.html", each) for each in failures), failures
    for name in ("adapter_model.safetensors", "predictions.jsonl"):
        assert (disk.folder / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_plan_that_filled_the_disk_goes_on_when_there_is_room(config, disk):
    root = disk.folder / "plan"
    root.mkdir()
    disk.leave(8 * PAGE)
    failed = do_grid(config, [0.05, 0.5], root)
    assert len(failed) == 2 and all(str(root) in reason for reason in failed.values())
    disk.leave(200 * PAGE)
    forget_accelerate()
    assert do_grid(config, [0.05, 0.5], root) == {}
    assert len(list(root.glob("runs/*/results.json"))) == 2


def test_a_read_only_folder_is_named_before_anything_is_loaded(config, disk, place, byte_t5, experiment, monkeypatch):
    run(config)
    disk.make_read_only()
    forget_accelerate()
    monkeypatch.setattr("dept_vl.run.execute.build", lambda *arguments: pytest.fail("loaded"))
    run_folder, named = disk.folder / "run", f"wanted a folder that can be written.*{re.escape(str(disk.folder))}"
    for given in (config, dataclasses.replace(config, output_dir=str(disk.folder / "new" / "run"))):
        with pytest.raises(PermissionError, match=named):
            run(given)
    with pytest.raises(PermissionError, match=f"written, for the run {re.escape(str(run_folder))}"):
        run(dataclasses.replace(config, resume_from_checkpoint="last"))
    with pytest.raises(PermissionError, match=f"feature stores in {re.escape(str(disk.folder / 'features'))}"):
        run(experiment(vision={"feature_dir": str(disk.folder / "features")}))
    forget_accelerate()
    [reason] = do_grid(config, [0.05], disk.folder / "plan").values()
    assert re.search(f"PermissionError: .*{named}", reason)
    with pytest.raises(OSError, match=f"could not save .*{re.escape(str(run_folder))}"):
        write_numbered_adapter(run_folder, 1)


def test_a_read_only_store_is_read(disk, place, tmp_path, monkeypatch):
    monkeypatch.setattr("dept_vl.vision.hashes._SETTLED_NS", 0)
    images = {path.name: path for path in sorted((place / "shapes").rglob("*.jpg"))}
    clip = FrozenClip.load(f"local-dir:{place / 'clip'}", layer=3, pooling="none", resize="squash")
    store = extract(clip, images, disk.folder)
    (disk.folder / "hashes.json").unlink()
    disk.make_read_only()
    assert extract(clip, images, disk.folder).folder == store.folder
    assert extract(clip, dict(list(images.items())[1:]), disk.folder).folder == store.folder
    Image.new("RGB", (8, 8), "red").save(tmp_path / "new.png")
    with pytest.raises(OSError, match="Read-only"):
        extract(clip, {"new.png": tmp_path / "new.png"}, disk.folder)


def test_a_run_folder_that_cannot_be_moved_is_locked_inside(config, disk, monkeypatch):
    """As a mounted folder whose parent belongs to somebody else."""
    folder = disk.folder / "run"
    folder.mkdir()
    above, allowed = folder.parent, os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != above and allowed(path, mode))
    assert run(config) is not None and not list(disk.folder.rglob("*.running"))
    forget_accelerate()
    with pytest.raises(PermissionError, match=f"wanted a folder that can be written, for the run {folder}"):
        run(config)
    shutil.rmtree(folder)
