"""The database of a gallery's index. It holds nothing that the files do not: when it is unusable it is made anew."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tensors.db.database import write_ahead
from tensors.errors import LibraryError

VERSION = 1
"""Of the schema, and of what is written into it. An index of another version is made anew."""
_APPLICATION_ID = 0x74737267
"""`tsrg`, in the file's header."""
_BUSY_SECONDS = 30
_PRAGMAS = """
    PRAGMA synchronous = NORMAL;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -65536;
    PRAGMA mmap_size = 1073741824;
    PRAGMA journal_size_limit = 67108864;
"""
# `rank` puts pictures in the order of their names: the time in the name, and a place among those of one moment.
# `images` has what a search goes through row by row, and nothing else: 100,000 rows take some 10 ms.
_SCHEMA = """
    CREATE TABLE state (
        directory_mtime INTEGER NOT NULL, -- of the gallery's folder, when the index fitted it
        verified INTEGER NOT NULL         -- nanoseconds since 1970
    );
    INSERT INTO state VALUES (-1, 0);
    CREATE TABLE images (
        rank INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        model TEXT NOT NULL,
        seed INTEGER NOT NULL,
        job TEXT NOT NULL,
        width INTEGER NOT NULL,
        height INTEGER NOT NULL,
        rating INTEGER,
        favourite INTEGER NOT NULL
    );
    CREATE INDEX images_model ON images (model);
    CREATE INDEX images_seed ON images (seed);
    CREATE INDEX images_job ON images (job) WHERE job <> '';
    CREATE INDEX images_rating ON images (rating) WHERE rating IS NOT NULL;
    CREATE INDEX images_favourite ON images (rank) WHERE favourite;
    CREATE TABLE files (
        rank INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        extension TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        arrived INTEGER NOT NULL,
        stamp TEXT NOT NULL,
        sha256 TEXT,
        record BLOB NOT NULL
    );
    CREATE INDEX files_sha256 ON files (sha256) WHERE sha256 IS NOT NULL;
    CREATE TABLE tags (tag TEXT, rank INTEGER, PRIMARY KEY (tag, rank)) WITHOUT ROWID;
    CREATE TABLE loras (lora TEXT, rank INTEGER, PRIMARY KEY (lora, rank)) WITHOUT ROWID;
    CREATE VIRTUAL TABLE words USING fts5 (
        text, content = '', columnsize = 0, detail = none, prefix = '2 3', tokenize = 'ascii'
    );
    -- Files with a picture's name of which nothing is known: they are not read again and again.
    CREATE TABLE strangers (id TEXT PRIMARY KEY, stamp TEXT NOT NULL) WITHOUT ROWID;
"""


UNMADE = -1
"""Noted as the folder's time of change until all files have been looked at for the first time."""


class IndexDamaged(Exception):
    """The index was damaged and has been put aside: whoever asks again gets a new one."""


class Store:
    """An index's database, for many threads and processes at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._closing: Callable[[], object] = lambda: None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """All that a block sees is of one moment. Raises `LibraryError`, `IndexDamaged`."""
        with self._lock, self._errors():
            connection = self._open()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """All that a block does, or nothing. Raises `LibraryError`, `IndexDamaged`."""
        with self._lock, self._errors():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # When the disk is full SQLite has taken everything back by itself.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def clear(self) -> None:
        """Forget everything. Raises `LibraryError`, `IndexDamaged`."""
        with self.writing() as connection:
            for table in ("images", "files", "tags", "loras", "strangers"):
                connection.execute(f"DELETE FROM {table}")
            connection.execute("INSERT INTO words (words) VALUES ('delete-all')")
            connection.execute("UPDATE state SET directory_mtime = ?", (UNMADE,))

    def close(self) -> None:
        """Let go of the file, until the next use."""
        with self._lock:
            self._connection = None
            self._closing()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connected()
            self._closing = weakref.finalize(self, self._connection.close)
        return self._connection

    def _connected(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return _connected(self.path)
        except PermissionError:
            pass
        except sqlite3.OperationalError as error:
            if _kind(error) not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
                raise
        # A place that cannot be written to is no reason not to show the pictures: it only takes longer.
        return _connected(":memory:")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.ProgrammingError, sqlite3.IntegrityError):
            raise
        except sqlite3.DatabaseError as error:
            if _kind(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                self._put_aside()
                raise IndexDamaged(str(error)) from error
            raise LibraryError(
                f"the gallery's index {self.path} cannot be used: {error}",
                hint=f"pictures do not depend on it: delete {self.path} and try again",
            ) from error

    def _put_aside(self) -> None:
        self.close()
        with suppress(FileNotFoundError):
            os.replace(self.path, self.path.with_name(f"{self.path.name}.damaged"))
        for ending in ("-wal", "-shm"):
            self.path.with_name(f"{self.path.name}{ending}").unlink(missing_ok=True)


def _kind(error: sqlite3.DatabaseError) -> int:
    """SQLite's code for what happened. Errors of the `sqlite3` module itself have none."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def _connected(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        if not _is_current(connection):
            _refuse_foreign(connection, path)
            write_ahead(connection)
            _make(connection)
        connection.executescript(_PRAGMAS)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_current(connection: sqlite3.Connection) -> bool:
    return _pragma(connection, "user_version") == VERSION and _pragma(connection, "application_id") == _APPLICATION_ID


def _refuse_foreign(connection: sqlite3.Connection, path: Path | str) -> None:
    # In one transaction: another process may be making it just now.
    connection.execute("BEGIN")
    application, changes = _pragma(connection, "application_id"), _pragma(connection, "schema_version")
    connection.execute("COMMIT")
    if changes and application != _APPLICATION_ID:
        raise LibraryError(
            f"{path} is a database of another program: the gallery's index cannot be there", hint=f"move {path} away"
        )


def _make(connection: sqlite3.Connection) -> None:
    """A new index, in place of one of another version."""
    connection.execute("BEGIN EXCLUSIVE")
    # Another process may have done it meanwhile.
    if not _is_current(connection):
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        # The tables that another one consists of go with it.
        for table in sorted(tables, key=lambda name: name != "words"):
            connection.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in _SCHEMA.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
