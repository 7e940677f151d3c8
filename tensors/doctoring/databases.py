"""The databases: whether SQLite can use them, and whether they are whole. Nothing is made, migrated or mended."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tensors.db.database import APPLICATION_ID, VERSION, library_errors
from tensors.doctoring.finding import error, ok, shell, skipped
from tensors.errors import LibraryError
from tensors.types.doctor import Finding

_BUSY_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Kept:
    """A database, and what to do when it cannot be used."""

    path: Path
    name: str
    mend: str
    is_library: bool = False


def kept_in(data: Path, gallery_index: Path) -> tuple[Kept, ...]:
    """The databases of a data directory."""
    library, jobs = data / "models.db", data / "jobs.db"
    return (
        Kept(library, "library", "tsr db check", is_library=True),
        Kept(gallery_index, "index of the gallery", "tsr images reindex"),
        # Jobs that had ended are lost then, pictures are not.
        Kept(jobs, "jobs", shell("mv", jobs, f"{jobs}.damaged")),
    )


def look(databases: tuple[Kept, ...]) -> Iterator[Finding]:
    """What is to be said of each one. Takes seconds for a large one."""
    there = [kept for kept in databases if kept.path.exists()]
    yield from map(_look, there)
    if not there:
        yield skipped("databases", "none yet: they are made when they are needed")


def _look(kept: Kept) -> Finding:
    try:
        with library_errors(kept.path), closing(_opened(kept.path)) as connection:
            said = [text for (text,) in connection.execute("PRAGMA quick_check(3)") if text != "ok"]
            version, mark = (_pragma(connection, name) for name in ("user_version", "application_id"))
    except LibraryError as failure:
        return error("databases", f"{kept.name}: {failure.message}", kept.mend)
    if said:
        return error("databases", f"{kept.name}: {kept.path} is damaged: {'; '.join(said)}", kept.mend)
    if kept.is_library and mark not in (0, APPLICATION_ID):
        return error("databases", f"{kept.name}: {kept.path} belongs to another program", kept.mend)
    if kept.is_library and version > VERSION:
        return error("databases", f"{kept.name}: {kept.path} is of a newer tsr", "pipx upgrade tensors")
    return ok("databases", f"{kept.name}: {kept.path} is whole")


def _opened(path: Path) -> sqlite3.Connection:
    # Not made when it is gone by now.
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
