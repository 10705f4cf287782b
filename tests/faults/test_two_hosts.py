"""Two hosts on one machine: two network namespaces joined by a pair of veth interfaces, and a disk that both see.

A run over both extracts its features and trains. When the link is cut, or a process on one host dies, both sides end
with a message, and the run then resumes and finishes with the bytes of the uncut one. Needs root and `ip`.
"""

import dataclasses
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from accelerate import Accelerator

from dept_vl.embedded.shapes import write_shapes
from dept_vl.run import build_task, features, load_splits, load_tower
from dept_vl.run.execute import write_config
from dept_vl.train.resumable import find_checkpoints
from tests.faults.launches import Launched, wait_for_steps
from tests.tiny_models import write_tiny_clip
from tests.tiny_runs import tiny_experiment

pytestmark = pytest.mark.slow

ADAPTER = "adapter_model.safetensors"
STEPS, TIMEOUT_S, PORT = 300, 15, 29500
IMAGES = {"train": 1050, "restval": 1, "val": 20, "test": 20}  # two files of features: one for each host


def ip(*words: object) -> None:
    done = subprocess.run(["ip", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(map(str, words))}: {done.stderr.strip()}")


class Hosts:
    """Two namespaces and the link between them; `close` ends what runs there and removes them."""

    def __init__(self) -> None:
        mark = uuid.uuid4().hex[:8]
        self.names, self.links = [f"dept_{mark}_{rank}" for rank in range(2)], [f"v{mark}_{rank}" for rank in range(2)]
        self.launched: list[Launched] = []

    def make(self) -> None:
        """Raises: OSError, FileNotFoundError where the rights or `ip` are missing."""
        for name in self.names:
            ip("netns", "add", name)
        ip("link", "add", self.links[0], "netns", self.names[0],
           "type", "veth", "peer", "name", self.links[1], "netns", self.names[1])  # fmt: skip
        for rank, (name, link) in enumerate(zip(self.names, self.links, strict=True)):
            ip("-n", name, "address", "add", f"10.77.0.{rank + 1}/24", "dev", link)
            for each in (link, "lo"):
                ip("-n", name, "link", "set", each, "up")

    def launch(self, config, folder, *words):
        """The run in `config` into `folder` on both hosts, each with one process."""
        write_config(config, folder.parent)
        number = len(self.launched)
        for rank, (name, link) in enumerate(zip(self.names, self.links, strict=True)):
            given = ["--num_machines", 2, "--machine_rank", rank, "--main_process_ip", "10.77.0.1"]
            given += ["--main_process_port", PORT + number, "--", "--config", folder.parent / "config.yaml"]
            given += ["--output_dir", folder, *words]
            said = folder.with_name(f"said_{number}_{rank}")
            before = ["ip", "netns", "exec", name]  # becomes what it starts, so the launcher has its process id
            launched = Launched("train_vqa.py", given, said, before=before, GLOO_SOCKET_IFNAME=link)
            self.launched.append(launched)
        return self.launched[-2:]

    def cut(self) -> None:
        ip("-n", self.names[1], "link", "set", self.links[1], "down")

    def mend(self) -> None:
        ip("-n", self.names[1], "link", "set", self.links[1], "up")

    def close(self) -> None:
        for each in self.launched:
            each.close()
        for name in self.names:
            if Path("/run/netns", name).exists():
                ip("netns", "delete", name)  # its end of the link goes with it


@pytest.fixture(scope="module")
def hosts():
    hosts = Hosts()
    try:
        try:
            hosts.make()
        except OSError as error:
            pytest.skip(f"two hosts on one machine need root and `ip`: {error}")
        yield hosts
    finally:
        hosts.close()


@pytest.fixture(scope="module")
def config(byte_t5, tmp_path_factory):
    place = tmp_path_factory.mktemp("hosts")
    write_shapes(place / "shapes", sizes=IMAGES, questions_per_image=1)
    write_tiny_clip(place / "clip")
    sizes = {"max_steps": STEPS, "save_steps": 20, "eval_steps": 100, "ddp_timeout": TIMEOUT_S}
    return tiny_experiment(byte_t5, place / "clip", place / "shapes", place / "whole", **sizes)


@pytest.fixture(scope="module")
def whole(hosts, config):
    """The folder of a run over both hosts that nothing disturbed."""
    folder = Path(config.output_dir)
    both = hosts.launch(config, folder)
    assert [each.end() for each in both] == [0, 0], both[0].said() + both[1].said()
    return folder


def test_the_hosts_extract_what_one_process_would(whole, config, tmp_path, afresh):
    alone = dataclasses.replace(config, vision=dataclasses.replace(config.vision, feature_dir=str(tmp_path)))
    accelerator, task = Accelerator(cpu=True), config.task
    splits = {name: (name, None) for name in (task.train_split, task.eval_split, task.test_split)}
    loaded = load_splits(alone, build_task(alone), accelerator, splits)
    wanted = features(alone, load_tower(alone), loaded.values(), accelerator).folder
    made = Path(config.vision.feature_dir) / wanted.name
    assert len(list(made.iterdir())) == 3  # two files of features and what they are of
    assert files_of(made) == files_of(wanted)


def test_a_link_that_is_cut_ends_both_sides_and_the_run_resumes_to_the_same_bytes(whole, hosts, config):
    folder = whole.with_name("cut")
    both = hosts.launch(config, folder)
    wait_for_steps(folder, STEPS // 4, both)
    hosts.cut()
    began = time.monotonic()
    try:
        assert [each.end(90) for each in both] == [1, 1]
        took = time.monotonic() - began
    finally:
        hosts.mend()
    assert TIMEOUT_S - 1 < took  # packets vanished: nothing else told either side
    for rank, each in enumerate(both):
        assert f"rank {rank} of 2 processes, on " in each.said() and "Timed out waiting" in each.said()
    resume(hosts, config, folder, whole)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_dies_ends_both_sides_and_the_run_resumes_to_the_same_bytes(victim, whole, hosts, config):
    folder = whole.with_name(f"killed_{victim}")
    both = hosts.launch(config, folder)
    wait_for_steps(folder, STEPS // 4, both)
    both[victim].kill(victim)
    assert [each.end(60) for each in both] == [1, 1]
    cause = both[victim].said().partition("Root Cause")[2]
    assert f"rank      : {victim} " in cause and "(SIGKILL)" in cause
    other = 1 - victim
    assert f"rank {other} of 2 processes, on " in both[other].said() and "by peer" in both[other].said()
    resume(hosts, config, folder, whole)


def resume(hosts, config, folder, whole):
    kept = find_checkpoints(folder / "checkpoints")
    assert kept and int(kept[-1].name.removeprefix("step_")) < STEPS and not (folder / ADAPTER).exists()
    both = hosts.launch(config, folder, "--resume_from_checkpoint", "last")
    assert [each.end() for each in both] == [0, 0], both[0].said() + both[1].said()
    assert (folder / ADAPTER).read_bytes() == (whole / ADAPTER).read_bytes()


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
