"""What became of files that are not where they were: moved, or missing.

A file that was moved or renamed keeps its row, and with it its links and what its owner said. It is recognised at once
by its inode, size and time, and after hashing by its SHA256. Only a new file can be one that was moved; a copy, beside
which the old file still is, is new.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensors.db.intake import decide
from tensors.db.settle import settle

if TYPE_CHECKING:
    from tensors.db.database import Database
    from tensors.db.tally import Tally

_TABLES = """
    CREATE TEMP TABLE IF NOT EXISTS scanned (path TEXT, low TEXT, high TEXT);
    CREATE TEMP TABLE IF NOT EXISTS gone (id INTEGER PRIMARY KEY, directory TEXT, name TEXT);
    CREATE TEMP TABLE IF NOT EXISTS newcomers (
        inode INTEGER, mtime_ns INTEGER, size INTEGER, id INTEGER, PRIMARY KEY (inode, mtime_ns, size, id)
    ) WITHOUT ROWID;
    CREATE TEMP TABLE IF NOT EXISTS compared (id INTEGER PRIMARY KEY);
    DELETE FROM temp.scanned;
    DELETE FROM temp.gone;
    DELETE FROM temp.newcomers;
"""
BELOW = """EXISTS (SELECT 1 FROM temp.scanned
    WHERE files.directory = path OR (files.directory >= low AND files.directory < high))"""
"""Of a row of `files`: whether it is in or below a scanned folder."""
HASHED = "EXISTS (SELECT 1 FROM file_hashes WHERE file_id = files.id AND kind = 'sha256')"

_ALL_GONE = """
    INSERT OR IGNORE INTO temp.gone
    SELECT id, directory, name FROM files WHERE directory = ? AND missing_since IS NULL"""
_NOT_GONE = """
    DELETE FROM temp.gone WHERE NOT EXISTS (
        SELECT 1 FROM files WHERE id = gone.id AND directory = gone.directory AND name = gone.name)"""
_MISSING = "UPDATE files SET missing_since = ? WHERE missing_since IS NULL AND id IN (SELECT id FROM temp.gone)"
_KNOWN_NOTHING_OF = """
    DELETE FROM temp.gone WHERE directory = ? OR (directory >= ? AND directory < ?) OR (directory, name) = (?, ?)"""
# Some file systems know no inodes: there all files have the number 0.
_NEWCOMERS = """
    INSERT INTO temp.newcomers
    SELECT inode, mtime_ns, size, id FROM undecided CROSS JOIN files ON id = file_id
    WHERE NOT listed AND former_sha256 IS NULL AND missing_since IS NULL AND inode <> 0
        AND id NOT IN (SELECT id FROM temp.gone)"""
_SAME_INODE = """
    SELECT old.id, old.directory, old.name, new.id, new.directory, new.name,
        old.missing_since IS NOT NULL OR old.id IN (SELECT id FROM temp.gone)
    FROM files AS old
    CROSS JOIN temp.newcomers AS same
        ON same.inode = old.inode AND same.mtime_ns = old.mtime_ns AND same.size = old.size AND same.id <> old.id
    CROSS JOIN files AS new ON new.id = same.id"""
# A file waits until all new ones of its size are hashed: which of several is which must not depend on who was first.
_WAITING = f"""
    SELECT size FROM undecided CROSS JOIN files ON id = file_id
    WHERE former_sha256 IS NULL AND missing_since IS NULL AND problem IS NULL AND NOT {HASHED}"""
_COMPARED = f"""
    INSERT INTO temp.compared SELECT id FROM undecided CROSS JOIN files ON id = file_id
    WHERE former_sha256 IS NULL AND missing_since IS NULL AND {HASHED} AND size NOT IN ({_WAITING})"""
_SAME_SHA256 = """
    SELECT old.id, old.directory, old.name, new.id, new.directory, new.name
    FROM temp.compared
    CROSS JOIN files AS new ON new.id = compared.id
    CROSS JOIN file_hashes AS theirs ON theirs.file_id = new.id AND theirs.kind = 'sha256'
    CROSS JOIN file_hashes AS ours ON ours.value = theirs.value AND ours.kind = 'sha256'
    CROSS JOIN files AS old ON old.id = ours.file_id AND old.missing_since IS NOT NULL"""

_AT_ONCE = 200
"""Files that are moved on in one transaction."""
_ROW = """
    SELECT missing_since IS NOT NULL, id IN (SELECT id FROM temp.gone),
        (SELECT value FROM file_hashes WHERE file_id = files.id AND kind = 'sha256'), problem IS NOT NULL
    FROM files WHERE id = ? AND directory = ? AND name = ?"""
_TAKE_LINK = """
    UPDATE OR REPLACE links SET file_id = ?1 WHERE file_id = ?2
        AND (matched_by = 'user' OR NOT EXISTS (SELECT 1 FROM links WHERE file_id = ?1))"""
_CONTENT = """directory, name, size, mtime_ns, inode, problem, format, data_start, parameters, precision, variant,
    adapter, found_kind, found_kind_from, found_family, found_family_from"""
_TAKE_PLACE = f"""
    UPDATE files SET missing_since = NULL, ({_CONTENT}) = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?),
        user_kind = coalesce(?, user_kind), user_family = coalesce(?, user_family) WHERE id = ?"""


@dataclass(frozen=True, slots=True)
class _Pair:
    """A row whose file is gone, and a new one that may be the same file."""

    old_id: int
    old_directory: str
    old_name: str
    new_id: int
    new_directory: str
    new_name: str


def prepare(database: Database, folders: Iterable[str]) -> None:
    """Make the tables that only this connection sees."""
    database.connection.executescript(_TABLES)
    rows = [(path, *_inside(path)) for path in folders]
    database.connection.executemany("INSERT INTO temp.scanned VALUES (?, ?, ?)", rows)


def note_gone(database: Database, rows: Iterable[tuple[int, str, str]]) -> None:
    """Rows (number, directory, name) whose files were there, and which a scan has not seen where they were."""
    database.connection.executemany("INSERT OR IGNORE INTO temp.gone VALUES (?, ?, ?)", rows)


def note_unvisited(database: Database, folders: Iterable[str], visited: Container[str]) -> None:
    """The same for all rows in and below `folders` whose directories were not visited."""
    for directory in _directories(database, folders):
        if directory not in visited:
            database.connection.execute(_ALL_GONE, (directory,))


def _directories(database: Database, folders: Iterable[str]) -> Iterator[str]:
    """Those of all rows in and below folders, from the index alone: one look-up each."""
    execute = database.connection.execute
    for folder in folders:
        low, high = _inside(folder)
        here: str | None = folder
        while here is not None:
            yield here
            last = max(here, low)
            (here,) = execute(
                "SELECT min(directory) FROM files WHERE directory > ? AND directory < ?", (last, high)
            ).fetchone()


def _inside(folder: str) -> tuple[str, str]:
    """Between which two texts all paths below a folder are."""
    low = os.path.join(folder, "")
    return low, low[:-1] + chr(ord(os.sep) + 1)


def settle_listing(database: Database, tally: Tally, unreadable: Iterable[str], scanned: Iterable[str]) -> None:
    """All folders have been gone through: tell what was moved from what is missing. Raises `Stopped`."""
    execute = database.connection.execute
    # Another scan may have moved them on meanwhile.
    execute(_NOT_GONE)
    for path in unreadable:
        execute(_KNOWN_NOTHING_OF, (path, *_inside(path), *os.path.split(path)))
    execute(_NEWCOMERS)
    _adopt_all(database, tally, _same_inode(database))
    with database.atomic():
        execute(_NOT_GONE)
        tally.missing += execute(_MISSING, (tally.moment,)).rowcount
    compare_hashed(database, tally)
    with database.atomic():
        execute("UPDATE undecided SET listed = 1 WHERE NOT listed")
        database.connection.executemany(
            "INSERT OR REPLACE INTO folders (path, scanned_at) VALUES (?, ?)",
            [(path, tally.moment) for path in scanned],
        )


def compare_hashed(database: Database, tally: Tally) -> None:
    """Find those of the newly hashed files that are missing ones in another place. Raises `Stopped`."""
    execute = database.connection.execute
    execute("DELETE FROM temp.compared")
    execute(_COMPARED)
    if not _is_any(database, "temp.compared"):
        return
    if _is_any(database, "files WHERE missing_since IS NOT NULL"):
        _adopt_all(database, tally, [_Pair(*row) for row in execute(_SAME_SHA256)])
    with database.atomic():
        execute("DELETE FROM undecided WHERE former_sha256 IS NULL AND file_id IN (SELECT id FROM temp.compared)")


def _same_inode(database: Database) -> list[_Pair]:
    pairs: list[_Pair] = []
    if not _is_any(database, "temp.newcomers"):
        return pairs
    for *row, is_gone in database.connection.execute(_SAME_INODE):
        pair = _Pair(*row)
        # Of those in folders that were not scanned now a look tells.
        if is_gone or not _is_there(pair):
            pairs.append(pair)
    return pairs


def _is_there(pair: _Pair) -> bool:
    """Whether something is in the old place, or that cannot be told."""
    try:
        os.lstat(os.path.join(pair.old_directory, pair.old_name))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _is_any(database: Database, rows: str) -> bool:
    (found,) = database.connection.execute(f"SELECT EXISTS (SELECT 1 FROM {rows})").fetchone()
    return bool(found)


def _adopt_all(database: Database, tally: Tally, pairs: list[_Pair]) -> None:
    """Each old row takes over one new one and each new one goes to one old row: of the same name where there is one."""
    chosen: list[_Pair] = []
    taken: set[int] = set()
    for pair in sorted(pairs, key=_order):
        if taken.isdisjoint((pair.old_id, pair.new_id)):
            taken |= {pair.old_id, pair.new_id}
            chosen.append(pair)
    for start in range(0, len(chosen), _AT_ONCE):
        tally.check()
        with database.atomic():
            adopted = [pair.old_id for pair in chosen[start : start + _AT_ONCE] if _adopt(database, tally, pair)]
            settle(database, adopted)


def _order(pair: _Pair) -> tuple[bool, int, str, str]:
    return pair.old_name != pair.new_name, pair.old_id, pair.new_directory, pair.new_name


def _adopt(database: Database, tally: Tally, pair: _Pair) -> bool:
    """The old row takes over the new one's place, and the new one goes. False when another scan has been there."""
    execute = database.connection.execute
    old_id, new_id = pair.old_id, pair.new_id
    old = execute(_ROW, (old_id, pair.old_directory, pair.old_name)).fetchone()
    new = execute(_ROW, (new_id, pair.new_directory, pair.new_name)).fetchone()
    if old is None or new is None or new[0]:
        return False
    # Its bytes are those of the old one, and so is what they say; unless that could not be read, or was not hashed.
    if new[2] not in (None, old[2]):
        decide(database, old_id, new[2])
        execute("UPDATE file_hashes SET file_id = ? WHERE file_id = ?", (old_id, new_id))
    for table in ("sidecars", "file_metadata", "file_tags") if old[3] else ("sidecars",):
        execute(f"DELETE FROM {table} WHERE file_id = ?", (old_id,))
        execute(f"UPDATE {table} SET file_id = ? WHERE file_id = ?", (old_id, new_id))
    # What was said last counts.
    execute(_TAKE_LINK, (old_id, new_id))
    content = execute(f"SELECT {_CONTENT}, user_kind, user_family FROM files WHERE id = ?", (new_id,)).fetchone()
    execute("DELETE FROM files WHERE id = ?", (new_id,))
    execute(_TAKE_PLACE, (*content, old_id))
    tally.moved += 1
    tally.added -= any(new_id in ids for ids in tally.new_ids)
    tally.missing -= old[0] and old[1]
    return True
