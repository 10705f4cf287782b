"""What stands before every route: the token, how many bytes a body may have, the count of requests."""

import secrets
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dept_vl.serve.http.errors import CLIENT_GONE, Refused, respond
from dept_vl.serve.http.limits import Access, Limits
from dept_vl.serve.http.metrics import Metrics

OPEN = ("/healthz", "/readyz")
"""Addresses that want no token: who starts and watches the process asks them."""


class Guard:
    """An ASGI layer. A body is counted while it comes, so one that says nothing of its length, or lies, is no larger.

    What all requests hold together is bounded too, from the first byte of a body to the end of its answer.
    """

    def __init__(self, app: ASGIApp, *, limits: Limits, access: Access, metrics: Metrics) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics
        self.token = None if access.token is None else access.token.encode()
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        own, status = 0, CLIENT_GONE

        async def counted() -> Message:
            nonlocal own
            message = await receive()
            size = len(message.get("body", b""))
            own, self.held = own + size, self.held + size
            self._check_size(own)
            if self.held > self.limits.bodies:
                raise Refused(429, "the memory for bodies is full: ask again", {"Retry-After": "1"})
            return message

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._check(scope["path"], Headers(scope=scope))
            await self.app(scope, counted, noted)
        except Refused as error:  # before any route had the request
            await respond(error)(scope, receive, noted)
        except BaseException:
            status = 500 if status == CLIENT_GONE else status  # the layer above answers
            raise
        finally:
            self.held -= own
            self.metrics.request(_route(scope), status)

    def _check(self, path: str, headers: Mapping[str, str]) -> None:
        if self.token is not None and path not in OPEN:
            kind, _, given = headers.get("authorization", "").partition(" ")
            if kind.lower() != "bearer" or not secrets.compare_digest(given.strip().encode(), self.token):
                message = "wanted the server's token, as in 'Authorization: Bearer TOKEN'"
                raise Refused(401, message, {"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "")
        self._check_size(int(length) if length.isascii() and length.isdigit() else 0)

    def _check_size(self, size: int) -> None:
        if size > self.limits.body:
            raise Refused(413, f"wanted a body of at most {self.limits.body:,} bytes, given more")


def _route(scope: Mapping[str, Any]) -> str:
    """The address as the routes have it, so that made-up ones are one."""
    return getattr(scope.get("route"), "path", "other")
