"""What can be wrong with files and folders: each is a line, the scan goes on, and nothing is lost."""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from headers import packed
from scanning import LARGE, Shelf, messages, model_bytes, open_shelf, ordinary_user, write

import tensors.db.finding
import tensors.db.listing


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


BROKEN = {
    "empty.safetensors": (b"", "is empty"),
    "empty.gguf": (b"", "is empty"),
    "cut.safetensors": (model_bytes()[:-4], "is cut off"),
    "short.safetensors": (b"\x08\0\0", "is cut off"),
    "absurd.safetensors": (struct.pack("<Q", 2**63) + bytes(100), "says its header has 9223372036854775808 bytes"),
    "json.safetensors": (packed(b'{"x": '), "has a broken header"),
    "overlap.safetensors": (
        packed({name: {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]} for name in "ab"}) + bytes(8),
        "has a broken header",
    ),
    "html.gguf": (b"<!DOCTYPE html><html>", "is "),
}


def test_each_broken_file_is_one_line_and_the_scan_goes_on(shelf: Shelf, not_read: list[str]) -> None:
    for name, (data, _) in BROKEN.items():
        write(shelf.root / name, data)
    write(shelf.root / "z.safetensors", model_bytes())
    report = shelf.scan()
    found = messages(report, shelf.root)
    assert {name: message[: len(BROKEN[name][1])] for name, message in found.items()} == {
        name: message for name, (_, message) in BROKEN.items()
    }
    assert (report.files, report.added, report.hashed, report.unhashed) == (len(BROKEN) + 1, len(BROKEN) + 1, 1, 0)
    assert {path: row.problem for path, row in shelf.rows().items() if row.problem} == {
        f"models/{name}": message for name, message in found.items()
    }
    # They are told each time, and read once.
    not_read.clear()
    assert messages(shelf.scan(), shelf.root) == found
    assert not_read == []


def test_a_broken_file_that_is_replaced_is_read_again(shelf: Shelf) -> None:
    path = write(shelf.root / "a.safetensors", b"")
    shelf.scan()
    write(path, model_bytes(3))
    report = shelf.scan()
    assert (report.changed, report.hashed, report.problems) == (1, 1, ())
    assert (shelf.row("models/a.safetensors").problem, shelf.row("models/a.safetensors").kind) == (None, "lora")


def test_a_whole_file_that_breaks_loses_nothing_when_it_is_whole_again(shelf: Shelf) -> None:
    path = write(shelf.root / "a.safetensors", model_bytes(3))
    shelf.scan()
    shelf.link("models/a.safetensors")
    before = shelf.row("models/a.safetensors")
    write(path, model_bytes(3)[:-1])
    assert shelf.scan().changed == 1
    broken = shelf.row("models/a.safetensors")
    # What its link says is kept until another hash speaks against it.
    assert (broken.hashes, broken.kind_from, broken.id, broken.version) == ({}, "civitai", before.id, 70)
    assert broken.problem is not None
    write(path, model_bytes(3))
    shelf.scan()
    assert shelf.row("models/a.safetensors") == before


def test_what_is_no_file_is_told_beside_what_is_broken(shelf: Shelf) -> None:
    write(shelf.root / "x.safetensors/y.safetensors", model_bytes())
    report = shelf.scan()
    assert messages(report, shelf.root) == {"x.safetensors": "is a folder, not a model file"}
    assert report.files == 1


@pytest.fixture
def strict_shelf() -> Iterator[Shelf]:
    with open_shelf() as made:
        yield made


def test_files_without_permission_are_told_and_tried_again_each_time(strict_shelf: Shelf) -> None:
    shelf = strict_shelf
    small = write(shelf.root / "small.safetensors", model_bytes(1))
    large = write(shelf.root / "large.safetensors", model_bytes(2, weights=LARGE))
    for path in (small, large):
        path.chmod(0)
    with ordinary_user(shelf):
        report = shelf.scan()
        denied = dict.fromkeys(("large.safetensors", "small.safetensors"), "cannot be read: Permission denied")
        assert messages(report, shelf.root) == denied
        assert (report.files, report.unhashed) == (2, 0)
        assert messages(shelf.scan(), shelf.root) == denied
        for path in (small, large):
            path.chmod(0o600)
        report = shelf.scan()
    assert (report.problems, report.hashed, report.changed) == ((), 2, 0)
    assert [row.problem for row in shelf.rows().values()] == [None] * 2


def test_a_file_that_moves_when_it_can_be_read_again_is_known_in_full(strict_shelf: Shelf) -> None:
    shelf = strict_shelf
    path = write(shelf.root / "a.safetensors", model_bytes(1, metadata={"title": "x"}))
    with ordinary_user(shelf):
        path.chmod(0)
        shelf.scan()
        before = shelf.row("models/a.safetensors")
        path.chmod(0o600)
        path.rename(shelf.root / "b.safetensors")
        assert shelf.scan().moved == 1
    row = shelf.row("models/b.safetensors")
    assert (row.id, row.problem, row.kind) == (before.id, None, "lora")
    assert row.sha256 is not None
    assert shelf.query("SELECT key, value FROM file_metadata") == [("title", "x")]


def test_what_is_in_a_folder_that_cannot_be_read_is_not_missing(strict_shelf: Shelf) -> None:
    shelf = strict_shelf
    write(shelf.root / "closed/deep/a.safetensors", model_bytes(1))
    write(shelf.root / "listed/b.safetensors", model_bytes(2))
    write(shelf.root / "c.safetensors", model_bytes(3))
    shelf.scan()
    (shelf.root / "c.safetensors").unlink()
    with ordinary_user(shelf):
        (shelf.root / "closed").chmod(0)
        # May be listed, but nothing in it may be looked at.
        (shelf.root / "listed").chmod(0o400)
        report = shelf.scan()
        for name in ("closed", "listed"):
            (shelf.root / name).chmod(0o700)
    assert messages(report, shelf.root) == {
        "closed": "cannot be read: Permission denied",
        "listed/b.safetensors": "cannot be read: Permission denied",
    }
    missing = {path for path, row in shelf.rows().items() if row.is_missing}
    assert missing == {"models/c.safetensors"}
    assert report.missing == 1


def test_a_scanned_folder_that_cannot_be_read_is_a_line_and_nothing_is_missing(strict_shelf: Shelf) -> None:
    shelf = strict_shelf
    write(shelf.root / "a.safetensors", model_bytes(1))
    shelf.scan()
    with ordinary_user(shelf):
        shelf.root.chmod(0)
        report = shelf.scan()
        shelf.root.chmod(0o700)
    assert [problem.message for problem in report.problems] == ["cannot be read: Permission denied"]
    assert (report.missing, report.files) == (0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the file that cannot be read is one of Linux's")
def test_an_error_of_the_disk_is_told(shelf: Shelf) -> None:
    # Its first page is never mapped.
    (shelf.root / "a.safetensors").symlink_to("/proc/self/mem")
    write(shelf.root / "b.safetensors", model_bytes())
    report = shelf.scan()
    assert messages(report, shelf.root) == {"a.safetensors": "cannot be read: Input/output error"}
    assert report.hashed == 1


def test_an_error_of_the_disk_while_hashing_is_told_and_tried_again(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(shelf.root / "a.safetensors", model_bytes(1, weights=LARGE))
    write(shelf.root / "b.safetensors", model_bytes(2, weights=LARGE + 1))
    real = os.readv

    def fails(descriptor: int, buffers: list[memoryview]) -> int:
        if os.fstat(descriptor).st_size == (shelf.root / "a.safetensors").stat().st_size:
            raise OSError(5, "Input/output error")
        return real(descriptor, buffers)

    with monkeypatch.context() as patch:
        patch.setattr(os, "readv", fails)
        report = shelf.scan()
    assert messages(report, shelf.root) == {"a.safetensors": "cannot be read: Input/output error"}
    assert (report.hashed, report.unhashed) == (1, 0)
    assert shelf.row("models/a.safetensors").problem == "cannot be read: Input/output error"
    report = shelf.scan()
    assert (report.problems, report.hashed) == ((), 1)
    assert shelf.row("models/a.safetensors").problem is None


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not let such names be")
def test_names_that_are_not_utf8_are_one_line_each(shelf: Shelf) -> None:
    raw = os.fsencode(shelf.root)
    with open(raw + b"/caf\xe9.safetensors", "wb") as file:
        file.write(model_bytes())
    write(shelf.root / "café 🐈.safetensors", model_bytes())
    report = shelf.scan()
    assert messages(report, shelf.root) == {"caf\\xe9.safetensors": "has a name that is not valid UTF-8: rename it"}
    assert list(shelf.rows()) == ["models/café 🐈.safetensors"]
    json.dumps([problem.path for problem in report.problems]).encode()


def test_of_very_many_problems_the_first_thousand_are_told(shelf: Shelf) -> None:
    for number in range(1003):
        write(shelf.root / f"{number:04}.gguf", b"")
    report = shelf.scan()
    assert len(report.problems) == 1001
    assert (report.problems[-1].path, report.problems[-1].message) == ("...", "and 3 more")
