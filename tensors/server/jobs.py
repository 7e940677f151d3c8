"""Routes of jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from tensors.jobs import JobQueue
from tensors.server.answers import Json
from tensors.server.core import Core
from tensors.server.events import HEARTBEAT_SECONDS, STREAM_HEADERS
from tensors.types.base import Page
from tensors.types.jobs import Job, JobEvent

router = APIRouter(prefix="/api/jobs", tags=["jobs"])


@router.get("", response_model=Page[Job])
async def list_jobs(
    core: Core,
    kind: Annotated[str | None, Query(description="generate, switch, scan, link, cache, download or cleanup")] = None,
    state: Annotated[str | None, Query(description="queued, running, paused, succeeded, failed or cancelled")] = None,
    limit: int = 20,
    cursor: str | None = None,
) -> Response:
    """Jobs, newest first."""
    return Json(await core.queue.list(kind=kind, state=state, limit=limit, cursor=cursor))


# `:path`, so that an id with a slash in it is a job that does not exist, and not an address that does not.
@router.post("/{job_id:path}/cancel", response_model=Job)
async def cancel_job(core: Core, job_id: str) -> Response:
    """Stop a job, queued or running; answers once it has ended."""
    return Json(await core.queue.cancel(job_id))


@router.post("/{job_id:path}/pause", response_model=Job)
async def pause_job(core: Core, job_id: str) -> Response:
    """Stop a download until it is resumed; answers once it stands still."""
    return Json(await core.queue.pause(job_id))


@router.post("/{job_id:path}/resume", response_model=Job)
async def resume_job(core: Core, job_id: str) -> Response:
    """Let a paused download go on where it was."""
    return Json(await core.queue.resume(job_id))


@router.get("/{job_id:path}/events", response_model=JobEvent, response_class=StreamingResponse)
async def job_events(core: Core, job_id: str) -> Response:
    """What happens to a job, as server-sent events. Each is the whole present state; the stream ends with the job."""
    await core.queue.check_known(job_id)
    return StreamingResponse(_frames(core.queue, job_id), media_type="text/event-stream", headers=STREAM_HEADERS)


@router.get("/{job_id:path}", response_model=Job)
async def get_job(core: Core, job_id: str) -> Response:
    """One job, as it is now."""
    return Json(await core.queue.get(job_id))


async def _frames(queue: JobQueue, job_id: str) -> AsyncIterator[bytes]:
    async for batch in queue.follow(job_id, heartbeat=HEARTBEAT_SECONDS):
        if batch is None:
            yield b": still here\n\n"
        else:
            yield b"".join(b"id: %d\nevent: job\ndata: %b\n\n" % (event.seq, document) for event, document in batch)
