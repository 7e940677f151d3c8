"""Routes of the gallery."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from tensors.server.answers import Json
from tensors.server.core import Core
from tensors.types.base import Deleted, Page
from tensors.types.gallery import Image

router = APIRouter(prefix="/api/images", tags=["images"])


@router.get("", response_model=Page[Image])
def list_images(core: Core, limit: int = 20, cursor: str | None = None) -> Response:
    """Pictures, newest first."""
    return Json(core.gallery.list(limit=limit, cursor=cursor))


# `:path`, so that an id with a slash in it is a picture that does not exist, and not an address that does not.
@router.get("/{image_id:path}/meta", response_model=Image)
def get_image_meta(core: Core, image_id: str) -> Response:
    """How the picture was made."""
    return Json(core.gallery.get(image_id))


@router.get("/{image_id:path}", response_class=FileResponse, responses={200: {"content": {"image/png": {}}}})
def get_image(core: Core, image_id: str) -> Response:
    """The PNG file."""
    # A picture never changes under its id.
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return FileResponse(core.gallery.path(image_id), media_type="image/png", headers=headers)


@router.delete("/{image_id:path}", response_model=Deleted)
def delete_image(core: Core, image_id: str) -> Response:
    """Delete the picture and its record."""
    core.gallery.delete(image_id)
    return Json(Deleted(id=image_id))
