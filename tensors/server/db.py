"""Routes of the library."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.responses import Response

from tensors.server.answers import Json
from tensors.server.body import body_of, described_as
from tensors.server.core import Core
from tensors.types.base import Page
from tensors.types.catalog import Model, ModelDetails
from tensors.types.files import File, FileDetails, Triggers
from tensors.types.jobs import Job
from tensors.types.library import (
    CacheRequest,
    Duplicates,
    FileEdit,
    Forgotten,
    LibraryCheck,
    LibraryStats,
    LinkRequest,
    ScanRequest,
    Update,
)


class _Name(PathConvertor):
    """A file as people name it: by its path too, and line breaks may be in its name."""

    regex = r"[\s\S]*"


register_url_convertor("name", _Name())
router = APIRouter(prefix="/api/db", tags=["db"])

ScanBody = Annotated[ScanRequest, Depends(body_of(ScanRequest, may_be_empty=True))]
LinkBody = Annotated[LinkRequest, Depends(body_of(LinkRequest, may_be_empty=True))]
CacheBody = Annotated[CacheRequest, Depends(body_of(CacheRequest, may_be_empty=True))]
EditBody = Annotated[FileEdit, Depends(body_of(FileEdit))]

# These open the database anew, which takes less than a millisecond; FastAPI runs what is not `async` in a thread.


@router.post("/scan", response_model=Job, status_code=202, openapi_extra=described_as("ScanRequest"))
async def scan(core: Core, request: ScanBody) -> Response:
    """Look through folders for model files. Answers with the job; its report comes when it has ended."""
    return Json(await core.queue.submit_library(request), status_code=202)


@router.post("/link", response_model=Job, status_code=202, openapi_extra=described_as("LinkRequest"))
async def link(core: Core, request: LinkBody) -> Response:
    """Match files with CivitAI by their hashes. Answers with the job."""
    return Json(await core.queue.submit_library(request), status_code=202)


@router.post("/cache", response_model=Job, status_code=202, openapi_extra=described_as("CacheRequest"))
async def cache(core: Core, request: CacheBody) -> Response:
    """Fetch models from CivitAI and keep them. Answers with the job."""
    return Json(await core.queue.submit_library(request), status_code=202)


@router.get("/files", response_model=Page[File])
def list_files(
    core: Core,
    query: Annotated[str | None, Query(description="part of the name of a file or its model")] = None,
    kind: str | None = None,
    family: str | None = None,
    state: Annotated[str | None, Query(description="present, missing, broken, linked or unlinked")] = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Response:
    """Files, by name."""
    return Json(core.library.files(query=query, kind=kind, family=family, state=state, limit=limit, cursor=cursor))


@router.post("/files/{file:name}/edit", response_model=FileDetails, openapi_extra=described_as("FileEdit"))
def edit_file(core: Core, file: str, change: EditBody) -> Response:
    """Say what a file is: its kind, its family, its page on CivitAI."""
    return Json(core.library.edit(file, change))


@router.get("/files/{file:name}", response_model=FileDetails)
def get_file(core: Core, file: str) -> Response:
    """All that is known about a file, named by its number, path, name or the beginning of a hash."""
    return Json(core.library.file(file))


@router.delete("/files/{file:name}", response_model=Forgotten)
def forget_file(core: Core, file: str) -> Response:
    """Take a file out of the library. On disk nothing changes."""
    return Json(core.library.forget(file))


@router.get("/info", response_model=FileDetails)
def info(core: Core, path: str) -> Response:
    """What a file in one of the folders says about itself, read now."""
    return Json(core.library.info(path))


@router.get("/triggers/{file_path:name}", response_model=Triggers)
def triggers(core: Core, file_path: str) -> Response:
    """The trigger words of a file."""
    return Json(core.library.triggers(file_path))


@router.get("/models", response_model=Page[Model])
def list_models(
    core: Core,
    query: Annotated[str | None, Query(description="words in names, tags, trigger words, descriptions")] = None,
    type: str | None = None,
    base_model: str | None = None,
    tag: str | None = None,
    creator: str | None = None,
    limit: int = 20,
    cursor: str | None = None,
) -> Response:
    """Cached models, the most downloaded first."""
    found = core.library.models(
        query=query, type=type, base_model=base_model, tag=tag, creator=creator, limit=limit, cursor=cursor
    )
    return Json(found)


@router.get("/models/{model_id}", response_model=ModelDetails)
def get_model(core: Core, model_id: int) -> Response:
    """A cached model with its versions."""
    return Json(core.library.model(model_id))


@router.delete("/models/{model_id}", response_model=Forgotten)
def forget_model(core: Core, model_id: int) -> Response:
    """Take a model out of the cache, and the links to it."""
    return Json(core.library.forget_model(model_id))


@router.get("/duplicates", response_model=Page[Duplicates])
def duplicates(core: Core) -> Response:
    """Files with the same bytes."""
    return Json(core.library.duplicates())


@router.get("/updates", response_model=Page[Update])
def updates(core: Core) -> Response:
    """Linked files whose model has a newer version for the same base model."""
    return Json(core.library.updates())


@router.get("/stats", response_model=LibraryStats)
def stats(core: Core) -> Response:
    """The library in numbers."""
    return Json(core.library.stats())


@router.post("/check", response_model=LibraryCheck)
def check(core: Core) -> Response:
    """Whether the database is sound; mends the search index."""
    return Json(core.library.check())
