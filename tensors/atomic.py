"""Files that are there whole or not at all: written beside their name, synced, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

TEMPORARY_SUFFIX = ".tmp"
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def _write_temporary(target: Path, data: bytes, mode: int) -> Path:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    return temporary


def sync_directory(directory: Path) -> None:
    """Make renames in a directory survive a power cut, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(target: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write or replace a file."""
    temporary = _write_temporary(target, data, mode)
    try:
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(target.parent)


def create_atomic(target: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file that must not be there yet; of two writers one gets `FileExistsError`."""
    temporary = _write_temporary(target, data, mode)
    try:
        place(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(target.parent)


def place(temporary: Path, target: Path) -> None:
    """Give a file its name, unless it is taken: then raise `FileExistsError`. The old name may stay, too."""
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # exFAT and some network shares: the name is claimed by an empty file, which the whole one then replaces.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        os.replace(temporary, target)
