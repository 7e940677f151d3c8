"""Migrations of the library's database: all or nothing, a backup first, and no harm by kill -9 or by others."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import migrating
import pytest
from library_data import VersionData, add_file, add_model, link
from migrating import FIRST, REBUILD, ROWS, STEPS, WIDEN, expected_rows, migrate_all, old_library, rows_of, use
from power_cuts import cut_short

from tensors.db.database import Database, check
from tensors.db.migrate import migrate
from tensors.db.records import read_model
from tensors.errors import LibraryError

FEW = 50
ROUNDS = 8
BROKEN = "ALTER TABLE not_found ADD COLUMN half TEXT; UPDATE not_found SET half = 'x'; SELECT no_such_function();"


def version_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return int(version)
    finally:
        connection.close()


def dump(path: Path) -> list[tuple[object, ...]]:
    """Schema, version and data."""
    connection = sqlite3.connect(path)
    try:
        found = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
        found += connection.execute("PRAGMA user_version").fetchall()
        return found + connection.execute("SELECT * FROM not_found ORDER BY sha256").fetchall()
    finally:
        connection.close()


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_migrations_are_applied_in_order_and_keep_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "models.db"
    old_library(path, rows=FEW)
    use(STEPS, monkeypatch)
    with Database(path) as database:
        assert database.version == 3
        assert database.pragma("foreign_keys") == 1
        found = database.connection.execute("SELECT sha256, asked_at, digits, again FROM not_found").fetchall()
    assert found == [(sha256, asked, 64, sha256.upper()) for sha256, asked in expected_rows(FEW)]
    assert names(tmp_path) == ["models.db", "models.db.backup-v1"]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param((FIRST, BROKEN, REBUILD), id="SQL"),
        pytest.param(
            (FIRST, "INSERT INTO not_found VALUES ('a', 'b'); DROP TABLE files;", WIDEN), id="lost references"
        ),
    ],
)
def test_a_migration_that_fails_leaves_version_and_data_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: tuple[str, ...]
) -> None:
    path = tmp_path / "models.db"
    old_library(path, rows=FEW)
    connection = sqlite3.connect(path)
    connection.execute(
        "INSERT INTO files (directory, name, size, mtime_ns, inode, added_at) VALUES ('', '', 1, 1, 1, '')"
    )
    connection.execute("INSERT INTO file_hashes VALUES (1, 'sha256', '00')")
    connection.commit()
    connection.close()
    before = dump(path)
    use(steps, monkeypatch)
    for _ in range(2):
        with pytest.raises(LibraryError):
            Database(path)
        assert dump(path) == before
    use((FIRST,), monkeypatch)
    with Database(path) as database:
        assert check(database).sound


def test_a_migration_and_its_number_are_one(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    old_library(path, rows=FEW)
    before = dump(path)

    def refuse(action: int, name: str | None, value: str | None, *_: str | None) -> int:
        counts = (action, name, value) == (sqlite3.SQLITE_PRAGMA, "user_version", "2")
        return sqlite3.SQLITE_DENY if counts else sqlite3.SQLITE_OK

    with migrating_open(path) as database:
        database.connection.set_authorizer(refuse)
        with pytest.raises(LibraryError, match="not authorized"):
            migrate(database, STEPS)
    assert dump(path) == before


def test_what_was_migrated_before_one_that_fails_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "models.db"
    old_library(path, rows=FEW)
    use((FIRST, WIDEN, BROKEN), monkeypatch)
    with pytest.raises(LibraryError, match="no_such_function"):
        Database(path)
    assert version_of(path) == 2
    use(STEPS, monkeypatch)
    with Database(path) as database:
        assert database.version == 3
    assert rows_of(path) == expected_rows(FEW)


def test_a_new_library_gets_all_migrations_and_no_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(STEPS, monkeypatch)
    with Database(tmp_path / "models.db") as database:
        assert database.version == 3
    assert names(tmp_path) == ["models.db"]


def test_rows_that_were_lost_before_do_not_stop_a_migration(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    old_library(path, rows=FEW)
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO file_hashes VALUES (1, 'sha256', '00')")
    connection.commit()
    connection.close()
    migrate_all(path)
    assert version_of(path) == 3


# Backups


def test_the_backup_is_the_library_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "models.db"
    old_library(path, rows=FEW)
    before = dump(path)
    migrate_all(path)
    backup = tmp_path / "models.db.backup-v1"
    assert dump(backup) == before
    shutil.copy(backup, path)
    use((FIRST,), monkeypatch)
    with Database(path) as database:
        assert check(database).sound
    assert rows_of(path) == expected_rows(FEW)


def test_the_backup_has_what_is_not_yet_in_the_main_file(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    old_library(path, rows=FEW)
    with migrating_open(path) as held:
        held.connection.execute("INSERT INTO not_found VALUES ('new', 'today')")
        assert (tmp_path / "models.db-wal").stat().st_size > 0
        migrate_all(path)
    assert ("new", "today") in rows_of(tmp_path / "models.db.backup-v1")
    assert ("new", "today") in rows_of(path)


def migrating_open(path: Path) -> Database:
    """A library of version 1 that stays open."""
    with pytest.MonkeyPatch.context() as patch:
        use((FIRST,), patch)
        return Database(path)


def test_the_newest_three_backups_are_kept(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, oldest = tmp_path / "models.db", tmp_path_factory.mktemp("elsewhere") / "oldest.db"
    steps = [FIRST]
    old_library(path, rows=FEW)
    for number in range(1, 6):
        steps.append(f"CREATE TABLE t{number} (a)")
        use(steps, monkeypatch)
        Database(path).close()
        if number == 1:
            shutil.copy(tmp_path / "models.db.backup-v1", oldest)
    assert names(tmp_path) == ["models.db", *(f"models.db.backup-v{number}" for number in (3, 4, 5))]
    # An old one put back in place and migrated again: its backup is the newest now, whatever its number.
    shutil.copy(oldest, path)
    Database(path).close()
    assert names(tmp_path) == ["models.db", *(f"models.db.backup-v{number}" for number in (1, 4, 5))]


def test_without_a_backup_nothing_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "models.db"
    old_library(path, rows=FEW)
    before = dump(path)
    (tmp_path / "models.db.backup-v1").mkdir()
    use(STEPS, monkeypatch)
    with pytest.raises(LibraryError, match=r"needs a backup first, and .*backup-v1 cannot be written"):
        Database(path)
    assert dump(path) == before
    assert names(tmp_path) == ["models.db", "models.db.backup-v1"]


def test_what_an_earlier_try_left_is_in_nobodys_way(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    old_library(path, rows=FEW)
    (tmp_path / ".models.db.backup-v1.tmp").write_text("half of something" * 100)
    migrate_all(path)
    assert rows_of(tmp_path / "models.db.backup-v1") == expected_rows(FEW)
    assert names(tmp_path) == ["models.db", "models.db.backup-v1"]


def test_a_backup_that_was_cut_short_is_not_left_as_one(tmp_path: Path) -> None:
    """Each step on disk of the backup is the last one once; the run after it does the rest."""
    prepared, runs = tmp_path / "prepared", tmp_path / "runs"
    prepared.mkdir()
    runs.mkdir()
    old_library(prepared / "models.db", rows=FEW)
    cuts = cut_short(migrating.migrate_in, prepared, runs)
    assert len(cuts) > 3
    for folder in cuts:
        backup = folder / "models.db.backup-v1"
        assert rows_of(folder / "models.db") == expected_rows(FEW)
        assert not backup.exists() or rows_of(backup) == expected_rows(FEW)
        assert version_of(folder / "models.db") == 1 or backup.exists()
        migrate_all(folder / "models.db")
        assert version_of(folder / "models.db") == 3
        assert rows_of(backup) == rows_of(folder / "models.db") == expected_rows(FEW)
        assert names(folder) == ["models.db", "models.db.backup-v1"]


# Others, and kill -9


def started(path: Path) -> subprocess.Popen[bytes]:
    """A process that waits to migrate a library."""
    process = subprocess.Popen(
        [sys.executable, migrating.__file__, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    return process


def go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    process.stdin.write(b"\n")
    process.stdin.flush()


def test_several_processes_migrate_at_once(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    old_library(path, rows=2000)
    processes = [started(path) for _ in range(4)]
    for process in processes:
        go(process)
    assert [process.communicate(timeout=60)[0] for process in processes] == [b"done\n"] * 4
    assert version_of(path) == 3
    assert rows_of(path) == expected_rows(2000)
    assert version_of(tmp_path / "models.db.backup-v1") == 1
    assert not list(tmp_path.glob(".*"))


def test_kill_9_at_any_moment_of_a_migration_loses_nothing(tmp_path: Path) -> None:
    prepared = tmp_path / "prepared.db"
    old_library(prepared)
    chance, seconds, ended = random.Random(3), 0.0, set()
    for number in range(ROUNDS + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / "models.db"
        shutil.copy(prepared, path)
        process = started(path)
        began = time.monotonic()
        go(process)
        if number == 0:
            # How long all of it takes here and now.
            process.communicate(timeout=60)
            seconds = time.monotonic() - began
            assert version_of(path) == 3
            continue
        try:
            process.wait(timeout=seconds * (number - chance.random()) / ROUNDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
        ended.add(process.returncode)
        assert rows_of(path) == expected_rows(ROWS)
        migrate_all(path)
        assert version_of(path) == 3
        assert rows_of(path) == rows_of(folder / "models.db.backup-v1") == expected_rows(ROWS)
        shutil.rmtree(folder)
    assert -signal.SIGKILL in ended


def test_version_2_lists_files_by_version_and_keeps_hashes_and_links(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    hashes = {"sha256": "a" * 64, "autov3": "b" * 12, "blake3": "c" * 64, "crc32": "d" * 8, "new": "e"}
    with pytest.MonkeyPatch.context() as patch:
        use((FIRST,), patch)
        with Database(path) as old, old.atomic():
            add_model(old, 1, VersionData(id=10, file_types=("Model", "VAE")), VersionData(id=11))
            rows = [(1000, kind, value) for kind, value in hashes.items()]
            old.connection.executemany("INSERT INTO version_file_hashes VALUES (?, ?, ?)", rows)
            links = [(10, 1000), (10, None), (11, 1001)]
            for number, (version, file) in enumerate(links):
                link(old, add_file(old, f"/{number}.gguf"), version, version_file_id=file)
    with Database(path) as database:
        found = database.connection.execute("SELECT version_id, version_file_id FROM links ORDER BY file_id").fetchall()
        listed = {(of.id, file.id): dict(file.hashes) for of in read_model(database, 1).versions for file in of.files}
        assert check(database).sound
    assert found == [(10, 1000), (10, None), (11, None)], "a link's file is one of the link's version"
    assert {place: told for place, told in listed.items() if told} == {(10, 1000): hashes}
    assert {(10, 1000), (10, 1001)} <= listed.keys()
