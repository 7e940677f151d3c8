"""Which version a file is, as far as the cached models tell by their hashes, and the links that come of it.

A hash can be in several versions: people upload each other's files again, and the same VAE lies beside a hundred
checkpoints. Then the version is taken whose model is of the file's kind, where the file is a model rather than an
extra, where it is the primary file, and that was published first: that is the author's own page as a rule, and unlike
the number of downloads it does not change with time. A link by a hash or by the user is never changed; one by another
tool's notes gives way to a hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from tensors.db.database import Database
from tensors.db.edits import link_file
from tensors.db.records import HASHES
from tensors.db.settle import kinds_of, settle
from tensors.db.words import as_json

AUTOV3_DIGITS = 12
"""CivitAI keeps so many of the 64."""
EMPTY = "e3b0c44298fc"
"""AutoV3 of no tensors at all: CivitAI has it for files it could not read, so it says nothing."""


_MAIN = ("model", "pruned model")
"""Types of a version's files that are no extras."""


@dataclass(frozen=True, slots=True)
class Match:
    """A version that a file is."""

    file_id: int
    version_id: int
    version_file_id: int | None
    matched_by: str


# CROSS JOIN keeps SQLite to this order: it has no statistics to find a better one by. Indexes hold ten digits.
_FROM_FILES = """json_each(:ids) AS wanted
    CROSS JOIN file_hashes AS ours ON ours.file_id = wanted.value AND ours.kind = :kind
    CROSS JOIN version_files AS listed ON substr(listed.{kind}, 1, 10) = substr(ours.value, 1, 10) AND {same}"""
_FROM_VERSIONS = """json_each(:ids) AS wanted
    CROSS JOIN version_files AS listed ON listed.version_id = wanted.value
    CROSS JOIN file_hashes AS ours ON ours.kind = :kind AND {same}
        AND ours.value >= substr(listed.{kind}, 1, 10) AND ours.value < substr(listed.{kind}, 1, 10) || 'g'"""
_SAME = "ours.value = listed.{kind}"
# In full or in part: the one with fewer digits decides.
_SAME_AUTOV3 = f"""length(ours.value) >= {AUTOV3_DIGITS} AND length(listed.autov3) >= {AUTOV3_DIGITS}
    AND substr(ours.value, 1, length(listed.autov3)) = substr(listed.autov3, 1, length(ours.value))
    AND substr(ours.value, 1, {AUTOV3_DIGITS}) <> '{EMPTY}'"""
_QUERY = """
    SELECT ours.file_id, files.kind, models.type, listed.type, listed.is_primary,
        coalesce(versions.published_at, versions.created_at), versions.id, listed.id
    FROM {tables}
    CROSS JOIN versions ON versions.id = listed.version_id
    CROSS JOIN models ON models.id = versions.model_id
    CROSS JOIN files ON files.id = ours.file_id
    ORDER BY ours.file_id"""

_Row = tuple[int, str, str | None, str | None, int, str | None, int, int]


def open_files(database: Database, file_ids: Iterable[int]) -> set[int]:
    """Those of the files that may be linked: whole, not taken off their page by the owner, and not linked by a hash."""
    query = """SELECT files.id FROM json_each(?) AS wanted
        CROSS JOIN files ON files.id = wanted.value LEFT JOIN links ON links.file_id = files.id
        WHERE files.problem IS NULL AND NOT files.user_unlinked
            AND (links.file_id IS NULL OR links.matched_by = 'sidecar')"""
    return {file_id for (file_id,) in database.connection.execute(query, (as_json(file_ids),))}


def match_files(database: Database, file_ids: Iterable[int]) -> list[Match]:
    """Versions of any cached model that these files are."""
    left, found = set(file_ids), list[Match]()
    for kind in HASHES:
        found += _chosen(_rows(database, _FROM_FILES, kind, left), left, kind)
        left.difference_update(match.file_id for match in found)
    return found


def match_versions(database: Database, version_ids: Iterable[int], file_ids: Iterable[int]) -> list[Match]:
    """Those of the files that are one of these versions: what `match_files` can find once these are stored."""
    wanted, left, found = sorted(version_ids), set(file_ids), list[Match]()
    for kind in HASHES:
        found += _chosen(_rows(database, _FROM_VERSIONS, kind, wanted), left, kind)
        left.difference_update(match.file_id for match in found)
    return found


def write_links(database: Database, matches: Sequence[Match], *, at: str) -> None:
    """Link files, which must be open (`open_files`), and settle what they are."""
    for match in matches:
        link_file(
            database,
            match.file_id,
            match.version_id,
            matched_by=match.matched_by,
            version_file_id=match.version_file_id,
            at=at,
        )
    by_hash = [match.file_id for match in matches if match.matched_by in HASHES]
    database.connection.execute(
        """DELETE FROM not_found WHERE sha256 IN (SELECT file_hashes.value FROM json_each(?) AS linked
            CROSS JOIN file_hashes ON file_hashes.file_id = linked.value AND file_hashes.kind = 'sha256')""",
        (as_json(by_hash),),
    )
    settle(database, [match.file_id for match in matches])


def _rows(database: Database, tables: str, kind: str, ids: Iterable[int]) -> Iterator[_Row]:
    same = _SAME_AUTOV3 if kind == "autov3" else _SAME.format(kind=kind)
    query = _QUERY.format(tables=tables.format(kind=kind, same=same))
    return database.connection.execute(query, {"ids": as_json(ids), "kind": kind})


def _chosen(rows: Iterator[_Row], files: set[int], kind: str) -> list[Match]:
    """The best version of each file."""
    best = (min(group, key=_order) for file_id, group in groupby(rows, itemgetter(0)) if file_id in files)
    return [Match(row[0], row[6], row[7], kind) for row in best]


def _order(row: _Row) -> tuple[bool, bool, bool, bool, str, int, int]:
    _, kind, model_type, file_type, primary, published, version_id, version_file_id = row
    other_kind = kind not in kinds_of(model_type, file_type)
    extra = file_type is not None and file_type.lower() not in _MAIN
    return other_kind, extra, not primary, published is None, published or "", version_id, version_file_id
