"""Where an engine is prepared: a temporary folder beside those that are installed, one installation at a time."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tensors.engines.progress import InstallProgress, Report
from tensors.errors import Conflict

LOCK = ".install.lock"
REPLACED = "replaced"
"""In a workspace: the engine that the new one takes the place of, until it has."""
_WORKSPACE = ".installing-"


@contextlib.contextmanager
def alone(directory: Path, report: Report | None) -> Iterator[None]:
    """Keep other installations out; wait for one that runs, or raise `Conflict` if nobody can be told of the wait."""
    from filelock import FileLock, Timeout

    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if report is None:
            raise Conflict("an engine is being installed", hint="try again when that has ended") from None
        report(InstallProgress("waiting", None, "another installation is running"))
        lock.acquire(poll_interval=0.2)
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def workspace_in(directory: Path) -> Iterator[Path]:
    """A temporary folder on the same file system as the engines."""
    workspace = Path(tempfile.mkdtemp(prefix=_WORKSPACE, dir=directory))
    try:
        yield workspace
    finally:
        _discard(workspace, directory)


def sweep(directory: Path) -> None:
    """Remove what killed installations left."""
    for workspace in directory.glob(f"{_WORKSPACE}*"):
        _discard(workspace, directory)


def _discard(workspace: Path, directory: Path) -> None:
    """Remove a workspace; first put back an engine that was moved away and not replaced."""
    for replaced in workspace.glob(f"{REPLACED}/*"):
        if not (directory / replaced.name).exists():
            os.rename(replaced, directory / replaced.name)
    shutil.rmtree(workspace, ignore_errors=True)
