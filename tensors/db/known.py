"""What is known of a file as it is on disk now."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tensors.db.finding import Place

if TYPE_CHECKING:
    from pathlib import Path

    from tensors.db.database import Database

_ROW = """SELECT id FROM files WHERE (directory, name, size, mtime_ns, inode) = (?, ?, ?, ?, ?)
    AND missing_since IS NULL"""


def known_file(database: Database, path: Path, stat: os.stat_result) -> int | None:
    """The number of a file that has not changed since it was scanned."""
    place = Place.of(str(path.parent), path.name, stat)
    found = (place.directory, place.name, place.size, place.mtime_ns, place.inode)
    row = database.connection.execute(_ROW, found).fetchone()
    return row[0] if row else None


def known_hash(database: Database, path: Path, kind: str) -> str | None:
    """The hash of that kind of a file that has not changed since. Raises `OSError` when it is not there."""
    file_id = known_file(database, path, path.stat())
    query = "SELECT value FROM file_hashes WHERE file_id = ? AND kind = ?"
    row = database.connection.execute(query, (file_id, kind)).fetchone()
    return row[0] if row else None
