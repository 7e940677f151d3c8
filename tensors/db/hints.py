"""What other tools' notes beside a file say it is, where nothing speaks against it.

A note is weaker than a hash: files are replaced and renamed, and notes stay. It counts

- when the tool hashed the very same bytes: its SHA256 is the file's. With another SHA256 it does not count;
- when it says no SHA256, and the version lists no file of the same name or size with another SHA256: that would be what
  the note is about, and the file is something else. What is left are versions whose files are not listed (archived
  ones), or not hashed, and what people made of them: pruned, converted, with another header;
- when the file is not hashed yet, and the version lists a file of exactly its size. A hash will tell later.

In all cases the kind of the file must be possible for the type of the model, and two notes must not disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tensors.base_models import UNKNOWN
from tensors.db.database import Database
from tensors.db.matches import Match
from tensors.db.settle import kinds_of
from tensors.db.words import as_json


@dataclass(frozen=True, slots=True)
class _Note:
    """A sidecar that names a cached version, and its file."""

    file_id: int
    file_name: str
    size: int
    kind: str
    file_sha256: str | None
    version_id: int
    model_type: str | None
    sha256: str | None
    """As the sidecar says."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """A file of a version."""

    version_id: int
    id: int
    name: str
    type: str | None
    size: int | None
    sha256: str | None


_NOTES = """
    SELECT files.id, files.name, files.size, files.kind, hashed.value, versions.id, models.type, noted.sha256
    FROM ({noted}) AS noted
    CROSS JOIN files ON files.id = noted.file_id
    CROSS JOIN versions ON versions.id = noted.version_id
    CROSS JOIN models ON models.id = versions.model_id
    LEFT JOIN file_hashes AS hashed ON hashed.file_id = files.id AND hashed.kind = 'sha256'
    ORDER BY files.id, noted.name, versions.id"""
_BY_NUMBER = """
    SELECT sidecars.file_id, sidecars.name, sidecars.version_id, sidecars.sha256
    FROM json_each(?) AS wanted CROSS JOIN sidecars ON sidecars.file_id = wanted.value
    WHERE sidecars.version_id IS NOT NULL"""
_BY_HASH = """
    SELECT sidecars.file_id, sidecars.name, listed.version_id, sidecars.sha256
    FROM json_each(?) AS wanted CROSS JOIN sidecars ON sidecars.file_id = wanted.value
    CROSS JOIN version_files AS listed
        ON substr(listed.sha256, 1, 10) = substr(sidecars.sha256, 1, 10) AND listed.sha256 = sidecars.sha256
    WHERE sidecars.version_id IS NULL"""


def match_notes(database: Database, file_ids: Iterable[int]) -> list[Match]:
    """Cached versions that these files are by the notes beside them."""
    wanted = as_json(file_ids)
    notes = [
        _Note(*row)
        for noted in (_BY_NUMBER, _BY_HASH)
        for row in database.connection.execute(_NOTES.format(noted=noted), (wanted,))
    ]
    listed = _listed(database, {note.version_id for note in notes})
    said: dict[int, dict[int, Match]] = {}
    for note in notes:
        files = listed.get(note.version_id, [])
        if _counts(note, files):
            match = Match(note.file_id, note.version_id, _same_file(note, files), "sidecar")
            said.setdefault(note.file_id, {}).setdefault(note.version_id, match)
    return [match for matches in said.values() if len(matches) == 1 for match in matches.values()]


def named_versions(database: Database, file_ids: Iterable[int]) -> list[tuple[int, int, int | None]]:
    """(file, version, model or None) of the notes beside these files that name a version which is not cached."""
    query = """SELECT DISTINCT sidecars.file_id, sidecars.version_id, sidecars.model_id
        FROM json_each(?) AS wanted CROSS JOIN sidecars ON sidecars.file_id = wanted.value
        WHERE sidecars.version_id NOT IN (SELECT id FROM versions) ORDER BY 2, 1, 3"""
    return database.connection.execute(query, (as_json(file_ids),)).fetchall()


def _listed(database: Database, version_ids: Iterable[int]) -> dict[int, list[_Listed]]:
    query = """SELECT files.version_id, files.id, files.name, files.type, files.size, files.sha256
        FROM json_each(?) AS wanted CROSS JOIN version_files AS files ON files.version_id = wanted.value
        ORDER BY files.is_primary DESC, files.id"""
    found: dict[int, list[_Listed]] = {}
    for row in database.connection.execute(query, (as_json(version_ids),)):
        found.setdefault(row[0], []).append(_Listed(*row))
    return found


def _counts(note: _Note, files: Sequence[_Listed]) -> bool:
    possible = {kind for type_ in (None, *(file.type for file in files)) for kind in kinds_of(note.model_type, type_)}
    if possible and note.kind not in (UNKNOWN, *possible):
        return False
    if note.file_sha256 is None:
        same_size = (file for file in files if file.size == note.size)
        return any(note.sha256 in (None, file.sha256) for file in same_size)
    if note.sha256 is not None:
        return note.sha256 == note.file_sha256
    like = (file for file in files if file.size == note.size or file.name.lower() == note.file_name.lower())
    return all(file.sha256 in (None, note.file_sha256) for file in like)


def _same_file(note: _Note, files: Iterable[_Listed]) -> int | None:
    """Which of the version's files it is, if that can be told."""
    sure = (file.id for file in files if file.size == note.size and file.sha256 in (None, note.sha256))
    return next(sure, None)
