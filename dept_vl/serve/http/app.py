"""Put the server together: guard, routes, errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import anyio
from fastapi import FastAPI
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, Response

from dept_vl.serve.adapted import AdaptedModel
from dept_vl.serve.engine import AnswerEngine, EngineClosed, QueueFull
from dept_vl.serve.http import adapters, answering, chat
from dept_vl.serve.http.errors import ClientGone, Refused, handle
from dept_vl.serve.http.guard import Guard
from dept_vl.serve.http.limits import Access, Limits
from dept_vl.serve.http.metrics import Metrics
from dept_vl.serve.http.served import Served, documented


def build_app(
    model: AdaptedModel, limits: Limits | None = None, access: Access | None = None, **engine: Any
) -> FastAPI:
    """The application, with an engine of its own over `model`, which is closed, its queue answered, when the
    application ends. engine: arguments of `AnswerEngine`, such as max_batch and max_wait."""
    limits, access, metrics = limits or Limits(), access or Access(), Metrics()
    served = Served(
        AnswerEngine(model, max_queue=limits.queue, observe=metrics.batch, **engine), limits, access, metrics
    )  # fmt: skip
    metrics.watch(served.engine)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await anyio.to_thread.run_sync(served.engine.close)

    app = FastAPI(
        title="dept_vl",
        version=version("dept_vl"),
        lifespan=lifespan,
        docs_url=None,  # their pages would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.served = served
    for kind in (Refused, ClientGone, ValidationError, HTTPException, ValueError, QueueFull, EngineClosed, Exception):
        app.add_exception_handler(kind, handle)
    for each in (answering, chat, adapters):
        app.include_router(each.routes(served))
    _watching(app, served)
    app.add_middleware(Guard, limits=limits, access=access, metrics=metrics)
    if access.hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(access.hosts), www_redirect=False)
    return app


def _watching(app: FastAPI, served: Served) -> None:
    @app.get("/healthz", summary="Whether the process answers.", response_model=None, responses=documented())
    async def healthz() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get(
        "/readyz", summary="Whether the model answers.", response_model=None, responses=documented(503)
    )  # fmt: skip
    async def readyz() -> JSONResponse:
        if not served.engine.ready:
            raise Refused(503, "the server is shutting down")
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", summary="What Prometheus reads.", response_model=None, responses=documented())
    async def metrics() -> Response:
        return Response(served.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
