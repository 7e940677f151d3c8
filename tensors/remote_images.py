"""The gallery of a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tensors.session import LONG, Session, given, part
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

_BYTES = {"Content-Type": "application/octet-stream"}


class RemoteImages:
    """`tensors.service.Images` on a server."""

    def __init__(self, http: Session) -> None:
        self._http = http

    def list(
        self,
        query: ImageQuery | None = None,
        *,
        deleted: bool = False,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[Image]:
        wanted = {**_parameters(query), **given(deleted="true" if deleted else None, limit=limit, cursor=cursor)}
        return self._http.get("/api/images", Page[Image], params=wanted)

    def get(self, image_id: str) -> Image:
        return self._http.get(f"/api/images/{part(image_id)}/meta", Image)

    def read(self, image_id: str) -> bytes:
        return self._picture(f"/api/images/{part(image_id)}")

    def thumbnail(self, image_id: str, *, size: int = 256) -> bytes:
        return self._picture(f"/api/images/{part(image_id)}/thumbnail", params={"size": size})

    def _picture(self, path: str, **options: Any) -> bytes:
        response = self._http.call("GET", path, **options)
        if not response.headers.get("content-type", "").startswith("image/"):
            raise self._http.not_tsr("that is no picture")
        return response.content

    def edit(self, image_id: str, edit: ImageEdit) -> Image:
        return self._http.post(f"/api/images/{part(image_id)}/edit", Image, edit)

    def delete(self, image_id: str) -> Deleted:
        return self._http.delete(f"/api/images/{part(image_id)}", Deleted)

    def restore(self, image_id: str) -> Image:
        return self._http.decode(self._http.call("POST", f"/api/images/{part(image_id)}/restore").content, Image)

    def import_file(self, data: bytes, *, created: str | None = None, tags: tuple[str, ...] = ()) -> Imported:
        wanted = given(created=created, tag=list(tags) or None)
        response = self._http.call(
            "POST", "/api/images/import", params=wanted, content=data, headers=_BYTES, timeout=LONG
        )
        return self._http.decode(response.content, Imported)

    def export(self, query: ImageQuery | None = None, *, ids: tuple[str, ...] = ()) -> Iterator[bytes]:
        return self._http.stream("/api/images/export", params={**_parameters(query), **given(id=list(ids) or None)})

    def remake(self, image_id: str) -> Remake:
        return self._http.get(f"/api/images/{part(image_id)}/remake", Remake)

    def remake_file(self, data: bytes) -> Remake:
        response = self._http.call("POST", "/api/images/remake", content=data, headers=_BYTES, timeout=LONG)
        return self._http.decode(response.content, Remake)

    def cleanup(self, request: CleanupRequest, *, detach: bool = False) -> Job:
        return self._http.post("/api/images/cleanup", Job, request)

    def gc(self, request: GcRequest) -> Garbage:
        return self._http.post("/api/images/gc", Garbage, request)

    def reindex(self) -> Reindexed:
        return self._http.decode(self._http.call("POST", "/api/images/reindex", timeout=LONG).content, Reindexed)


def _parameters(query: ImageQuery | None) -> Mapping[str, Any]:
    """A query as the parameters of an address; what is left open is left out."""
    fields: dict[str, Any] = msgspec.to_builtins(query or ImageQuery())
    tags, favourite = fields.pop("tags"), fields.pop("favourite")
    text = fields.pop("text") or None
    return given(**fields, text=text, tag=tags or None, favourite=None if favourite is None else str(favourite).lower())
