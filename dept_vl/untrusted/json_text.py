"""JSON from strangers: every way in which Python's reader fails, as one error that says where."""

import json
import re
from collections.abc import Callable
from typing import Any

_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # how half a character of two may stand in JSON


class NotJson(ValueError):
    """Text that is no JSON document; its message goes behind "given one"."""


def parse_json(text: str | bytes, object_hook: Callable[[dict], Any] | None = None) -> Any:
    """As `json.loads`. Raises: NotJson, also for strings that are no Unicode text and so could not be written again."""
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        if _HALF.search(text):
            json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8")
        return json.loads(text, object_hook=object_hook)
    except json.JSONDecodeError as error:
        raise NotJson(
            f"cut or broken at character {error.pos:,} of {len(text):,} ({error.msg}, line {error.lineno:,})"
        ) from error
    except RecursionError as error:
        raise NotJson("nested deeper than any that we write") from error
    except ValueError as error:  # a number of more digits than Python takes, bytes that are not UTF-8
        raise NotJson(f"broken ({error})") from error
