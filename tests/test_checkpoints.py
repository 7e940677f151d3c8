"""Lists of checkpoints and LoRAs, as the database has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from library_data import WHEN, VersionData, add_file, add_model, add_sidecar, link, sha256_of

from tensors.db.checkpoints import After, Row, list_rows, load_row, lora_entry, model_entry, words_by_file
from tensors.db.database import Database
from tensors.db.model_names import LORA, MODEL, Names, Noun
from tensors.errors import InvalidRequest
from tensors.types.file import Link
from tensors.types.models import LoraEntry, ModelEntry

SHA = sha256_of("a")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "models.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """For tests that begin by emptying it."""
    with Database(tmp_path_factory.mktemp("library") / "models.db") as opened:
        yield opened


def names_in(database: Database, noun: Noun = MODEL) -> Names:
    return Names(database, noun, lambda directory: Path(directory).name)


def stems(rows: list[Row]) -> list[str]:
    return [row.candidate.stem for row in rows]


def test_a_checkpoint_with_all_that_is_known_of_it(database: Database) -> None:
    columns = {"variant": "v-prediction", "precision": "fp16", "format": "safetensors"}
    path = "/m/xl/base.safetensors"
    file = add_file(database, path, kind="checkpoint", family="sdxl", size=7, hashes={"sha256": SHA}, **columns)
    add_model(database, 12, VersionData(id=34, name="v2"), name="Base", type="Checkpoint", creator="somebody")
    link(database, file, 34, matched_by="autov3")
    row = load_row(database, file, civitai="http://site")
    assert row
    assert [row] == list_rows(names_in(database), civitai="http://site")
    assert model_entry(row, "base", builtin=True) == ModelEntry(
        name="base",
        path=path,
        kind="checkpoint",
        family="sdxl",
        variant="v-prediction",
        size=7,
        precision="fp16",
        sha256=SHA,
        link=Link(
            model_id=12,
            version_id=34,
            model="Base",
            version="v2",
            type="Checkpoint",
            base_model="SDXL 1.0",
            creator="somebody",
            matched_by="autov3",
            url="http://site/models/12?modelVersionId=34",
        ),
        added=WHEN,
        id=file,
        builtin=True,
    )
    assert load_row(database, file + 1) is None


def test_a_lora_with_all_that_is_known_of_it(database: Database) -> None:
    hashes = {"sha256": SHA, "autov3": "f" * 64}
    file = add_file(
        database, "/m/a.gguf", kind="lora", family="pony", hashes=hashes, adapter="dora", variant="x", problem="is odd"
    )
    add_sidecar(database, file, "a.json", words=["one", "two, three"])
    (row,) = list_rows(names_in(database, LORA))
    assert lora_entry(row, "a", words_by_file(database, [row])[file]) == LoraEntry(
        name="a",
        path="/m/a.gguf",
        family="pony",
        variant="x",
        adapter="dora",
        size=1000,
        words=("one", "two", "three"),
        sha256=SHA,
        autov3="f" * 64,
        added=WHEN,
        problem="is odd",
        id=file,
    )


def test_the_words_are_those_of_its_version(database: Database) -> None:
    files = [add_file(database, f"/m/{name}.gguf", kind="lora") for name in "ab"]
    add_model(database, 12, VersionData(id=34, words=["score_9"]))
    link(database, files[1], 34)
    assert words_by_file(database, list_rows(names_in(database, LORA))) == {files[1]: ("score_9",)}


def test_only_what_is_there_and_of_the_kind_is_listed(database: Database) -> None:
    for kind in ("checkpoint", "diffusion_model", "lora", "vae", "unknown"):
        add_file(database, f"/m/{kind}.gguf", kind=kind)
        add_file(database, f"/m/gone-{kind}.gguf", kind=kind, missing=True)
    for folder in ("checkpoint", "lora", "m"):
        add_file(database, f"/m/{folder}/broken-{folder}.gguf", problem="is cut off")
    assert stems(list_rows(names_in(database))) == ["broken-checkpoint", "checkpoint", "diffusion_model"]
    assert stems(list_rows(names_in(database, LORA))) == ["broken-lora", "lora"]


def test_a_list_can_be_narrowed(database: Database) -> None:
    for name, family in (("Pony_v6", "pony"), ("base 100%", "sdxl"), ("flux-dev", "flux"), ("new", "unknown")):
        add_file(database, f"/m/{name}.gguf", kind="checkpoint", family=family)
    add_model(database, 12, VersionData(id=34, name="Autumn"), name="Juggernaut")
    link(database, 4, 34)
    names = names_in(database)
    for query, expected in (
        ("PONY", ["Pony_v6"]),
        ("v6 pony", ["Pony_v6"]),
        ("pony flux", []),
        ("jugger AUTUMN", ["new"]),
        ("0%", ["base 100%"]),
        ("y_v", ["Pony_v6"]),
        ("x_d", []),
        ("  ", ["base 100%", "flux-dev", "new", "Pony_v6"]),
    ):
        assert stems(list_rows(names, query=query)) == expected
    assert stems(list_rows(names, family="sdxl")) == ["base 100%"]
    assert stems(list_rows(names, without=("sdxl", "flux"))) == ["new", "Pony_v6"]
    assert stems(list_rows(names, query="n", family="pony", without=("sdxl",), limit=1)) == ["Pony_v6"]
    with pytest.raises(InvalidRequest, match="query is too long: 501 and at most 500 allowed"):
        list_rows(names, query="x" * 501)


@given(
    names=st.lists(st.text("aAbÉé_ %", min_size=1, max_size=3), max_size=8),
    limit=st.integers(1, 4),
)
def test_pages_together_are_the_whole_list(shared: Database, names: list[str], limit: int) -> None:
    shared.connection.execute("DELETE FROM files")
    for number, name in enumerate(names):
        add_file(shared, f"/{number}/{name}.gguf", kind="checkpoint")
    whole = list_rows(names_in(shared))
    assert sorted(stems(whole)) == sorted(names)
    found: list[Row] = []
    after = None
    while page := list_rows(names_in(shared), after=after, limit=limit):
        assert len(page) == min(limit, len(whole) - len(found))
        found += page
        after = After(page[-1].candidate.stem, page[-1].candidate.id)
    assert found == whole
