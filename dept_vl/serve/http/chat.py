"""POST /v1/chat/completions as OpenAI has it: `model` is an adapter, the one user message its row.

A soft prompt answers one question: it has read no conversation. So a request with other turns, and whatever else would
change what is asked, is refused and never left out in silence.
"""

import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from dept_vl.serve.asked import Asked, Kind
from dept_vl.serve.http.answering import submit
from dept_vl.serve.http.bodies import answered, read_json
from dept_vl.serve.http.errors import Refused
from dept_vl.serve.http.schemas import ChatRequest, ImagePart, Message
from dept_vl.serve.http.served import Served, documented, left
from dept_vl.serve.http.sources import Sources
from dept_vl.untrusted.json_files import NotJson, parse_json


def routes(served: Served) -> APIRouter:
    router = APIRouter()
    content = {"required": True, "content": {"application/json": {"schema": ChatRequest.model_json_schema()}}}

    async def complete(request: Request) -> Response:
        body = await read_json(request, served.limits)
        deadline = served.deadline()
        given = await served.parse(ChatRequest, body)
        future = await served.on_thread(_submit, served, given)
        (answer,) = await answered(request, future, left(deadline))
        if given.stream:
            return StreamingResponse(_events(given.model, answer), media_type="text/event-stream")
        choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
        return JSONResponse({**_head("chat.completion", given.model), "choices": [choice]})

    router.add_api_route(
        "/v1/chat/completions",
        complete,
        methods=["POST"],
        summary="Answer one user message, as OpenAI's clients ask.",
        response_model=None,
        responses=documented(403, 404, 408, 415, 422, 504),
        openapi_extra={"requestBody": content},
    )
    return router


def _submit(served: Served, given: ChatRequest) -> Future[list[str]]:
    """Raises: Refused; what `AnswerEngine.submit` raises."""
    _check(given)
    tokens = given.max_tokens if given.max_completion_tokens is None else given.max_completion_tokens
    kind, row = _row(served, given.model, given.messages[0])
    return submit(served, kind, [row], max_new_tokens=None if kind == "classify" else tokens)


def _check(given: ChatRequest) -> None:
    """Raises: Refused for what would change the answer and is not done here."""
    roles = [message.role for message in given.messages]
    if roles != ["user"]:
        raise Refused(422, f"messages: wanted one, of the user: an adapter reads no conversation; given {roles[:5]}")
    form = (given.response_format or {"type": "text"}).get("type")
    unlike = {
        "n": given.n not in (None, 1),
        "stop": bool(given.stop),
        "logprobs": bool(given.logprobs),
        "tools": bool(given.tools),
        "functions": bool(given.functions),
        "response_format": form != "text",
    }
    if named := [name for name, other in unlike.items() if other]:
        raise Refused(422, f"{named[0]}: wanted none, as an adapter answers once, in plain text; given one")


def _row(served: Served, model: str, message: Message) -> tuple[Kind, Asked]:
    """What the adapter's task makes of the message. Raises: Refused, UnreadableImage."""
    if model not in (adapters := served.engine.adapters):
        raise Refused(404, f"model: wanted one that GET /v1/models lists, given {model!r}")
    task = adapters[model].config["task"]
    if task is None:
        raise Refused(422, f"model: wanted an adapter whose config records its task, given {model!r}, which does not")
    parts = [] if isinstance(message.content, str) else message.content
    images = [part.image_url.url for part in parts if isinstance(part, ImagePart)]
    texts = [message.content] if isinstance(message.content, str) else [
        part.text for part in parts if not isinstance(part, ImagePart)
    ]  # fmt: skip
    if len(images) > 1:
        raise Refused(422, f"messages: wanted at most one picture, given {len(images)}")
    image = Sources(served.limits, served.access, {}).read(0, images[0]) if images else None
    text = "\n".join(texts)
    match task["name"]:
        case "vqa":
            return "answer", Asked(model, image, text)
        case "caption":
            if text.strip():
                raise Refused(422, "messages: wanted the picture alone, as a captioning adapter reads no text")
            return "caption", Asked(model, image)
    if image is not None:
        raise Refused(422, f"messages: wanted text alone, as {model!r} reads no picture")
    return "classify" if task["labels"] else "generate", Asked(model, text=_fields(text))


def _fields(text: str) -> str | dict[str, Any]:
    """A row of several fields comes as the text of a JSON object."""
    try:
        value = parse_json(text)
    except NotJson:
        return text
    return value if isinstance(value, dict) else text


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def _events(model: str, answer: str) -> Iterator[str]:
    """The answer as one event; the model says it as a whole, so there is nothing to send before."""
    head = _head("chat.completion.chunk", model)
    for delta, reason in (({"role": "assistant", "content": answer}, None), ({}, "stop")):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        yield f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"
    yield "data: [DONE]\n\n"
