"""What the routes share: the engine, its limits, and the threads on which requests are parsed and pictures decoded."""

import asyncio
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
from pydantic import BaseModel, Field

from dept_vl.serve.engine import AnswerEngine
from dept_vl.serve.http.errors import STATUS
from dept_vl.serve.http.limits import Access, Limits
from dept_vl.serve.http.metrics import Metrics

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")
AT_ONCE = 16_384
"""Bytes of a body that is parsed without a change of threads, which takes longer than the parsing."""

DECODERS = 4
"""Threads that parse requests and decode pictures: of more, the model's thread would get less of the processor."""


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None = Field(description="always null")
    code: str | None = Field(description="always null")


class Refusal(BaseModel):
    """In OpenAI's form."""

    error: ErrorBody


@dataclass(frozen=True)
class Served:
    engine: AnswerEngine
    limits: Limits
    access: Access
    metrics: Metrics
    threads: anyio.CapacityLimiter = field(default_factory=functools.partial(anyio.CapacityLimiter, DECODERS))
    loads: anyio.CapacityLimiter = field(default_factory=functools.partial(anyio.CapacityLimiter, 1))
    started: int = field(default_factory=lambda: int(time.time()))  # in seconds since 1970

    async def parse(self, model: type[M], body: bytes) -> M:
        """Raises: ValidationError."""
        if len(body) <= AT_ONCE:
            return model.model_validate_json(body)
        return await self.on_thread(model.model_validate_json, body)

    async def on_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self.threads)

    async def one_by_one(self, function: Callable[..., T], *arguments: Any) -> T:
        """On a thread beside those of `on_thread`, which no slow load may hold."""
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self.loads)

    def deadline(self) -> float:
        """By which a request that begins now must be answered, in the loop's time."""
        return asyncio.get_running_loop().time() + self.limits.seconds


def left(deadline: float) -> float:
    return deadline - asyncio.get_running_loop().time()


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route for the schema at /openapi.json; any may get 400, 401, 413, 429, 500 and 503."""
    always = (400, 401, 413, 429, 500, 503)
    return {status: {"model": Refusal, "description": STATUS[status]} for status in sorted({*always, *statuses})}
