"""Routes of the gallery."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from tensors.server.answers import Json
from tensors.server.body import body_of, described_as
from tensors.server.core import Core, ServerCore
from tensors.server.picture import PICTURES, Mapped, Picture, picture_body
from tensors.types.base import Deleted, Page
from tensors.types.gallery import (
    CleanupRequest,
    Garbage,
    GcRequest,
    Image,
    ImageEdit,
    ImageQuery,
    Imported,
    Reindexed,
)
from tensors.types.jobs import Job
from tensors.types.remake import Remake

router = APIRouter(prefix="/api/images", tags=["images"])


def _query(
    text: Annotated[
        str, Query(description="words of the prompt or the notes: `cat`, `photo*`, `-dog` for what must not be there")
    ] = "",
    model: str | None = None,
    lora: str | None = None,
    seed: int | None = None,
    tag: Annotated[list[str] | None, Query(description="all of them")] = None,
    width: int | None = None,
    height: int | None = None,
    min_side: Annotated[int | None, Query(description="pixels of the shorter side, at least")] = None,
    max_side: Annotated[int | None, Query(description="pixels of the longer side, at most")] = None,
    since: Annotated[str | None, Query(description="a date or a time, UTC")] = None,
    until: Annotated[str | None, Query(description="before that time, or on that date or before")] = None,
    rating: Annotated[int | None, Query(description="at least, 1 to 5")] = None,
    favourite: bool | None = None,
    job: str | None = None,
) -> ImageQuery:
    return ImageQuery(
        text=text,
        model=model,
        lora=lora,
        seed=seed,
        tags=tuple(tag or ()),
        width=width,
        height=height,
        min_side=min_side,
        max_side=max_side,
        since=since,
        until=until,
        rating=rating,
        favourite=favourite,
        job=job,
    )


Filters = Annotated[ImageQuery, Depends(_query)]


@router.get("", response_model=Page[Image])
def list_images(
    core: Core,
    query: Filters,
    deleted: Annotated[bool, Query(description="the trash instead; it takes no filters")] = False,
    limit: int = 20,
    cursor: str | None = None,
) -> Response:
    """Pictures that fit all filters, newest first."""
    return Json(core.gallery.list(query, deleted=deleted, limit=limit, cursor=cursor))


@router.get("/export", response_class=StreamingResponse, responses={200: {"content": {"application/zip": {}}}})
def export_images(core: Core, query: Filters, id: Annotated[list[str] | None, Query()] = None) -> Response:
    """A zip file of pictures and their records: those named, or else all that fit the filters."""
    content = core.gallery.export(query, ids=tuple(id or ()))
    headers = {"Content-Disposition": 'attachment; filename="tsr-images.zip"', "Cache-Control": "no-store"}
    return StreamingResponse(content, media_type="application/zip", headers=headers)


@router.post("/import", response_model=Imported, openapi_extra=picture_body())
async def import_image(
    core: Core, request: Request, created: str | None = None, tag: Annotated[list[str] | None, Query()] = None
) -> Response:
    """Store a picture made elsewhere, with what its file tells of how. The same file is stored once."""
    data = await request.body()
    tags = ImageEdit(tags=tuple(tag or ())).tags or ()
    imported = await run_in_threadpool(core.gallery.import_file, data, created=created, tags=tags)
    if imported.new:
        core.queue.feed.tell_image("imported", imported.image)
    return Json(imported)


@router.post("/remake", response_model=Remake, openapi_extra=picture_body())
async def remake_file(core: Core, request: Request) -> Response:
    """What draws a picture of any program again, as far as its file tells."""
    data, now = await request.body(), _present(core)
    return Json(await run_in_threadpool(core.remaker.of_file, data, engine=now.engine, upscalers=now.upscalers))


@router.post("/cleanup", response_model=Job, status_code=202, openapi_extra=described_as("CleanupRequest"))
async def cleanup_images(core: Core, request: Annotated[CleanupRequest, Depends(body_of(CleanupRequest))]) -> Response:
    """Remove what the settings of the gallery do not keep, and what was long enough in the trash."""
    return Json(await core.queue.submit_library(request), status_code=202)


@router.post("/gc", response_model=Garbage, openapi_extra=described_as("GcRequest"))
async def collect_garbage(core: Core, request: Annotated[GcRequest, Depends(body_of(GcRequest))]) -> Response:
    """Remove files that belong to nothing, older than an hour."""
    needed, inputs = await core.queue.needed_inputs(), core.config.data_dir / "inputs"
    return Json(await run_in_threadpool(core.gallery.gc, inputs, named=needed, dry_run=request.dry_run))


@router.post("/reindex", response_model=Reindexed)
def reindex_images(core: Core) -> Response:
    """Read all files again."""
    return Json(Reindexed(images=core.gallery.reindex()))


# `:path`, so that an id with a slash in it is a picture that does not exist, and not an address that does not.
@router.get("/{image_id:path}/meta", response_model=Image)
def get_image_meta(core: Core, image_id: str) -> Response:
    """How the picture was made."""
    return Json(core.gallery.get(image_id))


@router.get("/{image_id:path}/thumbnail", response_class=Response, responses=PICTURES)
def get_thumbnail(core: Core, request: Request, image_id: str, size: int = 256) -> Response:
    """A WebP, its longer side of 256 or 512 pixels."""
    return Picture(Mapped.of(core.gallery.thumbnail(image_id, size)), request.headers)


@router.get("/{image_id:path}/remake", response_model=Remake)
def remake_image(core: Core, image_id: str) -> Response:
    """What draws a picture again, and what differs from when it was made."""
    now = _present(core)
    return Json(core.remaker.of_image(core.gallery.get(image_id), engine=now.engine, upscalers=now.upscalers))


@router.post("/{image_id:path}/edit", response_model=Image, openapi_extra=described_as("ImageEdit"))
async def edit_image(core: Core, image_id: str, edit: Annotated[ImageEdit, Depends(body_of(ImageEdit))]) -> Response:
    """Change tags, notes, rating or favourite; what is left out stays as it is."""
    return _told(core, "edited", await run_in_threadpool(core.gallery.edit, image_id, edit))


@router.post("/{image_id:path}/restore", response_model=Image)
async def restore_image(core: Core, image_id: str) -> Response:
    """Take a picture out of the trash."""
    return _told(core, "restored", await run_in_threadpool(core.gallery.restore, image_id))


@router.get("/{image_id:path}", response_class=Response, responses=PICTURES)
async def get_image(core: Core, request: Request, image_id: str) -> Response:
    """The file."""
    return await core.shown.answer(image_id, request.headers)


@router.delete("/{image_id:path}", response_model=Deleted)
async def delete_image(core: Core, image_id: str) -> Response:
    """Move the picture to the trash."""
    image = await run_in_threadpool(core.gallery.get, image_id)
    await run_in_threadpool(core.gallery.delete, image_id)
    core.queue.feed.tell_image("deleted", image)
    return Json(Deleted(id=image_id))


class _Present(NamedTuple):
    engine: str | None
    upscalers: tuple[str, ...]


def _present(core: ServerCore) -> _Present:
    """What pictures would be drawn with now."""
    capabilities = core.worker.pool.capabilities("")
    return _Present(core.version().engine, tuple(capabilities.upscalers) if capabilities else ())


def _told(core: ServerCore, change: str, image: Image) -> Response:
    core.queue.feed.tell_image(change, image)
    return Json(image)
