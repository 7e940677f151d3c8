"""The checkpoints and LoRAs of the library: one with what is known of it, and lists of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tensors.db.files import CIVITAI, containing, link_of
from tensors.db.names import Candidate
from tensors.db.words import as_json, words_of
from tensors.errors import InvalidRequest
from tensors.types.models import Link, LoraEntry, ModelEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensors.db.database import Database
    from tensors.db.model_names import Names

LONGEST_QUERY = 500
"""Characters."""
_COLUMNS = """id, directory, name, stem, missing_since IS NULL, kind, problem,
    size, mtime_ns, family, variant, adapter, precision, sha256, autov3,
    (SELECT added_at FROM files WHERE files.id = library.id),
    matched_by, version_id, version, base_model, model_id, model, type, nsfw, creator"""


class Row(NamedTuple):
    """A file as the library has it."""

    candidate: Candidate
    size: int
    mtime_ns: int
    family: str
    variant: str | None
    adapter: str | None
    precision: str | None
    sha256: str | None
    autov3: str | None
    added: str | None
    link: Link | None


class After(NamedTuple):
    """A place in the order of names: what comes after it."""

    stem: str
    id: int


def load_row(database: Database, file_id: int, *, civitai: str = CIVITAI) -> Row | None:
    """One file; None when it has been forgotten. `civitai` begins the URL of its link."""
    row = database.connection.execute(f"SELECT {_COLUMNS} FROM library WHERE id = ?", (file_id,)).fetchone()
    return _row(row, civitai) if row else None


def list_rows(
    names: Names,
    *,
    query: str | None = None,
    family: str | None = None,
    without: Sequence[str] = (),
    after: After | None = None,
    limit: int = 100,
    civitai: str = CIVITAI,
) -> list[Row]:
    """Files of a noun in the order of their stems, whatever the case of ASCII letters.

    `query`: words, each of which is in the name of the file, its model or its version. `without`: families to leave
    out. Raises `InvalidRequest` for a query that is too long.
    """
    conditions, parameters = [names.scope.condition], list[object]()
    if strangers := names.strangers():
        conditions.append("id NOT IN (SELECT value FROM json_each(?))")
        parameters.append(as_json(strangers))
    for word in words_in(query):
        conditions.append(r"(name LIKE ? ESCAPE '\' OR model LIKE ? ESCAPE '\' OR version LIKE ? ESCAPE '\')")
        parameters += [containing(word)] * 3
    if family is not None:
        conditions.append("family = ?")
        parameters.append(family)
    if without:
        conditions.append(f"family NOT IN ({', '.join('?' * len(without))})")
        parameters += without
    if after is not None:
        conditions.append("(stem, id) > (?, ?)")
        parameters += after
    rows = names.database.connection.execute(
        f"SELECT {_COLUMNS} FROM library WHERE {' AND '.join(conditions)} ORDER BY stem, id LIMIT ?",
        (*parameters, limit),
    )
    return [_row(row, civitai) for row in rows]


def words_in(query: str | None) -> list[str]:
    """What is looked for. Raises `InvalidRequest` when it is too long."""
    if query is not None and len(query) > LONGEST_QUERY:
        raise InvalidRequest(f"query is too long: {len(query):,} and at most {LONGEST_QUERY} allowed")
    return (query or "").split()


def model_entry(row: Row, name: str, *, builtin: bool = False) -> ModelEntry:
    """A checkpoint as it is shown."""
    return ModelEntry(
        name=name,
        path=row.candidate.path,
        kind=row.candidate.kind,
        family=row.family,
        variant=row.variant,
        size=row.size,
        precision=row.precision,
        sha256=row.sha256,
        link=row.link,
        added=row.added,
        problem=row.candidate.problem,
        id=row.candidate.id if row.candidate.id > 0 else None,
        builtin=builtin,
    )


def lora_entry(row: Row, name: str, words: tuple[str, ...] = (), *, builtin: bool = False) -> LoraEntry:
    """A LoRA as it is shown, with its trigger words."""
    return LoraEntry(
        name=name,
        path=row.candidate.path,
        family=row.family,
        variant=row.variant,
        adapter=row.adapter,
        size=row.size,
        words=words,
        sha256=row.sha256,
        autov3=row.autov3,
        link=row.link,
        added=row.added,
        problem=row.candidate.problem,
        id=row.candidate.id if row.candidate.id > 0 else None,
        builtin=builtin,
    )


def words_by_file(database: Database, rows: Sequence[Row]) -> dict[int, tuple[str, ...]]:
    """Trigger words of LoRAs by id; those without any are left out."""
    return words_of(database, {row.candidate.id: row.link.version_id if row.link else None for row in rows})


def _row(row: tuple[Any, ...], civitai: str) -> Row:
    link = None if row[17] is None else link_of(row[16:], civitai)
    return Row._make((Candidate._make(row[:7]), *row[7:16], link))
