"""POST /v1/answer, /v1/caption, /v1/classify and /v1/generate: rows in, answers in their order out."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

from dept_vl.serve.asked import Asked, Kind
from dept_vl.serve.http.bodies import REQUEST, answered, read_form
from dept_vl.serve.http.errors import Refused
from dept_vl.serve.http.limits import Limits
from dept_vl.serve.http.schemas import (
    AnswerRequest,
    AnswerRow,
    Answers,
    CaptionRequest,
    CaptionRow,
    ClassifyRequest,
    TextRequest,
    TextRow,
)
from dept_vl.serve.http.served import Served, documented, left
from dept_vl.serve.http.sources import Sources

Ask = AnswerRequest | CaptionRequest | TextRequest | ClassifyRequest
ASKS: dict[Kind, tuple[type[Ask], str]] = {
    "answer": (AnswerRequest, "Answer questions about pictures, or about text alone."),
    "caption": (CaptionRequest, "Caption pictures."),
    "classify": (ClassifyRequest, "Choose a label of its adapter's task for each row."),
    "generate": (TextRequest, "Answer rows of text tasks freely."),
}


def routes(served: Served) -> APIRouter:
    router = APIRouter()
    for kind, (model, summary) in ASKS.items():
        router.add_api_route(
            f"/v1/{kind}",
            _endpoint(served, kind),
            methods=["POST"],
            name=kind,
            summary=summary,
            response_model=Answers,
            responses=documented(403, 404, 408, 415, 422, 504),
            openapi_extra={"requestBody": _content(model)},
        )
    return router


def _endpoint(served: Served, kind: Kind) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> JSONResponse:
        body, parts = await read_form(request, served.limits)
        deadline = served.deadline()
        given = await served.parse(ASKS[kind][0], body)
        if parts or any(isinstance(row, AnswerRow | CaptionRow) and row.image is not None for row in given.rows):
            future = await served.on_thread(_submit, served, kind, given, parts)
        else:
            future = _submit(served, kind, given, parts)
        return JSONResponse({"answers": await answered(request, future, left(deadline))})

    return endpoint


def _submit(served: Served, kind: Kind, given: Ask, parts: Mapping[str, bytes]) -> Future[list[str]]:
    """Raises: Refused; what `AnswerEngine.submit` raises."""
    sources = Sources(served.limits, served.access, parts)
    check_rows(len(given.rows), served.limits)
    rows = [_asked(place, row, sources) for place, row in enumerate(given.rows)]
    sources.check_used()
    beams, tokens = (None, None) if isinstance(given, ClassifyRequest) else (given.num_beams, given.max_new_tokens)
    return submit(served, kind, rows, beams, tokens)


def submit(
    served: Served, kind: Kind, rows: list[Asked], num_beams: int | None = None, max_new_tokens: int | None = None
) -> Future[list[str]]:
    """Raises: Refused; what `AnswerEngine.submit` raises."""
    limits = served.limits
    for name, value, most in (
        ("num_beams", num_beams, limits.beams),
        ("max_new_tokens", max_new_tokens, limits.new_tokens),
    ):
        if value is not None and value > most:
            raise Refused(422, f"{name}: wanted at most {most}, given {value}")
    for place, row in enumerate(rows):
        check_text(place, (row.question, row.text), limits)
    future = served.engine.submit(kind, rows, num_beams=num_beams, max_new_tokens=max_new_tokens)
    served.metrics.rows.labels(kind).inc(len(rows))
    return future


def check_rows(given: int, limits: Limits) -> None:
    """Raises: Refused."""
    if given > limits.rows:
        raise Refused(422, f"rows: wanted at most {limits.rows:,}, given {given:,}")


def check_text(place: int, value: Any, limits: Limits) -> None:
    """Raises: Refused for a row with more characters than it may have."""
    try:
        given = _characters(value)
    except RecursionError as error:
        raise Refused(
            422, f"row {place}: wanted a text or an object with the row's fields, given deeper ones"
        ) from error
    if given > limits.text:
        raise Refused(422, f"row {place}: wanted at most {limits.text:,} characters of text, given {given:,}")


def _characters(value: Any) -> int:
    match value:
        case str():
            return len(value)
        case Mapping():
            return sum(len(name) + _characters(each) for name, each in value.items())
        case list() | tuple():
            return sum(map(_characters, value)) + len(value)
    return 0


def _asked(place: int, row: AnswerRow | CaptionRow | TextRow, sources: Sources) -> Asked:
    match row:
        case AnswerRow():
            return Asked(row.adapter_id, sources.read(place, row.image), row.question)
        case CaptionRow():
            return Asked(row.adapter_id, sources.read(place, row.image))
    return Asked(row.adapter_id, text=row.text)


def _content(model: type[Any]) -> dict[str, Any]:
    """The body for /openapi.json."""
    schema = model.model_json_schema()
    form = {"type": "object", "required": [REQUEST], "properties": {REQUEST: schema}, "additionalProperties": True}
    return {
        "required": True,
        "content": {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}},
    }
