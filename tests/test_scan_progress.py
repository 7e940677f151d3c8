"""What a scan says while it works, and what is left when it is stopped."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from headers import packed
from scanning import LARGE, Shelf, messages, model_bytes, write

from tensors.db.scan import Stopped
from tensors.types.jobs import Progress


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    made.close()


def test_progress_tells_of_both_phases(shelf: Shelf) -> None:
    for number in range(3):
        write(shelf.root / f"{number}/a.safetensors", model_bytes(number, weights=LARGE))
    shelf.scan()
    listing = [progress for progress in shelf.progress if progress.phase == "listing"]
    hashing = [progress for progress in shelf.progress if progress.phase == "hashing"]
    assert shelf.progress == listing + hashing
    assert {progress.unit for progress in listing} == {"files"}
    assert (listing[-1].done, listing[-1].name) == (3, str(shelf.root / "2"))
    total = sum((shelf.root / f"{number}/a.safetensors").stat().st_size for number in range(3))
    assert {(progress.total, progress.unit) for progress in hashing} == {(total, "bytes")}
    assert [progress.done for progress in hashing] == sorted(progress.done for progress in hashing)
    assert (hashing[-1].done, hashing[-1].seconds_left) == (total, 0)


def test_the_smallest_files_are_hashed_first(shelf: Shelf) -> None:
    for number, name in enumerate("cab"):
        write(shelf.root / f"{name}.safetensors", model_bytes(number, weights=LARGE + number))
    order: list[str] = []
    shelf.database.connection.create_function("noted", 1, order.append)
    shelf.query(
        "CREATE TEMP TRIGGER noted AFTER INSERT ON file_hashes WHEN new.kind = 'sha256' "
        "BEGIN SELECT noted((SELECT name FROM files WHERE id = new.file_id)); END"
    )
    shelf.scan()
    assert [name[0] for name in order] == ["c", "a", "b"]


def test_a_scan_that_is_stopped_while_listing_keeps_what_it_found(shelf: Shelf) -> None:
    for number in range(20):
        write(shelf.root / f"{number:02}.safetensors", model_bytes(number))
    answers = iter([False] * 12)
    with pytest.raises(Stopped):
        shelf.scan(stop=lambda: next(answers, True))
    found = len(shelf.rows())
    assert 0 < found < 20
    report = shelf.scan()
    assert (report.files, report.added) == (20, 20 - found)


def test_nothing_is_missing_because_a_scan_was_stopped(shelf: Shelf) -> None:
    for number in range(5):
        write(shelf.root / f"{number}/a.safetensors", model_bytes(number))
    shelf.scan()
    answers = iter([False] * 2)
    with pytest.raises(Stopped):
        shelf.scan(stop=lambda: next(answers, True))
    assert not any(row.is_missing for row in shelf.rows().values())


def test_a_scan_that_is_stopped_while_hashing_keeps_what_it_hashed(shelf: Shelf) -> None:
    for number in range(3):
        write(shelf.root / f"{number}.safetensors", model_bytes(number, weights=LARGE))
    endless = write(shelf.root / "endless.safetensors", model_bytes(9))
    with endless.open("r+b") as file:
        raw = packed({"x": {"dtype": "U8", "shape": [2**40], "data_offsets": [0, 2**40]}})
        file.write(raw)
        file.truncate(len(raw) + 2**40)
    stopping = threading.Event()

    def report(progress: Progress) -> None:
        if progress.phase == "hashing" and shelf.query("SELECT 1 FROM file_hashes GROUP BY kind HAVING count(*) = 3"):
            stopping.set()
            began.append(time.monotonic())

    began: list[float] = []
    with pytest.raises(Stopped):
        shelf.scan(report=report, stop=stopping.is_set)
    assert time.monotonic() - began[0] < 10
    hashed = {path for path, row in shelf.rows().items() if row.hashes}
    assert hashed == {f"models/{number}.safetensors" for number in range(3)}


def test_a_file_that_changes_while_it_is_hashed_is_left_for_the_next_scan(shelf: Shelf) -> None:
    path = write(shelf.root / "a.safetensors", model_bytes(1, weights=LARGE))

    def report(progress: Progress) -> None:
        if progress.phase == "listing":
            os.utime(path, ns=(5, 5))

    found = shelf.scan(report=report)
    assert messages(found, shelf.root) == {"a.safetensors": "changed while it was being hashed: scan again"}
    assert (found.hashed, found.unhashed, shelf.row("models/a.safetensors").problem) == (0, 1, None)
    assert shelf.scan().hashed == 1


def test_a_file_that_goes_while_it_is_hashed_is_missing_in_the_next_scan(shelf: Shelf) -> None:
    path = write(shelf.root / "a.safetensors", model_bytes(1, weights=LARGE))
    found = shelf.scan(report=lambda progress: path.unlink(missing_ok=True))
    assert (found.problems, found.hashed, found.missing) == ((), 0, 0)
    assert shelf.scan().missing == 1
