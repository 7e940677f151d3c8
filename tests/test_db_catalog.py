"""CivitAI's models in the library: kept without loss, replaced, shown and taken out, with files linked to them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from library_data import add_file

from tensors.civitai.records import FileRecord, ImageRecord, ModelRecord, VersionRecord, model_of, version_of
from tensors.db.catalog import (
    count_files,
    delete_model,
    details_of_record,
    document_of,
    has_models,
    load_model,
    store_model,
    store_models,
    store_version,
)
from tensors.db.database import Database, check
from tensors.db.records import read_model
from tensors.db.search import search_models
from tensors.db.search_index import rebuild
from tensors.errors import NotInCatalog

RECORDED = Path(__file__).parent / "data" / "civitai"
FIRST, LATER = "2026-01-01T00:00:00.000Z", "2026-02-02T00:00:00.000Z"
MODELS: list[dict[str, Any]] = [
    *json.loads((RECORDED / "models-page.json").read_bytes())["items"],
    json.loads((RECORDED / "model-1102.json").read_bytes()),
]
VERSION: dict[str, Any] = json.loads((RECORDED / "model-version-1318.json").read_bytes())
WHOLE: dict[str, Any] = {
    "id": VERSION["modelId"],
    "name": VERSION["model"]["name"],
    "type": VERSION["model"]["type"],
    "tags": ["whole"],
    "description": "All of it",
    "modelVersions": [{"id": 2000, "name": "newer"}, VERSION, {"id": 1000, "name": "older"}],
}
"""A model of which the recorded version can be one. Its own record is not among the recorded ones."""

recorded = pytest.mark.parametrize("raw", MODELS, ids=[str(model["id"]) for model in MODELS])


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "models.db") as database:
        yield database


def record(model_id: int = 1, *versions: VersionRecord, **fields: Any) -> ModelRecord:
    told = {"name": f"Model {model_id}", "document": b"{}", **fields}
    return ModelRecord(id=model_id, versions=versions, **told)


def version(version_id: int, *files: FileRecord, model_id: int = 1, **fields: Any) -> VersionRecord:
    return VersionRecord(id=version_id, model_id=model_id, files=files, **{"name": f"v{version_id}", **fields})


def listed(file_id: int, sha256: str = "aa", **fields: Any) -> FileRecord:
    return FileRecord(id=file_id, name=f"{file_id}.safetensors", hashes=(("sha256", sha256),), **fields)


def link(database: Database, path: str, version_id: int, file_id: int | None = None, **columns: Any) -> int:
    number = add_file(database, path, **columns)
    database.connection.execute("INSERT INTO links VALUES (?, ?, ?, 'sha256', ?)", (number, version_id, file_id, FIRST))
    return number


def tags_of(raw: dict[str, Any]) -> list[str]:
    """Old records have a table for each tag."""
    return [tag if isinstance(tag, str) else tag["name"] for tag in raw["tags"]]


def links(database: Database) -> list[tuple[int, int, int | None]]:
    return database.connection.execute("SELECT file_id, version_id, version_file_id FROM links ORDER BY 1").fetchall()


def found(database: Database, query: str) -> list[int]:
    return [model.id for model in search_models(database, query).items]


def everything(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables but the inner ones of the search index, and what that says."""
    execute = database.connection.execute
    tables = [name for (name,) in execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    rows = {name: execute(f"SELECT * FROM {name}").fetchall() for name in tables if "_search_" not in name}
    return {name: sorted(found, key=repr) for name, found in rows.items()} | {"terms": sorted(terms(database))}


def terms(database: Database) -> list[tuple[object, ...]]:
    """What the search index finds each row by."""
    found: list[tuple[object, ...]] = []
    for table in ("name_search", "text_search"):
        database.connection.execute(f"CREATE VIRTUAL TABLE temp.terms USING fts5vocab('main', '{table}', 'instance')")
        found += database.connection.execute("SELECT ?, term, doc, offset FROM temp.terms", (table,)).fetchall()
        database.connection.execute("DROP TABLE temp.terms")
    return sorted(found, key=repr)


# Nothing is lost


@recorded
def test_a_recorded_model_is_shown_as_it_was_told(library: Database, raw: dict[str, Any]) -> None:
    store_model(library, model_of(raw), fetched_at=FIRST)
    shown = load_model(library, raw["id"])
    assert (shown.id, shown.name, shown.type) == (raw["id"], raw["name"], raw["type"])
    assert shown.creator == raw["creator"]["username"]
    assert list(shown.tags) == tags_of(raw)
    assert shown.downloads == raw["stats"]["downloadCount"]
    assert shown.nsfw == raw["nsfw"]
    assert shown.url == f"https://civitai.com/models/{raw['id']}"
    assert (shown.complete, shown.fetched, shown.here) == (True, FIRST, 0)
    assert bool(shown.description) == bool(raw["description"])
    assert shown.versions == len(raw["modelVersions"]) == len(shown.all_versions)
    assert list(shown.base_models) == list(dict.fromkeys(told["baseModel"] for told in raw["modelVersions"]))
    for told, kept in zip(raw["modelVersions"], shown.all_versions, strict=True):
        assert (kept.id, kept.name, kept.base_model) == (told["id"], told["name"], told["baseModel"])
        assert (kept.published, kept.availability) == (told.get("publishedAt"), told.get("availability"))
        assert list(kept.words) == told["trainedWords"]
        assert bool(kept.description) == bool(told["description"])
        assert [image.url for image in kept.images] == [image["url"] for image in told["images"]]
        assert [(image.width, image.height, image.nsfw_level) for image in kept.images] == [
            (image["width"], image["height"], image.get("nsfwLevel")) for image in told["images"]
        ]
        files = {file["id"]: file for file in told["files"]}
        assert {file.id for file in kept.files} == files.keys()
        for file in kept.files:
            fields = files[file.id]
            metadata = fields.get("metadata", {})
            assert (file.name, file.type) == (fields["name"], fields["type"])
            assert file.size == round(fields["sizeKB"] * 1024)
            assert (file.format, file.size_kind, file.precision) == tuple(map(metadata.get, ("format", "size", "fp")))
            assert file.primary == bool(fields.get("primary"))
            assert file.sha256 == fields["hashes"]["SHA256"].lower()
            assert file.download_url == fields["downloadUrl"]


@recorded
def test_every_hash_of_a_recorded_model_is_kept(library: Database, raw: dict[str, Any]) -> None:
    store_model(library, model_of(raw), fetched_at=FIRST)
    kept = read_model(library, raw["id"])
    rows = [(file.id, *told) for version in kept.versions for file in version.files for told in file.hashes]
    assert sorted(rows) == sorted(
        (file["id"], kind.lower(), value.lower())
        for told in raw["modelVersions"]
        for file in told["files"]
        for kind, value in file["hashes"].items()
    )


@recorded
def test_the_document_is_what_came(library: Database, raw: dict[str, Any]) -> None:
    came = json.dumps(raw | {"somethingNew": {"in": [2027, None, "麦"]}}, ensure_ascii=False).encode()
    store_model(library, model_of(came), fetched_at=FIRST)
    assert document_of(library, raw["id"]) == came


@recorded
def test_what_is_kept_is_shown_like_what_was_fetched(library: Database, raw: dict[str, Any]) -> None:
    store_model(library, model_of(raw), fetched_at=FIRST)
    assert replace(load_model(library, raw["id"]), fetched=None) == details_of_record(model_of(raw))


@recorded
def test_a_recorded_model_is_found_by_all_that_is_said_of_it(library: Database, raw: dict[str, Any]) -> None:
    store_models(library, map(model_of, MODELS), fetched_at=FIRST)
    told = model_of(raw)
    for query in (raw["name"], raw["creator"]["username"], *tags_of(raw)):
        assert raw["id"] in found(library, query), query
    for query in (word for kept in told.versions for word in kept.trained_words):
        assert raw["id"] in found(library, query), query
    for text in (told.description, *(kept.description for kept in told.versions)):
        for word in (text or "").split()[:30]:
            assert raw["id"] in found(library, word) or not any(map(str.isalnum, word)), word


def test_storing_again_changes_nothing(library: Database) -> None:
    assert store_models(library, map(model_of, MODELS), fetched_at=FIRST) == len(MODELS)
    before = everything(library)
    assert len(before["models"]) == len(MODELS)
    assert len(before["version_files"]) > 50
    for _ in range(2):
        store_models(library, map(model_of, MODELS), fetched_at=FIRST)
        assert everything(library) == before


def test_the_order_in_which_models_come_does_not_matter(library: Database, tmp_path: Path) -> None:
    store_models(library, map(model_of, MODELS), fetched_at=FIRST)
    with Database(tmp_path / "other.db") as other:
        store_models(other, (model_of(raw) for raw in reversed(MODELS)), fetched_at=FIRST)
        assert terms(other) == terms(library)
        for raw in MODELS:
            assert load_model(other, raw["id"]) == load_model(library, raw["id"])


# Replacing


def test_a_newer_record_replaces_the_older_one(library: Database) -> None:
    store_model(
        library,
        record(
            1,
            version(11, listed(111), listed(112), trained_words=("oldword",), images=(ImageRecord(url="https://a/1"),)),
            version(10, listed(101)),
            name="Oldname",
            creator="Oldmaker",
            tags=("oldtag", "kept"),
            description="oldtext",
            download_count=5,
            document=b"[1]",
        ),
        fetched_at=FIRST,
    )
    store_model(
        library,
        record(
            1,
            version(12, listed(121), trained_words=("newword", "second")),
            version(11, listed(111, "bb"), position=1, base_model="Pony"),
            name="Newname",
            creator="Newmaker",
            tags=("kept", "newtag"),
            description="newtext",
            download_count=7,
            document=b"[2]",
        ),
        fetched_at=LATER,
    )
    shown = load_model(library, 1)
    assert (shown.name, shown.creator, shown.tags, shown.downloads) == ("Newname", "Newmaker", ("kept", "newtag"), 7)
    assert [kept.id for kept in shown.all_versions] == [12, 11]
    assert [kept.words for kept in shown.all_versions] == [("newword", "second"), ()]
    assert [[file.id for file in kept.files] for kept in shown.all_versions] == [[121], [111]]
    assert shown.all_versions[1].files[0].sha256 == "bb"
    assert (shown.all_versions[1].family, shown.all_versions[1].images) == ("pony", ())
    assert (shown.fetched, document_of(library, 1)) == (LATER, b"[2]")
    for old in ("oldname", "oldmaker", "oldtag", "oldword", "oldtext"):
        assert found(library, old) == [], old
    for new in ("newname", "newmaker", "newtag", "newword", "newtext", "kept"):
        assert found(library, new) == [1], new
    assert check(library).mended == ()


def test_the_popular_come_first_whenever_they_became_so(library: Database) -> None:
    downloads = {1: 10, 2: 5_000_000_000, 3: 0, 4: 10, 5: 11}
    store_models(
        library,
        (record(number, name="same", download_count=count) for number, count in downloads.items()),
        fetched_at=FIRST,
    )
    assert found(library, "same") == [2, 5, 1, 4, 3]
    store_model(library, record(3, name="same", download_count=12), fetched_at=LATER)
    store_model(library, record(2, name="same", download_count=1), fetched_at=LATER)
    assert found(library, "same") == [3, 5, 1, 4, 2]


def test_the_last_of_several_records_of_one_model_counts(library: Database) -> None:
    twice = [record(1, version(10), name="Former"), record(1, version(10, listed(100)), version(11), name="Latter")]
    assert store_models(library, twice, fetched_at=FIRST) == 2
    assert load_model(library, 1).name == "Latter"
    assert found(library, "former") == []


def test_a_version_moves_to_the_model_that_has_it_now(library: Database) -> None:
    moving = version(10, listed(100), trained_words=("wanderer",))
    store_models(library, [record(1, moving), record(2)], fetched_at=FIRST)
    number = link(library, "/m/a.safetensors", 10, 100)
    store_model(library, record(2, replace(moving, model_id=2)), fetched_at=LATER)
    assert load_model(library, 1).all_versions == ()
    assert [kept.id for kept in load_model(library, 2).all_versions] == [10]
    assert found(library, "wanderer") == [2]
    assert links(library) == [(number, 10, 100)]


def test_a_file_moves_to_the_version_that_has_it_now(library: Database) -> None:
    store_model(library, record(1, version(10, listed(100))), fetched_at=FIRST)
    store_model(library, record(1, version(11, listed(100)), version(10, position=1)), fetched_at=LATER)
    assert [[file.id for file in kept.files] for kept in load_model(library, 1).all_versions] == [[100], []]


def test_a_file_of_several_versions_is_listed_in_each(library: Database) -> None:
    """A checkpoint's VAE has one number on all its versions' pages."""
    told = record(1, version(11, listed(110), listed(100)), version(10, listed(100), position=1))
    store_models(library, [told, record(2, version(20, listed(100)))], fetched_at=FIRST)
    listings = [[file.id for file in kept.files] for id in (1, 2) for kept in load_model(library, id).all_versions]
    assert listings == [[100, 110], [100], [100]]


def test_a_shared_file_stays_where_it_is_linked_or_still_listed(library: Database) -> None:
    both = [version(number, listed(100), position=place) for place, number in enumerate((12, 11, 10))]
    store_model(library, record(1, *both), fetched_at=FIRST)
    link(library, "/m/a.safetensors", 10, 100)
    store_model(library, record(1, *(replace(of, files=()) for of in both[1:])), fetched_at=LATER)
    assert {kept.id: [file.id for file in kept.files] for kept in load_model(library, 1).all_versions} == {
        11: [],
        10: [100],
    }
    assert check(library).sound


def test_one_version_in_two_records_of_one_batch_is_kept_once(library: Database) -> None:
    shared = version(10, listed(100), trained_words=("a", "b"), images=(ImageRecord(url="https://a/1"),))
    store_models(library, [record(1, shared), record(2, replace(shared, model_id=2))], fetched_at=FIRST)
    assert [load_model(library, number).versions for number in (1, 2)] == [0, 1]
    assert check(library).sound


@pytest.mark.parametrize("numbers", [(2**63 - 1, 2**63 - 2), (2**31, 2**31 + 2**30, 2**32 + 2**31), (5, 2**32 + 5)])
def test_models_of_any_number_are_kept(library: Database, numbers: tuple[int, ...]) -> None:
    for _ in range(2):
        store_models(library, (record(number, name="odd") for number in numbers), fetched_at=FIRST)
        assert sorted(found(library, "odd")) == sorted(numbers)
        assert {load_model(library, number).id for number in numbers} == set(numbers)


def test_a_batch_that_fails_is_taken_back_and_those_before_stay(library: Database) -> None:
    def told() -> Iterator[ModelRecord]:
        for number in range(1, 3501):
            yield record(number, document=b"[]" if number < 3500 else "no bytes")

    with pytest.raises(TypeError):
        store_models(library, told(), fetched_at=FIRST)
    kept = has_models(library, range(1, 4000))
    assert kept
    assert kept == set(range(1, len(kept) + 1))
    assert len(kept) < 3500
    assert check(library).mended == ()


# Files that are linked


def test_links_outlive_a_newer_record(library: Database) -> None:
    store_model(library, record(1, version(10, listed(100)), version(11, listed(110))), fetched_at=FIRST)
    expected = [(link(library, "/m/a", 10, 100), 10, 100), (link(library, "/m/b", 11), 11, None)]
    changed = record(1, version(12), version(11, listed(110), name="x"), version(10, listed(100, "cc")), name="New")
    store_model(library, changed, fetched_at=LATER)
    assert links(library) == expected
    rows = library.connection.execute("SELECT linked_at FROM links").fetchall()
    assert rows == [(FIRST,)] * 2


def test_what_is_listed_no_more_stays_only_while_a_file_is_linked_to_it(library: Database) -> None:
    whole = record(
        1, version(10, listed(100), listed(101)), version(11, listed(110), position=1), version(12, position=2)
    )
    store_model(library, whole, fetched_at=FIRST)
    expected = [(link(library, "/m/a", 11, 110), 11, 110), (link(library, "/m/b", 10, 100), 10, 100)]
    store_model(library, record(1, version(13), version(10, position=1)), fetched_at=LATER)
    assert links(library) == expected
    shown = load_model(library, 1)
    assert [(kept.id, [file.id for file in kept.files]) for kept in shown.all_versions] == [
        (13, []),
        (10, [100]),
        (11, [110]),
    ]
    library.connection.execute("DELETE FROM links")
    store_model(library, record(1, version(13), version(10, position=1)), fetched_at=LATER)
    assert [(kept.id, kept.files) for kept in load_model(library, 1).all_versions] == [(13, ()), (10, ())]


def test_what_could_not_be_read_this_time_is_not_taken_for_gone(library: Database) -> None:
    store_model(library, record(1, version(10, listed(100), listed(101)), version(11)), fetched_at=FIRST)
    broken = record(1, version(10, listed(100), broken=1), broken=2)
    store_model(library, broken, fetched_at=LATER)
    assert [(kept.id, len(kept.files)) for kept in load_model(library, 1).all_versions] == [(10, 2), (11, 0)]


def test_linked_files_are_what_civitai_says_now(library: Database) -> None:
    def kinds() -> list[tuple[str, str]]:
        return library.connection.execute("SELECT kind, family FROM files").fetchall()

    store_model(library, record(1, version(10, base_model="SDXL 1.0"), type="LORA"), fetched_at=FIRST)
    link(library, "/m/a.safetensors", 10, family="sdxl", family_from="tensors")
    store_model(library, record(1, version(10, base_model="Pony"), type="LORA"), fetched_at=LATER)
    assert kinds() == [("lora", "pony")]
    store_version(library, version(10, base_model="Illustrious"), fetched_at=LATER)
    assert kinds() == [("lora", "illustrious")]
    delete_model(library, 1)
    assert kinds() == [("unknown", "sdxl")]


def test_files_that_are_here_are_named_and_counted(library: Database) -> None:
    store_models(library, [record(1, version(10), version(11)), record(2, version(20, model_id=2))], fetched_at=FIRST)
    link(library, "/b/same.safetensors", 10)
    link(library, "/a/same.gguf", 10)
    link(library, "/a/Alpha.safetensors", 10)
    link(library, "/a/gone.safetensors", 11, missing=True)
    shown = load_model(library, 1)
    assert [kept.here for kept in shown.all_versions] == [("Alpha", "same", "same"), ()]
    assert shown.here == 3
    assert count_files(library, [1, 2, 3]) == {1: 3}
    assert count_files(library, []) == {}
    assert [model.here for model in search_models(library, None).items] == [3, 0]


# A version told on its own


def test_the_recorded_version_makes_a_part_of_its_model(library: Database) -> None:
    store_version(library, version_of(VERSION), fetched_at=FIRST)
    shown = load_model(library, VERSION["modelId"])
    assert not shown.complete
    assert (shown.name, shown.type) == (VERSION["model"]["name"], VERSION["model"]["type"])
    (kept,) = shown.all_versions
    assert (kept.id, kept.name, kept.base_model) == (VERSION["id"], VERSION["name"], VERSION["baseModel"])
    assert {file.id for file in kept.files} == {file["id"] for file in VERSION["files"]}
    assert has_models(library, [shown.id]) == set()
    assert found(library, VERSION["model"]["name"]) == [shown.id]
    with pytest.raises(NotInCatalog, match="only one of its versions") as caught:
        document_of(library, shown.id)
    assert caught.value.hint == f"tsr db cache {shown.id}"


def test_a_part_becomes_whole(library: Database) -> None:
    raw = WHOLE
    store_version(library, version_of(VERSION), fetched_at=FIRST)
    number = link(library, "/m/a", VERSION["id"])
    store_model(library, model_of(raw), fetched_at=LATER)
    shown = load_model(library, raw["id"])
    assert (shown.complete, shown.fetched) == (True, LATER)
    assert [kept.id for kept in shown.all_versions] == [told["id"] for told in raw["modelVersions"]]
    assert has_models(library, [raw["id"]]) == {raw["id"]}
    assert [row[:2] for row in links(library)] == [(number, VERSION["id"])]
    assert check(library).mended == ()


def test_a_version_on_its_own_takes_nothing_from_a_whole_model(library: Database) -> None:
    raw = WHOLE
    store_model(library, model_of(raw), fetched_at=FIRST)
    before = load_model(library, raw["id"])
    poor = VersionRecord(id=VERSION["id"], model_id=raw["id"], model_name="Other", model_type="VAE", model_nsfw=True)
    for told in (version_of(VERSION), poor):
        store_version(library, told, fetched_at=LATER)
        assert load_model(library, raw["id"]) == before
    assert document_of(library, raw["id"])
    changed = replace(poor, name="renamed", trained_words=("fresh",), files=(listed(9),))
    store_version(library, changed, fetched_at=LATER)
    shown = load_model(library, raw["id"])
    (kept,) = (kept for kept in shown.all_versions if kept.id == VERSION["id"])
    assert (kept.name, kept.words, [file.id for file in kept.files]) == ("renamed", ("fresh",), [9])
    assert [kept.id for kept in shown.all_versions] == [kept.id for kept in before.all_versions]
    assert found(library, "fresh") == [raw["id"]]


def test_versions_of_a_part_stand_newest_first_and_new_ones_of_a_whole_last(library: Database) -> None:
    for number in (20, 30, 10):
        store_version(library, version(number, model_name="Part"), fetched_at=FIRST)
    assert [kept.id for kept in load_model(library, 1).all_versions] == [30, 20, 10]
    store_model(library, record(1, version(20), version(30, position=1)), fetched_at=LATER)
    store_version(library, version(40), fetched_at=LATER)
    store_version(library, version(20), fetched_at=LATER)
    assert [kept.id for kept in load_model(library, 1).all_versions] == [20, 30, 40]


def test_parts_learn_and_forget_nothing_about_their_model(library: Database) -> None:
    store_version(library, version(10, model_name="Known", model_type="LORA"), fetched_at=FIRST)
    store_version(library, version(11), fetched_at=LATER)
    shown = load_model(library, 1)
    assert (shown.name, shown.type, shown.fetched) == ("Known", "LORA", LATER)


# Taking out, and what is not there


def test_a_model_is_taken_out_with_its_links_and_files_stay(library: Database) -> None:
    store_models(library, map(model_of, MODELS), fetched_at=FIRST)
    gone, *others = MODELS
    link(library, "/m/a", gone["modelVersions"][0]["id"])
    kept = link(library, "/m/b", others[0]["modelVersions"][0]["id"])
    forgotten = delete_model(library, gone["id"])
    assert (forgotten.id, forgotten.name) == (gone["id"], gone["name"])
    assert [row[0] for row in links(library)] == [kept]
    assert library.connection.execute("SELECT count(*) FROM files").fetchone() == (2,)
    assert found(library, gone["name"]) == []
    assert {model.id for model in search_models(library, None).items} == {raw["id"] for raw in others}
    assert check(library).mended == ()
    for table in ("versions", "model_tags", "model_documents"):
        query = f"SELECT count(*) FROM {table} WHERE model_id = ?"
        assert library.connection.execute(query, (gone["id"],)).fetchone() == (0,)


@pytest.mark.parametrize("number", [1, 0, -1, 2**63, 10**30])
def test_what_is_not_kept_is_said_with_how_to_get_it(library: Database, number: int) -> None:
    for ask in (load_model, document_of, delete_model):
        with pytest.raises(NotInCatalog, match=f"model {number} is not kept here") as caught:
            ask(library, number)
        assert f"tsr db cache {number}" in (caught.value.hint or "")


def test_has_models_knows_the_whole_ones_among_many(library: Database) -> None:
    store_models(library, (record(number) for number in range(1, 50)), fetched_at=FIRST)
    store_version(library, version(5, model_id=77), fetched_at=FIRST)
    assert has_models(library, range(40, 100)) == set(range(40, 50))
    assert has_models(library, []) == set()


# Whatever happens


def any_record(chance: random.Random) -> ModelRecord:
    model_id = chance.randint(1, 4)
    words = ["pony", "麦橘写实", "Café", "v6 XL", "dark light", "ponyDiffusionV6XL", "a", ""]
    versions = [
        version(
            number,
            *(listed(file, chance.choice("abc") * 4) for file in chance.sample(range(100, 110), chance.randint(0, 2))),
            model_id=model_id,
            position=place,
            name=chance.choice(words),
            description=chance.choice([None, *words]),
            trained_words=tuple(chance.sample(words[:-1], chance.randint(0, 2))),
            model_name=chance.choice(words),
        )
        for place, number in enumerate(chance.sample(range(10, 16), chance.randint(0, 3)))
    ]
    return record(
        model_id,
        *versions,
        name=chance.choice(words),
        creator=chance.choice([None, *words[:-1]]),
        tags=tuple(chance.sample(words[:-1], chance.randint(0, 3))),
        description=chance.choice([None, *words]),
        download_count=chance.choice([0, 1, 7, 2**40]),
        broken=chance.choice([0, 0, 1]),
    )


@pytest.mark.parametrize("seed", range(12))
def test_search_fits_the_models_whatever_was_done(library: Database, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(40):
        told = any_record(chance)
        action = chance.random()
        if action < 0.5:
            store_models(library, [told, any_record(chance)], fetched_at=FIRST)
        elif action < 0.8 and told.versions:
            store_version(library, told.versions[0], fetched_at=FIRST)
        elif action < 0.9:
            kept = [model.id for model in search_models(library, None).items]
            if kept:
                delete_model(library, chance.choice(kept))
        else:
            numbers = [number for (number,) in library.connection.execute("SELECT id FROM versions")]
            if numbers:
                link(library, f"/m/{chance.random()}", chance.choice(numbers))
    checked = check(library)
    assert (checked.sound, checked.problems, checked.mended) == (True, (), ())
    grown = terms(library)
    rebuild(library)
    assert terms(library) == grown
    assert grown
