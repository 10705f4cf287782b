"""Row 11: from the command to the first optimizer step of the quickstart, features stored, beside the imports alone.

Every side is a process of its own. A training process has come to its first step when the line of that step stands in
its log; it is stopped then.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.setting import Setting
from benchmarks.table import Line, Measured, Target
from benchmarks.timing import Spread, interleave, spread

REPOSITORY = Path(__file__).resolve().parent.parent
IMPORTS = "import torch, accelerate; from transformers import AutoTokenizer, T5ForConditionalGeneration"
SCRIPT = str(REPOSITORY / "scripts/train_vqa.py")
LAUNCH = [
    "-m", "accelerate.commands.accelerate_cli", "launch", "--num_processes", "1", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no",
]  # fmt: skip
_PATIENCE = 600.0  # seconds


class NoStep(ValueError):
    """A run that ended, or did not end, before its first step."""


def startup(setting: Setting) -> Measured:
    """`scripts/train_vqa.py` alone and under `accelerate launch`, where an earlier run left data and features."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        first_step(folder, [SCRIPT], "warm")
        runs = {
            "imports": [lambda: _python(folder, ["-c", IMPORTS])],
            "script": [lambda: first_step(folder, [SCRIPT], "script")],
            "launch": [lambda: first_step(folder, [*LAUNCH, SCRIPT], "launch")],
            "launcher": [lambda: _python(folder, [*LAUNCH, "--no_python", "true"])],
        }
        times = interleave(runs, seconds=setting.seconds, least=setting.least, most=9)
    beyond = [one - other for one, other in zip(times["script"], times["imports"], strict=True)]
    launched = [
        one - other - alone
        for one, other, alone in zip(times["launch"], times["imports"], times["launcher"], strict=True)
    ]
    lines = [
        Line("first step of train_vqa.py, beyond the imports", spread(beyond), Target("<=", 1.5), "s"),
        Line("under accelerate launch, beyond launcher and imports", spread(launched), Target("<=", 1.5), "s"),
        _reference("first step of train_vqa.py", times["script"]),
        _reference("first step under accelerate launch", times["launch"]),
        _reference("accelerate launch of nothing", times["launcher"]),
        _reference("torch, accelerate and transformers' T5 imported", times["imports"]),
    ]
    return Measured(lines, times, {"script": "scripts/train_vqa.py", "imports": IMPORTS})


def _reference(what: str, seconds: Sequence[float]) -> Line:
    found: Spread = spread(seconds)
    return Line(what, found, None, "s")


def environment() -> dict[str, str]:
    """Of a process that a user starts: nothing of this one's threads."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))}
    return own | {"PYTHONPATH": str(REPOSITORY), "ACCELERATE_USE_CPU": "true"}


def _python(folder: Path, words: Sequence[str]) -> None:
    subprocess.run([sys.executable, *words], cwd=folder, env=environment(), check=True, capture_output=True)


def first_step(folder: Path, words: Sequence[str], name: str) -> None:
    """Start a training command in `folder`, wait for its first step and end it. Raises: NoStep."""
    with training(folder, words, name) as log:
        while b"\n" not in log():
            time.sleep(0.005)


@contextlib.contextmanager
def training(
    folder: Path, words: Sequence[str], name: str, more: Mapping[str, str] | None = None
) -> Iterator[Callable[[], bytes]]:
    """A training command at work, as what reads the log that it has written so far, a line a step. It is ended on
    leaving. more: environment variables.

    Raises: NoStep, when the log is read, for a command that has ended or takes longer than anybody waits.
    """
    path, output = folder / "runs" / name / "metrics.jsonl", folder / f"{name}.txt"
    path.unlink(missing_ok=True)
    flags = ["--output_dir", f"runs/{name}", "--logging_steps", "1", "--progress", "false"]
    until = time.monotonic() + _PATIENCE
    with output.open("w", encoding="utf-8", errors="backslashreplace") as said:
        process = subprocess.Popen(
            [sys.executable, *words, *flags], cwd=folder, env=environment() | dict(more or {}), stdout=said,
            stderr=said, start_new_session=True,
        )  # fmt: skip

    def log() -> bytes:
        if process.poll() is not None or time.monotonic() > until:
            ended = output.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise NoStep(f"{name}: wanted a run at work, given one that said {ended}")
        return path.read_bytes() if path.exists() else b""

    try:
        yield log
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the launcher's child too
        process.wait()
