"""Scans: what they find, what they remember, and what they leave alone."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from scanning import LARGE, Shelf, gguf_bytes, model_bytes, unknown_bytes, write

import tensors.db.finding
import tensors.db.listing
from tensors.db.finding import signed
from tensors.db.scan import Folder, Stopped

SIZES = pytest.mark.parametrize("weights", [0, LARGE], ids=["small", "large"])
"""A small file is hashed while it is listed, a large one after all is listed."""


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    made.close()


@pytest.fixture
def not_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which model files are read from then on."""
    read: list[str] = []
    examine = tensors.db.listing.examine

    def noted(place: tensors.db.finding.Place, *arguments: object, **options: bool) -> object:
        read.append(place.name)
        return examine(place, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tensors.db.listing, "examine", noted)
    return read


# What is found


def test_a_first_scan_knows_every_file(shelf: Shelf) -> None:
    write(shelf.root / "a.safetensors", model_bytes(1))
    write(shelf.root / "sub/b.safetensors", model_bytes(2, weights=LARGE))
    write(shelf.root / "c.GGUF", gguf_bytes())
    write(shelf.root / "pickle.ckpt", b"x")
    report = shelf.scan()
    assert (report.folders, report.files, report.added, report.hashed) == ((str(shelf.root),), 3, 3, 3)
    assert (report.unhashed, report.changed, report.moved, report.returned, report.missing) == (0, 0, 0, 0, 0)
    assert report.problems == ()
    rows = shelf.rows()
    assert {path: (row.kind, row.kind_from, row.family) for path, row in rows.items()} == {
        "models/a.safetensors": ("lora", "tensors", "sd15"),
        "models/c.GGUF": ("diffusion_model", "metadata", "flux"),
        "models/sub/b.safetensors": ("lora", "tensors", "sd15"),
    }
    assert shelf.query("SELECT path FROM folders") == [(str(shelf.root),)]


@SIZES
def test_all_hashes_are_of_the_whole_file_and_autov3_of_what_follows_the_header(shelf: Shelf, weights: int) -> None:
    data = model_bytes(7, weights=weights)
    write(shelf.root / "a.safetensors", data)
    shelf.scan()
    after = 8 + struct.unpack("<Q", data[:8])[0]
    sha256 = hashlib.sha256(data).hexdigest()
    hashes = dict(shelf.row("models/a.safetensors").hashes)
    assert len(hashes.pop("blake3")) == 64
    assert hashes == {
        "sha256": sha256,
        "autov2": sha256[:10],
        "autov3": hashlib.sha256(data[after:]).hexdigest(),
        "crc32": f"{zlib.crc32(data):08x}",
    }


def test_a_gguf_file_has_no_autov3(shelf: Shelf) -> None:
    write(shelf.root / "a.gguf", gguf_bytes())
    write(shelf.root / "b.gguf", gguf_bytes() + bytes(LARGE))
    shelf.scan()
    assert {name for row in shelf.rows().values() for name in row.hashes} == {"sha256", "autov2", "blake3", "crc32"}


def test_the_headers_own_words_are_kept_but_not_endless_ones(shelf: Shelf) -> None:
    tags = json.dumps({"1_set": {"cat": 7, "dog": 9}})
    metadata = {"ss_tag_frequency": tags, "ss_comment": "é\n\0", "long": "x" * 16385, "just": "y" * 16384}
    write(shelf.root / "a.safetensors", model_bytes(1, metadata=metadata))
    shelf.scan()
    kept = dict(shelf.query("SELECT key, value FROM file_metadata"))
    assert kept == {key: value for key, value in metadata.items() if key != "long"}
    assert shelf.query("SELECT tag, count FROM file_tags ORDER BY position") == [("dog", 9), ("cat", 7)]


def test_folders_say_what_tensors_do_not(shelf: Shelf) -> None:
    for path in ("loras/x.safetensors", "pony/vae/x.safetensors", "x.safetensors"):
        write(shelf.root / path, unknown_bytes())
    write(shelf.root / "vae/real-lora.safetensors", model_bytes())
    shelf.scan(Folder(shelf.root, "controlnet"))
    assert {path: (row.kind, row.kind_from, row.family) for path, row in shelf.rows().items()} == {
        "models/loras/x.safetensors": ("lora", "folder", "unknown"),
        "models/pony/vae/x.safetensors": ("vae", "folder", "pony"),
        "models/vae/real-lora.safetensors": ("lora", "tensors", "sd15"),
        "models/x.safetensors": ("controlnet", "folder", "unknown"),
    }


def test_a_folder_larger_than_what_is_compared_at_once(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors.db.listing, "_CHUNK", 3)
    for number in range(8):
        write(shelf.root / f"{number}.safetensors", model_bytes(number))
    assert shelf.scan().added == 8
    assert (shelf.scan().added, shelf.scan().missing) == (0, 0)
    for number in (0, 2, 3, 7):
        (shelf.root / f"{number}.safetensors").unlink()
    assert shelf.scan().missing == 4
    write(shelf.root / "25.safetensors", model_bytes(25))
    shutil.rmtree(shelf.root)
    shelf.root.mkdir()
    assert shelf.scan().missing == 4


# What is remembered


def test_unchanged_files_are_not_read(shelf: Shelf, not_read: list[str]) -> None:
    write(shelf.root / "a.safetensors", model_bytes(1))
    write(shelf.root / "b.safetensors", model_bytes(2, weights=LARGE))
    shelf.scan()
    assert sorted(not_read) == ["a.safetensors", "b.safetensors"]
    not_read.clear()
    report = shelf.scan()
    assert (report.files, report.added, report.changed, report.hashed) == (2, 0, 0, 0)
    assert not_read == []


@pytest.mark.parametrize("what", ["size", "time", "inode"])
def test_a_change_of_size_time_or_inode_is_a_change(shelf: Shelf, what: str, not_read: list[str]) -> None:
    path = write(shelf.root / "a.safetensors", model_bytes(1))
    shelf.scan()
    found = path.stat()
    if what == "inode":
        write(shelf.place / "new", model_bytes(2)).rename(path)
    else:
        write(path, model_bytes(2) + b"\0" * (what == "size"))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + (what == "time")))
    not_read.clear()
    report = shelf.scan()
    assert (report.changed, report.added, not_read) == (1, 0, ["a.safetensors"])


@SIZES
def test_files_that_all_have_new_inodes_and_nothing_else_are_what_they_were(
    shelf: Shelf, weights: int, not_read: list[str]
) -> None:
    """As on a share that was mounted anew, or on the larger disk that everything was copied to."""
    for number in range(3):
        write(shelf.root / f"{number}/a.safetensors", model_bytes(number, weights=weights))
    shelf.scan()
    before = shelf.rows()
    shutil.copytree(shelf.root, shelf.place / "copy")
    shelf.root.rename(shelf.place / "old")
    (shelf.place / "copy").rename(shelf.root)
    not_read.clear()
    report = shelf.scan()
    assert (report.files, report.changed, report.hashed, not_read) == (3, 0, 0, [])
    assert shelf.rows() == before
    inodes = {(shelf.root / f"{number}/a.safetensors").stat().st_ino for number in range(3)}
    assert {inode for (inode,) in shelf.query("SELECT inode FROM files")} == inodes


def test_two_files_that_swapped_their_names_are_not_what_they_were(shelf: Shelf) -> None:
    paths = [write(shelf.root / f"{name}.safetensors", model_bytes(number)) for number, name in enumerate("ab")]
    for path in paths:
        os.utime(path, ns=(5, 5))
    shelf.scan()
    before = [shelf.row(f"models/{path.name}").sha256 for path in paths]
    paths[0].rename(shelf.root / "aside")
    paths[1].rename(paths[0])
    (shelf.root / "aside").rename(paths[1])
    assert shelf.scan().changed == 2
    assert [shelf.row(f"models/{path.name}").sha256 for path in paths] == before[::-1]


def test_a_few_files_with_new_inodes_were_replaced(shelf: Shelf, not_read: list[str]) -> None:
    for number in range(5):
        write(shelf.root / f"{number}.safetensors", model_bytes(number))
    shelf.scan()
    for number in (1, 3):
        path = shelf.root / f"{number}.safetensors"
        moment = path.stat().st_mtime_ns
        write(shelf.place / "new", model_bytes(10 + number)).rename(path)
        os.utime(path, ns=(moment, moment))
    not_read.clear()
    report = shelf.scan()
    assert (report.changed, report.hashed, not_read) == (2, 2, ["1.safetensors", "3.safetensors"])


@SIZES
@pytest.mark.parametrize("unhashed", [False, True], ids=["at once", "hashed later"])
def test_a_touched_file_loses_nothing(shelf: Shelf, weights: int, unhashed: bool) -> None:
    path = write(shelf.root / "a.safetensors", model_bytes(1, weights=weights))
    shelf.scan()
    shelf.link("models/a.safetensors")
    shelf.say("models/a.safetensors", "pony")
    before = shelf.row("models/a.safetensors")
    os.utime(path, ns=(1, 1))
    if unhashed:
        report = shelf.scan(hash=False)
        assert (report.changed, report.hashed, report.unhashed) == (1, 0, 1)
        waiting = shelf.row("models/a.safetensors")
        assert (waiting.hashes, waiting.version) == ({}, 70)
    assert shelf.scan().hashed == 1
    assert shelf.row("models/a.safetensors") == before


@SIZES
@pytest.mark.parametrize("matched_by", ["sha256", "sidecar", "user"])
def test_a_file_with_other_bytes_loses_its_link_unless_it_is_the_owners(
    shelf: Shelf, weights: int, matched_by: str
) -> None:
    path = write(shelf.root / "a.safetensors", model_bytes(1, weights=weights))
    shelf.scan()
    shelf.link("models/a.safetensors", matched_by=matched_by)
    shelf.say("models/a.safetensors", "pony")
    before = shelf.row("models/a.safetensors")
    # Twice before it is hashed: what counts is what it was when it was linked.
    for content in (2, 3):
        path.unlink()
        write(path, model_bytes(content, weights=weights))
        assert shelf.scan(hash=False).changed == 1
    shelf.scan()
    row = shelf.row("models/a.safetensors")
    assert (row.id, row.user_family, row.version) == (before.id, "pony", 70 if matched_by == "user" else None)
    assert row.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_a_file_says_about_itself_follows_it(shelf: Shelf) -> None:
    path = write(shelf.root / "a.safetensors", model_bytes(1, metadata={"old": "1", "both": "1"}))
    shelf.scan()
    write(path, unknown_bytes(2, {"both": "2", "new": "2"}))
    shelf.scan()
    assert shelf.query("SELECT key, value FROM file_metadata ORDER BY key") == [("both", "2"), ("new", "2")]
    assert shelf.row("models/a.safetensors").kind == "unknown"


def test_hashing_can_wait(shelf: Shelf) -> None:
    write(shelf.root / "a.safetensors", model_bytes(1))
    write(shelf.root / "b.safetensors", model_bytes(2, weights=LARGE))
    write(shelf.root / "broken.gguf", b"")
    report = shelf.scan(hash=False)
    assert (report.files, report.hashed, report.unhashed) == (3, 0, 2)
    assert {progress.phase for progress in shelf.progress} == {"listing"}
    report = shelf.scan()
    assert (report.hashed, report.unhashed) == (2, 0)


def test_only_the_scanned_folders_are_hashed(shelf: Shelf) -> None:
    write(shelf.root / "a/1.safetensors", model_bytes(1))
    write(shelf.root / "ab/2.safetensors", model_bytes(2))
    shelf.scan(hash=False)
    report = shelf.scan(shelf.root / "a")
    assert (report.files, report.hashed, report.unhashed) == (1, 1, 0)


@SIZES
def test_a_full_scan_reads_everything_again(shelf: Shelf, weights: int, not_read: list[str]) -> None:
    path = write(shelf.root / "a.safetensors", model_bytes(1, weights=weights))
    shelf.scan()
    shelf.link("models/a.safetensors")
    found = path.stat()
    # As a failing disk does: other bytes, and nothing else tells.
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert shelf.scan().hashed == 0
    not_read.clear()
    report = shelf.scan(full=True)
    assert (report.changed, report.hashed, not_read) == (0, 1, ["a.safetensors"])
    row = shelf.row("models/a.safetensors")
    assert (row.sha256, row.version) == (hashlib.sha256(path.read_bytes()).hexdigest(), None)


def test_a_full_scan_without_hashing_keeps_the_hashes(shelf: Shelf) -> None:
    write(shelf.root / "a.safetensors", model_bytes(1))
    shelf.scan()
    before = shelf.rows()
    report = shelf.scan(full=True, hash=False)
    assert (report.unhashed, shelf.rows()) == (0, before)


def test_a_scan_leaves_the_users_files_alone(shelf: Shelf) -> None:
    write(shelf.root / "a.safetensors", model_bytes(1))
    write(shelf.root / "b.safetensors", model_bytes(1, weights=LARGE))
    write(shelf.root / "a.civitai.info", b"{}")

    def state() -> list[tuple[str, int, int, int]]:
        return [
            (path.name, path.stat().st_mtime_ns, path.stat().st_size, stat.S_IMODE(path.stat().st_mode))
            for path in (shelf.root, *sorted(shelf.root.iterdir()))
        ]

    before = state()
    shelf.scan()
    assert state() == before


def test_a_scan_leaves_the_connection_as_it_was(shelf: Shelf) -> None:
    names = ("cache_size", "mmap_size", "wal_autocheckpoint")
    settings = [shelf.query(f"PRAGMA {name}") for name in names]
    shelf.scan()
    assert [shelf.query(f"PRAGMA {name}") for name in names] == settings
    with pytest.raises(Stopped):
        shelf.scan(stop=lambda: True)
    assert [shelf.query(f"PRAGMA {name}") for name in names] == settings


@pytest.mark.parametrize(
    ("number", "kept"),
    [(0, 0), (-5, -5), (2**63 - 1, 2**63 - 1), (2**63, -(2**63)), (2**64 - 1, -1), (13_569_465_600 * 10**9, None)],
)
def test_numbers_of_64_bits_and_more_can_be_kept(number: int, kept: int | None) -> None:
    found = signed(number)
    assert -(2**63) <= found < 2**63
    assert found == kept or (kept is None and (found - number) % 2**64 == 0)
