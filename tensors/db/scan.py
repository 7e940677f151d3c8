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

_SETTINGS = {"cache_size": -2048, "mmap_size": 0, "wal_autocheckpoint": 4000}
"""KiB, bytes, pages."""

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
    of both phases, `listing` and `hashing`, in this thread; `stop` is asked by several.

    Raises:
        Stopped: within a second after `stop` says so. What was done by then is kept.
        LibraryError: when the database cannot be written.
    """
    tally = Tally(report, stop)
    with _in_one_pass(database):
        list_files(database, folders, tally, hash=hash, full=full)
        if hash:
            hash_pending(database, tally)
        tally.unhashed, _ = count_pending(database)
    return tally.result([str(folder.path) for folder in folders])


@contextmanager
def _in_one_pass(database: Database) -> Iterator[None]:
    """Set the connection up for a scan, and back again: it goes through everything once, and writes much of it.

    A cache would only grow with the library; and each time the log is brought into the database the disk is waited for.
    """
    execute = database.connection.execute
    before = {name: execute(f"PRAGMA {name}").fetchone()[0] for name in _SETTINGS}
    for name, value in _SETTINGS.items():
        execute(f"PRAGMA {name} = {value}").close()
    try:
        yield
    finally:
        for name, value in before.items():
            execute(f"PRAGMA {name} = {value}").close()
