"""Which files with a hash are there: what a download need not fetch again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from library_data import add_file

from tensors.db.database import Database
from tensors.db.present import present_files

DIGEST = hashlib.sha256(b"some file").hexdigest()
OTHER = hashlib.sha256(b"another file").hexdigest()
EMPTY = hashlib.sha256(b"").hexdigest()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "models.db") as opened:
        yield opened


def scanned(database: Database, path: Path, hashes: dict[str, str], **columns: object) -> str:
    """A file on disk as a scan has recorded it."""
    path.write_bytes(b"weights")
    stat = path.stat()
    recorded = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "inode": stat.st_ino, **columns}
    add_file(database, str(path), hashes=hashes, **recorded)  # type: ignore[arg-type]
    return str(path)


@pytest.mark.parametrize("kind", ["sha256", "blake3", "autov3"])
def test_files_with_a_hash_are_found_in_any_case_and_sorted(database: Database, tmp_path: Path, kind: str) -> None:
    paths = [scanned(database, tmp_path / name, {kind: DIGEST}) for name in ("b.gguf", "a.gguf")]
    scanned(database, tmp_path / "other.gguf", {kind: OTHER})
    asked = (kind.upper(), f" {DIGEST.upper()}")
    assert present_files(database, [asked, (kind, "0" * 64)]) == {asked: tuple(sorted(paths))}


def test_a_hash_of_another_kind_is_another_hash(database: Database, tmp_path: Path) -> None:
    scanned(database, tmp_path / "a.gguf", {"blake3": DIGEST})
    assert present_files(database, [("sha256", DIGEST), ("autov3", DIGEST)]) == {}


@pytest.mark.parametrize("ours", [12, 64])
@pytest.mark.parametrize("theirs", [12, 64])
def test_autov3_is_compared_by_the_digits_that_both_have(
    database: Database, tmp_path: Path, ours: int, theirs: int
) -> None:
    path = scanned(database, tmp_path / "a.gguf", {"autov3": DIGEST[:ours]})
    changed = "0" if DIGEST[11] != "0" else "1"
    near = f"{DIGEST[:11]}{changed}{DIGEST[12:]}"[:theirs]
    assert present_files(database, [("autov3", DIGEST[:theirs]), ("autov3", near)]) == {
        ("autov3", DIGEST[:theirs]): (path,)
    }


def test_full_autov3_that_differ_in_the_end_are_not_the_same(database: Database, tmp_path: Path) -> None:
    scanned(database, tmp_path / "a.gguf", {"autov3": DIGEST})
    last = "0" if DIGEST[-1] != "0" else "1"
    assert present_files(database, [("autov3", DIGEST[:-1] + last)]) == {}


def test_autov3_of_no_weights_says_nothing(database: Database, tmp_path: Path) -> None:
    scanned(database, tmp_path / "a.gguf", {"autov3": EMPTY})
    assert present_files(database, [("autov3", EMPTY), ("autov3", EMPTY[:12])]) == {}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("sha256", DIGEST[:10]),
        ("sha256", DIGEST[:63]),
        ("autov3", DIGEST[:11]),
        ("autov2", DIGEST[:10]),
        ("crc32", "12345678"),
        ("sha256", ""),
        ("sha256", "%" * 64),
        ("autov3", "g" * 12),
        ("nonsense", DIGEST),
    ],
)
def test_what_has_too_few_digits_or_is_no_hash_finds_nothing(
    database: Database, tmp_path: Path, kind: str, value: str
) -> None:
    found = {"sha256": DIGEST, "autov3": DIGEST, "autov2": DIGEST[:10], "crc32": "12345678", "nonsense": DIGEST}
    scanned(database, tmp_path / "a.gguf", found)
    assert present_files(database, [(kind, value)]) == {}


@pytest.mark.parametrize("column", ["missing_since", "problem"])
def test_missing_and_broken_files_do_not_count(database: Database, tmp_path: Path, column: str) -> None:
    scanned(database, tmp_path / "a.gguf", {"sha256": DIGEST}, **{column: "2026-01-02T03:04:05.000Z"})
    assert present_files(database, [("sha256", DIGEST)]) == {}


@pytest.mark.parametrize("change", ["gone", "longer", "touched", "replaced", "a folder"])
def test_a_file_that_is_not_the_one_that_was_scanned_does_not_count(
    database: Database, tmp_path: Path, change: str
) -> None:
    path = tmp_path / "a.gguf"
    scanned(database, path, {"sha256": DIGEST})
    whole = scanned(database, tmp_path / "b.gguf", {"sha256": DIGEST})
    before = path.stat()
    if change == "gone":
        path.unlink()
    elif change == "longer":
        path.write_bytes(b"weights and more")
    elif change == "replaced":
        (tmp_path / "new").write_bytes(b"weightz")
        (tmp_path / "new").replace(path)
    elif change == "a folder":
        path.unlink()
        path.mkdir()
    shift = 1 if change == "touched" else 0
    if path.exists():
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + shift))
    assert present_files(database, [("sha256", DIGEST)]) == {("sha256", DIGEST): (whole,)}


def test_a_link_counts_as_what_it_leads_to(database: Database, tmp_path: Path) -> None:
    target, link = tmp_path / "blob", tmp_path / "a.gguf"
    scanned(database, target, {})
    link.symlink_to(target)
    stat = link.stat()
    add_file(
        database,
        str(link),
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        inode=stat.st_ino,
        hashes={"sha256": DIGEST},
    )
    assert present_files(database, [("sha256", DIGEST)]) == {("sha256", DIGEST): (str(link),)}
    target.unlink()
    assert present_files(database, [("sha256", DIGEST)]) == {}


def test_the_index_finds_them(database: Database) -> None:
    from tensors.db.present import _ROWS

    plan = [row[3] for row in database.connection.execute(f"EXPLAIN QUERY PLAN {_ROWS}", ("sha256", DIGEST, DIGEST))]
    assert any("file_hashes_by_value" in step for step in plan)
    assert not any(step.startswith("SCAN") for step in plan)
