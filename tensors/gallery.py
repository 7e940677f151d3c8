"""Pictures on disk: `{timestamp}_{seed}.png` and a JSON sidecar of the same name. The files are the truth.

The timestamp is the moment its job was asked for, so that a job that runs again after a crash finds what it had already
saved and adopts it. Two pictures of one seed and one moment get different names: files are created, never replaced.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from tensors.atomic import create_atomic, write_atomic
from tensors.clock import compact
from tensors.decoding import NOT_THAT_JSON
from tensors.errors import ImageNotFound, InvalidRequest
from tensors.infotext import infotext
from tensors.png import NotPng, read_text, with_text
from tensors.types.base import Page
from tensors.types.gallery import Image

RECORD_KEY = "tsr"
"""Keyword of the PNG text chunk with the full record, as JSON."""
_ID = re.compile(r"\d{8}-\d{6}-\d{3}_\d{1,10}(-\d{1,6})?")


class Gallery:
    """One folder of pictures."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def save(self, image: Image, png: bytes) -> Image:
        """Store a picture of a job, with its id and path filled in; the same picture of the same job is stored once.

        Raises:
            NotPng: when the bytes are no PNG.
            OSError: when the disk refuses.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        for image_id in _ids(image.created, image.settings.seed):
            if self._png(image_id).exists():
                owner = self._owner(image_id)
                if owner and (owner.job, owner.index) == (image.job, image.index):
                    return owner
                continue
            named = replace(image, id=image_id, path=str(self._png(image_id)))
            try:
                create_atomic(self._png(image_id), with_text(png, _texts(named)))
            except FileExistsError:
                # Another process took the name this instant.
                continue
            write_atomic(self._sidecar(image_id), _encode(named))
            return named
        raise AssertionError("there is always another name")

    def saved(self, job: str, index: int, created: str, seed: int) -> Image | None:
        """The picture that this job had already saved under this index, if any."""
        for image_id in _ids(created, seed):
            if not self._png(image_id).exists():
                return None
            owner = self._owner(image_id)
            if owner and (owner.job, owner.index) == (job, index):
                return owner
        return None

    def list(self, *, limit: int, cursor: str | None) -> Page[Image]:
        """Records, newest first. `cursor` is the id of the last one seen. Raises `InvalidRequest`."""
        if not 1 <= limit <= 500:
            raise InvalidRequest(f"limit must be between 1 and 500, not {limit}")
        if cursor is not None and not _ID.fullmatch(cursor):
            raise InvalidRequest(f"{cursor!r} is not a cursor of this list")
        ids = sorted((name for name in self._ids_on_disk() if cursor is None or name < cursor), reverse=True)
        records = (record for name in ids if (record := self._record(name)))
        found = tuple(itertools.islice(records, limit + 1))
        return Page(items=found[:limit], next_cursor=found[limit - 1].id if len(found) > limit else None)

    def count(self) -> int:
        """How many pictures there are."""
        return sum(1 for _ in self._ids_on_disk())

    def get(self, image_id: str) -> Image:
        """One record. Raises `ImageNotFound`."""
        record = self._record(image_id) if _ID.fullmatch(image_id) else None
        if record is None:
            raise ImageNotFound(f"image {image_id!r} not found", hint="tsr images list")
        return record

    def path(self, image_id: str) -> Path:
        """The PNG file of a picture. Raises `ImageNotFound`."""
        return Path(self.get(image_id).path)

    def delete(self, image_id: str) -> None:
        """Delete a picture and its sidecar. Raises `ImageNotFound`."""
        self.get(image_id)
        # The picture goes last: it carries its record, so a crash in between leaves it as it was.
        self._sidecar(image_id).unlink(missing_ok=True)
        self._png(image_id).unlink(missing_ok=True)

    def _png(self, image_id: str) -> Path:
        return self.directory / f"{image_id}.png"

    def _sidecar(self, image_id: str) -> Path:
        return self.directory / f"{image_id}.json"

    def _ids_on_disk(self) -> Iterator[str]:
        try:
            with os.scandir(self.directory) as entries:
                for entry in entries:
                    stem, extension = os.path.splitext(entry.name)
                    if extension == ".png" and _ID.fullmatch(stem):
                        yield stem
        except FileNotFoundError:
            return

    def _record(self, image_id: str) -> Image | None:
        """What is known of a picture that is there."""
        if not self._png(image_id).is_file():
            return None
        return self._from_sidecar(image_id) or self._from_png(image_id)

    def _owner(self, image_id: str) -> Image | None:
        """The record of what has a name already, if it is one of ours; a sidecar that a crash left out is made good."""
        record = self._from_sidecar(image_id)
        if record is None and (record := self._from_png(image_id)):
            write_atomic(self._sidecar(image_id), _encode(record))
        return record

    def _from_sidecar(self, image_id: str) -> Image | None:
        try:
            return self._here(image_id, self._sidecar(image_id).read_bytes())
        except (OSError, *NOT_THAT_JSON):
            return None

    def _from_png(self, image_id: str) -> Image | None:
        try:
            return self._here(image_id, read_text(self._png(image_id).read_bytes()).get(RECORD_KEY, ""))
        except (OSError, NotPng, *NOT_THAT_JSON):
            return None

    def _here(self, image_id: str, record: bytes | str) -> Image:
        """A record with the name and place the picture has now: folders are moved, files are copied."""
        return replace(msgspec.json.decode(record, type=Image), id=image_id, path=str(self._png(image_id)))


def _ids(created: str, seed: int) -> Iterator[str]:
    """The names a picture may get, best first."""
    first = f"{compact(created)}_{seed}"
    yield first
    for number in itertools.count(2):
        yield f"{first}-{number}"


def _encode(image: Image) -> bytes:
    return msgspec.json.format(msgspec.json.encode(image), indent=2)


def _texts(image: Image) -> dict[str, str]:
    return {"parameters": infotext(image), RECORD_KEY: msgspec.json.encode(image).decode()}
