"""Fetch an adapter from the hub: three files, no code, no pickle."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

from dept_vl.saved.files import CARD, CONFIG, WEIGHTS
from dept_vl.serve.http.errors import Refused

_FILES = [CONFIG, WEIGHTS, CARD]


@contextmanager
def from_hub(repo: str, revision: str | None, most: int) -> Iterator[Path]:
    """The folder of a public repository's adapter, whose files have together at most `most` bytes; it is gone
    afterwards. The token of whoever runs the server is not a client's to use. Raises: Refused."""
    with tempfile.TemporaryDirectory(prefix="dept_vl_hub_") as folder:
        _fetch(repo, revision, most, folder)
        yield Path(folder)


def _fetch(repo: str, revision: str | None, most: int, folder: str) -> None:
    try:
        facts = HfApi(token=False).model_info(repo, revision=revision, files_metadata=True)
        sizes = [each.size or 0 for each in facts.siblings or () if each.rfilename in _FILES]
        if sum(sizes) > most:
            raise Refused(422, f"repo: wanted files of at most {most:,} bytes, given {sum(sizes):,}")
        snapshot_download(repo, revision=facts.sha, allow_patterns=_FILES, token=False, local_dir=folder)
    except Refused:
        raise
    except Exception as error:  # the hub's client raises its own errors, and those of whichever library it asks by
        reason = "no such repository or revision, or the hub cannot be reached"
        raise Refused(422, f"repo: wanted one of the hub, given {repo!r}: {reason}") from error
