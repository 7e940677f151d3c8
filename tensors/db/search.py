"""Finds kept models by words, within a millisecond among a hundred thousand.

First come those whose names, creators, tags and trigger words have all the words asked for: as a part of a word (`real`
finds `photorealistic`), or as its beginning, if of two letters, or all of it, if of one. Then those that have them as
whole words also elsewhere: in descriptions and in names of versions. Both in the order of downloads.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tensors.db.details import CIVITAI
from tensors.db.terms import asked_terms, words
from tensors.db.words import as_json
from tensors.errors import InvalidRequest
from tensors.types.base import Page
from tensors.types.catalog import Model

if TYPE_CHECKING:
    from tensors.db.database import Database

_MOST_LETTERS, _MOST_WORDS = 1000, 50
_ALL, _NAMES, _TEXTS = "a", "n", "t"
"""What a page goes through: all models, or those found by names, and then those found by texts."""
_CURSOR = re.compile(f"([{_ALL}{_NAMES}{_TEXTS}])(0|[1-9][0-9]{{0,18}})", re.ASCII)
"""Where a page ended: the stage, and the last row."""
_BEGINNING = -1
_LARGEST = 2**63 - 1

_ROWS = {
    _ALL: "SELECT search_rowid FROM models WHERE search_rowid > :after {conditions} ORDER BY search_rowid LIMIT :count",
    _NAMES: """SELECT name_search.rowid FROM name_search {models}
        WHERE name_search MATCH :names AND name_search.rowid > :after {conditions}
        ORDER BY name_search.rowid LIMIT :count""",
    # Those that were found by names have been shown.
    _TEXTS: """SELECT text_search.rowid FROM text_search
        CROSS JOIN name_search AS named ON named.rowid = text_search.rowid {models}
        WHERE text_search MATCH :texts AND text_search.rowid > :after {conditions}
        AND EXISTS (SELECT 1 FROM json_each(:parts) AS part WHERE instr(named.names, part.value) = 0)
        ORDER BY text_search.rowid LIMIT :count""",
}
_ROWID = {_ALL: "search_rowid", _NAMES: "+name_search.rowid", _TEXTS: "+text_search.rowid"}
"""The plus keeps SQLite from searching for each wanted row: it looks up each found one among them."""
_JOINED = {
    _ALL: "",
    _NAMES: "CROSS JOIN models ON models.search_rowid = name_search.rowid",
    _TEXTS: "CROSS JOIN models ON models.search_rowid = text_search.rowid",
}


_TESTS = {
    "type": "+models.type = :type COLLATE NOCASE",
    "base_model": """EXISTS (SELECT 1 FROM versions
        WHERE versions.model_id = models.id AND versions.base_model = :base_model COLLATE NOCASE)""",
    "tag": """EXISTS (SELECT 1 FROM model_tags
        WHERE model_id = models.id AND tag_id IN (SELECT id FROM tags WHERE name = :tag COLLATE NOCASE))""",
    "creator": "+models.creator_id IN (SELECT id FROM creators WHERE name = :creator COLLATE NOCASE)",
}
"""Whether a model passes a filter. With a plus, models stay in their order: no index takes them out of it."""
_PASSING = {
    "type": "SELECT id FROM models WHERE type = :type COLLATE NOCASE",
    "base_model": "SELECT model_id FROM versions WHERE base_model = :base_model COLLATE NOCASE",
    "tag": """SELECT model_id FROM tags CROSS JOIN model_tags ON tag_id = tags.id
        WHERE tags.name = :tag COLLATE NOCASE""",
    "creator": """SELECT models.id FROM creators CROSS JOIN models ON creator_id = creators.id
        WHERE creators.name = :creator COLLATE NOCASE""",
}
"""All models that pass a filter."""
_FEW = 1000
"""So many models are looked up at once; of more, each one found is tested."""
_MODELS = """SELECT models.id, models.name, models.type, creators.name, download_count, nsfw,
        (SELECT count(*) FROM versions JOIN links ON version_id = versions.id JOIN files ON files.id = file_id
            WHERE model_id = models.id AND missing_since IS NULL)
    FROM json_each(?) AS wanted CROSS JOIN models ON search_rowid = wanted.value
    LEFT JOIN creators ON creators.id = creator_id ORDER BY wanted.key"""
_TAGS = """SELECT model_id, tags.name FROM json_each(?) AS wanted
    CROSS JOIN model_tags ON model_id = wanted.value CROSS JOIN tags ON tags.id = tag_id ORDER BY model_id, position"""
_VERSIONS = """SELECT model_id, base_model FROM json_each(?) AS wanted
    CROSS JOIN versions ON model_id = wanted.value ORDER BY model_id, position, versions.id"""


def search_models(
    database: Database,
    query: str | None,
    *,
    type: str | None = None,
    base_model: str | None = None,
    tag: str | None = None,
    creator: str | None = None,
    limit: int = 20,
    cursor: str | None = None,
    site: str = CIVITAI,
) -> Page[Model]:
    """See `tensors.service.Db.models`. Case, accents and punctuation do not count, and nothing is an operator.

    Raises `InvalidRequest` for a limit outside 1..500, a foreign cursor, or a query of more than 50 words.
    """
    if not 1 <= limit <= 500:
        raise InvalidRequest(f"limit must be between 1 and 500, not {limit}")
    filters = {"type": type, "base_model": base_model, "tag": tag, "creator": creator}
    asked = {name: value for name, value in filters.items() if value is not None}
    stages, parameters = _question(query)
    left, after = _position(cursor, stages)
    if not all(map(_is_text, asked.values())):
        return Page(items=())
    conditions = _conditions(database, asked)
    found = list[tuple[str, int]]()
    for stage in left:
        parameters |= {**asked, "after": after, "count": limit + 1 - len(found)}
        rows = database.connection.execute(_sql(stage, conditions), parameters)
        found += [(stage, rowid) for (rowid,) in rows]
        after = _BEGINNING
    following = "{}{}".format(*found[limit - 1]) if len(found) > limit else None
    return Page(items=_models(database, [rowid for _, rowid in found[:limit]], site), next_cursor=following)


def _question(query: str | None) -> tuple[str, dict[str, object]]:
    """The stages to go through for a query, and what they are asked."""
    if query is None or not query.strip():
        return _ALL, {}
    asked = words(query[: _MOST_LETTERS + 1])
    if len(query) > _MOST_LETTERS or len(asked) > _MOST_WORDS:
        raise InvalidRequest(f"a query can have {_MOST_WORDS} words and {_MOST_LETTERS} letters at the most")
    parts = [_part(word) for word in asked]
    return (_NAMES + _TEXTS) if asked else "", {
        "names": _match(parts),
        "texts": _match([term for word in asked for term in asked_terms(word)]),
        "parts": json.dumps(parts),
    }


def _part(word: str) -> str:
    """What stands in the names of a model that a word finds. Three letters are the least the index knows."""
    return word if len(word) > 2 else f" {word}" if len(word) == 2 else f" {word} "


def _match(terms: Sequence[str]) -> str:
    """FTS5's expression for all of these. They have no quotes: those are no letters."""
    return " ".join(f'"{term}"' for term in terms)


def _position(cursor: str | None, stages: str) -> tuple[str, int]:
    """The stages that are left, and the row of the first of them after which to go on."""
    if cursor is None:
        return stages, _BEGINNING
    parsed = _CURSOR.fullmatch(cursor)
    if parsed is None or parsed[1] not in stages or int(parsed[2]) > _LARGEST:
        raise InvalidRequest(f"{cursor!r:.60} is not a cursor of this list")
    return stages[stages.index(parsed[1]) :], int(parsed[2])


def _is_text(value: str) -> bool:
    """Whether a value can be stored: what cannot is in no record."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _conditions(database: Database, asked: Mapping[str, str]) -> list[str]:
    """SQL for the filters, each in the way that is fast for as many models as pass it."""
    found = []
    for name in asked:
        query = f"SELECT count(*) FROM ({_PASSING[name]} LIMIT {_FEW + 1})"
        (count,) = database.connection.execute(query, asked).fetchone()
        few = f"{{rowid}} IN (SELECT search_rowid FROM models WHERE id IN ({_PASSING[name]}))"
        found.append(few if count <= _FEW else _TESTS[name])
    return found


def _sql(stage: str, conditions: Sequence[str]) -> str:
    joined = "".join(f" AND {condition}" for condition in conditions).format(rowid=_ROWID[stage])
    return _ROWS[stage].format(conditions=joined, models=_JOINED[stage] if conditions else "")


def _models(database: Database, rowids: Sequence[int], site: str) -> tuple[Model, ...]:
    rows = database.connection.execute(_MODELS, (as_json(rowids),)).fetchall()
    wanted = (as_json(row[0] for row in rows),)
    tags = _by_model(database.connection.execute(_TAGS, wanted))
    base_models = _by_model(database.connection.execute(_VERSIONS, wanted))
    return tuple(
        Model(
            id=id,
            name=name,
            type=type,
            creator=creator,
            tags=tuple(tags.get(id, ())),
            base_models=tuple(dict.fromkeys(filter(None, base_models.get(id, ())))),
            versions=len(base_models.get(id, ())),
            downloads=downloads,
            nsfw=bool(nsfw),
            url=f"{site}/models/{id}",
            here=here,
        )
        for id, name, type, creator, downloads, nsfw, here in rows
    )


def _by_model(rows: Iterable[tuple[int, str]]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for model_id, value in rows:
        found.setdefault(model_id, []).append(value)
    return found
