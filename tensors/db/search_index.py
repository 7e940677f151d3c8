"""What models are found by: two full-text tables beside `models`, under its `search_rowid`.

`name_search` has names, creators, tags and trigger words, of which any three letters in a row are found; `text_search`
has these and the descriptions, by whole words. Rows are in the order of their numbers, and numbers in the order of
popularity, so the most popular results are simply the first ones: nothing is sorted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from tensors.db.terms import name_terms, text_terms
from tensors.db.words import as_json

if TYPE_CHECKING:
    from tensors.db.database import Database

_MOST_DOWNLOADS = 2**31 - 1
_SMALL = 2**31
_BATCH = 1000


class Entry(NamedTuple):
    """What the tables say of a model."""

    rowid: int
    names: str
    """Terms between spaces, also before the first and after the last."""
    text: str


@dataclass(slots=True)
class _Texts:
    rowid: int
    names: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def entry(self) -> Entry:
        names = name_terms(self.names)
        text = dict.fromkeys([*names, *text_terms(self.texts)])
        return Entry(self.rowid, f" {' '.join(names)} ", " ".join(text))


_MODELS = """SELECT models.id, search_rowid, models.name, creators.name, description
    FROM json_each(?) AS wanted CROSS JOIN models ON models.id = wanted.value
    LEFT JOIN creators ON creators.id = models.creator_id"""
_TAGS = """SELECT model_id, tags.name FROM json_each(?) AS wanted
    CROSS JOIN model_tags ON model_id = wanted.value CROSS JOIN tags ON tags.id = tag_id"""
_VERSIONS = """SELECT model_id, name, description FROM json_each(?) AS wanted
    CROSS JOIN versions ON model_id = wanted.value"""
_WORDS = """SELECT model_id, word FROM json_each(?) AS wanted
    CROSS JOIN versions ON model_id = wanted.value CROSS JOIN trigger_words ON version_id = versions.id"""


def rowid_of(database: Database, model_id: int, downloads: int) -> int:
    """The place of a model among all: the more downloads the earlier, and of equal ones the older."""
    rowid = (_MOST_DOWNLOADS - min(downloads, _MOST_DOWNLOADS)) << 32
    if model_id < _SMALL:
        return rowid | model_id
    # No real model has such a number. They share places behind the others.
    rowid |= _SMALL + model_id % (_SMALL // 2)
    taken = "SELECT 1 FROM models WHERE search_rowid = ? AND id <> ?"
    while database.connection.execute(taken, (rowid, model_id)).fetchone():
        rowid += 1
    return rowid


def entries_of(database: Database, model_ids: Iterable[int]) -> dict[int, Entry]:
    """What the tables have to say of these models, as they are stored now; others are left out."""
    wanted = (as_json(model_ids),)
    found: dict[int, _Texts] = {}
    for model_id, rowid, name, creator, description in database.connection.execute(_MODELS, wanted):
        found[model_id] = _Texts(rowid, [name, creator or ""], [description or ""])
    for query in (_TAGS, _WORDS):
        for model_id, name in database.connection.execute(query, wanted):
            found[model_id].names.append(name)
    for model_id, name, description in database.connection.execute(_VERSIONS, wanted):
        found[model_id].texts += (name, description or "")
    return {model_id: texts.entry() for model_id, texts in found.items()}


def update(database: Database, before: Mapping[int, Entry], after: Mapping[int, Entry]) -> None:
    """Bring the tables from what `entries_of` said before a change to what it says after it, in one transaction."""
    same = before.items() & after.items()
    old = sorted(entry for model_id, entry in before.items() if (model_id, entry) not in same)
    # In the order of their numbers: a number below the last one makes FTS5 write out what it holds in memory.
    new = sorted(entry for model_id, entry in after.items() if (model_id, entry) not in same)
    many = database.connection.executemany
    many("DELETE FROM name_search WHERE rowid = ?", [(entry.rowid,) for entry in old])
    # This table does not keep what it was told: it has to be told again what to forget.
    many(
        "INSERT INTO text_search (text_search, rowid, text) VALUES ('delete', ?, ?)",
        [(entry.rowid, entry.text) for entry in old],
    )
    many("INSERT INTO name_search (rowid, names) VALUES (?, ?)", [(entry.rowid, entry.names) for entry in new])
    many("INSERT INTO text_search (rowid, text) VALUES (?, ?)", [(entry.rowid, entry.text) for entry in new])


def compact(database: Database) -> None:
    """Merge the pieces that many transactions have left: a search then takes half the time, and 95 of 100 a third."""
    with database.atomic():
        for table in ("name_search", "text_search"):
            database.connection.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")


def is_sound(database: Database) -> bool:
    """Whether the tables are whole and say of each model what they should."""
    execute = database.connection.execute
    try:
        for table in ("name_search", "text_search"):
            execute(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")
        # As it was at one moment: others may write meanwhile.
        execute("BEGIN")
        try:
            return _fits(database)
        finally:
            execute("COMMIT")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        return False


def rebuild(database: Database) -> None:
    """Make the tables anew from what is stored, whatever they are like now."""
    with database.atomic():
        for table in ("name_search", "text_search"):
            (made,) = database.connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
            database.connection.execute(f"DROP TABLE {table}")
            database.connection.execute(made)
        for batch in _batches(database):
            update(database, {}, entries_of(database, batch))


def _fits(database: Database) -> bool:
    models = _rowids(database, "models", "search_rowid")
    if any(_rowids(database, table) != models for table in ("name_search", "text_search")):
        return False
    query = "SELECT rowid, names FROM name_search WHERE rowid IN (SELECT value FROM json_each(?))"
    for batch in _batches(database):
        expected = {(entry.rowid, entry.names) for entry in entries_of(database, batch).values()}
        found = database.connection.execute(query, (as_json(rowid for rowid, _ in expected),))
        if set(found) != expected:
            return False
    return True


def _rowids(database: Database, table: str, column: str = "rowid") -> list[int]:
    return [rowid for (rowid,) in database.connection.execute(f"SELECT {column} FROM {table} ORDER BY 1")]


def _batches(database: Database) -> Iterator[list[int]]:
    after = 0
    query = "SELECT id FROM models WHERE id > ? ORDER BY id LIMIT ?"
    while batch := [model_id for (model_id,) in database.connection.execute(query, (after, _BATCH))]:
        yield batch
        after = batch[-1]
