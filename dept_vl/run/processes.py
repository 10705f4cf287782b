"""The processes of one run, on one machine or several: one error when another process is gone.

Hides which errors the backends raise then. `run` and the scripts that start processes without it import it.
"""

import contextlib
import os
import re
import socket
from collections.abc import Iterator

import torch.distributed

from dept_vl.config import Experiment


class LostProcess(ConnectionError):
    """Another process of the run has ended, or cannot be reached."""


@contextlib.contextmanager
def together(config: Experiment) -> Iterator[None]:
    """Raises: LostProcess, naming this process and its machine, where another is gone; what else is raised passes."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not isinstance(error, torch.distributed.DistError) and "/gloo/" not in text:
            raise
        reason = re.sub(r"^\[\S*/gloo/\S+\] ", "", text.partition("\n")[0]).partition(". This is typically")[0]
        rank, world = (os.environ.get(name, "?") for name in ("RANK", "WORLD_SIZE"))
        raise LostProcess(
            f"rank {rank} of {world} processes, on {socket.gethostname()}: another process has ended or did not answer "
            f"for {config.ddp_timeout} s ({reason}). Its own message or the launcher's says which and why. What is "
            "stored so far is whole: training goes on with --resume_from_checkpoint last, extraction without"
        ) from error
