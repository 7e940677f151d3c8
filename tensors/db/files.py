"""Model files as the library knows them: listed, and one with all that is known of it."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from tensors.clock import from_epoch_ms
from tensors.db.edits import check_kind, edit_file, forget_file, link_file
from tensors.db.names import find_file
from tensors.db.words import triggers_of, words_of
from tensors.errors import FileNotInLibrary, InvalidRequest
from tensors.types.base import Page
from tensors.types.file import File, Link

if TYPE_CHECKING:
    from tensors.db.database import Database
    from tensors.types.files import FileDetails, Hash, Sidecar

__all__ = ["edit_file", "find_file", "forget_file", "link_file", "list_files", "load_file", "triggers_of"]

CIVITAI = "https://civitai.com"
_SHOWN_TAGS = 50
"""Training tags that are told with a file: the most frequent."""

_Row = tuple[Any, ...]

_COLUMNS = """id, directory, name, stem, size, mtime_ns, missing_since, problem, format, parameters, precision, kind,
    kind_from, family, family_from, variant, adapter, sha256, autov3, matched_by, version_id, version, base_model,
    model_id, model, type, nsfw, creator"""
_STATES = {
    "present": "missing_since IS NULL AND problem IS NULL",
    "missing": "missing_since IS NOT NULL",
    "broken": "missing_since IS NULL AND problem IS NOT NULL",
    "linked": "version_id IS NOT NULL",
    "unlinked": "version_id IS NULL",
}
_LONGEST_QUERY = 500


def list_files(
    database: Database,
    *,
    query: str | None = None,
    kind: str | None = None,
    family: str | None = None,
    state: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
    civitai: str = CIVITAI,
) -> Page[File]:
    """Files in the order of their names, whatever the case of ASCII letters. `civitai` begins the URLs of links.

    `query`: words, each of which is in the name of the file, its model or its version. See `tensors.service.Db.files`.
    """
    if not 1 <= limit <= 500:
        raise InvalidRequest(f"limit must be between 1 and 500, not {limit}")
    conditions, parameters = _conditions(query, kind, family, state)
    if cursor is not None:
        conditions.append("(stem, id) > (?, ?)")
        parameters += _place(database, cursor)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = database.connection.execute(
        f"SELECT {_COLUMNS} FROM library {where} ORDER BY stem, id LIMIT ?", (*parameters, limit + 1)
    ).fetchall()
    shown = rows[:limit]
    words = words_of(database, {row[0]: row[20] for row in shown})
    items = tuple([_file(row, words.get(row[0], ()), civitai) for row in shown])
    return Page(items=items, next_cursor=str(items[-1].id) if len(rows) > limit else None)


def load_file(database: Database, file_id: int, *, civitai: str = CIVITAI) -> FileDetails:
    """All that is known about a file. Raises `FileNotInLibrary`."""
    from tensors.types.files import FileDetails, Tag

    execute = database.connection.execute
    row = execute(f"SELECT {_COLUMNS} FROM library WHERE id = ?", (file_id,)).fetchone()
    if row is None:
        raise FileNotInLibrary(f"file {file_id} is not in the library", hint="tsr db list")
    file = _file(row, words_of(database, {file_id: row[20]}).get(file_id, ()), civitai)
    tags = execute(
        "SELECT tag, count FROM file_tags WHERE file_id = ? ORDER BY count DESC, position LIMIT ?",
        (file_id, _SHOWN_TAGS),
    )
    return FileDetails(
        **{field.name: getattr(file, field.name) for field in fields(File)},
        hashes=_hashes(database, file_id),
        metadata=dict(execute("SELECT key, value FROM file_metadata WHERE file_id = ? ORDER BY key", (file_id,))),
        training_tags=tuple(Tag(tag=tag, count=count) for tag, count in tags),
        sidecars=_sidecars(database, file_id),
        description=_one(database, "SELECT description FROM models WHERE id = ?", file.link and file.link.model_id),
        asked=_one(database, "SELECT asked_at FROM not_found WHERE sha256 = ?", file.sha256),
    )


def _conditions(
    query: str | None, kind: str | None, family: str | None, state: str | None
) -> tuple[list[str], list[object]]:
    conditions: list[str] = []
    parameters: list[object] = []
    if query is not None and len(query) > _LONGEST_QUERY:
        raise InvalidRequest(f"query is too long: {len(query):,} and at most {_LONGEST_QUERY} allowed")
    for word in (query or "").split():
        conditions.append(r"(name LIKE ? ESCAPE '\' OR model LIKE ? ESCAPE '\' OR version LIKE ? ESCAPE '\')")
        parameters += [containing(word)] * 3
    if kind is not None:
        check_kind(kind, "unknown")
        conditions.append("kind = ?")
        parameters.append(kind)
    if family is not None:
        conditions.append("family = ?")
        parameters.append(family)
    if state is not None:
        if state not in _STATES:
            raise InvalidRequest(f"unknown state {state!r}", hint=f"states: {', '.join(_STATES)}")
        conditions.append(_STATES[state])
    return conditions, parameters


def containing(word: str) -> str:
    """A pattern of LIKE (escape: backslash) for what contains the word, whose own signs mean nothing special."""
    for sign in "\\%_":
        word = word.replace(sign, f"\\{sign}")
    return f"%{word}%"


def _place(database: Database, cursor: str) -> tuple[str, int]:
    """Where in the order of names a list goes on. Raises `InvalidRequest`."""
    row = None
    if cursor.isascii() and cursor.isdigit() and len(cursor) < 19:
        row = database.connection.execute("SELECT stem, id FROM files WHERE id = ?", (int(cursor),)).fetchone()
    if row is None:
        raise InvalidRequest(f"{cursor!r} is not a cursor of this list", hint="list from the beginning again")
    return row[0], row[1]


def _file(row: _Row, words: tuple[str, ...], civitai: str) -> File:
    # Called for each row of a list. Unpacking is what is fastest.
    (file_id, directory, name, stem, size, mtime_ns, missing_since, problem, format_, parameters, precision, *_) = row
    (kind, kind_from, family, family_from, variant, adapter, sha256, autov3) = row[11:19]
    return File(
        id=file_id,
        path=f"{directory}{name}" if directory[-1:] == "/" else f"{directory}/{name}",
        name=stem,
        size=size,
        modified=from_epoch_ms(mtime_ns // 1_000_000),
        state="missing" if missing_since else "broken" if problem else "present",
        kind=kind,
        family=family,
        kind_from=kind_from,
        family_from=family_from,
        variant=variant,
        adapter=adapter,
        format=format_,
        precision=precision,
        parameters=parameters,
        sha256=sha256,
        autov3=autov3,
        problem=problem,
        link=None if row[20] is None else link_of(row[19:], civitai),
        words=words,
    )


def link_of(row: _Row, civitai: str) -> Link:
    """The last columns of a row of `library`, from `matched_by` on."""
    (matched_by, version_id, version, base_model, model_id, model, type_, nsfw, creator) = row
    return Link(
        model_id=model_id,
        version_id=version_id,
        model=model,
        version=version,
        type=type_,
        base_model=base_model,
        creator=creator,
        nsfw=bool(nsfw),
        matched_by=matched_by,
        url=f"{civitai}/models/{model_id}?modelVersionId={version_id}",
    )


def _hashes(database: Database, file_id: int) -> tuple[Hash, ...]:
    from tensors.types.files import Hash

    order = ("sha256", "autov2", "autov3", "blake3", "crc32")
    rows = database.connection.execute("SELECT kind, value FROM file_hashes WHERE file_id = ?", (file_id,))
    found = dict(rows)
    return tuple(Hash(kind=kind, value=found[kind]) for kind in order if kind in found)


def _sidecars(database: Database, file_id: int) -> tuple[Sidecar, ...]:
    from tensors.types.files import Sidecar

    rows = database.connection.execute(
        "SELECT name, tool, model_id, version_id, notes, problem FROM sidecars WHERE file_id = ? ORDER BY name",
        (file_id,),
    )
    return tuple(
        Sidecar(name=name, tool=tool, model_id=model_id, version_id=version_id, notes=notes, problem=problem)
        for name, tool, model_id, version_id, notes, problem in rows
    )


def _one(database: Database, query: str, key: object) -> str | None:
    """The one value of a row that may not be there."""
    row = database.connection.execute(query, (key,)).fetchone()
    return row[0] if row else None
