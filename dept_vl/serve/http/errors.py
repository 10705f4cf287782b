"""Refusals: a status and a plain sentence, in the form that OpenAI's clients read. No path, no trace."""

import logging
import re
from collections.abc import Mapping
from pathlib import PurePath

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dept_vl.backbones.causal import NothingToContinue, TooManyPositions
from dept_vl.data.text import NoRoom
from dept_vl.registry import UnknownName
from dept_vl.saved import BadAdapterFolder, MismatchedBackbone
from dept_vl.serve.engine import EngineClosed, QueueFull
from dept_vl.serve.named import UnknownAdapter
from dept_vl.serve.pictures import UnsupportedPicture
from dept_vl.serve.rows import WrongRows, WrongTask
from dept_vl.tuning import BadTuning, UnfitTuning
from dept_vl.untrusted.bad_file import BadFile
from dept_vl.vision import UnreadableImage

STATUS: Mapping[int, str] = {
    400: "the body is no JSON, or no form",
    401: "no bearer token, or another",
    403: "the server was not started with what this needs",
    404: "no such address, or no adapter of this name",
    405: "another method",
    408: "the body did not come in time",
    409: "the name is taken, or as many adapters are loaded as may be",
    413: "the body is too large",
    415: "another content type than the address reads",
    422: "rows or an adapter that cannot be taken; the sentence says which and why",
    429: "the queue, or the memory for bodies, is full: Retry-After has the seconds after which to ask again",
    500: "a defect of the server, which its log tells",
    503: "the server is shutting down",
    504: "no answer in time; the rows were taken out of the queue",
}
"""Every status that a request can get beside 200, 201, and 400 of a host's name that the server does not have."""

_CLASSES: Mapping[type[Exception], int] = {
    QueueFull: 429,
    EngineClosed: 503,
    UnknownAdapter: 404,
    WrongTask: 422,
    WrongRows: 422,
    UnsupportedPicture: 422,
    UnreadableImage: 422,
    BadAdapterFolder: 422,
    BadFile: 422,
    MismatchedBackbone: 422,
    BadTuning: 422,  # what an adapter trained inside another model
    UnfitTuning: 422,
    NothingToContinue: 422,  # rows that the model cannot read, which shows when they are embedded
    TooManyPositions: 422,
    NoRoom: 422,
    UnknownName: 422,  # in an adapter's config: of a task or a protocol that is not registered here
}
_OF_FILES = (UnsupportedPicture, UnreadableImage, BadFile, MismatchedBackbone)  # whose messages may name their place
CLIENT_GONE = 499  # nobody reads it; the metrics count it
_TYPES = {401: "authentication_error", 429: "rate_limit_error"}
_WORDS = {
    "missing": "wanted a value, given none",
    "extra_forbidden": "wanted no such field, given one",
    "string_type": "wanted a text, given another value",
    "int_type": "wanted a whole number, given another value",
    "int_parsing": "wanted a whole number, given another value",
    "list_type": "wanted a list, given another value",
    "model_type": "wanted an object, given another value",
}
"""Of the schemas' commonest errors; the others have words of their own."""
_FORMS = {
    "image": 'a file\'s bytes in base64, {"upload": NAME} or {"path": PATH}',
    "text": "a text, or an object with the row's fields",
    "content": "a text, or a list of parts whose type is text or image_url",
}
"""What fields take that may have several forms."""
_FOLDERS = re.compile(r"(?<![\w/:])/(?:[^\s/'\",:;()]+/)+")  # of an absolute path, but for its last name
_ADDRESS = re.compile(r" object at 0x[0-9a-fA-F]+")

logger = logging.getLogger("dept_vl.serve")


class Refused(Exception):
    """A request that gets this status and sentence."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


class ClientGone(Exception):
    """Whoever asked has closed the connection."""


def refusal(error: Exception) -> Refused:
    """What a client is told of an error. What is no refusal is logged with its trace and told as status 500."""
    match error:
        case Refused():
            return error
        case QueueFull():
            return Refused(429, f"{error}: ask again", {"Retry-After": str(max(1, round(error.seconds)))})
        case EngineClosed():
            return Refused(503, "the server is shutting down")
        case ValidationError():
            return _invalid(error)
        case HTTPException():
            return Refused(error.status_code, str(error.detail), error.headers)
        case ClientGone():
            return Refused(CLIENT_GONE, "the client is gone")
        case BadFile() if PurePath(error.file).is_absolute():
            error = BadFile(PurePath(error.file).name, error.wanted, error.given)
    for kind, status in _CLASSES.items():
        if isinstance(error, kind):
            return Refused(status, without_places(str(error)) if isinstance(error, _OF_FILES) else str(error))
    logger.error("a request failed", exc_info=error)
    return Refused(500, "the server failed to answer; its log tells why")


def without_places(message: str) -> str:
    """The message without folders of this machine and addresses in its memory."""
    return _ADDRESS.sub("", _FOLDERS.sub("", message))


def respond(error: Exception) -> Response:
    refused = refusal(error)
    kind = _TYPES.get(refused.status, "server_error" if refused.status >= 500 else "invalid_request_error")
    body = {"message": refused.message, "type": kind, "param": None, "code": None}
    return JSONResponse({"error": body}, refused.status, refused.headers)


def handle(request: Request, error: Exception) -> Response:
    """For the application's table of handlers."""
    return respond(error)


def _invalid(error: ValidationError) -> Refused:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    first = max(found, key=lambda each: len(each["loc"]))  # of what may have several forms, the one that was tried most
    if first["type"] == "json_invalid":
        return Refused(400, f"wanted a JSON object as the body, given another: {first['msg']}")
    where: list[str] = []
    for each in map(str, first["loc"]):
        where.append(each)
        if each in _FORMS and first["loc"][-1] != each:  # behind it stand the names of its forms
            return Refused(422, f"{'.'.join(where)}: wanted {_FORMS[each]}, given another")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    words = _WORDS.get(first["type"], first["msg"])
    return Refused(422, f"{'.'.join(where) or 'the body'}: {words}{more}")
