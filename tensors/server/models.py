"""Routes of models and of the backends they are loaded on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query
from starlette.responses import Response, StreamingResponse

from tensors.engines.journal import KEPT, Journal
from tensors.errors import InvalidRequest
from tensors.server.answers import Json
from tensors.server.body import SwitchBody, body_of, described_as
from tensors.server.core import Core, ServerCore
from tensors.server.events import STREAM_HEADERS
from tensors.server.success import success_of
from tensors.types.backends import LogLine
from tensors.types.base import Page
from tensors.types.jobs import Job
from tensors.types.models import LoraEntry, ModelEntry, Options, UnloadRequest
from tensors.types.server import EngineStatus

router = APIRouter(prefix="/api", tags=["models"])


@router.get("/models", response_model=Page[ModelEntry])
def list_models(
    core: Core, query: str | None = None, family: str | None = None, limit: int = 100, cursor: str | None = None
) -> Response:
    """Checkpoints and diffusion models by name: what they are, where they are loaded, what they lack."""
    return Json(core.lineup.list(query=query, family=family, limit=limit, cursor=cursor))


@router.get("/models/active", response_model=ModelEntry)
def active_model(core: Core) -> Response:
    """What a request is drawn with that names no model."""
    return Json(core.lineup.active())


@router.post(
    "/models/switch",
    response_model=Job,
    responses={202: {"model": Job, "description": "Queued, when `wait` is false"}},
    openapi_extra=described_as("SwitchBody"),
)
async def switch_model(core: Core, body: Annotated[SwitchBody, Depends(body_of(SwitchBody))]) -> Response:
    """Load a model, and take it for requests that name none. With `wait` the answer comes when it is there."""
    job = await core.queue.submit_switch(body.switch())
    if not body.wait:
        return Json(job, status_code=202)
    await success_of(core, job.id)
    return Json(await core.queue.get(job.id))


@router.post("/models/unload", response_model=Page[EngineStatus], openapi_extra=described_as("UnloadRequest"))
async def unload_models(core: Core, request: Annotated[UnloadRequest, Depends(body_of(UnloadRequest))]) -> Response:
    """End engines that are idle. Answers with how the backends are then."""
    pool = core.worker.pool
    await pool.unload(request.backends or pool.idle())
    return Json(Page(items=pool.statuses()))


@router.get("/models/options", response_model=Options)
def model_options(core: Core, model: str | None = None) -> Response:
    """What a request for a model can say, and what it gets when it does not."""
    return Json(core.lineup.options(model, core.worker.pool.capabilities))


@router.get("/models/{model:path}", response_model=ModelEntry)
def get_model(core: Core, model: str) -> Response:
    """One checkpoint: by name, path, hash, or `MODEL@VERSION` of CivitAI."""
    return Json(core.lineup.get(model))


@router.get("/loras", response_model=Page[LoraEntry])
def list_loras(
    core: Core,
    query: str | None = None,
    family: str | None = None,
    fits: Annotated[str | None, Query(description="a model: those that cannot fit it are left out")] = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Response:
    """LoRAs by name, with their trigger words, and whether they fit the active model."""
    return Json(core.lineup.loras(query=query, family=family, fits=fits, limit=limit, cursor=cursor))


@router.get("/backends", response_model=Page[EngineStatus])
async def list_backends(core: Core) -> Response:
    """Where engines run, with what they have and do."""
    return Json(Page(items=core.worker.pool.statuses()))


@router.get("/backends/logs", response_model=LogLine, response_class=StreamingResponse)
async def backend_logs(core: Core, backend: str | None = None, lines: int = 100, follow: bool = False) -> Response:
    """What an engine said last, as server-sent events; with `follow` also what it goes on to say."""
    if not 0 <= lines <= KEPT:
        raise InvalidRequest(f"lines must be between 0 and {KEPT}, not {lines}")
    journal = _journal(core, backend)
    told = _followed(journal, lines) if follow else _last(journal, lines)
    return StreamingResponse(told, media_type="text/event-stream", headers=STREAM_HEADERS)


def _journal(core: ServerCore, backend: str | None) -> Journal:
    members = core.worker.pool.members
    if backend is not None:
        return core.worker.pool.member(backend).backend.journal
    if len(members) != 1:
        raise InvalidRequest(
            f"there are {len(members)} backends: say which one", hint=f"backends: {', '.join(members)}"
        )
    (only,) = members.values()
    return only.backend.journal


async def _last(journal: Journal, count: int) -> AsyncIterator[bytes]:
    for line in journal.last(count):
        yield _frame(line)


async def _followed(journal: Journal, count: int) -> AsyncIterator[bytes]:
    async for line in journal.follow(count):
        yield _frame(line)


def _frame(line: LogLine) -> bytes:
    return b"id: %d\nevent: log\ndata: %b\n\n" % (line.seq, msgspec.json.encode(line))
