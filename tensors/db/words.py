"""Trigger words: what calls up in a prompt what a file was trained for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from tensors.errors import FileNotInLibrary

if TYPE_CHECKING:
    import sqlite3

    from tensors.db.database import Database
    from tensors.types.files import Triggers

_MOST_TAGS = 10
_OFTEN = 0.3
"""Of how often the most frequent training tag was used. That one is on about all pictures as a rule: it is how a LoRA
is taught its word. What is on fewer than three in ten of them describes single pictures. How many pictures there were
the header does not say: it counts repeats."""


def triggers_of(database: Database, file_id: int) -> Triggers:
    """The trigger words of a file: those CivitAI has, else those in other tools' notes, else its main training tags.

    Raises `FileNotInLibrary`.
    """
    from tensors.types.files import Triggers

    row = database.connection.execute(
        "SELECT stem, kind, version_id FROM files LEFT JOIN links ON links.file_id = files.id WHERE id = ?", (file_id,)
    ).fetchone()
    if row is None:
        raise FileNotInLibrary(f"file {file_id} is not in the library", hint="tsr db scan")
    name, kind, version_id = row
    words, source = _words(database, file_id, version_id)
    return Triggers(file=name, lora=f"<lora:{name}:1>" if kind == "lora" else None, words=words, source=source)


def words_of(database: Database, versions: Mapping[int, int | None]) -> dict[int, tuple[str, ...]]:
    """Words of many files, from CivitAI or other tools' notes. `versions`: the linked one of each file, if any."""
    linked = {version for version in versions.values() if version is not None}
    by_version = _trained(database, linked)
    found = {file: by_version[version] for file, version in versions.items() if version in by_version}
    return found | _noted(database, [file for file in versions if file not in found])


def as_json(numbers: Iterable[int]) -> str:
    """Numbers as one parameter, for SQLite's `json_each`."""
    return f"[{','.join(map(str, numbers))}]"


def _words(database: Database, file_id: int, version_id: int | None) -> tuple[tuple[str, ...], str | None]:
    if version_id is not None and (trained := _trained(database, [version_id])):
        return trained[version_id], "civitai"
    if noted := _noted(database, [file_id]):
        return noted[file_id], "sidecar"
    if tags := _training_tags(database, file_id):
        return tags, "training"
    return (), None


def _trained(database: Database, version_ids: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """Words by version; versions without any are left out."""
    rows = database.connection.execute(
        """SELECT version_id, word FROM trigger_words WHERE version_id IN (SELECT value FROM json_each(?))
        ORDER BY version_id, position""",
        (as_json(version_ids),),
    )
    return _grouped(rows)


def _noted(database: Database, file_ids: Iterable[int]) -> dict[int, tuple[str, ...]]:
    """Words by file; files without any are left out."""
    rows = database.connection.execute(
        """SELECT sidecars.file_id, noted.value FROM sidecars, json_each(sidecars.words) AS noted
        WHERE sidecars.file_id IN (SELECT value FROM json_each(?)) AND noted.type = 'text'
        ORDER BY sidecars.file_id, sidecars.name, noted.key""",
        (as_json(file_ids),),
    )
    return _grouped(rows)


def _training_tags(database: Database, file_id: int) -> tuple[str, ...]:
    rows = database.connection.execute(
        "SELECT tag, count FROM file_tags WHERE file_id = ? ORDER BY count DESC, position LIMIT ?",
        (file_id, _MOST_TAGS),
    ).fetchall()
    return _clean(tag for tag, count in rows if count >= _OFTEN * rows[0][1])


def _grouped(rows: sqlite3.Cursor) -> dict[int, tuple[str, ...]]:
    texts: dict[int, list[str]] = {}
    for key, text in rows:
        texts.setdefault(key, []).append(text)
    cleaned = {key: _clean(found) for key, found in texts.items()}
    return {key: words for key, words in cleaned.items() if words}


def _clean(texts: Iterable[str]) -> tuple[str, ...]:
    """Each word once. Some people write all of them into one text, with commas."""
    words = dict.fromkeys([part.strip() for text in texts for part in text.split(",")])
    words.pop("", None)
    return tuple(words)
