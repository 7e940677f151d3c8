"""CivitAI's records as rows of the database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from zlib_ng import zlib_ng

from tensors.base_models import family_of_base_model
from tensors.db.records import HASHES, read_versions
from tensors.db.search_index import rowid_of
from tensors.db.words import as_json

if TYPE_CHECKING:
    import sqlite3

    from tensors.civitai.records import FileRecord, ModelRecord, VersionRecord
    from tensors.db.database import Database

_COMPRESSION = 1
"""A twentieth larger than with the best, in half the time."""


def _upsert(table: str, *columns: str, keys: int = 1) -> str:
    """SQL that makes a row or brings it up to date; the first columns are its key."""
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns[keys:])
    marks = ", ".join("?" * len(columns))
    insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"
    return f"{insert} ON CONFLICT ({', '.join(columns[:keys])}) DO UPDATE SET {changes}"


_CREATOR = """INSERT INTO creators (name, image) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET image = coalesce(excluded.image, image) RETURNING id"""
_MODEL = _upsert(
    "models",
    *("id", "name", "type", "creator_id", "description", "nsfw", "nsfw_level", "mode", "download_count"),
    *("thumbs_up_count", "rating", "complete", "fetched_at", "search_rowid"),
)
_DOCUMENT = _upsert("model_documents", "model_id", "document")
_VERSION = _upsert(
    "versions",
    *("id", "model_id", "position", "name", "base_model", "family", "air", "status", "availability", "usage_control"),
    *("created_at", "updated_at", "published_at", "early_access_ends_at", "description", "nsfw_level", "download_url"),
    "download_count",
)
_FILE = _upsert(
    "version_files",
    *("version_id", "id", "name", "type", "size", "format", "size_kind", "precision", "is_primary", "download_url"),
    *(*HASHES, "other_hashes"),
    keys=2,
)
_WORD = "INSERT INTO trigger_words (version_id, position, word) VALUES (?, ?, ?)"
_IMAGE = """INSERT INTO preview_images (version_id, position, url, type, width, height, nsfw_level, blurhash)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""


def write_models(database: Database, records: Iterable[ModelRecord], *, fetched_at: str) -> None:
    """Make or replace models with all that belongs to them, in the present transaction. Not the search index.

    What CivitAI does not list any more goes, unless a file is linked to it, or a part of the record could not be read.
    """
    connection = database.connection
    models = {record.id: record for record in records}
    known = _known(connection, "models", models)
    for model in models.values():
        connection.execute(_MODEL, _model_row(database, model, fetched_at))
    connection.executemany(
        _DOCUMENT,
        [(model.id, zlib_ng.compress(model.document, _COMPRESSION)) for model in models.values() if model.document],
    )
    connection.executemany("DELETE FROM model_tags WHERE model_id = ?", [(model_id,) for model_id in known])
    _write_tags(connection, {model.id: model.tags for model in models.values()})
    write_versions(connection, [(model.id, version) for model in models.values() for version in model.versions])
    for model_id in known:
        _drop_versions(connection, models[model_id])


def write_versions(connection: sqlite3.Connection, versions: Iterable[tuple[int, VersionRecord]]) -> None:
    """Make or replace versions, each with the model it is of, in the present transaction."""
    by_id = {version.id: (model_id, version) for model_id, version in versions}
    records = [version for _, version in by_id.values()]
    known = [(version_id,) for version_id in _known(connection, "versions", by_id)]
    connection.executemany("DELETE FROM trigger_words WHERE version_id = ?", known)
    connection.executemany("DELETE FROM preview_images WHERE version_id = ?", known)
    connection.executemany(_VERSION, [_version_row(model_id, version) for model_id, version in by_id.values()])
    connection.executemany(
        _WORD,
        [(version.id, *word) for version in records for word in enumerate(version.trained_words)],
    )
    connection.executemany(
        _IMAGE,
        [
            (version.id, position, image.url, image.type, image.width, image.height, image.nsfw_level, image.blurhash)
            for version in records
            for position, image in enumerate(version.images)
        ],
    )
    for (version_id,) in known:
        _drop_files(connection, by_id[version_id][1])
    connection.executemany(_FILE, [_file_row(version.id, file) for version in records for file in version.files])


def write_version(database: Database, version: VersionRecord, *, fetched_at: str) -> None:
    """Make a version or bring it up to date with one told on its own, in the present transaction."""
    connection, model_id = database.connection, version.model_id
    row = connection.execute("SELECT complete FROM models WHERE id = ?", (model_id,)).fetchone()
    complete = bool(row and row[0])
    if not complete:
        _write_part(database, version, fetched_at)
    query = "SELECT coalesce(max(position), -1) + 1 FROM versions WHERE model_id = ?"
    (place,) = connection.execute(query, (model_id,)).fetchone()
    for known in read_versions(database, [version.id]):
        version = _merged(known, version)
        place = known.position if known.model_id == model_id else place
    write_versions(connection, [(model_id, replace(version, position=place))])
    if not complete:
        # CivitAI's order is not known. The newest come first as a rule.
        connection.execute(
            """UPDATE versions SET position =
                (SELECT count(*) FROM versions AS newer WHERE newer.model_id = ?1 AND newer.id > versions.id)
            WHERE model_id = ?1""",
            (model_id,),
        )


def _write_part(database: Database, version: VersionRecord, fetched_at: str) -> None:
    """What a version says of its model."""
    database.connection.execute(
        """INSERT INTO models (id, name, type, nsfw, mode, fetched_at, search_rowid) VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET name = coalesce(nullif(excluded.name, ''), name),
            type = coalesce(excluded.type, type), nsfw = excluded.nsfw, mode = excluded.mode,
            fetched_at = excluded.fetched_at""",
        (
            *(version.model_id, version.model_name or "", version.model_type, version.model_nsfw, version.model_mode),
            *(fetched_at, rowid_of(database, version.model_id, 0)),
        ),
    )


def _merged(known: VersionRecord, told: VersionRecord) -> VersionRecord:
    """What was told now, and what was known of the rest."""
    values: dict[str, Any] = {field.name: getattr(told, field.name) for field in fields(told)}
    return replace(known, **{name: value for name, value in values.items() if value})


def _write_tags(connection: sqlite3.Connection, tags: Mapping[int, Sequence[str]]) -> None:
    names = {name for of_model in tags.values() for name in of_model}
    connection.executemany("INSERT INTO tags (name) VALUES (?) ON CONFLICT DO NOTHING", [(name,) for name in names])
    find = "SELECT id FROM tags WHERE name = ?"
    ids = {name: connection.execute(find, (name,)).fetchone()[0] for name in names}
    connection.executemany(
        "INSERT INTO model_tags (model_id, position, tag_id) VALUES (?, ?, ?)",
        [(id, place, ids[name]) for id, of_model in tags.items() for place, name in enumerate(dict.fromkeys(of_model))],
    )


def _drop_versions(connection: sqlite3.Connection, model: ModelRecord) -> None:
    """Forget versions that are not listed any more; those that stay come after those that are."""
    listed = as_json(version.id for version in model.versions)
    if not model.broken:
        connection.execute(
            """DELETE FROM versions WHERE model_id = ? AND id NOT IN (SELECT value FROM json_each(?))
                AND id NOT IN (SELECT version_id FROM links)""",
            (model.id, listed),
        )
    kept = connection.execute(
        "SELECT id FROM versions WHERE model_id = ? AND id NOT IN (SELECT value FROM json_each(?)) ORDER BY position",
        (model.id, listed),
    )
    behind = max((version.position for version in model.versions), default=-1) + 1
    places = [(behind + place, version_id) for place, (version_id,) in enumerate(kept.fetchall())]
    connection.executemany("UPDATE versions SET position = ? WHERE id = ?", places)


def _drop_files(connection: sqlite3.Connection, version: VersionRecord) -> None:
    """Forget files of a version that are not listed any more."""
    if not version.broken:
        connection.execute(
            """DELETE FROM version_files WHERE version_id = ?1 AND id NOT IN (SELECT value FROM json_each(?2))
                AND id NOT IN (SELECT coalesce(version_file_id, 0) FROM links WHERE version_id = ?1)""",
            (version.id, as_json(file.id for file in version.files)),
        )


def _known(connection: sqlite3.Connection, table: str, ids: Iterable[int]) -> list[int]:
    query = f"SELECT {table}.id FROM json_each(?) AS wanted CROSS JOIN {table} ON {table}.id = wanted.value"
    return [id for (id,) in connection.execute(query, (as_json(ids),))]


def _model_row(database: Database, model: ModelRecord, fetched_at: str) -> tuple[object, ...]:
    creator = None
    if model.creator:
        ((creator,),) = database.connection.execute(_CREATOR, (model.creator, model.creator_image)).fetchall()
    return (
        *(model.id, model.name, model.type, creator, model.description, model.nsfw, model.nsfw_level, model.mode),
        *(model.download_count, model.thumbs_up_count, model.rating, True, fetched_at),
        rowid_of(database, model.id, model.download_count),
    )


def _version_row(model_id: int, version: VersionRecord) -> tuple[object, ...]:
    family = family_of_base_model(version.base_model) if version.base_model else None
    return (
        *(version.id, model_id, version.position, version.name, version.base_model, family, version.air),
        *(version.status, version.availability, version.usage_control, version.created_at, version.updated_at),
        *(version.published_at, version.early_access_ends_at, version.description, version.nsfw_level),
        *(version.download_url, version.download_count),
    )


def _file_row(version_id: int, file: FileRecord) -> tuple[object, ...]:
    hashes = dict(file.hashes)
    matched = [hashes.pop(kind, None) for kind in HASHES]
    return (
        *(version_id, file.id, file.name, file.type, file.size, file.format, file.size_kind, file.precision),
        *(file.primary, file.download_url, *matched, json.dumps(hashes) if hashes else None),
    )
