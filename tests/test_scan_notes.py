"""Notes and pictures of other tools beside model files, as a scan keeps them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from scanning import Shelf, messages, model_bytes, write

import tensors.db.listing

VERSION = json.dumps({"id": 12, "modelId": 3, "trainedWords": ["mystyle"]}).encode()
HELPER = ("civitai-helper", 3, 12, '["mystyle"]', None)
PICTURE = ("preview", None, None, None, None)
MODEL = "models/a.safetensors"


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    write(made.root / "a.safetensors", model_bytes(1))
    yield made
    made.close()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which model files and notes are read."""
    names: list[str] = []
    examine, read_note = tensors.db.listing.examine, tensors.db.listing.read_note
    monkeypatch.setattr(
        tensors.db.listing,
        "examine",
        lambda place, *rest, **more: (names.append(place.name), examine(place, *rest, **more))[1],
    )
    monkeypatch.setattr(
        tensors.db.listing,
        "read_note",
        lambda path, *rest: (names.append(os.path.basename(path)), read_note(path, *rest))[1],
    )
    return names


def test_notes_of_all_tools_are_kept_with_their_file(shelf: Shelf) -> None:
    write(shelf.root / "a.civitai.info", VERSION)
    write(shelf.root / "a.metadata.json", json.dumps({"sha256": "0" * 64, "notes": "mine"}).encode())
    write(shelf.root / "a.cm-info.json", b'{"ModelId": 3, "VersionId": 13}')
    write(shelf.root / "a.json", b'{"activation text": "w"}')
    write(shelf.root / "a.preview.png", b"p")
    write(shelf.root / "a.jpg", b"p")
    write(shelf.root / "b.civitai.info", VERSION)
    write(shelf.root / "a.txt", b"x")
    shelf.scan()
    assert shelf.notes(MODEL) == {
        "a.civitai.info": HELPER,
        "a.cm-info.json": ("stability-matrix", 3, 13, None, None),
        "a.jpg": PICTURE,
        "a.json": ("a1111", None, None, '["w"]', None),
        "a.metadata.json": ("lora-manager", None, None, None, None),
        "a.preview.png": PICTURE,
    }
    assert shelf.query("SELECT name, sha256, notes FROM sidecars WHERE sha256 NOT NULL") == [
        ("a.metadata.json", "0" * 64, "mine")
    ]
    assert shelf.query("SELECT count(*) FROM sidecars") == [(6,)]


def test_two_files_of_one_stem_share_their_notes(shelf: Shelf) -> None:
    write(shelf.root / "a.gguf", b"")
    write(shelf.root / "a.civitai.info", VERSION)
    shelf.scan()
    assert shelf.notes(MODEL) == shelf.notes("models/a.gguf") == {"a.civitai.info": HELPER}


def test_a_broken_note_is_its_own_problem_and_not_its_files(shelf: Shelf) -> None:
    write(shelf.root / "a.civitai.info", b"{")
    report = shelf.scan()
    assert report.problems == ()
    assert shelf.row(MODEL).problem is None
    ((tool, _, _, _, problem),) = shelf.notes(MODEL).values()
    assert tool == "civitai-helper"
    assert problem.startswith("is no valid JSON")


def test_a_note_that_comes_later_is_noticed_without_reading_the_file(shelf: Shelf, opened: list[str]) -> None:
    shelf.scan()
    opened.clear()
    write(shelf.root / "a.civitai.info", VERSION)
    shelf.scan()
    assert shelf.notes(MODEL) == {"a.civitai.info": HELPER}
    assert opened == ["a.civitai.info"]
    shelf.scan()
    assert opened == ["a.civitai.info"]


def test_a_note_is_read_again_when_it_changes_and_forgotten_when_it_goes(shelf: Shelf, opened: list[str]) -> None:
    path = write(shelf.root / "a.civitai.info", VERSION)
    shelf.scan()
    opened.clear()
    write(path, VERSION.replace(b"12", b"13"))
    os.utime(path, ns=(5, 5))
    shelf.scan()
    assert shelf.notes(MODEL)["a.civitai.info"][2] == 13
    path.unlink()
    shelf.scan()
    assert shelf.notes(MODEL) == {}
    assert opened == ["a.civitai.info"]


def test_a_full_scan_reads_notes_again(shelf: Shelf, opened: list[str]) -> None:
    write(shelf.root / "a.civitai.info", VERSION)
    shelf.scan()
    opened.clear()
    shelf.scan(full=True)
    assert opened == ["a.safetensors", "a.civitai.info"]


def test_a_missing_file_keeps_its_notes(shelf: Shelf) -> None:
    write(shelf.root / "a.civitai.info", VERSION)
    shelf.scan()
    shelf.root.rename(shelf.place / "unmounted")
    shelf.scan()
    assert shelf.notes(MODEL) == {"a.civitai.info": HELPER}


def test_a_missing_file_keeps_its_notes_though_its_folder_is_there(shelf: Shelf) -> None:
    note = write(shelf.root / "a.civitai.info", VERSION)
    write(shelf.root / "b.safetensors", model_bytes(2))
    shelf.scan()
    note.unlink()
    (shelf.root / "a.safetensors").unlink()
    shelf.scan()
    assert shelf.notes(MODEL) == {"a.civitai.info": HELPER}


def test_a_moved_file_has_the_notes_of_its_new_place(shelf: Shelf) -> None:
    write(shelf.root / "a.civitai.info", VERSION)
    shelf.scan()
    before = shelf.row(MODEL)
    (shelf.root / "b").mkdir()
    (shelf.root / "a.safetensors").rename(shelf.root / "b/c.safetensors")
    write(shelf.root / "b/c.png", b"p")
    shelf.scan()
    assert shelf.row("models/b/c.safetensors").id == before.id
    assert shelf.notes("models/b/c.safetensors") == {"c.png": PICTURE}


def test_what_is_no_file_is_no_note(shelf: Shelf) -> None:
    (shelf.root / "a.png").mkdir()
    # Reading it would never end.
    os.mkfifo(shelf.root / "a.json")
    (shelf.root / "a.civitai.info").symlink_to("nowhere")
    write(shelf.place / "elsewhere", b"p")
    (shelf.root / "a.preview.webp").symlink_to(shelf.place / "elsewhere")
    report = shelf.scan()
    assert messages(report, shelf.root) == {}
    assert shelf.notes(MODEL) == {"a.preview.webp": PICTURE}


def test_a_note_without_permission_is_tried_again(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(shelf.root / "a.civitai.info", VERSION)
    real = open

    def refused(name: str, *rest: object) -> object:
        if name == str(path) and not stat.S_IMODE(path.stat().st_mode):
            raise PermissionError(13, "Permission denied")
        return real(name, *rest)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", refused)
    path.chmod(0)
    shelf.scan()
    assert shelf.notes(MODEL)["a.civitai.info"][-1] == "cannot be read: Permission denied"
    path.chmod(0o600)
    shelf.scan()
    assert shelf.notes(MODEL) == {"a.civitai.info": HELPER}


def test_notes_are_found_in_a_folder_larger_than_what_is_compared_at_once(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensors.db.listing, "_CHUNK", 2)
    monkeypatch.setattr("tensors.db.intake._MOST_FILES", 3)
    for number in range(7):
        write(shelf.root / f"{number}.safetensors", model_bytes(number))
        write(shelf.root / f"{number}.civitai.info", VERSION)
    shelf.scan()
    assert [shelf.notes(f"models/{number}.safetensors") for number in range(7)] == [
        {f"{number}.civitai.info": HELPER} for number in range(7)
    ]
