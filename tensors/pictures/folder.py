"""A folder of pictures and their sidecars. The files are the truth."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from tensors.atomic import sync_directory
from tensors.decoding import NOT_THAT_JSON
from tensors.pictures import records
from tensors.pictures.names import is_name
from tensors.png import NotPng, read_text
from tensors.types.gallery import Image

EXTENSIONS = (".png", ".jpg", ".webp")
"""Of pictures. Two of one name are one picture: the first is it."""
NO_SIDECAR = ""


class Entry(NamedTuple):
    """A picture that is there, as it was when it was looked at."""

    image: Image
    extension: str
    bytes: int
    """Of the picture and its sidecar."""
    arrived: int
    """When the file was written or put here: nanoseconds since 1970."""
    stamp: str
    """Changes whenever the sidecar does."""


@dataclass(slots=True)
class Listing:
    """What a folder holds, by name."""

    pictures: dict[str, str]
    """Extensions."""
    sidecars: set[str]


@dataclass(frozen=True, slots=True)
class Folder:
    """Where pictures are."""

    path: Path

    def sidecar(self, name: str) -> Path:
        return self.path / f"{name}.json"

    def picture(self, name: str) -> Path | None:
        """The file of a picture, None when there is none."""
        paths = (self.path / f"{name}{extension}" for extension in EXTENSIONS)
        return next((path for path in paths if path.is_file()), None)

    def holds(self, name: str) -> bool:
        """Whether the name is taken, be it by a folder."""
        return any((self.path / f"{name}{extension}").exists() for extension in EXTENSIONS)

    def listing(self) -> Listing:
        """All that have a picture's name."""
        found = Listing({}, set())
        for entry in self._entries():
            name, extension = os.path.splitext(entry.name)
            if extension == ".json":
                found.sidecars.add(name)
            elif extension in EXTENSIONS and is_name(name) and entry.is_file():
                other = found.pictures.setdefault(name, extension)
                if EXTENSIONS.index(extension) < EXTENSIONS.index(other):
                    found.pictures[name] = extension
        return found

    def files(self) -> list[str]:
        """The names of all its files."""
        return sorted(entry.name for entry in self._entries() if entry.is_file(follow_symlinks=False))

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self.path) as entries:
                yield from entries
        except FileNotFoundError:
            return

    def stamp(self, name: str) -> str:
        """Of the sidecar as it is now; `NO_SIDECAR` when there is none."""
        try:
            return _stamp(os.stat(f"{self.path}/{name}.json"))
        except OSError:
            return NO_SIDECAR

    def record(self, name: str) -> Image | None:
        """What is known of a picture that is there."""
        path = self.picture(name)
        return self._known(name, str(path)) if path else None

    def entry(self, name: str) -> Entry | None:
        """All that is known of a picture that is there."""
        # First the stamp, then the record: what changes in between is read again the next time.
        stamp = self.stamp(name)
        for extension in EXTENSIONS:
            path = f"{self.path}/{name}{extension}"
            try:
                status = os.stat(path)
            except OSError:
                continue
            image = self._known(name, path) if stat.S_ISREG(status.st_mode) else None
            if image:
                beside = int(stamp.split()[1]) if stamp else 0
                return Entry(image, extension, status.st_size + beside, status.st_mtime_ns, stamp)
            return None
        return None

    def _known(self, name: str, path: str) -> Image | None:
        return self.beside(name, path) or self.inside(name, path)

    def beside(self, name: str, path: str) -> Image | None:
        """The record in the sidecar of a picture."""
        try:
            with open(f"{self.path}/{name}.json", "rb") as file:
                return placed(records.decode(file.read()), name, path)
        except (OSError, *NOT_THAT_JSON):
            return None

    def inside(self, name: str, path: str) -> Image | None:
        """The record in the picture itself, if tsr made it."""
        try:
            with open(path, "rb") as file:
                inside = read_text(file.read()).get(records.RECORD_KEY, "")
            return placed(records.decode(inside), name, path)
        except (OSError, NotPng, *NOT_THAT_JSON):
            return None


def placed(image: Image, name: str, path: str) -> Image:
    """A record with the name and place the picture has now: folders are moved, files are copied."""
    # Most are where they were: a copy takes longer than all the rest of reading a record.
    return image if image.id == name and image.path == path else replace(image, id=name, path=path)


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns} {status.st_size} {status.st_ino}"


def mtime_of(path: Path) -> int:
    """When a folder's entries last changed: nanoseconds since 1970, 0 when there is no folder."""
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return 0


def move(source: Path, target: Path) -> None:
    """Move a file for good, within one disk."""
    os.replace(source, target)
    sync_directory(target.parent)
    sync_directory(source.parent)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one, of all processes, that changes a gallery. Ends with the process, however that ends."""
    # A list needs no lock, and shall not pay for it.
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock", poll_interval=0.005):
        yield
