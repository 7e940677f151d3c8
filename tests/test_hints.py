"""Other tools' notes beside a file link it where nothing speaks against them, and a hash always speaks louder."""

from __future__ import annotations

from typing import Any

import pytest
from library_data import add_sidecar
from link_data import FILE, MODEL, VERSION, Desk, desk, digest, hashes, listed, model, simple, version

__all__ = ["desk"]

SIZE = 5000
OTHER = digest("other bytes")
VERSION_ALONE = "/model-versions/*"


def beside(desk: Desk, name: str = "mine.safetensors", content: str | None = "mine", **note: Any) -> int:
    """A file with a note beside it that says it is the first version."""
    file_id = desk.add(name, content, kind="lora", size=SIZE)
    add_sidecar(desk.database, file_id, "mine.civitai.info", **{"version_id": VERSION, **note})
    return file_id


def told(*files: dict[str, Any], type: str = "LORA") -> dict[str, Any]:
    """The model of that version."""
    return model(MODEL, version(VERSION, *files), type=type)


HASHED: dict[str, tuple[dict[str, Any], list[dict[str, Any]], bool]] = {
    "no files are told": ({}, [], True),
    "its files are others": ({}, [listed(FILE, "published", name="published.safetensors")], True),
    "the note is of these bytes": ({"sha256": digest("mine")}, [listed(FILE, "published", size=SIZE)], True),
    "the note is of other bytes": ({"sha256": OTHER}, [], False),
    "a file of its size has another hash": ({}, [listed(FILE, "published", size=SIZE)], False),
    "a file of its name has another hash": ({}, [listed(FILE, "published", name="MINE.safetensors")], False),
    "a file of its size has no hash": ({}, [listed(FILE, size=SIZE)], True),
    "a file of its name has no hash": ({}, [listed(FILE, name="mine.safetensors")], True),
}


@pytest.mark.parametrize("case", HASHED)
def test_what_a_note_counts_for_a_hashed_file(desk: Desk, case: str) -> None:
    note, files, counts = HASHED[case]
    desk.keep(told(*files))
    file_id = beside(desk, **note)
    report = desk.link(offline=True)
    exact = FILE if case == "a file of its size has no hash" else None
    assert desk.links() == ({file_id: (VERSION, exact, "sidecar")} if counts else {})
    assert (report.linked, report.by_sidecar) == (counts, counts)


UNHASHED: dict[str, tuple[dict[str, Any], list[dict[str, Any]], bool]] = {
    "no files are told": ({}, [], False),
    "a file of its size": ({}, [listed(FILE, "published", size=SIZE)], True),
    "a file of nearly its size": ({}, [listed(FILE, "published", size=SIZE + 1)], False),
    "a file of its size and the note's hash": ({"sha256": digest("p")}, [listed(FILE, "p", size=SIZE)], True),
    "a file of its size and another hash": ({"sha256": OTHER}, [listed(FILE, "p", size=SIZE)], False),
    "by the note's hash alone": ({"sha256": digest("p"), "version_id": None}, [listed(FILE, "p", size=SIZE)], True),
    "by a hash of another size": ({"sha256": digest("p"), "version_id": None}, [listed(FILE, "p", size=1)], False),
}


@pytest.mark.parametrize("case", UNHASHED)
def test_what_a_note_counts_for_a_file_without_hashes(desk: Desk, case: str) -> None:
    note, files, counts = UNHASHED[case]
    desk.keep(told(*files))
    file_id = beside(desk, content=None, **note)
    report = desk.link(offline=True)
    assert {file: (number, by) for file, (number, _, by) in desk.links().items()} == (
        {file_id: (VERSION, "sidecar")} if counts else {}
    )
    assert report.unhashed == (not counts)


@pytest.mark.parametrize(("type", "counts"), [("LoCon", True), ("Workflows", True), ("Checkpoint", False)])
def test_the_kind_of_the_file_must_be_possible(desk: Desk, type: str, counts: bool) -> None:
    desk.keep(told(type=type))
    beside(desk)
    assert desk.link(offline=True).by_sidecar == counts


def test_notes_that_disagree_count_for_nothing(desk: Desk) -> None:
    desk.keep(told(), simple(1))
    file_id = beside(desk)
    add_sidecar(desk.database, file_id, "mine.json", version_id=VERSION)
    assert desk.link(offline=True).by_sidecar == 1
    desk.database.connection.execute("DELETE FROM links")
    add_sidecar(desk.database, file_id, "mine.metadata.json", version_id=VERSION + 1)
    assert desk.link(offline=True).by_sidecar == 0


def test_one_note_does_not_overrule_another(desk: Desk) -> None:
    desk.keep(told(), simple(1))
    file_id = beside(desk)
    desk.link(offline=True)
    desk.database.connection.execute("UPDATE sidecars SET version_id = ?", (VERSION + 1,))
    desk.link(offline=True)
    desk.link()
    assert desk.links() == {file_id: (VERSION, None, "sidecar")}


@pytest.mark.parametrize("offline", [True, False])
def test_a_hash_is_better_than_a_note(desk: Desk, offline: bool) -> None:
    desk.keep(told())
    file_id = beside(desk)
    desk.link(offline=True)
    assert desk.links() == {file_id: (VERSION, None, "sidecar")}
    if offline:
        desk.keep(simple(1, "mine"))
    else:
        desk.know(simple(1, "mine"))
    report = desk.link(offline=offline)
    assert (report.linked, report.by_sha256, report.by_sidecar) == (1, 1, 0)
    assert desk.links() == {file_id: (VERSION + 1, FILE + 1, "sha256")}


def test_a_file_linked_by_a_note_is_asked_for_once(desk: Desk) -> None:
    desk.keep(told())
    desk.know(told())
    file_id = beside(desk)
    assert desk.link().by_sidecar == 1
    assert desk.asked() == {"/model-versions/by-hash/*": 2, "/model-versions/by-hash/ids": 1}
    assert desk.link().files == 0
    assert desk.asked() == {}
    assert desk.links() == {file_id: (VERSION, None, "sidecar")}


def test_a_link_by_a_note_outlives_the_note(desk: Desk) -> None:
    desk.keep(told())
    file_id = beside(desk)
    desk.link(offline=True)
    desk.database.connection.execute("DELETE FROM sidecars")
    desk.link()
    desk.link(refresh=True)
    assert desk.links() == {file_id: (VERSION, None, "sidecar")}


@pytest.mark.parametrize("with_model", [True, False])
def test_what_notes_name_is_fetched_for_files_that_sha256_does_not_find(desk: Desk, with_model: bool) -> None:
    models = [model(MODEL + n, version(VERSION + n), type="LORA") for n in range(3)]
    desk.know(*models)
    files = {}
    for number in range(3):
        files[number] = desk.add(f"{number}.safetensors", f"file {number}", kind="lora")
        named = {"version_id": VERSION + number, "model_id": MODEL + number if with_model else None}
        add_sidecar(desk.database, files[number], f"{number}.info", **named)
    report = desk.link()
    assert desk.links() == {file_id: (VERSION + number, None, "sidecar") for number, file_id in files.items()}
    assert (report.by_sidecar, report.not_found, report.fetched) == (3, 0, 3)
    asked = desk.asked()
    assert (asked["/models"], asked.get(VERSION_ALONE)) == ((1, None) if with_model else (1, 3))
    desk.link()
    assert desk.asked() == {}


@pytest.mark.parametrize("model_id", [MODEL, None])
def test_a_version_that_its_model_does_not_list_is_told_on_its_own_and_stays(desk: Desk, model_id: int | None) -> None:
    desk.know(model(MODEL, version(VERSION)))
    desk.fake.models[MODEL]["modelVersions"] = []
    file_id = beside(desk, model_id=model_id)
    desk.link()
    assert desk.kept() == [MODEL]
    assert desk.links() == {file_id: (VERSION, None, "sidecar")}
    desk.link(refresh=True)
    assert desk.links() == {file_id: (VERSION, None, "sidecar")}


def test_a_version_that_a_note_names_can_match_by_another_hash(desk: Desk) -> None:
    desk.know(told(listed(FILE, hashes={"AutoV3": hashes("mine")["autov3"][:12].upper()})))
    file_id = beside(desk, model_id=MODEL)
    report = desk.link()
    assert desk.links() == {file_id: (VERSION, FILE, "autov3")}
    assert (report.by_autov3, report.by_sidecar) == (1, 0)
    assert desk.asked() == {"/model-versions/by-hash/ids": 1, "/models": 1}


@pytest.mark.parametrize("number", [VERSION, 2**31, 2**63 - 1, 0, -1])
def test_a_note_about_a_version_that_is_gone_or_never_was(desk: Desk, number: int) -> None:
    desk.know(simple(1))
    beside(desk, version_id=number, model_id=number)
    other = desk.add("1.safetensors", "file 1")
    report = desk.link()
    assert desk.links() == {other: (VERSION + 1, FILE + 1, "sha256")}
    assert (report.not_found, report.problems) == (1, ())
    desk.asked()
    desk.link()
    assert desk.asked() == {}


def test_notes_are_not_asked_about_when_sha256_finds_the_file(desk: Desk) -> None:
    desk.know(simple(1, "mine"), told())
    file_id = beside(desk, model_id=MODEL)
    desk.link()
    assert desk.links() == {file_id: (VERSION + 1, FILE + 1, "sha256")}
    assert desk.kept() == [MODEL + 1]
