"""The route that tells everything that happens."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from tensors.server.core import Core, ServerCore
from tensors.types.jobs import Happening

router = APIRouter(prefix="/api/events", tags=["server"])

HEARTBEAT_SECONDS = 15.0
"""Proxies close connections that say nothing for longer."""
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@router.get("", response_model=Happening, response_class=StreamingResponse)
async def events(core: Core) -> Response:
    """Everything that happens, as server-sent events: `job` with a JobEvent, `image` with `change` and the picture.

    First come the states of all jobs that have not ended.
    """
    return StreamingResponse(_frames(core), media_type="text/event-stream", headers=STREAM_HEADERS)


async def _frames(core: ServerCore) -> AsyncIterator[bytes]:
    async for batch in core.queue.feed.follow(core.queue.present, heartbeat=HEARTBEAT_SECONDS):
        if batch is None:
            yield b": still here\n\n"
        else:
            # An empty one too: the client knows then that it listens.
            yield b": \n\n" + b"".join(b"event: %b\ndata: %b\n\n" % (name.encode(), data) for name, data in batch)
