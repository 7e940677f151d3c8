"""Finds pictures in the index, newest first, page by page.

What fewest pictures have is gone through, and the rest is tested on each of those. Every source is in the order of
ranks, so a page needs no sorting, and the next one begins where it ended.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tensors.errors import InvalidRequest
from tensors.pictures.index import SLOTS, key_of, signed
from tensors.pictures.names import END, moment_at, moment_of
from tensors.pictures.words import asked
from tensors.types.gallery import ImageQuery

EVERYTHING = ImageQuery()
_FEW = 2000
"""Pictures are counted up to this: of what more of them have it does not matter how many."""
_VERY_FEW = 500
"""Words are gone through, unless the one other thing that is asked for leaves fewer pictures than this."""
_DAY = 86_400_000


@dataclass(frozen=True, slots=True)
class _Condition:
    """A filter, in two ways: a test of one of `images`, and where all that pass are found in the order of ranks."""

    test: str
    values: tuple[str | int, ...] = ()
    source: str | None = None
    """A table, and behind it the index of it, if it takes one."""
    where: str = ""
    """What those of the source that pass have in common; `test` when left out."""
    rank: str = "images.rank"
    """Of the source."""
    heavy: bool = False
    """The test looks up all that pass before the first is tested."""

    def all_that_pass(self) -> str:
        """SQL behind `FROM`, for `values` and the lowest and highest rank."""
        return f"{self.source} {{joined}} WHERE {self.where or self.test} AND {self.rank} >= ? AND {self.rank} < ?"


_EVERY = _Condition("1", (), "images")


def ranks(connection: sqlite3.Connection, query: ImageQuery, *, before: str | None = None, limit: int) -> list[int]:
    """The newest pictures that fit, at most `limit`, and of these only those that a list has behind `before`.

    Raises `InvalidRequest`.
    """
    low, high = _bounds(query)
    conditions = list(_conditions(query))
    if before is not None:
        high = min(high, (moment_of(before) + 1) * SLOTS)
    source = _source(connection, conditions, low, high)
    if before is not None:
        # Also when that picture is gone: its place is known by its name.
        conditions.append(_Condition("(images.rank < ? OR images.id < ?)", (moment_of(before) * SLOTS, before)))
    tests = [each for each in conditions if each is not source]
    joined = "" if source.rank == "images.rank" or not tests else f"CROSS JOIN images ON images.rank = {source.rank}"
    behind = source.all_that_pass().format(joined=joined) + "".join(f" AND {each.test}" for each in tests)
    found = connection.execute(
        f"SELECT {source.rank} FROM {behind} ORDER BY {source.rank} DESC LIMIT ?",
        (*source.values, low, high, *(value for each in tests for value in each.values), limit),
    )
    return [rank for (rank,) in found]


def _source(connection: sqlite3.Connection, conditions: Sequence[_Condition], low: int, high: int) -> _Condition:
    """What to go through."""
    sources = [each for each in conditions if each.source]
    if not sources:
        return _EVERY
    rarest, fewest = _EVERY, _count(connection, _EVERY, low, high)
    for source in sources:
        count = _count(connection, source, low, high)
        # Of what many have an index is no help: rows are read faster one after the other.
        if count < fewest or (count == fewest and source.rank != _EVERY.rank):
            rarest, fewest = source, count
    heavy = next((each for each in sources if each.heavy), rarest)
    # Where one other thing is asked for, a page of words is soon full; where more is, hardly any of them may fit.
    few = _FEW if len(conditions) > 2 else _VERY_FEW
    return rarest if fewest < few else heavy


def _count(connection: sqlite3.Connection, source: _Condition, low: int, high: int) -> int:
    """How many pass, up to `_FEW`."""
    counted = f"SELECT count(*) FROM (SELECT 1 FROM {source.all_that_pass().format(joined='')} LIMIT ?)"
    (count,) = connection.execute(counted, (*source.values, low, high, _FEW)).fetchone()
    return int(count)


def _conditions(query: ImageQuery) -> Iterator[_Condition]:
    yield from _of_words(query.text)
    yield from _of_images(query)
    if query.lora is not None:
        yield _of_set("loras", "lora", query.lora)
    for tag in query.tags:
        yield _of_set("tags", "tag", tag)


def _of_words(text: str) -> Iterator[_Condition]:
    words = asked(text)
    if words.wanted:
        match = f"({words.wanted}) NOT ({words.unwanted})" if words.unwanted else words.wanted
        test = "images.rank IN (SELECT rowid FROM words WHERE words MATCH ?)"
        yield _Condition(test, (match,), "words", "words MATCH ?", "words.rowid", heavy=True)
    elif words.unwanted:
        yield _Condition("images.rank NOT IN (SELECT rowid FROM words WHERE words MATCH ?)", (words.unwanted,))


def _of_images(query: ImageQuery) -> Iterator[_Condition]:
    if query.model is not None:
        yield _of_column("images.model = ?", key_of(query.model), "images_model")
    if query.seed is not None:
        yield _of_column("images.seed = ?", signed(query.seed), "images_seed")
    if query.job:
        yield _of_column("images.job = ? AND images.job <> ''", query.job, "images_job")
    if query.favourite:
        yield _Condition("images.favourite", (), "images INDEXED BY images_favourite")
    elif query.favourite is not None:
        yield _Condition("NOT images.favourite")
    measures = {
        "images.width = ?": query.width,
        "images.height = ?": query.height,
        "min(images.width, images.height) >= ?": query.min_side,
        "max(images.width, images.height) <= ?": query.max_side,
        "images.rating >= ?": query.rating,
    }
    yield from (_Condition(test, (value,)) for test, value in measures.items() if value is not None)


def _of_column(where: str, value: str | int, index: str) -> _Condition:
    # With the plus SQLite tests rows where it would otherwise take the index.
    return _Condition(f"+{where}", (value,), f"images INDEXED BY {index}", where)


def _of_set(table: str, column: str, value: str) -> _Condition:
    test = f"EXISTS (SELECT 1 FROM {table} WHERE {column} = ? AND rank = images.rank)"
    return _Condition(test, (key_of(value),), table, f"{column} = ?", f"{table}.rank")


def _bounds(query: ImageQuery) -> tuple[int, int]:
    """The lowest rank, and the one behind the highest."""
    low, high = 0, END
    if query.since is not None:
        low, _ = _moment("since", query.since)
    if query.until is not None:
        high, length = _moment("until", query.until)
        high = min(high + length, END)
    return low * SLOTS, high * SLOTS


def _moment(field: str, text: str) -> tuple[int, int]:
    """When a date or time begins, and how long it lasts."""
    try:
        found = datetime.fromisoformat(text)
        moment = moment_at(found if found.tzinfo else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{field} {text!r:.60} is no date or time", hint="such as 2026-11-22") from None
    return moment, 0 if "T" in text or " " in text else _DAY
