"""The store of jobs on whatever SQLite there is."""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa

from tensors.job_store import open_store


def test_the_store_knows_fractions_of_seconds_also_on_an_old_sqlite(tmp_path: Path) -> None:
    """SQLite before 3.42 has no `subsec`, and DBOS relies on it from Python 3.12 on."""
    store = open_store(tmp_path / "jobs.db")
    with store.connect() as connection:
        before = time.time()
        (moment,) = connection.execute(sa.text("SELECT unixepoch('subsec')")).one()
        assert before - 0.01 <= moment <= time.time() + 0.01
        assert moment == round(moment, 3)
        connection.execute(sa.text("CREATE TABLE t (at INTEGER NOT NULL DEFAULT (unixepoch('subsec') * 1000), x)"))
        connection.execute(sa.text("INSERT INTO t (x) VALUES (1)"))
        assert connection.execute(sa.text("SELECT at FROM t")).scalar_one() >= before * 1000 - 10
    store.dispose()


def test_readers_do_not_wait_for_a_writer(tmp_path: Path) -> None:
    store = open_store(tmp_path / "jobs.db")
    with store.connect() as writer, store.connect() as reader:
        writer.execute(sa.text("CREATE TABLE t (x)"))
        writer.commit()
        writer.execute(sa.text("INSERT INTO t VALUES (1)"))
        assert reader.execute(sa.text("SELECT count(*) FROM t")).scalar_one() == 0
    store.dispose()
