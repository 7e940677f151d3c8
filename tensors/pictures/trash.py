"""Deleted pictures: in `.trash/` of the gallery, under their names, until they are restored or removed for good.

A picture is where its file is: moving that one file deletes or restores it. Its sidecar follows to the trash, and goes
ahead on the way back. When it was deleted is the time of change of its sidecar.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tensors.atomic import sync_directory, write_atomic
from tensors.clock import from_epoch_ms
from tensors.errors import ImageNotFound, InvalidRequest
from tensors.pictures import records
from tensors.pictures.folder import Folder, move
from tensors.pictures.names import is_name
from tensors.types.base import Page
from tensors.types.gallery import Image

_CURSOR = re.compile(r"(\d{1,19})\.([0-9_-]{1,60})", re.ASCII)
"""Where a page ended: when its last picture was deleted, and which it was."""


class Deleted(NamedTuple):
    """A picture in the trash; the one that was deleted last is the largest."""

    when: int
    """Nanoseconds since 1970."""
    id: str
    bytes: int
    """Of the picture and its sidecar."""


class Trash:
    """The trash of a gallery."""

    def __init__(self, gallery: Folder) -> None:
        self._gallery = gallery
        self.folder = Folder(gallery.path / ".trash")

    def holds(self, name: str) -> bool:
        """Whether a picture of this name is there."""
        return self.folder.holds(name)

    def take(self, image: Image) -> None:
        """Move a picture here. Call it in the gallery's lock. Raises `OSError`."""
        picture, sidecar = self._gallery.picture(image.id), self._gallery.sidecar(image.id)
        if picture is None:
            raise ImageNotFound(f"image {image.id!r} not found", hint="tsr images list")
        self.folder.path.mkdir(parents=True, exist_ok=True)
        if not sidecar.exists():
            write_atomic(sidecar, records.encode(image))
        # Before the picture moves: nothing in the trash looks older than it is.
        now = time.time_ns()
        os.utime(sidecar, ns=(now, now))
        self.folder.sidecar(image.id).unlink(missing_ok=True)
        move(picture, self.folder.path / picture.name)
        self._settle(image.id)

    def give_back(self, name: str, new_name: str) -> None:
        """Move a picture back, under a name that is free. Call it in the gallery's lock. Raises `OSError`."""
        picture = self._picture(name)
        # Its age counts anew, or the next cleanup would take it again.
        os.utime(picture)
        sidecar = self.folder.sidecar(name)
        if sidecar.exists():
            write_atomic(self._gallery.sidecar(new_name), sidecar.read_bytes())
        move(picture, self._gallery.path / f"{new_name}{picture.suffix}")
        sidecar.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a picture for good. Call it in the gallery's lock. Raises `ImageNotFound`, `OSError`."""
        self._picture(name).unlink()
        self.folder.sidecar(name).unlink(missing_ok=True)
        sync_directory(self.folder.path)

    def get(self, name: str) -> Image:
        """The record of a picture that is here. Raises `ImageNotFound`."""
        image = self.folder.record(name) if is_name(name) else None
        if image is None:
            raise ImageNotFound(f"image {name!r} is not in the trash")
        return replace(image, deleted=from_epoch_ms(self._deleted(name).when // 1_000_000))

    def list(self, *, limit: int, cursor: str | None) -> Page[Image]:
        """What was deleted last comes first. Raises `InvalidRequest`."""
        before = None
        if cursor is not None:
            parsed = _CURSOR.fullmatch(cursor)
            if parsed is None:
                raise InvalidRequest(f"{cursor!r:.80} is not a cursor of this list")
            before = (int(parsed[1]), parsed[2])
        found: list[tuple[Deleted, Image]] = []
        for deleted in reversed(self.content()):
            if len(found) <= limit and (before is None or deleted[:2] < before):
                with suppress(ImageNotFound):
                    found.append((deleted, self.get(deleted.id)))
        last = found[limit - 1][0] if len(found) > limit else None
        return Page(items=tuple(image for _, image in found[:limit]), next_cursor=last and f"{last.when}.{last.id}")

    def content(self) -> Sequence[Deleted]:
        """All that is here, in the order in which it was deleted."""
        return sorted(self._all())

    def records(self) -> Iterator[Image]:
        """Of all pictures that are here, as far as they can be read."""
        for deleted in self.content():
            with suppress(ImageNotFound):
                yield self.get(deleted.id)

    def _all(self) -> Iterator[Deleted]:
        for name in self.folder.listing().pictures:
            with suppress(FileNotFoundError):
                yield self._deleted(name)

    def _deleted(self, name: str) -> Deleted:
        picture = os.stat(self._picture(name))
        try:
            sidecar = os.stat(self.folder.sidecar(name))
        except FileNotFoundError:
            # It was lost; a file's inode changes when it is moved.
            return Deleted(picture.st_ctime_ns, name, picture.st_size)
        return Deleted(sidecar.st_mtime_ns, name, picture.st_size + sidecar.st_size)

    def _picture(self, name: str) -> Path:
        picture = self.folder.picture(name) if is_name(name) else None
        if picture is None:
            raise ImageNotFound(f"image {name!r} is not in the trash")
        self._settle(name)
        return picture

    def _settle(self, name: str) -> None:
        """A sidecar that a crash left behind follows its picture."""
        sidecar = self._gallery.sidecar(name)
        if not self.folder.sidecar(name).exists() and not self._gallery.holds(name):
            with suppress(FileNotFoundError):
                move(sidecar, self.folder.sidecar(name))
