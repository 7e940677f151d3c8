"""Which server runs on a data directory of this machine.

A running server holds a lock for as long as it lives, so that what a crash leaves behind is never taken for a server.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from tensors.atomic import write_atomic
from tensors.config import Remote
from tensors.decoding import NOT_THAT_JSON
from tensors.errors import AlreadyRunning

_RECORD = "server.json"
_LOCK = "server.lock"


class _Running(msgspec.Struct, frozen=True):
    url: str
    token: str


class ServerLock:
    """The right to serve a data directory, held by one process at a time."""

    def __init__(self, run_dir: Path) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self._record = run_dir / _RECORD
        self._lock = FileLock(run_dir / _LOCK, timeout=0)
        try:
            # Not at once: a command that asks whether a server runs holds the lock for an instant.
            self._lock.acquire(timeout=0.3)
        except Timeout:
            running = _read(self._record)
            where = f" at {running.url}" if running else ""
            raise AlreadyRunning(
                f"a server is running on this data directory{where}",
                hint="stop it, or set TSR_DATA_DIR to another folder",
            ) from None
        # What a server that was killed left here must not be taken for this one, which does not answer yet.
        self._record.unlink(missing_ok=True)

    def announce(self, url: str, token: str) -> None:
        """Tell commands on this machine where the server is, and the key they may use; for the owner's eyes only."""
        write_atomic(self._record, msgspec.json.encode(_Running(url, token)), mode=0o600)

    def release(self) -> None:
        """The server has stopped."""
        self._record.unlink(missing_ok=True)
        self._lock.release()


def _read(record: Path) -> _Running | None:
    try:
        return msgspec.json.decode(record.read_bytes(), type=_Running)
    except (FileNotFoundError, *NOT_THAT_JSON):
        return None


def find_running(run_dir: Path) -> Remote | None:
    """The server that runs on this data directory now, if any."""
    running = _read(run_dir / _RECORD)
    if running is None:
        return None
    lock = FileLock(run_dir / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return Remote(name="local", url=running.url, api_key=running.token)
    lock.release()
    return None
