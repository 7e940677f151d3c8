"""Which files have a newer version."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from library_data import VersionData, add_file, add_model, link

from tensors.db.database import Database
from tensors.db.updates import updates
from tensors.types.library import Update

NOW = "2026-11-22T12:00:00.000Z"
RECORDED = Path(__file__).parent / "data" / "civitai" / "models-page.json"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "models.db") as opened:
        yield opened


def version(version_id: int, **said: object) -> VersionData:
    """A version; unless told, that with the larger number is published later."""
    published = f"2026-01-{version_id:02}T00:00:00.000Z"
    return VersionData(**{"id": version_id, "name": f"v{version_id}", "published_at": published, **said})  # type: ignore[arg-type]


def newest(database: Database) -> dict[str, str]:
    """What files should be replaced by."""
    return {update.file: update.newest for update in updates(database, now=NOW).items}


def test_what_is_told(database: Database) -> None:
    add_model(database, 5, version(3), version(2), version(1), name="A Model")
    link(database, add_file(database, "/b.gguf"), 1)
    link(database, add_file(database, "/A.safetensors"), 2, matched_by="user")
    told = {"model_id": 5, "model": "A Model", "newest_id": 3, "newest": "v3", "base_model": "SDXL 1.0"}
    published = "2026-01-03T00:00:00.000Z"
    assert updates(database, now=NOW).items == (
        Update(file="A", version_id=2, version="v2", published=published, **told),  # type: ignore[arg-type]
        Update(file="b", version_id=1, version="v1", published=published, **told),  # type: ignore[arg-type]
    )


EARLY = {"availability": "EarlyAccess", "early_access_ends_at": "2026-11-23T00:00:00.000Z"}
PAST = {"availability": "EarlyAccess", "early_access_ends_at": "2026-11-22T11:59:59.999Z"}


@pytest.mark.parametrize(
    ("newer", "expected"),
    [
        ([{}], 9),
        ([{}, {"id": 8}], 9),
        # The same base model only.
        ([{"base_model": "Pony"}], None),
        ([{"base_model": "SDXL 1.0 Hyper"}, {"id": 8}], 8),
        ([{"base_model": None}], None),
        # CivitAI's order and dates have to agree.
        ([{"published_at": "2026-01-01T00:00:00.000Z"}], None),
        ([{"published_at": "2026-01-05T00:00:00.000Z"}], None),
        ([{"published_at": "2026-01-05T00:00:00.001Z"}], 9),
        ([{"published_at": "2026-01-05T00:00:01"}], 9),
        ([{"published_at": None}], 9),
        ([{"published_at": "yesterday"}], 9),
        ([{"published_at": None, "created_at": "2026-01-01T00:00:00.000Z"}], None),
        ([{"published_at": None, "created_at": "2026-01-09T00:00:00.000Z"}], 9),
        ([{"published_at": "2025-01-01T00:00:00.000Z"}, {"id": 8}], 8),
        # What cannot be had is none.
        ([{"status": "Published"}], 9),
        ([{"status": "Draft"}], None),
        ([{"status": "Unpublished"}, {"id": 8}], 8),
        ([{"usage_control": "Download"}], 9),
        ([{"usage_control": "Generation"}], None),
        ([{"usage_control": "InternalGeneration"}, {"id": 8}], 8),
        ([{"file_types": ()}], None),
        ([{"file_types": ("VAE", "Config", "Training Data")}], None),
        ([{"file_types": ("Config", "Pruned Model")}], 9),
        ([{"file_types": (None,)}], 9),
        # Early access.
        ([EARLY], 9),
        ([PAST], 9),
        ([EARLY, {"id": 8}], 8),
        ([EARLY, {**EARLY, "id": 8}], 9),
        ([PAST, {"id": 8}], 9),
        ([{"early_access_ends_at": "2026-12-01T00:00:00"}, {"id": 8}], 8),
        # Nobody knows when it ends.
        ([{"availability": "EarlyAccess"}], None),
        ([{"availability": "EarlyAccess", "early_access_ends_at": "soon"}], None),
        # To inpaint with or not.
        ([{"name": "v9 Inpainting"}], None),
        ([{"name": "v9-inpaint"}, {"id": 8}], 8),
    ],
)
def test_what_is_newer(database: Database, newer: list[dict[str, object]], expected: int | None) -> None:
    add_model(
        database,
        1,
        *(version(int(str(one.get("id", 9))), **{**one, "id": one.get("id", 9)}) for one in newer),
        version(5),
    )
    link(database, add_file(database, "/a.gguf"), 5)
    found = updates(database, now=NOW).items
    assert [update.newest_id for update in found] == ([expected] if expected else [])


@pytest.mark.parametrize(("said", "until"), [(EARLY, EARLY["early_access_ends_at"]), (PAST, None), ({}, None)])
def test_until_when_it_costs(database: Database, said: dict[str, str], until: str | None) -> None:
    add_model(database, 1, version(9, **said), version(5))
    link(database, add_file(database, "/a.gguf"), 5)
    (update,) = updates(database, now=NOW).items
    assert update.early_access_until == until


def test_what_comes_after_it_in_civitais_order_is_not_newer(database: Database) -> None:
    add_model(database, 1, version(5), version(9))
    link(database, add_file(database, "/a.gguf"), 5)
    assert newest(database) == {}


@pytest.mark.parametrize(("mode", "expected"), [(None, 1), ("TakenDown", 1), ("Archived", 0)])
def test_an_archived_model_has_no_files(database: Database, mode: str | None, expected: int) -> None:
    add_model(database, 1, version(9), version(5), mode=mode)
    link(database, add_file(database, "/a.gguf"), 5)
    assert len(newest(database)) == expected


def test_a_vae_of_its_own_is_the_model(database: Database) -> None:
    add_model(database, 1, version(9, file_types=("VAE",)), version(5), type="VAE")
    link(database, add_file(database, "/a.gguf"), 5)
    assert newest(database) == {"a": "v9"}


@pytest.mark.parametrize("missing", [False, True])
def test_a_version_that_is_in_the_library_is_no_update(database: Database, missing: bool) -> None:
    """Also not while its disk is away; nor is then one between the two."""
    add_model(database, 1, version(9), version(7), version(5))
    link(database, add_file(database, "/a.gguf"), 5)
    assert newest(database) == {"a": "v9"}
    link(database, add_file(database, "/c.gguf", missing=missing), 9)
    assert newest(database) == {}


def test_early_access_after_what_is_in_the_library(database: Database) -> None:
    add_model(database, 1, version(9, **EARLY), version(7), version(5))
    link(database, add_file(database, "/old.gguf"), 5)
    link(database, add_file(database, "/new.gguf"), 7)
    assert newest(database) == {"new": "v9"}


def test_only_files_that_are_there(database: Database) -> None:
    add_model(database, 1, version(9), version(5))
    link(database, add_file(database, "/gone.gguf", missing=True), 5)
    link(database, add_file(database, "/broken.gguf", problem="is cut off"), 5)
    add_file(database, "/unlinked.gguf")
    assert newest(database) == {"broken": "v9"}


def test_models_do_not_mix(database: Database) -> None:
    add_model(database, 1, version(5))
    add_model(database, 2, version(9))
    link(database, add_file(database, "/a.gguf"), 5)
    assert newest(database) == {}


@pytest.mark.parametrize(
    ("model", "has", "expected"),
    [
        ("majicMIX realistic 麦橘写实", "v6", "v7"),
        ("majicMIX realistic 麦橘写实", "BETTER v2 = v2.5", "v7"),
        ("majicMIX realistic 麦橘写实", "v7", None),
        # Published later than v7, but after it in the list.
        ("majicMIX realistic 麦橘写实", "v7 inpainting", None),
        # Its page was published anew after all others.
        ("majicMIX realistic 麦橘写实", "v1", None),
        # 2.0 stands before 2.5, but is older.
        ("Counterfeit-V3.0", "2.5", "v3.0"),
        ("Counterfeit-V3.0", "2.0", "v3.0"),
        # The very first is for another base model.
        ("Realistic Vision V6.0 B1", "V5.0 (VAE)", "V5.1 (VAE)"),
        ("Realistic Vision V6.0 B1", "V5.0-inpainting (VAE)", "V5.1-inpainting (VAE)"),
        ("Realistic Vision V6.0 B1", "V6.0 B1 (VAE)", None),
        ("Realistic Vision V6.0 B1", "V5.1 Hyper (VAE)", None),
        ("GhostMix", "v1.0", None),
        ("GhostMix", "v1.2", "v2.0-BakedVAE"),
    ],
)
def test_recorded_models(database: Database, model: str, has: str, expected: str | None) -> None:
    """As CivitAI really orders and dates versions."""
    ids = {}
    for record in json.loads(RECORDED.read_bytes())["items"]:
        versions = [
            VersionData(
                id=one["id"],
                name=one["name"],
                base_model=one["baseModel"],
                published_at=one["publishedAt"],
                availability=one["availability"],
                file_types=tuple(file["type"] for file in one["files"]),
            )
            for one in record["modelVersions"]
        ]
        add_model(database, record["id"], *versions, name=record["name"], type=record["type"])
        ids.update({(record["name"], one.name): one.id for one in versions})
    link(database, add_file(database, "/a.safetensors"), ids[model, has])
    assert newest(database) == ({"a": expected} if expected else {})
