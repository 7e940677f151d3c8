"""The library in numbers, and its duplicates."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tensors.types.base import Page
from tensors.types.library import Count, Duplicates, LibraryStats

if TYPE_CHECKING:
    from tensors.db.database import Database


def stats(database: Database) -> LibraryStats:
    """The library in numbers. All but `missing` are of files that are there."""
    execute = database.connection.execute
    files, size, missing, broken, unhashed, linked, not_found = execute(
        """SELECT count(*) FILTER (WHERE there), coalesce(sum(size) FILTER (WHERE there), 0),
            count(*) FILTER (WHERE NOT there), count(*) FILTER (WHERE there AND broken),
            count(*) FILTER (WHERE there AND NOT broken AND sha256 IS NULL), count(*) FILTER (WHERE there AND linked),
            count(*) FILTER (WHERE there AND NOT linked AND sha256 IN (SELECT sha256 FROM not_found))
        FROM (SELECT size, sha256, missing_since IS NULL AS there, problem IS NOT NULL AS broken,
            matched_by IS NOT NULL AS linked FROM library)"""
    ).fetchone()
    models, versions = execute("SELECT (SELECT count(*) FROM models), (SELECT count(*) FROM versions)").fetchone()
    copies = duplicates(database).items
    return LibraryStats(
        files=files,
        size=size,
        missing=missing,
        broken=broken,
        unhashed=unhashed,
        linked=linked,
        not_found=not_found,
        duplicates=sum(len(one.files) - 1 for one in copies),
        duplicate_size=sum((len(one.files) - 1) * one.size for one in copies),
        kinds=_counts(database, "kind"),
        families=_counts(database, "family"),
        models=models,
        versions=versions,
        database=str(database.path),
        database_size=_size_on_disk(database.path),
    )


def duplicates(database: Database) -> Page[Duplicates]:
    """Files that are there more than once, those first that take most room together.

    Several names of one file on disk, be it by hard or symbolic links, are one file, under the first of its paths.
    """
    rows = database.connection.execute(
        """SELECT hashed.value, size, directory, files.name, inode FROM file_hashes AS hashed
        JOIN files ON files.id = hashed.file_id
        WHERE hashed.kind = 'sha256' AND missing_since IS NULL AND hashed.value IN (
            SELECT file_hashes.value FROM file_hashes JOIN files ON files.id = file_hashes.file_id
            WHERE file_hashes.kind = 'sha256' AND missing_since IS NULL GROUP BY file_hashes.value HAVING count(*) > 1)
        ORDER BY hashed.value, size, directory, files.name"""
    )
    found = [
        Duplicates(sha256=sha256, size=size, files=paths)
        for (sha256, size), group in groupby(rows, lambda row: (row[0], row[1]))
        if len(paths := tuple(_separate(_Place(os.path.join(row[2], row[3]), row[4]) for row in group))) > 1
    ]
    return Page(items=tuple(sorted(found, key=lambda one: (-one.size * len(one.files), one.sha256))))


class _Place(NamedTuple):
    path: str
    inode: int


def _separate(places: Iterable[_Place]) -> Iterator[str]:
    """One path for each file on disk."""
    seen: dict[int, list[str]] = {}
    for place in places:
        others = seen.setdefault(place.inode, [])
        if not any(_same_file(place, other) for other in others):
            others.append(place.path)
            yield place.path


def _same_file(place: _Place, other: str) -> bool:
    """Whether two files of one size, content and inode number are one."""
    if place.inode == 0:
        # Some network file systems have no numbers.
        return False
    try:
        # Each disk counts for itself: copied from one to the other, a file often has the same number on both.
        return os.path.samefile(place.path, other)
    except OSError:
        return True


def _counts(database: Database, column: str) -> tuple[Count, ...]:
    rows = database.connection.execute(
        f"""SELECT {column}, count(*), sum(size) FROM files WHERE missing_since IS NULL
        GROUP BY {column} ORDER BY count(*) DESC, {column}"""
    )
    return tuple(Count(name=name, files=files, size=size) for name, files, size in rows)


def _size_on_disk(path: Path) -> int:
    """With what has been written but is not in its place yet."""
    size = 0
    for file in (path, path.with_name(f"{path.name}-wal")):
        try:
            size += file.stat().st_size
        except FileNotFoundError:
            continue
    return size
