"""From folders to rows: finds model files, tells what they are, and hashes them.

A scan has two phases. The first lists and identifies everything, in seconds, so that the library can be used; the
second hashes what has no hashes yet, for as long as that takes. Both commit as they go: a scan that is stopped or
killed at any moment has lost at most the last second, and the next one goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tensors.db.hashed import count_pending, hash_pending
from tensors.db.listing import list_files
from tensors.db.tally import Stopped, Tally
from tensors.db.walk import Folder

if TYPE_CHECKING:
    from tensors.db.database import Database
    from tensors.types.jobs import Progress
    from tensors.types.library import ScanReport

_CACHE_KIB = 2048

__all__ = ["Folder", "Stopped", "scan"]


def scan(
    database: Database,
    folders: Sequence[Folder],
    *,
    hash: bool = True,
    full: bool = False,
    report: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> ScanReport:
    """Bring the library in line with what is in and below `folders`.

    `hash`: also hash what has no hashes. `full`: read all files again, also those that have not changed. `report` hears
    of both phases, `listing` and `hashing`; both functions are called in this thread.

    Raises:
        Stopped: within a second after `stop` says so. What was done by then is kept.
        LibraryError: when the database cannot be written.
    """
    tally = Tally(report, stop)
    with _little_memory(database):
        list_files(database, folders, tally, hash=hash, full=full)
        if hash:
            hash_pending(database, tally)
        tally.unhashed, _ = count_pending(database)
    return tally.result([str(folder.path) for folder in folders])


@contextmanager
def _little_memory(database: Database) -> Iterator[None]:
    """Keep little of the database in memory: a scan goes through it once, and a cache would only grow with it."""
    execute = database.connection.execute
    before = {name: execute(f"PRAGMA {name}").fetchone()[0] for name in ("cache_size", "mmap_size")}
    execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    execute("PRAGMA mmap_size = 0").close()
    try:
        yield
    finally:
        for name, value in before.items():
            execute(f"PRAGMA {name} = {value}").close()
