"""Which folders a scan goes through, and what they say about their files."""

from __future__ import annotations

from pathlib import Path

import pytest
from headers import write_safetensors

from tensors.config import config_file, load_config
from tensors.errors import InvalidRequest, NotFound, OutsideFolders
from tensors.library import Library
from tensors.types.library import ScanReport, ScanRequest

NOTHING_KNOWN = {"some.weight": (4,)}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Two folders with a file each that says nothing about itself, and a configuration that knows one of them."""
    for name in ("loras/style", "elsewhere"):
        write_safetensors(tmp_path / name / "file.safetensors", NOTHING_KNOWN)
    config_file().write_text(f'[paths]\nloras = ["{tmp_path / "loras"}"]\n')
    return tmp_path


def scanned(library: Library, *directories: Path) -> ScanReport:
    request = ScanRequest(directories=tuple(map(str, directories)))
    return library.run_scan(request, lambda progress: None, lambda: False)


def kinds(library: Library) -> list[tuple[str, str | None]]:
    return [(file.kind, file.kind_from) for file in library.files().items]


@pytest.mark.parametrize("below", ["loras", "loras/style"])
def test_a_configured_folder_tells_the_kind_also_of_what_is_below_it(disk: Path, below: str) -> None:
    library = Library(load_config())
    assert scanned(library, disk / below).files == 1
    assert kinds(library) == [("lora", "folder")]


def test_a_folder_that_was_scanned_is_scanned_again_without_being_named(disk: Path) -> None:
    library = Library(load_config())
    assert scanned(library, disk / "elsewhere").folders == (str(disk / "elsewhere"),)
    report = scanned(library)
    assert report.folders == tuple(map(str, (load_config().data_dir / "models", disk / "loras", disk / "elsewhere")))
    assert (report.files, report.added) == (2, 1)


def test_a_server_scans_its_own_folders_only(disk: Path) -> None:
    scanned(Library(load_config()), disk / "elsewhere")
    library = Library(load_config(), confined=True)
    assert str(disk / "elsewhere") not in scanned(library).folders
    with pytest.raises(OutsideFolders):
        scanned(library, disk / "elsewhere")


@pytest.mark.parametrize(("path", "message"), [("nowhere", "there is no folder"), ("loras/style/file.safetensors", "")])
def test_what_is_no_folder_is_not_scanned(disk: Path, path: str, message: str) -> None:
    with pytest.raises(NotFound, match=message or "is not a folder"):
        scanned(Library(load_config()), disk / path)


def test_a_folder_is_no_model_file(disk: Path) -> None:
    with pytest.raises(InvalidRequest, match="is a folder, not a model file"):
        Library(load_config()).info(str(disk))
    with pytest.raises(InvalidRequest, match="must not be empty"):
        Library(load_config()).info("")


def test_a_library_that_cannot_be_read_keeps_nobody_from_drawing(disk: Path) -> None:
    library = Library(load_config())
    file = disk / "elsewhere" / "file.safetensors"
    assert library.known_hash(file, "sha256") is None
    scanned(library, disk / "elsewhere")
    assert library.known_hash(file, "sha256")
    (load_config().data_dir / "models.db").write_bytes(b"no database at all" * 100)
    assert library.known_hash(file, "sha256") is None
