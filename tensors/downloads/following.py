"""Hashes of a file while it is being written: a thread reads what is there and follows the writer.

What came in an earlier run is hashed the same way, so a resumed download needs nothing of its own.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    class _Hash(Protocol):
        def update(self, block: memoryview, /) -> object: ...

        def hexdigest(self) -> str: ...


_BLOCK = 4 * 1024 * 1024


class Follower:
    """Hashes a growing file from its beginning."""

    def __init__(self, path: Path, kinds: Sequence[str]) -> None:
        """`kinds`: `sha256`, `blake3`."""
        self._path = path
        self._hashes = {kind: _new(kind) for kind in kinds}
        self._change = threading.Condition()
        self._size = 0
        self._ended = self._stopped = False
        self._hashed = 0
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="hash-download", daemon=True)
        self._thread.start()

    def grown(self, size: int) -> None:
        """So many bytes are there now."""
        with self._change:
            self._size = size
            if size - self._hashed >= _BLOCK:
                self._change.notify()

    def finish(self) -> dict[str, str]:
        """The hashes of all that is there, in hex, by kind. Raises `OSError`."""
        with self._change:
            self._ended = True
            self._change.notify()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return {kind: digest.hexdigest() for kind, digest in self._hashes.items()}

    def stop(self) -> None:
        """End without a result."""
        with self._change:
            self._stopped = True
            self._change.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._path.open("rb", buffering=0) as file:
                buffer = memoryview(bytearray(_BLOCK))
                while count := self._next():
                    read = file.readinto(buffer[:count])
                    if not read:
                        raise OSError(f"{self._path.name} became shorter while it was being hashed")
                    for digest in self._hashes.values():
                        digest.update(buffer[:read])
                    self._hashed += read
        except OSError as error:
            self._error = error

    def _next(self) -> int:
        """How many bytes to hash now; 0 at the end."""
        with self._change:
            self._change.wait_for(lambda: self._size - self._hashed >= _BLOCK or self._ended or self._stopped)
            return 0 if self._stopped else min(_BLOCK, self._size - self._hashed)


def _new(kind: str) -> _Hash:
    if kind == "sha256":
        return hashlib.sha256()
    from blake3 import blake3

    digest: _Hash = blake3()
    return digest
