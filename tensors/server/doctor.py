"""The route by which a server looks at its own machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec
from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from tensors.errors import Conflict
from tensors.server.core import Core, ServerCore
from tensors.server.events import STREAM_HEADERS
from tensors.types.doctor import Finding

router = APIRouter(prefix="/api", tags=["server"])


@router.get("/doctor", response_model=Finding, response_class=StreamingResponse)
async def doctor(core: Core) -> Response:
    """Look at everything that tsr needs on the server's machine: server-sent events, one for each finding.

    Takes some seconds: an engine is started beside those that run, unless one is loaded. One look at a time.
    """
    if core.examining.locked():
        raise Conflict("this server is being looked at already", hint="try again in a minute")
    return StreamingResponse(_told(core), media_type="text/event-stream", headers=STREAM_HEADERS)


async def _told(core: ServerCore) -> AsyncIterator[bytes]:
    # Imported when somebody asks: it is as large as all the rest.
    from tensors.doctor import Patient, checks, examine

    async with core.examining:
        patient = Patient(core.config, core.worker.pool.statuses(), core.url)
        async with aclosing(examine(checks(patient), stop=core.stopping)) as findings:
            async for finding in findings:
                yield b"event: finding\ndata: %b\n\n" % msgspec.json.encode(finding)
