"""Fetch an adapter from the hub: three files, no code, no pickle."""

from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from dept_vl.saved.files import CARD, CONFIG, WEIGHTS
from dept_vl.serve.http.errors import Refused

_FILES = [CONFIG, WEIGHTS, CARD]


def from_hub(repo: str, revision: str | None, most: int) -> Path:
    """The folder of a public repository's adapter, whose files have together at most `most` bytes. The token of whoever
    runs the server is not a client's to use. Raises: Refused."""
    try:
        facts = HfApi(token=False).model_info(repo, revision=revision, files_metadata=True)
        sizes = [each.size or 0 for each in facts.siblings or () if each.rfilename in _FILES]
        if sum(sizes) > most:
            raise Refused(422, f"repo: wanted files of at most {most:,} bytes, given {sum(sizes):,}")
        return Path(snapshot_download(repo, revision=facts.sha, allow_patterns=_FILES, token=False))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = "no such repository or revision, or the hub cannot be reached"
        raise Refused(422, f"repo: wanted one of the hub, given {repo!r}: {reason}") from error
