"""Trigger words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from library_data import VersionData, add_file, add_model, add_sidecar, add_tags, link

from tensors.db.database import Database
from tensors.db.files import triggers_of
from tensors.errors import FileNotInLibrary
from tensors.types.files import Triggers


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "models.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """For tests that begin by emptying it."""
    with Database(tmp_path_factory.mktemp("library") / "models.db") as opened:
        yield opened


def test_best_are_civitais_then_notes_then_training_tags(database: Database) -> None:
    add_model(database, 1, VersionData(id=10, words=("theirs", "more")), VersionData(id=11))
    file = add_file(database, "/my lora.v1.safetensors", kind="lora")
    found = []
    link(database, file, 10)
    add_sidecar(database, file, "b.json", words=["noted", "twice"])
    add_sidecar(database, file, "a.json", words=["first", "twice"])
    add_tags(database, file, [("tag", 5)])
    for step in (
        "SELECT 1",
        "UPDATE links SET version_id = 11",
        "UPDATE sidecars SET words = '[]'",
        "UPDATE sidecars SET words = NULL",
        "DELETE FROM file_tags",
    ):
        database.connection.execute(step)
        triggers = triggers_of(database, file)
        assert (triggers.file, triggers.lora) == ("my lora.v1", "<lora:my lora.v1:1>")
        found.append((triggers.words, triggers.source))
    assert found == [
        (("theirs", "more"), "civitai"),
        (("first", "twice", "noted"), "sidecar"),
        (("tag",), "training"),
        (("tag",), "training"),
        ((), None),
    ]


@pytest.mark.parametrize("kind", ["checkpoint", "embedding", "unknown", "vae"])
def test_only_a_lora_is_applied_in_a_prompt(database: Database, kind: str) -> None:
    file = add_file(database, "/a.gguf", kind=kind)
    assert triggers_of(database, file) == Triggers(file="a", lora=None, words=(), source=None)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["a, b", "c"], ("a", "b", "c")),
        (["a,b,,c,"], ("a", "b", "c")),
        (["  a b  ,\tc\n"], ("a b", "c")),
        (["b, a", "a", "b", "c"], ("b", "a", "c")),
        (["A", "a"], ("A", "a")),
        (["(a:1.2)", "<lora:x:1>"], ("(a:1.2)", "<lora:x:1>")),
        (["模型、词", "é"], ("模型、词", "é")),
        ([" , ", "", ","], ()),
    ],
)
def test_words_are_taken_apart(database: Database, texts: list[str], words: tuple[str, ...]) -> None:
    add_model(database, 1, VersionData(id=10, words=texts))
    file = add_file(database, "/a.gguf")
    link(database, file, 10)
    assert triggers_of(database, file).words == words


TEXTS = st.lists(st.text(alphabet="ab, \t(é", max_size=8), max_size=6)


@given(texts=TEXTS, noted=st.booleans())
def test_words_join_into_a_prompt_that_says_the_same(shared: Database, texts: list[str], noted: bool) -> None:
    shared.connection.executescript("DELETE FROM files; DELETE FROM models;")
    add_model(shared, 1, VersionData(id=10, words=() if noted else texts))
    file = add_file(shared, "/a.gguf")
    link(shared, file, 10)
    if noted:
        add_sidecar(shared, file, "a.json", words=texts)
    words = triggers_of(shared, file).words
    assert len(set(words)) == len(words)
    assert all(word and word == word.strip() and "," not in word for word in words)
    said = [word.strip() for word in ",".join(texts).split(",")]
    assert list(words) == sorted({word for word in said if word}, key=said.index)


def test_notes_that_are_no_texts_are_passed_over(database: Database) -> None:
    file = add_file(database, "/a.gguf")
    add_sidecar(database, file, "a.json", words=["a", None, 3, {"b": "c"}, ["d"], "e"])  # type: ignore[list-item]
    assert triggers_of(database, file).words == ("a", "e")


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        # Three in ten of the most frequent one still count.
        ([("main", 100), ("often", 30), ("rare", 29)], ("main", "often")),
        # Counts decide, not the order; that only between equals.
        ([("c", 5), ("a", 9), ("b", 9)], ("a", "b", "c")),
        ([(f"t{number}", 7) for number in range(12)], tuple(f"t{number}" for number in range(10))),
        ([("a, b", 3), ("b", 3)], ("a", "b")),
        ([("once", 1)], ("once",)),
    ],
)
def test_training_tags(database: Database, tags: list[tuple[str, int]], words: tuple[str, ...]) -> None:
    file = add_file(database, "/a.gguf", kind="lora")
    add_tags(database, file, tags)
    add_tags(database, add_file(database, "/b.gguf"), [("another file's", 1000)])
    assert triggers_of(database, file) == Triggers(file="a", lora="<lora:a:1>", words=words, source="training")


def test_no_such_file(database: Database) -> None:
    with pytest.raises(FileNotInLibrary, match="file 1 is not in the library"):
        triggers_of(database, 1)
