"""A file that is read once from beginning to end without filling the page cache.

500 GB read once to be hashed must not throw out what the machine uses, above all the model of a running engine. So what
was read is dropped from the page cache again, unless the file was there before. Pages that a process has mapped stay in
any case: Linux drops none of those. Where there is no posix_fadvise (macOS), the page cache is left to itself.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

_STEP = 16 * 1024 * 1024
"""Bytes that are dropped at once."""
_PROBES = 16


def regular(path: Path) -> os.stat_result:
    """What the system knows of a file. Raises `OSError`, also for what is not a regular file."""
    found = os.stat(path)
    if stat.S_ISREG(found.st_mode):
        return found
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    raise OSError(errno.EINVAL, "Not a regular file", os.fspath(path))


class Source:
    """An open file of a known size; with `drop`, it is in the page cache afterwards only if it was before."""

    def __init__(self, path: Path, size: int, *, drop: bool) -> None:
        self.size = size
        self._path = path
        # Should a FIFO have taken the file's place, opening it must not wait for its other end.
        self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._read = self._dropped = 0
        self._drops = False
        if hasattr(os, "posix_fadvise"):
            self._drops = drop and not _mostly_cached(self._file, size)
            self._advise(os.POSIX_FADV_SEQUENTIAL)

    def read(self, buffer: memoryview) -> int:
        """Read on into a buffer and return how many bytes there were; 0 at the end. Raises `OSError`."""
        try:
            count = os.readv(self._file, [buffer])
        except OSError as error:
            raise OSError(error.errno, error.strerror, os.fspath(self._path)) from error
        self._read += count
        # One step behind: the kernel still holds on to pages that were read just now.
        if self._drops and self._read - self._dropped >= 2 * _STEP:
            self._advise(os.POSIX_FADV_DONTNEED, self._dropped, _STEP)
            self._dropped += _STEP
        return count

    def close(self) -> None:
        if self._drops:
            self._advise(os.POSIX_FADV_DONTNEED)
        os.close(self._file)

    def _advise(self, advice: int, start: int = 0, count: int = 0) -> None:
        # A file system that takes no advice has its own ways.
        with suppress(OSError):
            os.posix_fadvise(self._file, start, count, advice)


def _mostly_cached(file: int, size: int) -> bool:
    """Whether half of a few places spread over a file are in the page cache: then somebody else uses it.

    Where that cannot be asked, it is taken as not cached. (mincore would tell of every page, but needs the file mapped
    and ctypes, takes 35 ms for 2 GB, and tells nothing of other users' files.)
    """
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    found = 0
    for number in range(_PROBES):
        # Refused when it would have to wait for the disk, or when the file system cannot tell.
        with suppress(OSError):
            found += os.preadv(file, [bytearray(1)], size * (2 * number + 1) // (2 * _PROBES), os.RWF_NOWAIT)
    return found >= _PROBES // 2
