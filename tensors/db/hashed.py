"""The second phase of a scan: hashes of the files that have none.

The smallest come first. Small files are many, and LoRAs, whose trigger words are what people look for; the last few
checkpoints take most of the time and would hold everything else up. Of all orders it is the one in which a file waits
least on average.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tensors.db.finding import UNREADABLE, Place
from tensors.db.intake import decide, hash_rows
from tensors.db.moves import BELOW, HASHED, compare_hashed
from tensors.db.settle import settle
from tensors.db.tally import Stopped
from tensors.hashing import FileChanged, Hashes, HashingStopped, hash_files

if TYPE_CHECKING:
    from tensors.db.database import Database
    from tensors.db.tally import Tally

_PAGE = 200
_COMPARE_SECONDS = 5.0
_PENDING = f"missing_since IS NULL AND problem IS NULL AND NOT {HASHED} AND {BELOW}"
# All files without hashes are among the undecided.
_COUNT = f"SELECT count(*), coalesce(sum(size), 0) FROM undecided CROSS JOIN files ON id = file_id WHERE {_PENDING}"
_NEXT = f"""
    SELECT id, directory, name, size, mtime_ns, inode, CASE format WHEN 'safetensors' THEN data_start END FROM files
    WHERE (size, id) > (?, ?) AND {_PENDING} ORDER BY size, id LIMIT {_PAGE}"""
_Row = tuple[int, str, str, int, int, int, int | None]
_STILL = """
    SELECT EXISTS (SELECT 1 FROM files WHERE id = ? AND directory = ? AND name = ? AND size = ? AND mtime_ns = ?
        AND inode = ?)"""


@dataclass(frozen=True, slots=True)
class _Item:
    """A file without hashes."""

    id: int
    place: Place


def count_pending(database: Database) -> tuple[int, int]:
    """How many files in the scanned folders could be hashed and are not, and how many bytes they have together."""
    count, size = database.connection.execute(_COUNT).fetchone()
    return count, size


def hash_one(database: Database, path: Path, tally: Tally) -> None:
    """Hash a file that was listed, if it has no hashes. Raises `Stopped`."""
    query = f"""SELECT id, directory, name, size, mtime_ns, inode, CASE format WHEN 'safetensors' THEN data_start END
        FROM files WHERE directory = ? AND name = ? AND missing_since IS NULL AND problem IS NULL AND NOT {HASHED}"""
    rows = database.connection.execute(query, (os.fspath(path.parent), path.name)).fetchall()
    for row in rows:
        _Work(database, tally, row[3]).run([row])


def hash_pending(database: Database, tally: Tally) -> None:
    """Hash what can be hashed in the scanned folders. Raises `Stopped`; what was hashed by then is kept."""
    count, size = count_pending(database)
    if count:
        work = _Work(database, tally, size)
        work.run(work.pending())


@dataclass(slots=True)
class _Work:
    database: Database
    tally: Tally
    total: int
    """Bytes."""
    done: int = 0
    _begun: float = field(default_factory=time.monotonic)
    _compared: float = field(default_factory=time.monotonic)
    _given: dict[int, str] = field(default_factory=dict)
    """Files that were given out and have not come back, the oldest first."""

    def run(self, rows: Iterable[_Row]) -> None:
        results = hash_files(self._wanted(rows), progress=self._progress, stop=self.tally.stop)
        try:
            with closing(results):
                for item, outcome in results:
                    self._given.pop(item.id, None)
                    self._take(item, outcome)
        except HashingStopped:
            compare_hashed(self.database, self.tally)
            raise Stopped from None
        compare_hashed(self.database, self.tally)
        self.tally.hashing(self.total, self.total, "", 0.0, last=True)

    def pending(self) -> Iterator[_Row]:
        """What can be hashed in the scanned folders."""
        after = (-1, 0)
        while page := self.database.connection.execute(_NEXT, after).fetchall():
            yield from page
            after = (page[-1][3], page[-1][0])

    def _wanted(self, rows: Iterable[_Row]) -> Iterator[tuple[_Item, Path, int | None]]:
        for file_id, directory, name, size, mtime_ns, inode, data_start in rows:
            item = _Item(file_id, Place(directory, name, size, mtime_ns, inode))
            self._given[file_id] = item.place.path
            yield item, Path(item.place.path), data_start

    def _progress(self, count: int) -> None:
        self.done = min(self.done + count, self.total)
        elapsed = time.monotonic() - self._begun
        left = (self.total - self.done) * elapsed / self.done if self.done and elapsed >= 1 else None
        self.tally.hashing(self.done, self.total, next(iter(self._given.values()), ""), left)

    def _take(self, item: _Item, outcome: Hashes | OSError | FileChanged) -> None:
        if isinstance(outcome, FileNotFoundError):
            # The next scan will see that it is missing.
            return
        if isinstance(outcome, OSError):
            self._refused(item, f"{UNREADABLE}{outcome.strerror}")
        elif isinstance(outcome, FileChanged) or not _is_there(item.place):
            self.tally.tell(item.place.path, "changed while it was being hashed: scan again")
        else:
            self._store(item, outcome)

    def _refused(self, item: _Item, problem: str) -> None:
        self.tally.tell(item.place.path, problem)
        with self.database.atomic():
            if self._is_still(item):
                self.database.connection.execute("UPDATE files SET problem = ? WHERE id = ?", (problem, item.id))

    def _store(self, item: _Item, hashes: Hashes) -> None:
        with self.database.atomic():
            # Another scan may have given the row to another file, or taken it away.
            if not self._is_still(item):
                return
            decide(self.database, item.id, hashes.sha256)
            self.database.connection.executemany(
                "INSERT INTO file_hashes (file_id, kind, value) VALUES (?, ?, ?)", hash_rows(item.id, hashes)
            )
            settle(self.database, [item.id])
        self.tally.hashed += 1
        moment = time.monotonic()
        if moment - self._compared >= _COMPARE_SECONDS:
            self._compared = moment
            compare_hashed(self.database, self.tally)

    def _is_still(self, item: _Item) -> bool:
        place = item.place
        row = (item.id, place.directory, place.name, place.size, place.mtime_ns, place.inode)
        (is_still,) = self.database.connection.execute(_STILL, row).fetchone()
        return bool(is_still)


def _is_there(place: Place) -> bool:
    """Whether the file is still the one that was listed."""
    try:
        found = os.stat(place.path)
    except OSError:
        return False
    return Place.of(place.directory, place.name, found) == place
