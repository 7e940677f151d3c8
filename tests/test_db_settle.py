"""What files are in the end: their owner's word, CivitAI's, their own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from library_data import VersionData, add_file, add_model, link

from tensors.db.database import Database
from tensors.db.settle import kinds_of, settle

FAMILIES = ("sd15", "sdxl", "pony", "illustrious", "noobai", "flux")
SDXL = {"sdxl", "pony", "illustrious", "noobai"}
"""They have the same tensors."""

WINNERS = {
    # How the file's family is known, and what CivitAI's is to it.
    ("tensors", "none"): "file",
    ("tensors", "same"): "file",
    ("tensors", "same tensors"): "civitai",
    ("tensors", "other"): "file",
    ("metadata", "none"): "file",
    ("metadata", "same"): "file",
    ("metadata", "same tensors"): "civitai",
    ("metadata", "other"): "file",
    ("folder", "none"): "file",
    ("folder", "same"): "civitai",
    ("folder", "same tensors"): "civitai",
    ("folder", "other"): "civitai",
    ("name", "none"): "file",
    ("name", "same"): "civitai",
    ("name", "same tensors"): "civitai",
    ("name", "other"): "civitai",
    (None, "none"): "file",
    (None, "other"): "civitai",
}

KIND_WINNERS = {
    # How the file's kind is known, and what CivitAI's type is to it: it has one type for two kinds in places.
    ("tensors", "none"): "file",
    ("tensors", "same"): "file",
    ("tensors", "fits"): "file",
    ("tensors", "other"): "file",
    ("metadata", "none"): "file",
    ("metadata", "same"): "file",
    ("metadata", "fits"): "file",
    ("metadata", "other"): "file",
    ("folder", "none"): "file",
    ("folder", "same"): "civitai",
    ("folder", "fits"): "file",
    ("folder", "other"): "civitai",
    ("name", "none"): "file",
    ("name", "same"): "civitai",
    ("name", "fits"): "file",
    ("name", "other"): "civitai",
    (None, "none"): "file",
    (None, "other"): "civitai",
}
KINDS = ("checkpoint", "diffusion_model", "lora", "vae", "tae", "upscaler")
TYPES = {"Checkpoint": "checkpoint", "LORA": "lora", "VAE": "vae", "Workflows": None, None: None}
FITS = {("Checkpoint", "diffusion_model"), ("VAE", "tae")}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "models.db") as opened:
        yield opened


def found(values: tuple[str, ...]) -> list[tuple[str, str | None]]:
    """All that a file can say, and how."""
    return [("unknown", None), *itertools.product(values, ("tensors", "metadata", "folder", "name"))]


def answers(database: Database, noun: str) -> dict[int, tuple[str, str | None]]:
    rows = database.connection.execute(f"SELECT id, {noun}, {noun}_from FROM files")
    return {file: (value, source) for file, value, source in rows}


def test_every_case_of_a_family(database: Database) -> None:
    expected: dict[int, tuple[str, str | None]] = {}
    versions = (*FAMILIES, "unknown", None)
    add_model(
        database, 1, *(VersionData(id=number, family=family) for number, family in enumerate(versions, 1)), type=None
    )
    cases = itertools.product(found(FAMILIES), (*enumerate(versions, 1), (None, None)), (None, "flux", "sd15"))
    with database.atomic():
        for number, ((family, source), (version, told), user) in enumerate(cases):
            file = add_file(database, f"/{number}.gguf", family=family, family_from=source, user_family=user)
            if version:
                link(database, file, version)
            same_tensors = {family, told} <= SDXL
            relation = "same" if told == family else "same tensors" if same_tensors else "other"
            winner = WINNERS[source, "none" if told in (None, "unknown") else relation]
            expected[file] = (
                (user, "user") if user else (told or "", "civitai") if winner == "civitai" else (family, source)
            )
    assert len(expected) == 25 * 9 * 3
    settle(database, None)
    assert answers(database, "family") == expected


def test_every_case_of_a_kind(database: Database) -> None:
    expected: dict[int, tuple[str, str | None]] = {}
    for number, type_ in enumerate(TYPES, 1):
        add_model(database, number, VersionData(id=number), type=type_)
    cases = itertools.product(found(KINDS), (*enumerate(TYPES, 1), (None, None)), (None, "embedding"))
    with database.atomic():
        for number, ((kind, source), (version, type_), user) in enumerate(cases):
            file = add_file(database, f"/{number}.gguf", kind=kind, kind_from=source, user_kind=user)
            if version:
                link(database, file, version)
            told = TYPES[type_]
            relation = "same" if told == kind else "fits" if (type_, kind) in FITS else "other"
            winner = KIND_WINNERS[source, relation if told else "none"]
            expected[file] = (
                (user, "user") if user else (told or "", "civitai") if winner == "civitai" else (kind, source)
            )
    assert len(expected) == 25 * 6 * 2
    settle(database, None)
    assert answers(database, "kind") == expected


def test_settling_again_changes_nothing(database: Database) -> None:
    add_model(database, 1, VersionData(id=10, family="pony"), type="Checkpoint")
    for number, (family, source) in enumerate(found(FAMILIES)):
        link(database, add_file(database, f"/{number}.gguf", family=family, family_from=source), 10)
    before = database.connection.total_changes
    settle(database, None)
    between = database.connection.total_changes
    assert between > before
    settle(database, None)
    assert database.connection.total_changes == between


def test_what_is_settled_follows_what_is_known(database: Database) -> None:
    """Nothing that was settled before has a say."""
    add_model(database, 1, VersionData(id=10, family="pony"), type="LORA")
    file = add_file(database, "/a.gguf", family="sdxl", family_from="tensors")
    execute = database.connection.execute
    states = []
    for change in (
        "UPDATE files SET family = 'wan', family_from = 'user', kind = 'vae', kind_from = 'civitai'",
        "INSERT INTO links VALUES (1, 10, NULL, 'sha256', '')",
        "UPDATE files SET user_family = 'noobai', user_kind = 'vae'",
        "UPDATE files SET user_family = NULL",
        "DELETE FROM links",
        "UPDATE files SET user_kind = NULL, found_family = 'flux'",
    ):
        execute(change)
        settle(database, [file])
        states += execute("SELECT kind, kind_from, family, family_from FROM files").fetchall()
    assert states == [
        ("unknown", None, "sdxl", "tensors"),
        ("lora", "civitai", "pony", "civitai"),
        ("vae", "user", "noobai", "user"),
        ("vae", "user", "pony", "civitai"),
        ("vae", "user", "sdxl", "tensors"),
        ("unknown", None, "flux", "tensors"),
    ]


def test_only_the_files_that_are_named(database: Database) -> None:
    files = [add_file(database, f"/{number}.gguf", user_kind="vae") for number in range(5)]
    settle(database, [])
    assert {kind for kind, _ in answers(database, "kind").values()} == {"unknown"}
    settle(database, iter([files[1], files[3], 99]))
    assert [file for file, (kind, _) in answers(database, "kind").items() if kind == "vae"] == [files[1], files[3]]


def test_many_files_take_as_few_statements(database: Database) -> None:
    with database.atomic():
        for number in range(3000):
            add_file(database, f"/{number}.gguf")
    said: list[str] = []
    database.connection.set_trace_callback(said.append)
    settle(database, range(1, 3001))
    assert len(said) == 3


@pytest.mark.parametrize(
    ("model_type", "file_type", "kinds"),
    [
        ("Checkpoint", None, ("checkpoint", "diffusion_model")),
        ("Checkpoint", "Model", ("checkpoint", "diffusion_model")),
        ("Checkpoint", "Pruned Model", ("checkpoint", "diffusion_model")),
        ("Checkpoint", "VAE", ("vae", "tae")),
        ("Checkpoint", "Text Encoder", ("text_encoder",)),
        ("Checkpoint", "Config", ()),
        ("LORA", "Training Data", ()),
        ("LoCon", "Model", ("lora",)),
        ("DoRA", None, ("lora",)),
        ("TextualInversion", "Model", ("embedding",)),
        ("TextualInversion", "Negative", ()),
        ("VAE", "VAE", ("vae", "tae")),
        ("Controlnet", "Model", ("controlnet",)),
        ("Upscaler", "Model", ("upscaler",)),
        ("Workflows", "Archive", ()),
        ("what is new tomorrow", "Model", ()),
        (None, None, ()),
    ],
)
def test_kinds_by_the_types_of_a_model_and_its_file(
    model_type: str | None, file_type: str | None, kinds: tuple[str, ...]
) -> None:
    assert kinds_of(model_type, file_type) == kinds


def test_a_file_beside_the_model(database: Database) -> None:
    """The VAE on a checkpoint's page is a VAE."""
    add_model(database, 1, VersionData(id=10, file_types=("Model", "VAE")), type="Checkpoint")
    for number in (0, 1):
        link(database, add_file(database, f"/{number}.gguf"), 10, version_file_id=1000 + number)
    settle(database, None)
    assert answers(database, "kind") == {1: ("checkpoint", "civitai"), 2: ("vae", "civitai")}
