"""Longer and led by coverage: each reader gets inputs that reach new lines of it.

    python -m tests.fuzz.guided --seconds 20              every kind, one process after the other
    python -m tests.fuzz.guided --seconds 60 "store description" "image, gif"

Needs atheris (the extra `fuzz`). An input that a reader takes longer than 5 s over, grows by 2 GiB for or refuses with
an error that it does not document ends the run with code 1 and stays in --found.
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
import warnings
from contextlib import redirect_stderr
from pathlib import Path

import atheris

from tests.fuzz.bounds import SECONDS, within
from tests.fuzz.mutations import NASTY

MEMORY = 2048  # MiB beyond what the imports take; libFuzzer asks once a second
MOST_BYTES = 20_000  # of an input
SHARED = "/dev/shm"  # memory in place of a disk


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20, help="for each kind")
    parser.add_argument("--found", type=Path, default=Path("runs/fuzz"), help="where inputs that broke a reader go")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("kinds", nargs="*", help="of tests/fuzz/targets.py; all when left out")
    given = parser.parse_args(argv)
    if given.alone:
        attack(given.kinds[0], given.seconds, given.found)
    from tests.fuzz.targets import KINDS

    given.found.mkdir(parents=True, exist_ok=True)
    broken = []
    for kind in given.kinds or KINDS:
        command = [sys.executable, "-m", "tests.fuzz.guided", "--alone", "--seconds", str(given.seconds)]
        command += ["--found", str(given.found), kind]
        with tempfile.TemporaryDirectory(dir=SHARED if os.path.isdir(SHARED) else None) as folder:
            environment = {**os.environ, "TMPDIR": folder}
            ended = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
        last = [line for line in ended.stderr.splitlines() if line.startswith(("Done", "SUMMARY", " ==", "#"))][-1:]
        print(f"{kind}: {'held' if ended.returncode == 0 else 'BROKEN'} {' '.join(last)}", flush=True)
        if ended.returncode:
            broken.append(kind)
            print(f"code {ended.returncode}\n" + ended.stdout[-3000:] + ended.stderr[-1000:], flush=True)
    return 1 if broken else 0


def attack(kind: str, seconds: int, found: Path) -> None:
    """Never returns: libFuzzer ends the process."""
    with atheris.instrument_imports(include=["dept_vl"]):
        from tests.fuzz.targets import make_targets
    folder = Path(tempfile.mkdtemp())
    target = make_targets(folder, _place(folder / "place"))[kind]
    seeds = folder / "seeds"
    seeds.mkdir()
    (seeds / "good").write_bytes(target.file.read_bytes())
    words = folder / "words"
    escaped = ("".join(rf"\x{byte:02x}" for byte in each[:60]) for each in NASTY if each)
    words.write_text("".join(f'"{word}"\n' for word in escaped))

    def one(data: bytes) -> None:
        target.file.write_bytes(data)
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                with within():
                    target.read()
            except target.errors:
                pass

    limits = [f"-max_total_time={seconds}", f"-timeout={12 * SECONDS:.0f}", f"-rss_limit_mb={_held() + MEMORY}"]
    names = f"-artifact_prefix={found / kind.replace(' ', '_')}-"
    size = max(MOST_BYTES, 2 * (seeds / "good").stat().st_size)
    atheris.Setup([sys.argv[0], *limits, names, f"-max_len={size}", f"-dict={words}", "-seed=1", str(seeds)], one)
    atheris.Fuzz()


def _place(folder: Path) -> Path:
    from dept_vl.embedded.shapes import write_shapes
    from tests.tiny_models import write_tiny_clip
    from tests.tiny_runs import QUESTIONS, SIZES

    write_shapes(folder / "shapes", sizes=SIZES, questions_per_image=QUESTIONS)
    write_tiny_clip(folder / "clip")
    return folder


def _held() -> int:
    """MiB."""
    from tests.fuzz.bounds import peak

    return int(peak())


if __name__ == "__main__":
    sys.exit(main())
