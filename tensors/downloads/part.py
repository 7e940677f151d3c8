"""A file on its way: `NAME.part` beside its final name, and in `NAME.part.json` what it is a part of.

What was written is never thrown away while it may be of use: after a break, kill -9 or a restart the rest is fetched.
Two processes never write one part: `NAME.part.lock` is held meanwhile.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec
from filelock import FileLock, Timeout

from tensors.atomic import place, sync_directory, write_atomic
from tensors.decoding import NOT_THAT_JSON
from tensors.errors import Conflict, DiskFull, DownloadError

if TYPE_CHECKING:
    from typing import Self

_SPARE = 64 * 1024 * 1024
"""Bytes that a download leaves free: databases and pictures need a little, too."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a part is a part of. No URL with a signature, and no key."""

    identity: str
    """What was asked for: the hash, or where there is none the URL without its query."""
    etag: str | None = None
    last_modified: str | None = None
    size: int | None = None
    """Bytes of the whole, as the server said."""

    @property
    def validator(self) -> str | None:
        """For `If-Range`: a weak ETag does not promise equal bytes."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified


def part_of(target: Path) -> Path:
    """Where a file is until it is whole."""
    return target.with_name(f"{target.name}.part")


class Part:
    """An unfinished file, open for writing at its end."""

    def __init__(self, target: Path, identity: str) -> None:
        """Take over what is there of it. Raises `Conflict` when somebody else is fetching it, and `DownloadError`."""
        self.target = target
        self.path = part_of(target)
        self._mark_path = target.with_name(f"{target.name}.part.json")
        self._lock = FileLock(target.with_name(f"{target.name}.part.lock"))
        # Whatever fails on the way, nothing stays held.
        with ExitStack() as held:
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._lock.acquire(timeout=0)
                held.callback(self._let_go)
                self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
                held.callback(os.close, self._file)
                self.size = os.lseek(self._file, 0, os.SEEK_END)
            except Timeout as error:
                raise Conflict(
                    f"{target.name} is being downloaded already", hint="tsr jobs list shows how far it is"
                ) from error
            except OSError as error:
                raise _unwritable(target, error) from error
            self.mark = self._read_mark()
            if self.mark.identity != identity:
                self.restart(Mark(identity=identity))
            self._held = held.pop_all()

    def _read_mark(self) -> Mark:
        try:
            return msgspec.json.decode(self._mark_path.read_bytes(), type=Mark)
        except (OSError, *NOT_THAT_JSON):
            return Mark(identity="")

    def restart(self, mark: Mark) -> None:
        """Begin anew, with what the server says of the file now. Raises `DownloadError`."""
        try:
            # First the file: a new mark must never stand beside an old part.
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
            write_atomic(self._mark_path, msgspec.json.encode(mark))
        except OSError as error:
            raise _unwritable(self.target, error) from error
        self.mark, self.size = mark, 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to do but to look at it, as far as its size tells."""
        return self.mark.size is not None and self.size == self.mark.size > 0

    def check_room(self, whole: int) -> None:
        """Raise `DiskFull` unless the rest of so many bytes fits on the disk."""
        free = shutil.disk_usage(self.path.parent).free
        missing = whole - self.size + _SPARE - free
        if missing > 0:
            raise DiskFull(
                f"{self.target.name} needs {(whole - self.size) / 1e9:.2f} GB more, and {self.path.parent} has"
                f" {free / 1e9:.2f} GB free",
                hint="make room and run it again: what was fetched is kept",
            )

    def write(self, piece: bytes) -> None:
        """Append. Raises `DiskFull` with the part kept, and `DownloadError`."""
        view = memoryview(piece)
        try:
            while view:
                count = os.write(self._file, view)
                self.size += count
                view = view[count:]
        except OSError as error:
            raise _unwritable(self.target, error) from error

    def finish(self, target: Path) -> None:
        """Give it its name, which must be free. Raises `FileExistsError`, `DownloadError`."""
        try:
            os.fsync(self._file)
            place(self.path, target)
            self.path.unlink(missing_ok=True)
            sync_directory(target.parent)
            self._mark_path.unlink(missing_ok=True)
        except FileExistsError:
            raise
        except OSError as error:
            raise _unwritable(target, error) from error

    def discard(self) -> None:
        """Throw it away."""
        self.path.unlink(missing_ok=True)
        self._mark_path.unlink(missing_ok=True)

    def _let_go(self) -> None:
        with suppress(OSError):
            # While it is held: who waits for it then makes a new one.
            os.unlink(self._lock.lock_file)
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()


def _unwritable(target: Path, error: OSError) -> DownloadError:
    if error.errno in _NO_ROOM:
        return DiskFull(
            f"{target.parent} is full: {target.name} could not be written to its end",
            hint="make room and run it again: what was fetched is kept",
        )
    return DownloadError(
        f"{target} cannot be written: {error.strerror or error}", hint="tsr config list shows the folders for models"
    )
