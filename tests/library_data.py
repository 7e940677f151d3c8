"""Fills a library's database for tests: files, hashes, models, links. Plain rows, past everything that makes them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tensors.db.database import Database

WHEN = "2026-01-02T03:04:05.000Z"


def sha256_of(text: str) -> str:
    """A hash that no two tests share by chance."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class VersionData:
    """A version of a model as CivitAI tells it."""

    id: int
    name: str = "v1"
    base_model: str | None = "SDXL 1.0"
    family: str | None = "sdxl"
    published_at: str | None = None
    created_at: str | None = None
    status: str | None = None
    availability: str | None = None
    usage_control: str | None = None
    early_access_ends_at: str | None = None
    words: Sequence[str] = ()
    file_types: Sequence[str | None] = ("Model",)
    """One file each; their numbers are the version's times 100, counted up."""


def add_file(
    database: Database,
    path: str,
    *,
    size: int = 1000,
    mtime_ns: int = 1_700_000_000_123_456_789,
    inode: int | None = None,
    missing: bool = False,
    problem: str | None = None,
    kind: str = "unknown",
    kind_from: str | None = None,
    family: str = "unknown",
    family_from: str | None = None,
    hashes: Mapping[str, str] | None = None,
    **columns: object,
) -> int:
    """A file; kind and family are what was found in it. Unless told, it has an inode number that no other has."""
    folder, name = os.path.split(path)
    row = {
        "directory": folder,
        "name": name,
        "size": size,
        "mtime_ns": mtime_ns,
        "inode": inode if inode is not None else _next(database, "files") + 1_000_000,
        "added_at": WHEN,
        "missing_since": WHEN if missing else None,
        "problem": problem,
        "kind": kind,
        "kind_from": kind_from,
        "family": family,
        "family_from": family_from,
        "found_kind": kind,
        "found_kind_from": kind_from,
        "found_family": family,
        "found_family_from": family_from,
        **columns,
    }
    file_id = _insert(database, "files", row)
    for hash_kind, value in (hashes or {}).items():
        _insert(database, "file_hashes", {"file_id": file_id, "kind": hash_kind, "value": value})
    return file_id


def add_tags(database: Database, file_id: int, tags: Iterable[tuple[str, int]]) -> None:
    """What a file was trained on, in this order."""
    for position, (tag, count) in enumerate(tags):
        _insert(database, "file_tags", {"file_id": file_id, "position": position, "tag": tag, "count": count})


def add_sidecar(
    database: Database, file_id: int, name: str, *, words: Sequence[str] | None = None, **columns: object
) -> None:
    """What another tool wrote beside a file."""
    row = {"file_id": file_id, "name": name, "tool": "a1111", "size": 10, "mtime_ns": 1}
    _insert(database, "sidecars", {**row, "words": None if words is None else json.dumps(words), **columns})


def add_model(
    database: Database,
    model_id: int,
    *versions: VersionData,
    name: str | None = None,
    type: str | None = "LORA",
    creator: str | None = None,
    complete: bool = True,
    **columns: object,
) -> int:
    """A cached model; its versions in CivitAI's order."""
    row = {
        "id": model_id,
        "name": name or f"Model {model_id}",
        "type": type,
        "creator_id": _creator(database, creator) if creator else None,
        "complete": int(complete),
        "fetched_at": WHEN,
        "search_rowid": model_id,
    }
    _insert(database, "models", {**row, **columns})
    for position, version in enumerate(versions):
        _add_version(database, model_id, position, version)
    return model_id


def link(
    database: Database,
    file_id: int,
    version_id: int,
    *,
    matched_by: str = "sha256",
    version_file_id: int | None = None,
) -> None:
    """Say which version a file is."""
    row = {"file_id": file_id, "version_id": version_id, "version_file_id": version_file_id}
    _insert(database, "links", {**row, "matched_by": matched_by, "linked_at": WHEN})


def add_not_found(database: Database, sha256: str) -> None:
    """A hash that CivitAI did not know."""
    _insert(database, "not_found", {"sha256": sha256, "asked_at": WHEN})


def _add_version(database: Database, model_id: int, position: int, version: VersionData) -> None:
    row = {
        field: getattr(version, field) for field in version.__dataclass_fields__ if field not in ("words", "file_types")
    }
    _insert(database, "versions", {**row, "model_id": model_id, "position": position})
    for place, word in enumerate(version.words):
        _insert(database, "trigger_words", {"version_id": version.id, "position": place, "word": word})
    for place, type_ in enumerate(version.file_types):
        file_id = version.id * 100 + place
        file = {"id": file_id, "version_id": version.id, "name": f"{file_id}.safetensors", "type": type_}
        _insert(database, "version_files", file)


def _creator(database: Database, name: str) -> int:
    database.connection.execute("INSERT OR IGNORE INTO creators (name) VALUES (?)", (name,))
    (found,) = database.connection.execute("SELECT id FROM creators WHERE name = ?", (name,)).fetchone()
    return int(found)


def _next(database: Database, table: str) -> int:
    (largest,) = database.connection.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()
    return int(largest) + 1


def _insert(database: Database, table: str, row: Mapping[str, object]) -> int:
    names = ", ".join(row)
    places = ", ".join("?" * len(row))
    inserted = database.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", tuple(row.values()))
    return int(inserted.lastrowid or 0)
