"""Files of a gallery that belong to nothing: what a crash or a power cut left, and inputs that nothing names."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from tensors.atomic import TEMPORARY_SUFFIX
from tensors.pictures.folder import Folder
from tensors.pictures.names import is_name
from tensors.types.gallery import Garbage


class Litter:
    """The garbage of a gallery, by kind."""

    def __init__(self, gallery: Folder, trash: Folder, thumbnails: Path, inputs: Path | None) -> None:
        self._gallery, self._trash = gallery, trash
        self._thumbnails = Folder(thumbnails)
        self._inputs = Folder(inputs) if inputs else None

    def find(self, named: Collection[str], *, age: float) -> dict[str, list[Path]]:
        """The files that nobody needs; `named` are the inputs (`sha256:...`) that pictures and jobs have.

        What is younger than `age` seconds may be somebody's work of this moment, such as files that are being copied.
        """
        before = time.time() - age
        kinds = {
            "temporary": self._temporary(),
            "sidecars": self._sidecars(),
            "thumbnails": self._of_no_picture(),
            "inputs": self._unnamed(named),
        }
        return {kind: [path for path in paths if _is_older(path, before)] for kind, paths in kinds.items()}

    def _temporary(self) -> Iterator[Path]:
        for folder in filter(None, (self._gallery, self._trash, self._thumbnails, self._inputs)):
            names = (name for name in folder.files() if name.startswith(".") and name.endswith(TEMPORARY_SUFFIX))
            yield from (folder.path / name for name in names)

    def _sidecars(self) -> Iterator[Path]:
        here, there = self._gallery.listing(), self._trash.listing()
        # A sidecar may still have to follow its picture into the trash.
        following = there.pictures.keys() - there.sidecars
        for folder, listing, needed in ((self._gallery, here, following), (self._trash, there, set[str]())):
            stray = sorted(name for name in listing.sidecars - listing.pictures.keys() - needed if is_name(name))
            yield from (folder.sidecar(name) for name in stray if not folder.holds(name))

    def _of_no_picture(self) -> Iterator[Path]:
        pictures = self._gallery.listing().pictures
        for name in self._thumbnails.files():
            stem, extension = os.path.splitext(name)
            if extension == ".webp" and stem.rpartition("_")[0] not in pictures:
                yield self._thumbnails.path / name

    def _unnamed(self, named: Collection[str]) -> Iterator[Path]:
        for name in self._inputs.files() if self._inputs else ():
            stem, extension = os.path.splitext(name)
            is_input = extension == ".png" and len(stem) == 64 and set(stem) <= set("0123456789abcdef")
            if is_input and self._inputs and f"sha256:{stem}" not in named:
                yield self._inputs.path / name


def _is_older(path: Path, moment: float) -> bool:
    try:
        status = path.stat()
        # A copy may keep the original's time of change.
        return max(status.st_mtime, status.st_ctime) < moment
    except FileNotFoundError:
        return False


def report(found: dict[str, list[Path]]) -> Garbage:
    """What was found, in words and numbers. A file that is gone meanwhile has no size."""
    size = 0
    for path in (path for paths in found.values() for path in paths):
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    names = {kind: tuple(str(path) for path in paths) for kind, paths in found.items()}
    return Garbage(
        temporary=names["temporary"],
        sidecars=names["sidecars"],
        thumbnails=names["thumbnails"],
        inputs=names["inputs"],
        bytes=size,
    )
