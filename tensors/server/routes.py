"""Routes about the server itself, and the one that draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import pybase64
from fastapi import APIRouter, Depends, Header
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from tensors.errors import InvalidRequest
from tensors.server.answers import Json
from tensors.server.body import GenerateBody, body_of, described_as
from tensors.server.core import Core, ServerCore
from tensors.server.success import success_of
from tensors.types.gallery import Image
from tensors.types.jobs import Generated
from tensors.types.server import Health, Status, Version

router = APIRouter(prefix="/api")


@router.get("/health", response_model=Health, tags=["server"])
async def health() -> Response:
    """Whether the server answers. Needs no key."""
    return Json(Health())


@router.get("/status", response_model=Status, tags=["server"])
def status(core: Core) -> Response:
    """What runs where."""
    return Json(core.status())


@router.get("/version", response_model=Version, tags=["server"])
async def version(core: Core) -> Response:
    """Versions of tsr and its engine."""
    return Json(core.version())


@router.post(
    "/generate",
    response_model=Generated,
    responses={202: {"model": Generated, "description": "Queued, when `wait` is false"}},
    openapi_extra=described_as("GenerateBody"),
    tags=["generate"],
)
async def generate(
    core: Core,
    body: Annotated[GenerateBody, Depends(body_of(GenerateBody))],
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> Response:
    """Draw pictures. With `wait` the answer comes when they are there; a client that goes away loses nothing."""
    if idempotency_key is not None and not idempotency_key.strip():
        raise InvalidRequest("the Idempotency-Key is empty")
    job = await core.queue.submit(body.drawing(), idempotency_key=idempotency_key)
    if not body.wait:
        return Json(Generated(job=job), status_code=202)
    last = await success_of(core, job.id)
    images = [await run_in_threadpool(_image, core, image_id, body.return_base64) for image_id in last.images]
    return Json(Generated(job=await core.queue.get(job.id), images=tuple(images)))


def _image(core: ServerCore, image_id: str, with_file: bool) -> Image:
    image = core.gallery.get(image_id)
    if not with_file:
        return image
    return replace(image, base64=pybase64.b64encode(core.gallery.path(image_id).read_bytes()).decode())
