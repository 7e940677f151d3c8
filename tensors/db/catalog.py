"""What CivitAI knows about models: kept, shown, and taken out again."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from tensors.db.details import CIVITAI, details_of_record
from tensors.db.words import as_json
from tensors.errors import NotInCatalog

if TYPE_CHECKING:
    from tensors.civitai.records import ModelRecord, VersionRecord
    from tensors.db.database import Database
    from tensors.types.catalog import ModelDetails
    from tensors.types.library import Forgotten

__all__ = [
    "CIVITAI",
    "count_files",
    "delete_model",
    "details_of_record",
    "document_of",
    "has_models",
    "load_model",
    "store_model",
    "store_models",
    "store_version",
]

_AT_ONCE = 2000
"""Models of one transaction: the disk is waited for seldom, and other writers do not wait for long."""
_LARGEST_ID = 2**63 - 1


def store_model(database: Database, record: ModelRecord, *, fetched_at: str) -> None:
    """Keep a model with all its versions, in place of what was kept of it before.

    Files stay linked: a version that CivitAI does not list any more is kept as long as a file is linked to it.
    """
    store_models(database, (record,), fetched_at=fetched_at)


def store_models(database: Database, records: Iterable[ModelRecord], *, fetched_at: str) -> int:
    """Keep many models, a few hundred in one transaction. Returns how many it was given."""
    from tensors.db.rows import write_models

    count, left = 0, iter(records)
    while batch := list(islice(left, _AT_ONCE)):
        versions = [version.id for record in batch for version in record.versions]
        with _changing(database, [record.id for record in batch], versions):
            write_models(database, batch, fetched_at=fetched_at)
        count += len(batch)
    return count


def store_version(database: Database, record: VersionRecord, *, fetched_at: str) -> None:
    """Keep a version that was told on its own. A model that is not known is made of what the version says about it.

    What was known and is not said now stays: such answers are shorter than those about models.
    """
    from tensors.db.rows import write_version

    with _changing(database, [record.model_id], [record.id]):
        write_version(database, record, fetched_at=fetched_at)


def load_model(database: Database, model_id: int, *, site: str = CIVITAI) -> ModelDetails:
    """A kept model with its versions. Raises `NotInCatalog`."""
    from tensors.db.records import read_model

    complete, fetched_at = _of_model(database, model_id, "complete, fetched_at")
    here: dict[int, list[str]] = {}
    for version_id, name in database.connection.execute(
        """SELECT version_id, stem FROM versions JOIN links ON version_id = versions.id JOIN files ON files.id = file_id
        WHERE model_id = ? AND missing_since IS NULL ORDER BY stem, files.id""",
        (model_id,),
    ):
        here.setdefault(version_id, []).append(name)
    record = read_model(database, model_id)
    return details_of_record(record, here, complete=bool(complete), fetched=fetched_at, site=site)


def document_of(database: Database, model_id: int) -> bytes:
    """A model's record as it came from CivitAI, as JSON. Raises `NotInCatalog`, also when only a version is kept."""
    _of_model(database, model_id, "id")
    query = "SELECT document FROM model_documents WHERE model_id = ?"
    row = database.connection.execute(query, (model_id,)).fetchone()
    if row is None:
        raise NotInCatalog(f"of model {model_id} only one of its versions is kept", hint=f"tsr db cache {model_id}")
    return zlib.decompress(row[0])


def has_models(database: Database, ids: Iterable[int]) -> set[int]:
    """Those of the models that are kept as a whole."""
    query = "SELECT models.id FROM json_each(?) AS wanted CROSS JOIN models ON models.id = wanted.value WHERE complete"
    return set(_column(database, query, as_json(ids)))


def count_files(database: Database, model_ids: Iterable[int]) -> dict[int, int]:
    """How many files that are there belong to each of these models; those with none are left out."""
    query = """SELECT model_id, count(*) FROM json_each(?) AS wanted
        CROSS JOIN versions ON model_id = wanted.value CROSS JOIN links ON version_id = versions.id
        CROSS JOIN files ON files.id = file_id WHERE missing_since IS NULL GROUP BY model_id"""
    return dict(database.connection.execute(query, (as_json(set(model_ids)),)).fetchall())


def delete_model(database: Database, model_id: int) -> Forgotten:
    """Take a model out, with its versions and the links to them; files stay. Raises `NotInCatalog`."""
    from tensors.db.settle import settle
    from tensors.types.library import Forgotten

    with database.atomic():
        (name,) = _of_model(database, model_id, "name")
        files = _linked_files(database, [model_id])
        with _changing(database, [model_id], []):
            database.connection.execute("DELETE FROM models WHERE id = ?", (model_id,))
        settle(database, files)
    return Forgotten(id=model_id, name=name)


@contextmanager
def _changing(database: Database, model_ids: Collection[int], version_ids: Iterable[int]) -> Iterator[None]:
    """A transaction that changes these models and versions, after which search and the linked files agree with them."""
    from tensors.db.search_index import entries_of, update
    from tensors.db.settle import settle

    with database.atomic():
        # A version can have been another model's.
        owners = "SELECT model_id FROM json_each(?) AS wanted CROSS JOIN versions ON versions.id = wanted.value"
        touched = {*model_ids, *_column(database, owners, as_json(version_ids))}
        before = entries_of(database, touched)
        yield
        update(database, before, entries_of(database, touched))
        if before:
            settle(database, _linked_files(database, touched))


def _linked_files(database: Database, model_ids: Collection[int]) -> list[int]:
    query = """SELECT file_id FROM json_each(?) AS wanted
        CROSS JOIN versions ON model_id = wanted.value CROSS JOIN links ON version_id = versions.id"""
    return _column(database, query, as_json(model_ids))


def _of_model(database: Database, model_id: int, columns: str) -> tuple[Any, ...]:
    row = None
    if 0 < model_id <= _LARGEST_ID:
        row = database.connection.execute(f"SELECT {columns} FROM models WHERE id = ?", (model_id,)).fetchone()
    if row is None:
        raise NotInCatalog(f"model {model_id} is not kept here", hint=f"fetch it from CivitAI: tsr db cache {model_id}")
    found: tuple[Any, ...] = row
    return found


def _column(database: Database, query: str, *parameters: object) -> list[int]:
    return [value for (value,) in database.connection.execute(query, parameters)]
