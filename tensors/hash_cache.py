"""Hashes of the files that are drawn with, also of those that are not in the library."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from tensors.atomic import write_atomic
from tensors.decoding import NOT_THAT_JSON
from tensors.hashing import autov3_of, sha256_of

Known = Callable[[Path, str], str | None]


def _nothing(path: Path, kind: str) -> None:
    """Nobody knows anything."""


def _key(kind: str, path: Path, stat: os.stat_result) -> str:
    return f"{kind} {stat.st_size} {stat.st_mtime_ns} {path.resolve()}"


class HashCache:
    """Hashes by path, size and modification time, in one JSON file."""

    def __init__(self, file: Path, library: Known = _nothing) -> None:
        """`library` tells the hash of a kind that it has of a file as it is now: then nothing is read."""
        self._file = file
        self._library = library
        self._lock = threading.Lock()

    def sha256(self, path: Path) -> str:
        """The file's SHA256. Raises `OSError`."""
        return self._remembered("sha256", path, sha256_of) or ""

    def autov3(self, path: Path) -> str | None:
        """The file's AutoV3, None when it has none. Raises `OSError`."""
        return self._remembered("autov3", path, autov3_of)

    def known(self, path: Path, kind: str) -> str | None:
        """The hash of a kind (`sha256`, `autov3`) as far as it is known: the file is not read. Raises `OSError`."""
        stat = path.stat()
        return self._library(path, kind) or self._load().get(_key(kind, path, stat))

    def _load(self) -> dict[str, str | None]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, str | None])
        except (FileNotFoundError, *NOT_THAT_JSON):
            # A cache that cannot be read is an empty one: hashes can always be computed again.
            return {}

    def _remembered(self, kind: str, path: Path, compute: Callable[[Path], str | None]) -> str | None:
        stat = path.stat()
        if told := self._library(path, kind):
            return told
        key = _key(kind, path, stat)
        with self._lock:
            known = self._load()
        if key in known:
            return known[key]
        value = compute(path)
        with self._lock:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._file, msgspec.json.encode({**self._load(), key: value}))
        return value
