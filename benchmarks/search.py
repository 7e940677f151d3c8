"""How long a search among cached models takes, and how long it takes to store them.

A hundred thousand synthetic models in the shape and size of CivitAI's, read from their JSON before. The baselines: a
model looked up by its number; the same records only compressed and written into a table of one column.
"""

from __future__ import annotations

import random
import sqlite3
import sys
import time
import zlib
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from benchmarks._measure import Report, finish, parser, scratch
from benchmarks._models import COMMON_NAMES, COMMON_TEXT, Models
from tensors.civitai.records import ModelRecord, model_of
from tensors.db.catalog import store_models
from tensors.db.database import Database
from tensors.db.search import search_models
from tensors.db.search_index import compact

MODELS = 100_000
BATCH = 2_000
IMPORT_SECONDS = 60
P50_LIMIT, P95_LIMIT = 1.0, 5.0
QUERIES = 1_000
NAME_OF = "SELECT name FROM models WHERE id = ?"


def seconds_of_storing(database: Database, records: Sequence[ModelRecord]) -> float:
    """All that search and lists need."""
    began = time.perf_counter()
    store_models(database, records, fetched_at="2026-01-01T00:00:00.000Z")
    return time.perf_counter() - began


def seconds_of_bare_writing(connection: sqlite3.Connection, documents: Sequence[bytes]) -> float:
    """The least that keeps them."""
    began = time.perf_counter()
    with connection:
        rows = ((zlib.compress(document, 1),) for document in documents)
        connection.executemany("INSERT INTO documents VALUES (?)", rows)
    return time.perf_counter() - began


def fill(report: Report, database: Database, folder: Path, count: int) -> None:
    """Store models, batch by batch in turns with the baseline."""
    bare = sqlite3.connect(folder / "bare.db")
    bare.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE documents (document BLOB)")
    documents = Models().documents(count)
    read: list[float] = []
    stored: list[float] = []
    written: list[float] = []
    while batch := list(islice(documents, BATCH)):
        began = time.perf_counter()
        records = [model_of(document) for document in batch]
        read.append(time.perf_counter() - began)
        stored.append(seconds_of_storing(database, records))
        written.append(seconds_of_bare_writing(bare, batch))
    bare.close()
    report.add(f"{BATCH:,} models, read from JSON", read, "s")
    report.add(f"{BATCH:,} models, only compressed and written", written, "s")
    report.add(f"{BATCH:,} models, stored", stored, "s")
    began = time.perf_counter()
    compact(database)
    compacted = time.perf_counter() - began
    report.add("merging the search index at the end", [compacted], "s")
    whole = (sum(stored) + compacted) * MODELS / count
    report.bar(f"{MODELS:,} models, stored", [whole], IMPORT_SECONDS, "s")
    size = database.pragma("page_count") * database.pragma("page_size")
    report.add(f"database with {count:,} models", [size / 1e6], "MB")


def queries(database: Database) -> list[str]:
    """What people type: common words, rare ones, two of them, the beginning of a name, what nobody has, short ones."""
    chance = random.Random(7)
    names = [name for (name,) in database.connection.execute("SELECT name FROM models ORDER BY random() LIMIT 2000")]
    rare = [word for name in names for word in name.split() if len(word) > 4] or ["nothing"]
    kinds = (
        lambda: chance.choice(COMMON_NAMES),
        lambda: chance.choice(rare),
        lambda: f"{chance.choice(COMMON_NAMES)} {chance.choice(COMMON_NAMES)}",
        lambda: f"{chance.choice(rare)} {chance.choice(COMMON_NAMES)}",
        lambda: chance.choice(rare)[:4],
        lambda: chance.choice(names),
        lambda: chance.choice(COMMON_TEXT),
        lambda: chance.choice(("xl", "v2", "3d", "ai", "麦橘", "幻想", "zzqqxxy", "nobody has this")),
    )
    return [kind() for _ in range(QUERIES // len(kinds)) for kind in kinds]


def milliseconds(database: Database, asked: Iterable[str]) -> list[float]:
    found = []
    for query in asked:
        began = time.perf_counter()
        search_models(database, query)
        found.append((time.perf_counter() - began) * 1000)
    return found


def search(report: Report, database: Database, rounds: int) -> None:
    """Each query once in each round; the first round warms up and does not count."""
    asked = queries(database)
    ids = [model_id for (model_id,) in database.connection.execute("SELECT id FROM models LIMIT 1000")]
    every: list[float] = []
    halves, tails, lookups = [], [], []
    for number in range(rounds + 1):
        found = sorted(milliseconds(database, asked))
        began = time.perf_counter()
        for model_id in ids:
            database.connection.execute(NAME_OF, (model_id,)).fetchone()
        if number:
            lookups.append((time.perf_counter() - began) * 1000 / len(ids))
            every += found
            halves.append(found[len(found) // 2])
            tails.append(found[len(found) * 95 // 100])
    report.add("a model's name, by its number", lookups, "ms")
    report.add("search, 20 results", every, "ms")
    report.bar("search, median of all queries", halves, P50_LIMIT, "ms")
    report.bar("search, 95 of 100 queries", tails, P95_LIMIT, "ms")


def main() -> int:
    options = parser((__doc__ or "").partition("\n")[0], rounds=10)
    options.add_argument("--models", type=int, default=MODELS, metavar="N", help=f"how many are stored ({MODELS})")
    given = options.parse_args()
    report = Report("search")
    with scratch() as folder, Database(folder / "models.db") as database:
        fill(report, database, folder, given.models)
        search(report, database, given.rounds)
    return finish(report, given)


if __name__ == "__main__":
    sys.exit(main())
