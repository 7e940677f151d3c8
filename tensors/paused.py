"""Jobs that somebody paused. They stay so when the server is started again: a file keeps their ids."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from tensors.atomic import write_atomic
from tensors.decoding import NOT_THAT_JSON
from tensors.errors import Conflict


def check_pausable(job_id: str, kind: str) -> None:
    """Raise `Conflict` for a job that would not go on where it was, but begin again."""
    if kind != "download":
        raise Conflict(
            f"job {job_id} is a {kind} job, and only downloads can be paused", hint=f"stop it: tsr jobs cancel {job_id}"
        )


class PausedJobs:
    """The ids of paused jobs."""

    def __init__(self, data_dir: Path) -> None:
        self._file = data_dir / "paused.json"
        self._ids = self._read()

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._ids

    def add(self, job_id: str) -> None:
        """It is paused."""
        self._write(self._ids | {job_id})

    def discard(self, job_id: str) -> None:
        """It is not, or has ended."""
        if job_id in self._ids:
            self._write(self._ids - {job_id})

    def keep_only(self, unfinished: Iterable[str]) -> None:
        """Forget those that have ended meanwhile."""
        ids = self._ids & set(unfinished)
        if ids != self._ids:
            self._write(ids)

    def _read(self) -> frozenset[str]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=frozenset[str])
        except (FileNotFoundError, *NOT_THAT_JSON):
            # Without it they go on, which is no harm.
            return frozenset()

    def _write(self, ids: frozenset[str]) -> None:
        write_atomic(self._file, msgspec.json.encode(sorted(ids)))
        self._ids = ids
