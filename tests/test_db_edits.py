"""What owners say about files, and links."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from library_data import VersionData, add_file, add_model, add_sidecar, add_tags, link, sha256_of

from tensors.db.database import Database
from tensors.db.edits import find_version
from tensors.db.files import edit_file, find_file, forget_file, link_file, list_files, load_file
from tensors.errors import FileNotInLibrary, InvalidRequest, NotInCatalog
from tensors.types.library import FileEdit, Forgotten


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Model 1 is whole and has two versions; of model 2 one is known; model 3 has none. File 1 is a LoRA by tensors."""
    with Database(tmp_path / "models.db") as opened:
        add_model(opened, 1, VersionData(id=12, name="new", family="pony"), VersionData(id=11, name="old", family=None))
        add_model(opened, 2, VersionData(id=20), complete=False)
        add_model(opened, 3)
        columns = {"kind": "lora", "kind_from": "tensors", "family": "sdxl", "family_from": "tensors"}
        add_file(opened, "/a.gguf", hashes={"sha256": sha256_of("a")}, **columns)  # type: ignore[arg-type]
        yield opened


def rows(database: Database, table: str) -> list[tuple[object, ...]]:
    return database.connection.execute(f"SELECT * FROM {table}").fetchall()


def test_the_owners_word_and_back(database: Database) -> None:
    edit_file(database, 1, FileEdit(kind="vae", family="flux"))
    file = load_file(database, 1)
    assert (file.kind, file.kind_from, file.family, file.family_from) == ("vae", "user", "flux", "user")
    edit_file(database, 1, FileEdit(family="auto"))
    file = load_file(database, 1)
    assert (file.kind, file.kind_from, file.family, file.family_from) == ("vae", "user", "sdxl", "tensors")
    edit_file(database, 1, FileEdit())
    assert load_file(database, 1) == file
    edit_file(database, 1, FileEdit(kind="auto"))
    file = load_file(database, 1)
    assert (file.kind, file.kind_from, file.family, file.family_from) == ("lora", "tensors", "sdxl", "tensors")


@pytest.mark.parametrize(("model", "version"), [("1@11", 11), ("1@12", 12), ("1", 12), ("2@20", 20)])
def test_a_link_by_hand(database: Database, model: str, version: int) -> None:
    link(database, 1, 11, version_file_id=1100)
    edit_file(database, 1, FileEdit(model=model))
    found = load_file(database, 1).link
    assert found
    assert (found.version_id, found.matched_by) == (version, "user")
    ((_, _, version_file, _, linked_at),) = rows(database, "links")
    assert version_file is None
    assert str(linked_at) > "2026-01-02"


def test_a_link_says_what_the_file_is_until_it_is_taken_away(database: Database) -> None:
    edit_file(database, 1, FileEdit(model="1"))
    file = load_file(database, 1)
    assert (file.family, file.family_from) == ("pony", "civitai")
    edit_file(database, 1, FileEdit(model="none"))
    file = load_file(database, 1)
    assert (file.link, file.family, file.family_from) == (None, "sdxl", "tensors")
    edit_file(database, 1, FileEdit(model="none"))
    assert load_file(database, 1) == file


@pytest.mark.parametrize("model", ["2", "3", "4", "1@13", "4@40", "999999999999999999@999999999999999999"])
def test_a_version_that_is_not_cached(database: Database, model: str) -> None:
    """Nor is the newest one of a model of which only one is known."""
    before = rows(database, "files")
    with pytest.raises(NotInCatalog, match=f"model {model.partition('@')[0]} (is|are) not cached") as caught:
        edit_file(database, 1, FileEdit(kind="vae", family="flux", model=model))
    assert caught.value.hint == f"tsr db cache {model.partition('@')[0]}"
    assert rows(database, "files") == before
    assert rows(database, "links") == []


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (FileEdit(family="sdxl", kind="lorra"), "unknown kind 'lorra'; did you mean 'lora'?", "upscaler, auto"),
        (FileEdit(kind="unknown"), "unknown kind 'unknown'", "checkpoint, "),
        (FileEdit(kind="vae", family="ponny"), "unknown family 'ponny'; did you mean 'pony'?", "noobai, "),
        (FileEdit(kind="vae", family="Pony"), "unknown family 'Pony'; did you mean 'pony'?", "auto"),
        (FileEdit(kind="vae", model="2@11"), "version 11 is not of model 2 but of 1", "1@11"),
        *(
            (FileEdit(kind="vae", model=model), f"{model!r} is no model of CivitAI", "MODEL@VERSION, ")
            for model in ("x", "0", "1@", "@11", "1@0", "-1", "1@11@2", " 1", "1\n", "\u0661", "NONE", "1" * 19)
        ),
    ],
)
def test_what_cannot_be_said(database: Database, change: FileEdit, message: str, hint: str) -> None:
    """All of it is refused, also what would be possible."""
    before = rows(database, "files")
    with pytest.raises(InvalidRequest) as caught:
        edit_file(database, 1, change)
    assert str(caught.value) == message
    assert hint in (caught.value.hint or "")
    assert rows(database, "files") == before


def test_the_newest_version_is_the_first_in_civitais_order(database: Database) -> None:
    assert find_version(database, "1") == 12


def test_no_such_file(database: Database) -> None:
    for change in (FileEdit(), FileEdit(kind="vae"), FileEdit(model="1@11")):
        with pytest.raises(FileNotInLibrary, match="file 2 is not in the library"):
            edit_file(database, 2, change)
    with pytest.raises(FileNotInLibrary, match="file 2 is not in the library"):
        forget_file(database, 2)


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ("user", "sha256", "user"),
        ("user", "autov3", "user"),
        ("user", "sidecar", "user"),
        ("user", "user", "new"),
        ("sha256", "user", "new"),
        ("sha256", "autov3", "new"),
        ("sidecar", "sha256", "new"),
    ],
)
def test_the_owners_link_is_overwritten_by_the_owner_only(
    database: Database, before: str, after: str, kept: str
) -> None:
    link_file(database, 1, 11, matched_by=before, version_file_id=1100, at="then")
    link_file(database, 1, 12, matched_by=after, version_file_id=None, at="now")
    expected = (1, 12, None, after, "now") if kept == "new" else (1, 11, 1100, before, "then")
    assert rows(database, "links") == [expected]


def test_a_forgotten_file_takes_all_of_it_along(database: Database) -> None:
    other = add_file(database, "/b.gguf", hashes={"sha256": sha256_of("b")})
    for file in (1, other):
        link(database, file, 11)
        add_tags(database, file, [("tag", 1)])
        add_sidecar(database, file, "a.json")
        database.connection.execute("INSERT INTO file_metadata VALUES (?, 'key', 'value')", (file,))
    assert forget_file(database, 1) == Forgotten(id=1, name="a")
    assert [file.name for file in list_files(database).items] == ["b"]
    for table in ("file_hashes", "file_tags", "file_metadata", "sidecars", "links"):
        assert database.connection.execute(f"SELECT DISTINCT file_id FROM {table}").fetchall() == [(other,)]
    assert [row[0] for row in rows(database, "versions")] == [11, 12, 20]
    with pytest.raises(FileNotInLibrary):
        find_file(database, "a")
