"""The library in numbers, and its duplicates."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from library_data import VersionData, add_file, add_model, add_not_found, link, sha256_of

from tensors.db.database import Database
from tensors.db.stats import duplicates, stats
from tensors.types.base import Page
from tensors.types.library import Count, Duplicates, LibraryStats

SAME, OTHER = {"sha256": sha256_of("same")}, {"sha256": sha256_of("other")}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "models.db") as opened:
        yield opened


def add_real(database: Database, path: Path, **columns: object) -> int:
    """A file that is really there, as a scan knows it."""
    stat = path.stat()
    return add_file(database, str(path), size=stat.st_size, inode=stat.st_ino, hashes=SAME, **columns)  # type: ignore[arg-type]


def copies(database: Database) -> list[tuple[str, ...]]:
    return [one.files for one in duplicates(database).items]


def test_an_empty_library(database: Database) -> None:
    assert duplicates(database) == Page(items=())
    numbers = stats(database)
    assert numbers == LibraryStats(
        files=0,
        size=0,
        missing=0,
        broken=0,
        unhashed=0,
        linked=0,
        not_found=0,
        duplicates=0,
        duplicate_size=0,
        database=str(database.path),
        database_size=numbers.database_size,
    )


def test_what_is_counted(database: Database) -> None:
    add_model(database, 1, VersionData(id=10), VersionData(id=11))
    add_model(database, 2, VersionData(id=20))
    add_not_found(database, sha256_of("unknown"))
    add_not_found(database, sha256_of("nobody's"))
    lora = {"kind": "lora", "family": "sdxl"}
    link(database, add_file(database, "/1.gguf", size=1, hashes={"sha256": sha256_of("1")}, **lora), 10)  # type: ignore[arg-type]
    add_file(database, "/2.gguf", size=20, hashes={"sha256": sha256_of("unknown")}, **lora)  # type: ignore[arg-type]
    add_file(database, "/3.gguf", size=300, kind="vae", hashes={"crc32": "01234567"})
    add_file(database, "/4.gguf", size=4000, problem="is cut off")
    # Linked by hand, though CivitAI did not know its hash.
    by_hand = add_file(
        database, "/5.gguf", size=50_000, kind="vae", family="sdxl", hashes={"sha256": sha256_of("unknown")}
    )
    link(database, by_hand, 11, matched_by="user")
    # What is missing counts for nothing else.
    for number, hashes in enumerate(({}, {"sha256": sha256_of("unknown")}, {"sha256": sha256_of("1")}), 6):
        gone = add_file(database, f"/{number}.gguf", missing=True, problem="is cut off", hashes=hashes, **lora)  # type: ignore[arg-type]
        link(database, gone, 20)
    numbers = stats(database)
    assert numbers == LibraryStats(
        files=5,
        size=54_321,
        missing=3,
        broken=1,
        unhashed=1,
        linked=2,
        not_found=1,
        duplicates=0,
        duplicate_size=0,
        kinds=(
            Count(name="lora", files=2, size=21),
            Count(name="vae", files=2, size=50_300),
            Count(name="unknown", files=1, size=4000),
        ),
        families=(Count(name="sdxl", files=3, size=50_021), Count(name="unknown", files=2, size=4300)),
        models=2,
        versions=3,
        database=str(database.path),
        database_size=numbers.database_size,
    )


def test_the_size_of_the_database_is_what_it_takes_on_disk(database: Database) -> None:
    files = [database.path, database.path.with_name("models.db-wal")]
    assert stats(database).database_size == sum(file.stat().st_size for file in files if file.exists())
    before = stats(database).database_size
    with database.atomic():
        for number in range(500):
            add_file(database, f"/{number}.gguf")
    assert stats(database).database_size > before + 20_000


def test_duplicates_are_present_and_of_the_same_bytes(database: Database) -> None:
    for path, hashes, missing in (
        ("/b/2.gguf", SAME, False),
        ("/a/1.gguf", SAME, False),
        ("/c/3.gguf", SAME, True),
        ("/d.gguf", OTHER, False),
        ("/e.gguf", OTHER, True),
        ("/f.gguf", {"autov3": "0123456789ab"}, False),
        ("/g.gguf", {"autov3": "0123456789ab"}, False),
        ("/h.gguf", {}, False),
    ):
        add_file(database, path, size=7, hashes=hashes, missing=missing)
    assert duplicates(database).items == (Duplicates(sha256=SAME["sha256"], size=7, files=("/a/1.gguf", "/b/2.gguf")),)
    numbers = stats(database)
    assert (numbers.duplicates, numbers.duplicate_size) == (1, 7)


def test_those_that_take_most_room_come_first(database: Database) -> None:
    for size, count in ((100, 2), (60, 4), (70, 3)):
        for number in range(count):
            add_file(database, f"/{size}/{number}.gguf", size=size, hashes={"sha256": sha256_of(str(size))})
    assert [(one.size, len(one.files)) for one in duplicates(database).items] == [(60, 4), (70, 3), (100, 2)]
    numbers = stats(database)
    assert (numbers.duplicates, numbers.duplicate_size) == (3 + 2 + 1, 3 * 60 + 2 * 70 + 100)


def test_several_names_of_one_file_are_no_duplicates(database: Database, tmp_path: Path) -> None:
    first, hard, soft, copy = (tmp_path / f"{name}.gguf" for name in ("1", "2", "3", "4"))
    first.write_bytes(b"bytes")
    os.link(first, hard)
    soft.symlink_to(first)
    for path in (first, hard, soft):
        add_real(database, path)
    assert copies(database) == []
    copy.write_bytes(b"bytes")
    add_real(database, copy)
    assert copies(database) == [(str(first), str(copy))]
    assert stats(database).duplicates == 1


def test_one_number_on_two_disks_is_two_files(database: Database, tmp_path: Path) -> None:
    """As a scan of a disk and of its copy finds it."""
    for name in "ab":
        (tmp_path / name).write_bytes(b"bytes")
        add_file(database, str(tmp_path / name), inode=12, hashes=SAME)
    assert copies(database) == [(str(tmp_path / "a"), str(tmp_path / "b"))]


def test_one_number_counts_as_one_file_where_nobody_can_look(database: Database, tmp_path: Path) -> None:
    for name in "ab":
        add_file(database, str(tmp_path / name), inode=12, hashes=SAME)
    assert copies(database) == []


def test_no_number_says_nothing(database: Database) -> None:
    for name in "ab":
        add_file(database, f"/{name}", inode=0, hashes=SAME)
    assert copies(database) == [("/a", "/b")]


def test_a_hash_of_what_the_file_was_before_makes_no_duplicate(database: Database) -> None:
    for name, size in (("a", 1), ("b", 2), ("c", 2)):
        add_file(database, f"/{name}", size=size, hashes=SAME)
    assert copies(database) == [("/b", "/c")]
