"""The library's database: one SQLite file, opened, kept up to date and checked here.

`tensors/schema.sql` shows what is in it. Its version (`PRAGMA user_version`) counts the numbered files in
`tensors/migrations/` that have been applied; `tensors.db.migrate` does that.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from tensors.errors import LibraryError

if TYPE_CHECKING:
    from typing import Self

    from tensors.types.library import LibraryCheck


VERSION = 2
"""Of the schema: how many migrations there are."""
APPLICATION_ID = 0x74737264
"""`tsrd`, in the file's header: tells our databases from those of other programs."""
BUSY_SECONDS = 30
_PRAGMAS = """
    PRAGMA foreign_keys = ON;
    PRAGMA synchronous = NORMAL;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -65536;
    PRAGMA wal_autocheckpoint = 16384;
    PRAGMA mmap_size = 1073741824;
    PRAGMA journal_size_limit = 67108864;
"""


class Database:
    """An open library, for one thread at a time.

    As a context manager it closes itself, and what SQLite found wrong becomes a `LibraryError`.
    """

    def __init__(self, path: Path) -> None:
        """Open a library; make or migrate it where needed. Raises `LibraryError`."""
        self.path = path
        _make_folder(path.parent)
        with library_errors(path):
            self.connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=512
            )
            try:
                self._set_up()
            except BaseException:
                self.connection.close()
                raise

    def _set_up(self) -> None:
        current = self.version == VERSION and self.pragma("application_id") == APPLICATION_ID
        if not current:
            from tensors.db.migrate import check_ours

            check_ours(self, VERSION)
        write_ahead(self.connection)
        self.connection.executescript(_PRAGMAS)
        if not current:
            from tensors.db.migrate import migrate, migrations

            migrate(self, migrations())

    @property
    def version(self) -> int:
        """How many migrations it has had; 0 is a new database."""
        return self.pragma("user_version")

    def pragma(self, name: str) -> int:
        """The value of a PRAGMA that is a number."""
        (value,) = self.connection.execute(f"PRAGMA {name}").fetchone()
        return int(value)

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """All that a block does, or nothing. A block inside another is part of it, and can be taken back on its own.

        Waits up to 30 s for whoever else is writing. Raises `LibraryError`.
        """
        inner = self.connection.in_transaction
        with library_errors(self.path):
            self.connection.execute("SAVEPOINT inner_block" if inner else "BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("RELEASE inner_block" if inner else "COMMIT")
            except BaseException:
                # When the disk is full SQLite has taken everything back by itself.
                if self.connection.in_transaction:
                    self._take_back(inner)
                raise

    def _take_back(self, inner: bool) -> None:
        if inner:
            self.connection.execute("ROLLBACK TO inner_block")
            self.connection.execute("RELEASE inner_block")
        else:
            self.connection.execute("ROLLBACK")

    def close(self) -> None:
        """Let go of the file. What was not committed is taken back."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(error, sqlite3.DatabaseError):
            with library_errors(self.path):
                raise error


@contextmanager
def library_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite says about a library into `LibraryError`. Mistakes of ours stay what they are."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.IntegrityError):
        raise
    except sqlite3.DatabaseError as error:
        from tensors.db.problems import problem

        raise problem(path, error) from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        said = error.strerror or str(error)
        raise LibraryError(
            f"the folder {folder} cannot be made: {said}", hint="set another one: TSR_DATA_DIR=/path/to/folder"
        ) from error


def write_ahead(connection: sqlite3.Connection) -> None:
    """Let readers and a writer work at the same time. Where the file system cannot do that, SQLite does without."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
            return
        except sqlite3.OperationalError as error:
            # Of several that open a new database one changes it, and SQLite does not let the others wait here.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def check(database: Database) -> LibraryCheck:
    """Whether a library is sound. A search index that does not fit the models is built anew. Raises `LibraryError`."""
    from tensors.db import search_index
    from tensors.types.library import LibraryCheck

    with library_errors(database.path):
        problems = _problems(database.connection)
        if problems or search_index.is_sound(database):
            return LibraryCheck(sound=not problems, problems=tuple(problems))
        search_index.rebuild(database)
    return LibraryCheck(sound=True, mended=("the search index did not fit the models: it was built anew",))


def _problems(connection: sqlite3.Connection) -> list[str]:
    try:
        said = [text for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
        orphans = Counter(row[:3:2] for row in connection.execute("PRAGMA foreign_key_check"))
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        return [str(error)]
    # Newer versions of SQLite look at the search index here, too.
    problems = [text for text in said if "_search" not in text]
    return problems + [
        f"{count} rows of {table} are of {of} that are not there" for (table, of), count in orphans.items()
    ]
