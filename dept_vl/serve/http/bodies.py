"""Read a request's body and wait for its answer, each within its time."""

import asyncio
from collections.abc import Awaitable, Mapping
from concurrent.futures import Future
from typing import TypeVar

from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request

from dept_vl.serve.http.errors import ClientGone, Refused
from dept_vl.serve.http.limits import Limits

T = TypeVar("T")
REQUEST = "request"
"""The part of a multipart form that has the JSON."""


async def read_json(request: Request, limits: Limits) -> bytes:
    """The body of a request that has to be JSON. Raises: Refused, ClientGone."""
    _wanted(request, "application/json")
    return await _in_time(request.body(), limits)


async def read_form(request: Request, limits: Limits) -> tuple[bytes, Mapping[str, bytes]]:
    """JSON, as the whole body or as the part "request" of a multipart form, and the form's other parts by name.

    Raises: Refused, ClientGone.
    """
    if _wanted(request, "application/json", "multipart/form-data") == "application/json":
        return await _in_time(request.body(), limits), {}

    async def read() -> tuple[bytes, Mapping[str, bytes]]:
        parts: dict[str, bytes] = {}
        sizes = {"max_files": limits.rows, "max_fields": limits.rows + 1, "max_part_size": limits.body}
        async with request.form(**sizes) as form:
            for name, part in form.multi_items():
                if name in parts:
                    raise Refused(422, f"wanted one part of each name, given two called {name!r:.200}")
                parts[name] = await part.read() if isinstance(part, UploadFile) else part.encode()
        if REQUEST not in parts:
            raise Refused(422, f"wanted a part called {REQUEST!r} with the JSON, given a form without it")
        return parts.pop(REQUEST), parts

    return await _in_time(read(), limits)


async def _in_time(reading: Awaitable[T], limits: Limits) -> T:
    try:
        async with asyncio.timeout(limits.seconds):
            return await reading
    except TimeoutError as error:
        raise Refused(408, f"wanted the whole body within {limits.seconds:g} seconds, given a part of it") from error
    except ClientDisconnect as error:
        raise ClientGone from error


def _wanted(request: Request, *kinds: str) -> str:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in kinds:
        raise Refused(415, f"wanted a body of type {' or '.join(kinds)}, given {given or 'none'!r:.100}")
    return given


async def answered(request: Request, future: Future[T], seconds: float) -> T:
    """What the future brings. When the client goes, or the time is over, it is cancelled and its rows leave the queue.

    Raises: Refused, ClientGone; what the future raises.
    """
    waiting, gone = asyncio.wrap_future(future), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({waiting, gone}, timeout=max(seconds, 0.0), return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        if gone.done():
            raise ClientGone
        raise Refused(504, "no answer in time; the rows were taken out of the queue")
    finally:
        waiting.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
