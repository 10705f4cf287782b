"""What the tests of lost processes share: scripts under `accelerate launch` on the CPU, as a user starts them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]


class Launched:
    """`accelerate launch` of a script with several processes, and all that it and they say."""

    def __init__(self, script: str, words: Sequence[object], said: Path, *, before: Sequence[str] = (), **env: str):
        command = [*before, sys.executable, "-m", "accelerate.commands.launch"]
        command += ["--config_file", ROOT / "configs/accelerate/multi_gpu.yaml", "--num_processes", 2]
        command += ["--dynamo_backend", "no", *words[: words.index("--")], ROOT / "scripts" / script]
        command += words[words.index("--") + 1 :]
        env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **env}
        self._said = said
        with said.open("w") as out:
            self.process = subprocess.Popen(
                list(map(str, command)), env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    def said(self) -> str:
        return self._said.read_text()

    def kill(self, rank: int) -> None:
        """SIGKILL to the process of this rank."""
        for child in psutil.Process(self.process.pid).children():
            if child.environ().get("RANK") == str(rank):
                child.kill()

    def end(self, seconds: float = 240) -> int:
        """Its exit status. Raises: TimeoutExpired."""
        return self.process.wait(seconds)

    def close(self) -> None:
        """Ends whatever is left of it."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def wait_for_steps(folder: Path, steps: int, launched: Sequence[Launched]) -> None:
    """Until the run in this folder has logged so many."""
    log, deadline = folder / "metrics.jsonl", time.monotonic() + 240
    while not log.exists() or log.read_text().count('"loss"') < steps:
        assert time.monotonic() < deadline and all(each.process.poll() is None for each in launched), "\n".join(
            each.said() for each in launched
        )
        time.sleep(0.05)
