"""Files in the library: listed page by page, and one with all that is known of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from library_data import WHEN, VersionData, add_file, add_model, add_not_found, add_sidecar, add_tags, link, sha256_of

from tensors.db.database import Database
from tensors.db.files import forget_file, list_files, load_file
from tensors.errors import FileNotInLibrary, InvalidRequest
from tensors.types.files import File, FileDetails, Hash, Link, Sidecar, Tag

HEAVY = {"httpx", "asyncio", "blake3", "pydantic", "msgspec", "sqlalchemy", "difflib", "logging", "hashlib", "json"}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "models.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """For tests that begin by emptying it."""
    with Database(tmp_path_factory.mktemp("library") / "models.db") as opened:
        yield opened


def names(database: Database, **filters: object) -> list[str]:
    return [file.name for file in list_files(database, **filters).items]  # type: ignore[arg-type]


def statements(database: Database, **filters: object) -> list[str]:
    """The SQL of one list."""
    said: list[str] = []
    database.connection.set_trace_callback(said.append)
    list_files(database, **filters)  # type: ignore[arg-type]
    database.connection.set_trace_callback(None)
    return said


def whole(database: Database) -> int:
    """A file about which everything is known."""
    add_model(
        database,
        7,
        VersionData(id=70, name="v2", words=("word one, word two", "word one")),
        name="Some Model",
        creator="someone",
        nsfw=1,
        description="What it is.",
    )
    file = add_file(
        database,
        "/models/loras/Some Model v2.safetensors",
        size=1234,
        mtime_ns=1_795_373_341_123_999_999,
        kind="lora",
        kind_from="tensors",
        family="pony",
        family_from="civitai",
        variant="v-prediction",
        adapter="lokr",
        format="safetensors",
        precision="bf16",
        parameters=1_000_000,
        hashes={"crc32": "aabbccdd", "sha256": sha256_of("whole"), "autov3": "0123456789ab", "blake3": "b" * 64},
    )
    link(database, file, 70, matched_by="autov3")
    return file


WHOLE = {
    "path": "/models/loras/Some Model v2.safetensors",
    "name": "Some Model v2",
    "size": 1234,
    "modified": "2026-11-22T18:49:01.123Z",
    "state": "present",
    "kind": "lora",
    "family": "pony",
    "kind_from": "tensors",
    "family_from": "civitai",
    "variant": "v-prediction",
    "adapter": "lokr",
    "format": "safetensors",
    "precision": "bf16",
    "parameters": 1_000_000,
    "sha256": sha256_of("whole"),
    "autov3": "0123456789ab",
    "link": Link(
        model_id=7,
        version_id=70,
        model="Some Model",
        version="v2",
        type="LORA",
        base_model="SDXL 1.0",
        creator="someone",
        nsfw=True,
        matched_by="autov3",
        url="https://civitai.com/models/7?modelVersionId=70",
    ),
    "words": ("word one", "word two"),
}


def test_a_file_of_which_all_is_known(database: Database) -> None:
    file = whole(database)
    (listed,) = list_files(database).items
    assert listed == File(id=file, **WHOLE)  # type: ignore[arg-type]


def test_a_file_of_which_nothing_is_known(database: Database) -> None:
    file = add_file(database, "/lost.gguf", mtime_ns=0)
    (listed,) = list_files(database).items
    assert listed == File(
        id=file,
        path="/lost.gguf",
        name="lost",
        size=1000,
        modified="1970-01-01T00:00:00.000Z",
        state="present",
        kind="unknown",
        family="unknown",
    )


def test_urls_are_of_the_configured_site(database: Database) -> None:
    file = whole(database)
    (listed,) = list_files(database, civitai="https://mirror.example").items
    assert listed.link
    assert listed.link.url == "https://mirror.example/models/7?modelVersionId=70"
    assert load_file(database, file, civitai="https://mirror.example").link == listed.link


def test_a_broken_file_that_is_missing_is_missing(database: Database) -> None:
    add_file(database, "/a.gguf", problem="is cut off")
    add_file(database, "/b.gguf", problem="is cut off", missing=True)
    assert [(file.state, file.problem) for file in list_files(database).items] == [
        ("broken", "is cut off"),
        ("missing", "is cut off"),
    ]
    assert names(database, state="broken") == ["a"]
    assert names(database, state="missing") == ["b"]


def test_order_is_by_name_without_extension_and_case(database: Database) -> None:
    for path in ("/2/b.gguf", "/1/B.gguf", "/c.gguf", "/a-x.gguf", "/a (1).safetensors", "/a.safetensors", "/É.gguf"):
        add_file(database, path)
    assert [file.path for file in list_files(database).items] == [
        "/a.safetensors",
        "/a (1).safetensors",
        "/a-x.gguf",
        "/2/b.gguf",
        "/1/B.gguf",
        "/c.gguf",
        "/É.gguf",
    ]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a.safetensors", "a"),
        ("a.v1.5.gguf", "a.v1.5"),
        ("a..SafeTensors", "a."),
        ("a b .gguf", "a b "),
        ("模型.gguf", "模型"),
        ("no extension", "no extension"),
        (".gguf", ".gguf"),
    ],
)
def test_name_is_what_stands_before_the_last_dot(database: Database, file: str, name: str) -> None:
    add_file(database, f"/{file}")
    assert names(database) == [name]


NAMES = st.text(alphabet="aAbB ._-éÉ0", min_size=1, max_size=3)


@given(before=st.lists(NAMES, max_size=12), added=st.lists(NAMES, max_size=6), limit=st.integers(1, 5))
def test_pages_show_each_file_once_and_in_order(
    shared: Database, before: list[str], added: list[str], limit: int
) -> None:
    """Also while files are added: those may be shown or not, but never twice, and take no other's place."""
    shared.connection.execute("DELETE FROM files")
    known = [add_file(shared, f"/{number}/{name}.gguf") for number, name in enumerate(before)]
    waiting = list(added)
    seen: list[File] = []
    cursor = None
    while True:
        page = list_files(shared, limit=limit, cursor=cursor)
        assert len(page.items) == limit or page.next_cursor is None
        seen += page.items
        if (cursor := page.next_cursor) is None:
            break
        if waiting:
            add_file(shared, f"/new{len(waiting)}/{waiting.pop()}.gguf")
    keys = [("".join(c.lower() if c.isascii() else c for c in file.name), file.id or 0) for file in seen]
    assert keys == sorted(set(keys))
    assert set(known) <= {file.id for file in seen}


def test_a_full_last_page_has_no_next(database: Database) -> None:
    for name in "abcd":
        add_file(database, f"/{name}.gguf")
    first = list_files(database, limit=2)
    assert first.next_cursor
    last = list_files(database, limit=2, cursor=first.next_cursor)
    assert [file.name for file in last.items] == ["c", "d"]
    assert last.next_cursor is None


def test_pages_of_a_filtered_list(database: Database) -> None:
    for number in range(9):
        add_file(database, f"/{number}.gguf", family="sdxl" if number % 2 else "pony")
    seen, cursor = [], None
    while True:
        page = list_files(database, family="pony", query="gguf", limit=2, cursor=cursor)
        seen += [file.name for file in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == ["0", "2", "4", "6", "8"]


@pytest.fixture
def mixed(database: Database) -> Database:
    """Files of several sorts; `vae` and `gone` are of no model."""
    add_model(database, 1, VersionData(id=10, name="Turbo v3"), name="Détail 100%_real")
    add_model(database, 2, VersionData(id=20), name="other")
    detail = add_file(database, "/loras/Add-Detail.safetensors", kind="lora", family="sdxl")
    link(database, detail, 10)
    pony = add_file(database, "/pony.safetensors", kind="checkpoint", family="pony", problem="is cut off")
    link(database, pony, 20)
    add_file(database, "/vae/v_1%.gguf", kind="vae", family="sdxl")
    add_file(database, "/loras/gone.safetensors", kind="lora", family="sd15", missing=True)
    add_file(database, "/x.safetensors")
    return database


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"kind": "lora"}, ["Add-Detail", "gone"]),
        ({"kind": "unknown"}, ["x"]),
        ({"kind": "upscaler"}, []),
        ({"family": "sdxl"}, ["Add-Detail", "v_1%"]),
        ({"family": "pony"}, ["pony"]),
        ({"family": "what CivitAI adds tomorrow"}, []),
        ({"state": "present"}, ["Add-Detail", "v_1%", "x"]),
        ({"state": "missing"}, ["gone"]),
        ({"state": "broken"}, ["pony"]),
        ({"state": "linked"}, ["Add-Detail", "pony"]),
        ({"state": "unlinked"}, ["gone", "v_1%", "x"]),
        ({"kind": "lora", "family": "sdxl", "state": "linked", "query": "detail"}, ["Add-Detail"]),
        ({"kind": "vae", "family": "pony"}, []),
        ({"query": "DETAIL"}, ["Add-Detail"]),
        ({"query": "real turbo add"}, ["Add-Detail"]),
        ({"query": "add other"}, []),
        ({"query": "gguf"}, ["v_1%"]),
        ({"query": "%"}, ["Add-Detail", "v_1%"]),
        ({"query": "v_1"}, ["v_1%"]),
        ({"query": "\\"}, []),
        ({"query": "'"}, []),
        ({"query": " \t"}, ["Add-Detail", "gone", "pony", "v_1%", "x"]),
        ({"query": "loras"}, []),
    ],
)
def test_filters(mixed: Database, filters: dict[str, str], expected: list[str]) -> None:
    assert names(mixed, **filters) == expected


def test_queries_as_long_as_they_may_be(mixed: Database) -> None:
    assert names(mixed, query="a " * 250) == names(mixed, query="a") == ["Add-Detail", "gone", "pony", "x"]
    assert names(mixed, query="%" * 500) == []


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"limit": 0}, "limit must be between 1 and 500, not 0"),
        ({"limit": 501}, "limit must be between 1 and 500, not 501"),
        ({"kind": "lorra"}, "unknown kind 'lorra'; did you mean 'lora'?"),
        ({"state": "Missing"}, "unknown state 'Missing'"),
        ({"query": "x" * 501}, "query is too long: 501 and at most 500 allowed"),
        *(
            ({"cursor": cursor}, "is not a cursor of this list")
            for cursor in ("", "x", "-1", "1.0", "99", "\u0663", "9" * 99)
        ),
    ],
)
def test_what_cannot_be_listed(mixed: Database, filters: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        names(mixed, **filters)
    assert said in str(caught.value)
    assert caught.value.hint or "limit" in filters or "query" in filters


def test_the_place_of_a_file_that_was_forgotten_meanwhile(mixed: Database) -> None:
    page = list_files(mixed, limit=2)
    assert page.items[-1].id
    forget_file(mixed, page.items[-1].id)
    with pytest.raises(InvalidRequest, match="not a cursor") as caught:
        list_files(mixed, cursor=page.next_cursor)
    assert caught.value.hint == "list from the beginning again"


def test_words_are_of_the_version_else_of_notes(database: Database) -> None:
    add_model(database, 1, VersionData(id=10, words=("theirs",)), VersionData(id=11, words=(" , ",)))
    for name, version in (("a", 10), ("b", 11), ("c", None), ("d", None)):
        file = add_file(database, f"/{name}.gguf", kind="lora")
        if version:
            link(database, file, version)
        if name != "d":
            add_sidecar(database, file, "2.json", words=["noted", "twice"])
            add_sidecar(database, file, "1.json", words=["first, twice"])
            add_sidecar(database, file, "3.json")
        add_tags(database, file, [("tag", 9)])
    found = {file.name: file.words for file in list_files(database).items}
    noted = ("first", "twice", "noted")
    assert found == {"a": ("theirs",), "b": noted, "c": noted, "d": ()}
    assert [load_file(database, file.id or 0).words for file in list_files(database).items] == list(found.values())


def test_a_list_takes_as_many_statements_however_long(database: Database) -> None:
    for number in range(60):
        add_model(database, number + 1, VersionData(id=number + 1, words=("x",)), creator=f"c{number}")
        link(database, add_file(database, f"/{number}.gguf"), number + 1)
    first = list_files(database, limit=1)
    few = statements(database, limit=2, cursor=first.next_cursor)
    many = statements(database, limit=50, cursor=first.next_cursor)
    assert len(few) == len(many) == 4


def test_a_page_is_found_and_ordered_by_an_index(database: Database) -> None:
    for number in range(9):
        add_file(database, f"/{number}.gguf")
    cursor = list_files(database, limit=5).next_cursor
    (listing,) = [sql for sql in statements(database, cursor=cursor) if "ORDER BY stem" in sql]
    plan = [row[3] for row in database.connection.execute(f"EXPLAIN QUERY PLAN {listing}")]
    assert plan[0] == "SEARCH files USING INDEX files_by_stem (stem>?)"
    assert not any("B-TREE" in step or step.startswith("SCAN") for step in plan)


def test_all_about_a_file(database: Database) -> None:
    file = whole(database)
    database.connection.executemany(
        "INSERT INTO file_metadata VALUES (?, ?, ?)", [(file, "ss_b", "2"), (file, "modelspec.a", "1")]
    )
    add_tags(database, file, [("rare", 1), ("often", 30), ("also", 30), *((f"t{count}", 2) for count in range(60))])
    add_sidecar(database, file, "x.json", tool="lora-manager", model_id=7, version_id=70, notes="good", words=["no"])
    add_sidecar(database, file, "a.info", tool="civitai-helper", problem="is no JSON")
    add_not_found(database, sha256_of("whole"))
    details = load_file(database, file)
    assert details == FileDetails(
        id=file,
        **WHOLE,  # type: ignore[arg-type]
        hashes=(
            Hash(kind="sha256", value=sha256_of("whole")),
            Hash(kind="autov3", value="0123456789ab"),
            Hash(kind="blake3", value="b" * 64),
            Hash(kind="crc32", value="aabbccdd"),
        ),
        metadata={"modelspec.a": "1", "ss_b": "2"},
        training_tags=details.training_tags,
        sidecars=(
            Sidecar(name="a.info", tool="civitai-helper", problem="is no JSON"),
            Sidecar(name="x.json", tool="lora-manager", model_id=7, version_id=70, notes="good"),
        ),
        description="What it is.",
        asked=WHEN,
    )
    assert details.training_tags[:3] == (
        Tag(tag="often", count=30),
        Tag(tag="also", count=30),
        Tag(tag="t0", count=2),
    )
    assert len(details.training_tags) == 50


def test_little_about_a_file(database: Database) -> None:
    add_not_found(database, sha256_of("another"))
    file = add_file(database, "/a.gguf")
    listed = list_files(database).items[0]
    details = load_file(database, file)
    assert details == FileDetails(**{field: getattr(listed, field) for field in File.__dataclass_fields__})


def test_no_such_file(database: Database) -> None:
    with pytest.raises(FileNotInLibrary, match="file 1 is not in the library"):
        load_file(database, 1)


def test_listing_imports_nothing_heavy() -> None:
    code = "import sys; before = set(sys.modules); import tensors.db.files; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "tensors" in loaded
    assert not loaded & HEAVY
