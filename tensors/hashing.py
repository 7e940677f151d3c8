"""Hashes of model files, computed once and remembered for as long as a file stays the same."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from tensors.atomic import write_atomic
from tensors.decoding import NOT_THAT_JSON
from tensors.safetensors import NotSafetensors, read_header

_BLOCK = 4 * 1024 * 1024


def sha256_of(path: Path, *, start: int = 0) -> str:
    """SHA256 of a file from an offset in bytes, in lower-case hex. Raises `OSError`."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def autov3_of(path: Path) -> str | None:
    """SHA256 of a safetensors file's weights alone, the hash a LoRA is known by; None for another kind of file."""
    try:
        return sha256_of(path, start=read_header(path).data_start)
    except NotSafetensors:
        return None


class HashCache:
    """Hashes by path, size and modification time, in one JSON file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()

    def sha256(self, path: Path) -> str:
        """The file's SHA256. Raises `OSError`."""
        return self._remembered("sha256", path, sha256_of) or ""

    def autov3(self, path: Path) -> str | None:
        """The file's AutoV3, None when it has none. Raises `OSError`."""
        return self._remembered("autov3", path, autov3_of)

    def _load(self) -> dict[str, str | None]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, str | None])
        except (FileNotFoundError, *NOT_THAT_JSON):
            # A cache that cannot be read is an empty one: hashes can always be computed again.
            return {}

    def _remembered(self, kind: str, path: Path, compute: Callable[[Path], str | None]) -> str | None:
        stat = path.stat()
        key = f"{kind} {stat.st_size} {stat.st_mtime_ns} {path.resolve()}"
        with self._lock:
            known = self._load()
        if key in known:
            return known[key]
        value = compute(path)
        with self._lock:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self._file, msgspec.json.encode({**self._load(), key: value}))
        return value
