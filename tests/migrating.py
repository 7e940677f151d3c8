"""A library that has migrations to come, for tests; and, as a program, the process that applies them and is killed.

The first migration is the real one. Those after it go over many rows, so that there is time to be killed in.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tensors.db import database as database_module
from tensors.db import migrate as migrate_module
from tensors.db.database import Database

ROWS = 20_000
FIRST = migrate_module.migrations()[0]
WIDEN = """
ALTER TABLE not_found ADD COLUMN digits INTEGER;  -- a comment; with a semicolon
UPDATE not_found SET digits = length(sha256);
CREATE TRIGGER counted AFTER INSERT ON not_found BEGIN
    UPDATE not_found SET digits = length(sha256) WHERE sha256 = new.sha256;
END;
CREATE INDEX not_found_by_digits ON not_found (digits, asked_at);
"""
REBUILD = """
CREATE TABLE asked (sha256 TEXT PRIMARY KEY, asked_at TEXT NOT NULL, digits INTEGER NOT NULL, again TEXT) STRICT;
INSERT INTO asked SELECT sha256, asked_at, digits, upper(sha256) FROM not_found;
DROP TABLE not_found;
ALTER TABLE asked RENAME TO not_found;
"""
STEPS = (FIRST, WIDEN, REBUILD)


def use(steps: Sequence[str], patch: pytest.MonkeyPatch) -> None:
    """Let these be all migrations."""
    patch.setattr(database_module, "VERSION", len(steps))
    patch.setattr(migrate_module, "migrations", lambda: list(steps))


def old_library(path: Path, *, rows: int = ROWS) -> None:
    """One of version 1, with some data."""
    with pytest.MonkeyPatch.context() as patch:
        use((FIRST,), patch)
        with Database(path) as database, database.atomic():
            database.connection.executemany("INSERT INTO not_found VALUES (?, ?)", expected_rows(rows))


def expected_rows(rows: int = ROWS) -> list[tuple[str, str]]:
    """The data: unlike enough that a lost or doubled row shows."""
    return [(f"{number:064x}", f"2026-01-01T00:00:00.{number % 1000:03}Z") for number in range(rows)]


def rows_of(path: Path) -> list[tuple[str, str]]:
    """The data as it is, of whatever version."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT sha256, asked_at FROM not_found ORDER BY sha256").fetchall()
    finally:
        connection.close()


def migrate_all(path: Path) -> None:
    """Open the library, which brings it to the last version."""
    with pytest.MonkeyPatch.context() as patch:
        use(STEPS, patch)
        Database(path).close()


def migrate_in(folder: Path) -> None:
    """The same for `power_cuts`, which needs a function of a folder."""
    migrate_all(folder / "models.db")


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    migrate_all(Path(sys.argv[1]))
    print("done", flush=True)
