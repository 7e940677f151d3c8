"""Routes of downloads."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from tensors.server.answers import Json
from tensors.server.body import body_of, described_as
from tensors.server.core import Core
from tensors.types.download import DownloadPlan, DownloadRequest
from tensors.types.jobs import Job

router = APIRouter(prefix="/api/download", tags=["download"])

Body = Annotated[DownloadRequest, Depends(body_of(DownloadRequest))]


@router.post("", response_model=Job, status_code=202, openapi_extra=described_as("DownloadRequest"))
async def download(core: Core, request: Body) -> Response:
    """Fetch files from CivitAI or Hugging Face. Answers with the job; its report comes when it has ended."""
    return Json(await core.queue.submit_library(request), status_code=202)


@router.post("/plan", response_model=DownloadPlan, openapi_extra=described_as("DownloadRequest"))
def plan(core: Core, request: Body) -> Response:
    """What a download would do: names, sizes, hashes, and what is here already."""
    return Json(core.downloader.plan(request))
