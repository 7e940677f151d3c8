"""Files and versions that the library knows by a hash, a version or a name. Nothing here looks into a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tensors.db.names import NO_FIT, Candidate, Scope, fitting, rank
from tensors.db.records import HASHES

if TYPE_CHECKING:
    from tensors.db.database import Database
    from tensors.types.files import Hash

_INDEXED = 10
"""Digits of a hash that the catalogue's indexes have; fewer may be several files'."""
_EMPTY = "e3b0c44298fc"
"""SHA256 of nothing: programs write it for files they could not read."""


class Offer(NamedTuple):
    """A file of a version on CivitAI."""

    version_id: int
    file_id: int
    primary: int


def is_telling(hash: Hash) -> bool:
    """Whether a hash can tell one file from all others."""
    digits = len(hash.value)
    return (digits >= _INDEXED or (hash.kind == "autov1" and digits == 8)) and not hash.value.startswith(_EMPTY)


def scope_of(kinds: Sequence[str]) -> Scope:
    """The files that are there and of these kinds."""
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    return Scope(f"missing_since IS NULL AND kind IN ({listed})", numbers=False)


def files_with(database: Database, hash: Hash, scope: Scope) -> list[Candidate]:
    """Files with a hash, those that were listed first before others."""
    if not is_telling(hash):
        return []
    if hash.kind == "autov1":
        # It is read off a few bytes in the middle, and kept by CivitAI alone.
        found = """id IN (SELECT file_id FROM links JOIN version_files AS listed
            ON listed.version_id = links.version_id AND listed.id = links.version_file_id
            WHERE json_extract(listed.other_hashes, '$.autov1') = ?)"""
        return scope.select(database, f"{found} AND id > ?", hash.value, 0)
    # In hexadecimal nothing follows 'f' but what begins with 'g'.
    found = "id IN (SELECT file_id FROM file_hashes WHERE value >= ? AND value < ?)"
    return sorted(scope.select(database, found, hash.value, f"{hash.value}g"))


def files_of(database: Database, versions: Sequence[int], scope: Scope) -> list[Candidate]:
    """Files that are linked to one of these versions."""
    if not versions:
        return []
    marks = ", ".join("?" * len(versions))
    return sorted(scope.select(database, f"id IN (SELECT file_id FROM links WHERE version_id IN ({marks}))", *versions))


def files_called(database: Database, name: str, scope: Scope) -> list[Candidate]:
    """Files that are called so, all equally well; not those that a name means in other ways, such as by a hash."""
    folder, base = os.path.split(os.path.normpath(name))
    found = fitting(database, name, scope)
    return sorted(file for file in found if file.path == name or rank(file, folder, base) < NO_FIT)


def offers_of(database: Database, hash: Hash) -> list[Offer]:
    """Files with this hash in the catalogue, those that were published first before others."""
    if not is_telling(hash) or len(hash.value) < _INDEXED:
        return []
    # A file's AutoV3 is there with 12 digits or with all.
    same = " OR ".join(
        f"""(substr(listed.{kind}, 1, {_INDEXED}) = substr(:digits, 1, {_INDEXED})
            AND substr(listed.{kind}, 1, length(:digits)) = substr(:digits, 1, length(listed.{kind})))"""
        for kind in HASHES
    )
    rows = database.connection.execute(
        f"""SELECT listed.version_id, listed.id, listed.is_primary FROM version_files AS listed
            JOIN versions ON versions.id = listed.version_id WHERE {same}
            ORDER BY published_at IS NULL, published_at, listed.version_id, NOT listed.is_primary, listed.id""",
        {"digits": hash.value},
    )
    return [Offer(*row) for row in rows]


def hashes_of(database: Database, file_id: int) -> dict[str, str]:
    """All hashes of a file by kind; none before it has been hashed."""
    rows = database.connection.execute("SELECT kind, value FROM file_hashes WHERE file_id = ?", (file_id,))
    return dict(rows.fetchall())
