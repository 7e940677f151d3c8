"""The index of a gallery: what is known of its pictures, in the order of their names, for lists and searches."""

from __future__ import annotations

import sqlite3
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import msgspec

from tensors.db.terms import text_terms
from tensors.pictures.folder import Entry, placed
from tensors.pictures.names import moment_of
from tensors.types.gallery import Image

SLOTS = 1 << 20
"""Places of one moment: ranks of a moment m are from `m * SLOTS` to before `(m + 1) * SLOTS`."""
_STEP = 1024
"""Left free between a moment's last picture and the next one: the pictures of a batch come one after the other."""
_FILES = "SELECT id, extension, bytes, arrived, stamp, record FROM files"


class Row(NamedTuple):
    """What cleaning up needs to know of a picture."""

    id: str
    bytes: int
    arrived: int
    favourite: bool


def key_of(text: str) -> str:
    """A name or a tag as it is compared: without regard to case."""
    return text.casefold()


def signed(number: int) -> int:
    """A number as SQLite can keep it: seeds of other programs have 64 bits and no sign."""
    return (number + 2**63) % 2**64 - 2**63


def put(connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    """Store what is known of pictures, in place of what was."""
    ordered = sorted(entries, key=lambda entry: entry.image.id)
    for moment, group in groupby(ordered, key=lambda entry: moment_of(entry.image.id)):
        _put(connection, moment, {entry.image.id: entry for entry in group})


def _put(connection: sqlite3.Connection, moment: int, entries: dict[str, Entry]) -> None:
    query = "SELECT id, rank FROM images WHERE rank >= ? AND rank < ?"
    ranks = dict(connection.execute(query, (moment * SLOTS, (moment + 1) * SLOTS)))
    remove(connection, entries.keys() & ranks.keys())
    added = sorted(entries.keys() - ranks.keys())
    if not ranks:
        ranks = _spread(moment, added)
    elif not all(_fit(ranks, name, moment) for name in added):
        # No place between two that are there: all of this moment get new ones.
        entries = {entry.image.id: entry for entry in entries_of(connection, ranks.keys() - entries.keys())} | entries
        remove(connection, entries)
        ranks = _spread(moment, sorted(entries))
    for name in sorted(entries, key=lambda name: ranks[name]):
        _insert(connection, ranks[name], entries[name])


def _spread(moment: int, names: Sequence[str]) -> dict[str, int]:
    step = min(_STEP, SLOTS // (len(names) + 1))
    return {name: moment * SLOTS + number * step for number, name in enumerate(names, 1)}


def _fit(ranks: dict[str, int], name: str, moment: int) -> bool:
    """Give a name a rank between its neighbours', if there is one."""
    names = sorted(ranks)
    place = bisect(names, name)
    low = ranks[names[place - 1]] if place else moment * SLOTS - 1
    last = place == len(names)
    high = (moment + 1) * SLOTS if last else ranks[names[place]]
    if high - low < 2:
        return False
    ranks[name] = min(low + _STEP, high - 1) if last else (low + high) // 2
    return True


def _insert(connection: sqlite3.Connection, rank: int, entry: Entry) -> None:
    image = entry.image
    record = msgspec.json.encode(image)
    connection.execute(
        "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            rank,
            image.id,
            key_of(image.settings.model.name),
            signed(image.settings.seed),
            image.job,
            signed(image.width),
            signed(image.height),
            None if image.rating is None else signed(image.rating),
            image.favourite,
        ),
    )
    connection.execute(
        "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (rank, image.id, entry.extension, entry.bytes, entry.arrived, entry.stamp, image.sha256, record),
    )
    for table, values in _sets(image).items():
        connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", [(value, rank) for value in values])
    connection.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (rank, _text(image)))


def _sets(image: Image) -> Mapping[str, set[str]]:
    return {
        "tags": {key_of(tag) for tag in image.tags},
        "loras": {key_of(lora.name) for lora in image.settings.loras},
    }


def _text(image: Image) -> str:
    return " ".join(text_terms([image.settings.prompt, image.notes]))


def remove(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """Forget pictures. Those that are not known are none."""
    for name in names:
        row = connection.execute(
            "SELECT rank, record FROM images JOIN files USING (rank) WHERE images.id = ?", (name,)
        ).fetchone()
        if row is None:
            continue
        rank, image = row[0], msgspec.json.decode(row[1], type=Image)
        # This table does not keep what it was told: it has to be told again what to forget.
        connection.execute("INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)", (rank, _text(image)))
        for table, values in _sets(image).items():
            column = table.removesuffix("s")
            delete = f"DELETE FROM {table} WHERE {column} = ? AND rank = ?"
            connection.executemany(delete, [(value, rank) for value in values])
        for table in ("images", "files"):
            connection.execute(f"DELETE FROM {table} WHERE rank = ?", (rank,))


def entries_of(connection: sqlite3.Connection, names: Iterable[str]) -> list[Entry]:
    """What is stored of pictures, as it was read."""
    wanted = msgspec.json.encode(sorted(names)).decode()
    query = "SELECT rank FROM images WHERE id IN (SELECT value FROM json_each(?))"
    return at(connection, [rank for (rank,) in connection.execute(query, (wanted,))])


def at(connection: sqlite3.Connection, ranks: Sequence[int], folder: Path | None = None) -> list[Entry]:
    """The pictures of these ranks, newest first, with their paths in a folder."""
    wanted = f"[{','.join(map(str, ranks))}]"
    query = f"{_FILES} WHERE rank IN (SELECT value FROM json_each(?)) ORDER BY rank DESC"
    found = []
    for name, extension, size, arrived, stamp, record in connection.execute(query, (wanted,)):
        image = msgspec.json.decode(record, type=Image)
        if folder:
            image = placed(image, name, f"{folder}/{name}{extension}")
        found.append(Entry(image, extension, size, arrived, stamp))
    return found


def count(connection: sqlite3.Connection) -> int:
    """How many pictures there are."""
    (number,) = connection.execute("SELECT count(*) FROM images").fetchone()
    return int(number)


def stamps(connection: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    """Of all pictures: extension and sidecar's stamp."""
    return {
        name: (extension, stamp)
        for name, extension, stamp in connection.execute("SELECT id, extension, stamp FROM files")
    }


def rows(connection: sqlite3.Connection) -> list[Row]:
    """All pictures, oldest first."""
    query = "SELECT images.id, bytes, arrived, favourite FROM images JOIN files USING (rank) ORDER BY rank"
    return [Row(name, size, arrived, bool(favourite)) for name, size, arrived, favourite in connection.execute(query)]


def with_sha256(connection: sqlite3.Connection, sha256: str) -> list[str]:
    """The imported pictures whose file has this hash."""
    query = "SELECT id FROM files WHERE sha256 = ? ORDER BY rank"
    return [name for (name,) in connection.execute(query, (sha256,))]


def inputs(connection: sqlite3.Connection) -> Iterator[str]:
    """Every stored input picture (`sha256:...`) that a picture was made from."""
    for (record,) in connection.execute("SELECT record FROM files WHERE instr(record, '\"sha256:')"):
        yield from inputs_of(msgspec.json.decode(record, type=Image))


def inputs_of(image: Image) -> Iterator[str]:
    """The stored input pictures that a picture was made from."""
    yield from filter(None, (image.settings.init_image, image.settings.mask))
