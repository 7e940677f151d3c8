"""Files of the library that are there, by their hashes: what need not be fetched again."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tensors.db.finding import Place
from tensors.db.matches import AUTOV3_DIGITS, EMPTY
from tensors.db.records import HASHES

if TYPE_CHECKING:
    from tensors.db.database import Database

_HEX = re.compile(r"[0-9a-f]{12,64}")
_ROWS = """
    SELECT value, directory, name, size, mtime_ns, inode
    FROM file_hashes CROSS JOIN files ON id = file_id
    WHERE file_hashes.kind = ? AND value >= ? AND value < ? || 'g' AND missing_since IS NULL AND problem IS NULL
    ORDER BY directory, name"""


def present_files(database: Database, hashes: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Sequence[str]]:
    """Paths of the files with each of these (kind, value), sorted; a hash without files is left out.

    Kinds are `sha256`, `blake3` and `autov3`, the last one in full or as CivitAI has it, with 12 digits. Others are
    left out: they have too few digits to say that a file need not be fetched. A file with the same `autov3` has the
    same weights, and maybe another header. A file that changed since it was scanned, by its size, time or inode, does
    not count.
    """
    found = {(kind, value): _present(database, kind.lower(), value.strip().lower()) for kind, value in hashes}
    return {asked: paths for asked, paths in found.items() if paths}


def _present(database: Database, kind: str, value: str) -> tuple[str, ...]:
    partial = kind == "autov3"
    if kind not in HASHES or not _HEX.fullmatch(value) or (len(value) < 64 and not partial) or value.startswith(EMPTY):
        return ()
    begin = value[:AUTOV3_DIGITS] if partial else value
    rows = database.connection.execute(_ROWS, (kind, begin, begin)).fetchall()
    # The one with fewer digits decides.
    same = (place for ours, *place in rows if ours.startswith(value) or value.startswith(ours))
    return tuple(place.path for place in (Place(*columns) for columns in same) if _is_there(place))


def _is_there(place: Place) -> bool:
    """Whether the file is still the one that was scanned."""
    try:
        stat = os.stat(place.path)
    except OSError:
        return False
    return Place.of(place.directory, place.name, stat) == place
