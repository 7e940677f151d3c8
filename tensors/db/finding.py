"""What reading one model file finds: what it is, what it says, and of a small one its hashes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tensors.hashing import Hashes, hash_bytes
from tensors.header import BrokenHeader, Header, parse_header, read_header
from tensors.identify import identify, training_tags
from tensors.layouts import Hint

SMALL = 1024 * 1024
"""Bytes. A file up to this is read whole at once, and hashed on the way."""
UNREADABLE = "cannot be read: "
"""How a problem begins that may be gone tomorrow though the file is the same."""

_LONGEST_VALUE = 16 * 1024
_MOST_VALUES = 1_000
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_SIGN = 1 << 63
LARGEST = _SIGN - 1
"""That SQLite can keep."""


@dataclass(frozen=True, slots=True)
class Place:
    """A file as its folder lists it. `size` in bytes; all numbers fit SQLite's integers."""

    directory: str
    name: str
    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, directory: str, name: str, found: os.stat_result) -> Place:
        return cls(directory, name, found.st_size, signed(found.st_mtime_ns), signed(found.st_ino))

    @property
    def path(self) -> str:
        return os.path.join(self.directory, self.name)


class Facts(NamedTuple):
    """What a file says, as the columns of its row."""

    format: str
    data_start: int
    parameters: int
    precision: str
    variant: str | None
    adapter: str | None
    found_kind: str
    found_kind_from: str | None
    found_family: str
    found_family_from: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a file is, or why that cannot be told."""

    place: Place
    problem: str | None
    facts: Facts | None = None
    """No header here: some have thousands of tensors, and a thousand findings wait to be written."""
    metadata: tuple[tuple[str, str], ...] = ()
    tags: tuple[tuple[str, int], ...] = ()
    hashes: Hashes | None = None


def examine(place: Place, hint: Hint, *, hash: bool) -> Finding | None:
    """Read a file's header; with `hash`, also hash it when it is small. None when it has gone."""
    try:
        header, hashes = _read(place, hash)
    except BrokenHeader as error:
        return Finding(place, str(error))
    except FileNotFoundError:
        return None
    except OSError as error:
        return Finding(place, f"{UNREADABLE}{error.strerror}")
    stem = os.path.splitext(place.name)[0]
    identity = identify(header, name=stem, folder_kind=hint.kind, folder_family=hint.family)
    facts = Facts(
        header.format,
        header.data_start,
        min(header.parameters, LARGEST),
        header.precision,
        identity.variant,
        identity.adapter,
        identity.kind,
        identity.kind_from,
        identity.family,
        identity.family_from,
    )
    kept = [(key, value) for key, value in header.metadata.items() if len(value) <= _LONGEST_VALUE]
    return Finding(place, None, facts, tuple(kept[:_MOST_VALUES]), training_tags(header.metadata), hashes)


def _read(place: Place, hash: bool) -> tuple[Header, Hashes | None]:
    if place.size > SMALL:
        return read_header(Path(place.path)), None
    data = _read_whole(place.path, place.size)
    header = parse_header(data, len(data))
    # One that grows or shrinks meanwhile is being written, and looked at again by the next scan.
    if not hash or len(data) != place.size:
        return header, None
    return header, hash_bytes(data, data_start=header.data_start if header.format == "safetensors" else None)


def _read_whole(path: str, size: int) -> bytes:
    """All bytes of a file that should have `size`, or one more."""
    descriptor = os.open(path, _FLAGS)
    try:
        data = os.read(descriptor, size + 1)
        while len(data) <= size and (more := os.read(descriptor, size + 1 - len(data))):
            data += more
        return data
    finally:
        os.close(descriptor)


def signed(number: int) -> int:
    """An inode or a time as SQLite can keep it: some file systems use all 64 bits, some times are absurd."""
    return number if -_SIGN <= number < _SIGN else (number + _SIGN) % (2 * _SIGN) - _SIGN
