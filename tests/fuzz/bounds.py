"""What reading one file may take, enforced while it is read and not only measured after it."""

import faulthandler
import re
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS = 5.0  # of computing that reading one input may take
MEMORY = 512  # MiB by which the process may grow over all inputs of a kind
ADDRESSES = 8 * 2**30  # bytes of address space beyond what the process has: more than all, and less than the machine
_RECORD = Path("/proc/self/clear_refs")


class Hung(BaseException):
    """A reader that took too long. No `except Exception` of a reader's catches it."""


@contextmanager
def within(seconds: float = SECONDS) -> Iterator[None]:
    """Raises Hung inside what computes for longer, or waits six times as long (the machine may be busy). What never
    comes back to Python, so that nothing can be raised in it, ends the process after twelve times the time, with the
    place on stderr."""

    def stop(*_: object) -> None:
        raise Hung(f"wanted a reader that ends within {seconds:g} s, given one that goes on")

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, seconds), (signal.SIGALRM, signal.ITIMER_REAL, 6 * seconds))
    before = {number: signal.signal(number, stop) for number, _, _ in timers}
    faulthandler.dump_traceback_later(12 * seconds, exit=True, file=sys.__stderr__)
    for _, timer, after in timers:
        signal.setitimer(timer, after)
    try:
        yield
    finally:
        for number, timer, _ in timers:
            signal.setitimer(timer, 0)
            signal.signal(number, before[number] or signal.SIG_DFL)  # None: another library's
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def limited_memory(more: int = ADDRESSES) -> Iterator[None]:
    """Inside, a request for more addresses fails instead of taking the machine's memory."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") * 1024 + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def forget_peak() -> None:
    """The kernel's record of the most memory that this process held starts anew."""
    _RECORD.write_text("5")


def peak() -> float:
    """The most memory that this process has held since, in MiB."""
    return _status("VmHWM") / 1024


def _status(field: str) -> int:
    """In KiB."""
    return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
