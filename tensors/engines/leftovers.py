"""Engines that outlived the tsr that started them.

Where the kernel ends a child with its parent there are none. Elsewhere each engine leaves a note while it runs, and
the next tsr ends the ones whose owner is gone.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import psutil

from tensors.atomic import write_atomic
from tensors.decoding import NOT_THAT_JSON


class _Process(msgspec.Struct, frozen=True):
    pid: int
    created: float
    """Seconds since 1970: a pid alone may have been given to somebody else."""

    @staticmethod
    def of(pid: int) -> _Process:
        return _Process(pid, psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            return process if abs(process.create_time() - self.created) < 0.1 else None
        except psutil.NoSuchProcess:
            return None


class _Note(msgspec.Struct, frozen=True):
    engine: _Process
    owner: _Process


class EngineNote:
    """The note of one running engine."""

    def __init__(self, run_dir: Path, engine_pid: int) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        self._file = run_dir / f"engine-{engine_pid}.json"
        try:
            note = _Note(_Process.of(engine_pid), _Process.of(os.getpid()))
        except psutil.NoSuchProcess:
            # It has ended already, so there is nothing to remember.
            return
        write_atomic(self._file, msgspec.json.encode(note))

    def remove(self) -> None:
        """The engine has ended."""
        self._file.unlink(missing_ok=True)


def end_leftovers(run_dir: Path) -> list[int]:
    """End the engines in `run_dir` whose owner is gone and return their pids."""
    ended = []
    for file in run_dir.glob("engine-*.json"):
        try:
            note = msgspec.json.decode(file.read_bytes(), type=_Note)
        except (FileNotFoundError, *NOT_THAT_JSON):
            continue
        if note.owner.find():
            continue
        engine = note.engine.find()
        if engine:
            engine.kill()
            engine.wait(timeout=10)
            ended.append(engine.pid)
        file.unlink(missing_ok=True)
    return ended
