"""Token tables kept in a cache by the content of what they are made of: texts, tokenizer and how it is asked.

    <cache>/tokens/<64 digits of the sha256>.safetensors      flat, lengths and, under a chat template, spans

A file is written whole and holds the sha256 of its own numbers; what does not agree with it is made anew. Nothing needs
the cache: it may be deleted at any time, and where it cannot be written nothing is kept.
"""

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from dept_vl.data.token_table import TokenTable
from dept_vl.untrusted.converted import cache_root
from dept_vl.untrusted.whole_files import write_whole

FEWEST = 50_000
"""Texts from which a table is kept: fewer are tokenised within a second or two."""
MOST_BYTES = 2 << 30  # of all tables together; the ones that were not used for longest go first
_FORMAT = 1
_PART = 100_000  # texts that are hashed together
_SUM, _COUNTS = "sha256", "counts"


def kept(make: Callable[[], TokenTable], texts: Sequence[str], facts: Callable[[], tuple[object, ...]]) -> TokenTable:
    """What `make` gives, from the cache where an earlier call with the same texts and facts left it there. facts: gives
    all else that the table depends on, each of which its `repr` tells."""
    if len(texts) < FEWEST:
        return make()
    path = cache_root() / "tokens" / f"{_address(texts, facts())}.safetensors"
    table = _read(path)
    if table is None:
        table = make()
        with contextlib.suppress(OSError):
            _write(path, table)
    return table


def _address(texts: Sequence[str], facts: Iterable[object]) -> str:
    digest = hashlib.sha256(json.dumps([_FORMAT, *map(repr, facts)]).encode())
    digest.update(np.fromiter(map(len, texts), np.int64, len(texts)))  # with which the texts fall apart in one way only
    for start in range(0, len(texts), _PART):
        digest.update("".join(texts[start : start + _PART]).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _read(path: Path) -> TokenTable | None:
    """None where there is no such file, or one that is not whole."""
    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
            facts = file.metadata()
        counts = Counter(json.loads(facts[_COUNTS]))
        sound = facts[_SUM] == _sum(arrays) and arrays["lengths"].sum(dtype=np.int64) == len(arrays["flat"])
        os.utime(path)  # the last use
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RecursionError):
        return None
    return TokenTable.of(arrays["flat"], arrays["lengths"], counts, arrays.get("spans")) if sound else None


def _write(path: Path, table: TokenTable) -> None:
    arrays = {"flat": table.flat, "lengths": table.lengths}
    arrays |= {} if table.spans is None else {"spans": table.spans}
    facts = {_SUM: _sum(arrays), _COUNTS: json.dumps(table.counts)}
    write_whole(path, save(arrays, metadata=facts))
    left = MOST_BYTES
    tables = {each: each.stat() for each in path.parent.glob("*.safetensors")}
    for each, status in sorted(tables.items(), key=lambda pair: -pair[1].st_mtime_ns):
        left -= status.st_size
        if left < 0:
            each.unlink(missing_ok=True)


def _sum(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(arrays[name]))
    return digest.hexdigest()
