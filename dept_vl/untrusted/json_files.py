"""Parse untrusted JSON; one error, with its position.

`parse_json` takes any document. `read_json` and `read_entries` hold a file to a schema: msgspec types, in which a
whole number is no fraction, no text and no truth value, and fields that the schema lacks are skipped.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from dept_vl.untrusted.bad_file import BadFile
from dept_vl.untrusted.gzip_bytes import read_bytes
from dept_vl.untrusted.lfs_pointers import as_pointer

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # half a character of two, as JSON may escape it


class NotJson(ValueError):
    """Text that is no JSON document; its message goes behind "given one"."""


def parse_json(text: str | bytes) -> Any:
    """As `json.loads`. Raises: NotJson, also for strings that are no Unicode text and so could not be written again."""
    if given := as_pointer(text[:100].encode(errors="replace") if isinstance(text, str) else text):
        raise NotJson(f"that is {given}")
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        value = json.loads(text)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except json.JSONDecodeError as error:
        raise NotJson(
            f"cut or broken at character {error.pos:,} of {len(text):,} ({error.msg}, line {error.lineno:,})"
        ) from error
    except RecursionError as error:
        raise NotJson("nested too deeply") from error
    except ValueError as error:  # a number of more digits than Python takes, bytes that are not UTF-8
        raise NotJson(f"broken ({error})") from error


def read_json(path: Path, schema: Any) -> Any:
    """The document in a JSON file (gzip allowed), held to `schema`. Raises: BadFile."""
    return decode_json(path, read_bytes(path), schema)


def read_entries(path: Path, key: str, schema: Any) -> Iterator[Any]:
    """The entries of the list under `key`, parsed one at a time: the ten million answer objects of a million questions
    are never in memory together. Raises: BadFile, for a bad entry behind those in front of it."""
    document = read_json(path, _with_list(key))
    for number, entry in enumerate(document.entries):
        yield decode_json(path, entry, schema, f" in {key}[{number}]")


@cache
def _with_list(key: str) -> type[msgspec.Struct]:
    return msgspec.defstruct("Document", [("entries", list[msgspec.Raw], msgspec.field(name=key))])


@cache
def _decoder(schema: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(schema)


def decode_json(path: Path, data: bytes | msgspec.Raw, schema: Any, place: str = "") -> Any:
    """The JSON value in `data`, held to `schema`. place: where in the file, as " in line 2". Raises: BadFile."""
    try:
        return _decoder(schema).decode(data)
    except msgspec.ValidationError as error:
        raise BadFile(path, "the JSON of its format", f"other JSON{place}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        given = f"one cut or broken{place}, of {memoryview(data).nbytes:,} bytes ({error})"
        raise BadFile(path, "a whole JSON file", given) from error
    except RecursionError as error:
        raise BadFile(path, "a whole JSON file", f"one nested too deeply{place}") from error
