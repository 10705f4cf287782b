"""Processes that tests start and kill: forked from a server that has imported everything, once for all tests."""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

LATE = ["transformers.models.t5.modeling_t5", "transformers.generation", "sklearn.metrics", "scipy.stats", "open_clip"]
FORKS = multiprocessing.get_context("forkserver")  # what a run imports late, each fork would import anew, in 2 s
FORKS.set_forkserver_preload(["tests.faults.victims", "tests.plans.fake_runs", *LATE])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def become(rank: int, port: int) -> None:
    """One of two processes of a run on the CPU."""
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in places.items()} | {"MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


def run_two(work: Callable[..., None], *arguments: object, folder: Path, **environment: str) -> None:
    """`work(*arguments)` in two processes of one group; what they print goes to files in `folder`."""
    printed, port = [folder / f"printed_{rank}" for rank in range(2)], free_port()
    processes = [
        FORKS.Process(target=_one_of_two, args=(rank, port, printed[rank], environment, work, arguments))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
        process.kill()
    assert [each.exitcode for each in processes] == [0, 0], "\n".join(each.read_text()[-6000:] for each in printed)


def _one_of_two(rank: int, port: int, printed: Path, environment: dict[str, str], work: Callable, arguments: tuple):
    with printed.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    become(rank, port)
    os.environ |= environment
    try:
        work(*arguments)
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # whatever thread of the group still runs
