"""Brings a library to the present schema, one numbered file of `tensors/migrations/` after the other.

Each is one transaction together with the version it leads to, so a crash leaves the old or the new one. A database
that has anything in it is copied first, to `models.db.backup-v{N}`, N being its version.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from importlib.resources import files
from pathlib import Path

from tensors.atomic import TEMPORARY_SUFFIX, sync_directory
from tensors.db.database import APPLICATION_ID, Database, library_errors
from tensors.db.problems import backups
from tensors.errors import LibraryError

KEPT_BACKUPS = 3


def migrations() -> list[str]:
    """The SQL of all migrations, in order."""
    found = sorted(entry.name for entry in (files("tensors") / "migrations").iterdir() if entry.name.endswith(".sql"))
    return [(files("tensors") / "migrations" / name).read_text(encoding="utf-8") for name in found]


def check_ours(database: Database, newest: int) -> None:
    """Raise `LibraryError` for a database of another program, or of a newer tsr."""
    # In one transaction: another process may be making it just now.
    database.connection.execute("BEGIN")
    version, application = database.version, database.pragma("application_id")
    empty = not version and not database.pragma("schema_version")
    database.connection.execute("COMMIT")
    path = database.path
    if application != APPLICATION_ID and not empty:
        raise LibraryError(
            f"{path} is a database of another program, or of a tsr from before this library",
            hint=f"move it away, and tsr makes a new one: mv {path} {path}.old",
        )
    if version > newest:
        backup = path.with_name(f"{path.name}.backup-v{newest}")
        raise LibraryError(
            f"{path} is of a newer tsr: it has version {version}, and this tsr knows up to {newest}",
            hint="update tsr" + (f", or put {backup} in its place" if backup.exists() else ""),
        )


def migrate(database: Database, steps: Sequence[str]) -> None:
    """Apply the migrations that are missing. Several processes may do this at once. Raises `LibraryError`."""
    if database.version == len(steps):
        return
    connection = database.connection
    # Tables that others refer to can only be rebuilt like this; the references are checked before each step's end.
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        # What is made just now needs no backup.
        saved = database.version == 0
        while database.version < len(steps):
            with database.atomic():
                # Another process may have done it while this one waited.
                version = database.version
                if version < len(steps):
                    if not saved:
                        back_up(database.path, version)
                        saved = True
                    _apply(connection, steps[version], version + 1)
    finally:
        connection.execute("PRAGMA foreign_keys = ON")


def _apply(connection: sqlite3.Connection, script: str, version: int) -> None:
    lost = _lost_rows(connection)
    for statement in statements(script):
        connection.execute(statement)
    if _lost_rows(connection) > lost:
        raise LibraryError(f"migration {version} would lose what rows refer to; nothing was changed")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")


def _lost_rows(connection: sqlite3.Connection) -> int:
    """How many rows refer to one that is not there."""
    return len(connection.execute("PRAGMA foreign_key_check").fetchall())


def statements(script: str) -> Iterator[str]:
    """The statements of a script: `executescript` would end the transaction."""
    statement = ""
    for piece in re.split("(?<=;)", script):
        statement += piece
        # A semicolon can also stand in a text, a comment or a trigger.
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement


def back_up(path: Path, version: int) -> Path:
    """Copy a library beside itself, as it was when the present transaction began. The newest three copies are kept."""
    target = path.with_name(f"{path.name}.backup-v{version}")
    temporary = target.with_name(f".{target.name}{TEMPORARY_SUFFIX}")
    try:
        temporary.unlink(missing_ok=True)
        try:
            with library_errors(target):
                _copy(path, temporary)
            _sync(temporary)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(target.parent)
    except OSError as error:
        said = error.strerror or str(error)
        raise LibraryError(f"{path} needs a backup first, and {target} cannot be written: {said}") from error
    with suppress(OSError):
        for old in [backup for backup in backups(path) if backup != target][KEPT_BACKUPS - 1 :]:
            old.unlink()
    return target


def _copy(source: Path, target: Path) -> None:
    # A connection that writes cannot be copied from. A second one sees what was there before.
    with closing(sqlite3.connect(source)) as reader, closing(sqlite3.connect(target, isolation_level=None)) as copy:
        # It is synced as a whole afterwards, and nobody needs half of it.
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        reader.backup(copy)


def _sync(file: Path) -> None:
    handle = os.open(file, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
