"""GET /v1/models; POST /v1/adapters and DELETE /v1/adapters/{id}: which adapters answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse

from dept_vl.saved import SavedAdapter
from dept_vl.saved.files import WEIGHTS
from dept_vl.serve.http.bodies import read_json
from dept_vl.serve.http.errors import Refused
from dept_vl.serve.http.hub import from_hub
from dept_vl.serve.http.schemas import LoadRequest
from dept_vl.serve.http.served import Served, documented
from dept_vl.serve.named import UnknownAdapter
from dept_vl.untrusted.paths import folder_below


def routes(served: Served) -> APIRouter:
    router, engine = APIRouter(), served.engine
    content = {"required": True, "content": {"application/json": {"schema": LoadRequest.model_json_schema()}}}

    @router.get("/v1/models", summary="List the adapters.", response_model=None, responses=documented())
    async def models() -> JSONResponse:
        listed = [_described(name, saved, served) for name, saved in engine.adapters.items()]
        return JSONResponse({"object": "list", "data": listed})

    @router.post(
        "/v1/adapters",
        summary="Load an adapter from a folder below the server's root, or from the hub.",
        status_code=201,
        response_model=None,
        responses=documented(403, 404, 408, 409, 415, 422),
        openapi_extra={"requestBody": content},
    )
    async def load(request: Request) -> JSONResponse:
        given = await served.parse(LoadRequest, await read_json(request, served.limits))
        await served.one_by_one(_load, served, given)
        saved = engine.adapters.get(given.name)
        if saved is None:
            raise Refused(409, f"name: wanted to load {given.name!r}, which another request removed meanwhile")
        return JSONResponse(_described(given.name, saved, served), 201)

    @router.delete(
        "/v1/adapters/{id:path}", summary="Remove an adapter.", response_model=None, responses=documented(403, 404)
    )
    async def remove(id: str) -> JSONResponse:
        if served.access.adapter_root is None and not served.access.hub:
            raise Refused(403, "wanted a server that was started with --adapter-root or --allow-hub, given one without")
        await anyio.to_thread.run_sync(engine.remove, id)
        return JSONResponse({"id": id, "object": "model", "deleted": True})

    return router


def _load(served: Served, given: LoadRequest) -> None:
    """Raises: Refused; what `AnswerEngine.load` raises."""
    engine, limits = served.engine, served.limits
    if given.name in engine.adapters:
        raise Refused(409, f"name: wanted one that is free, given {given.name!r}: delete that adapter first")
    if len(engine.adapters) >= limits.adapters:
        raise Refused(409, f"wanted room for one more adapter, given {limits.adapters:,}, the most: delete one first")
    if (given.folder is None) == (given.repo is None):
        raise Refused(422, "wanted either folder or repo, given both or neither")
    if given.repo is not None:
        if not served.access.hub:
            raise Refused(403, "repo: wanted a server that was started with --allow-hub, given one that was not")
        with from_hub(given.repo, given.revision, limits.folder) as folder:
            return _load_folder(served, given, folder)
    if served.access.adapter_root is None:
        raise Refused(403, "folder: wanted a server that has an --adapter-root, given one without")
    _load_folder(served, given, folder_below(served.access.adapter_root, given.folder, limits.folder))


def _load_folder(served: Served, given: LoadRequest, folder: Path) -> None:
    engine = served.engine
    if not (folder / WEIGHTS).is_file():
        raise Refused(422, f"wanted a folder with {WEIGHTS}, given one without: other weights are not read here")
    try:
        engine.load(given.name, folder, lambda saved: _check(saved, served))
    except UnknownAdapter as error:  # a name that was taken meanwhile, or that no adapter can have
        raise Refused(409 if given.name in engine.adapters else 422, str(error)) from error


def _check(saved: SavedAdapter, served: Served) -> None:
    """Raises: Refused for an adapter that would read other files, or whose answers could take for ever."""
    if saved.projection is not None and not served.engine.reads_images:
        message = "wanted an adapter of text alone, as the server has no image tower; given one that reads images: "
        raise Refused(422, f"{message}start the server with one such adapter")
    task: Mapping[str, Any] = saved.config["task"] or {}
    for name, most in (("num_beams", served.limits.beams), ("max_target_length", served.limits.new_tokens)):
        if task.get(name, 1) > most:
            raise Refused(422, f"task.{name}: wanted at most {most}, given {task[name]}")


def _described(name: str, saved: SavedAdapter, served: Served) -> dict[str, Any]:
    """As OpenAI lists a model; `task` and `reads_images` are ours."""
    task = saved.config["task"]
    return {
        "id": name,
        "object": "model",
        "created": served.started,
        "owned_by": "dept_vl",
        "task": None if task is None else task["name"],
        "reads_images": saved.projection is not None,
        "default": name == served.engine.active,
    }
