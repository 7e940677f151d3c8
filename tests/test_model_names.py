"""Which checkpoint or LoRA is meant by a name, and which name means only one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from library_data import VersionData, add_file, add_model, link

from tensors.db.database import Database
from tensors.db.model_names import LORA, MODEL, Names, Noun
from tensors.db.names import Candidate, find_file
from tensors.errors import FileNotInLibrary, InvalidRequest, LoraNotFound, ModelNotFound

SHA = "0123456789abcdef" * 4


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "models.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """For tests that begin by emptying it."""
    with Database(tmp_path_factory.mktemp("library") / "models.db") as opened:
        yield opened


def kind_of_folder(directory: str) -> str | None:
    return {"checkpoints": "checkpoint", "loras": "lora"}.get(Path(directory).name)


def names_in(database: Database, noun: Noun = MODEL, also: tuple[Candidate, ...] = ()) -> Names:
    return Names(database, noun, kind_of_folder, also)


def add(database: Database, *paths: str, kind: str = "checkpoint") -> None:
    for path in paths:
        add_file(database, path, kind=kind)


def path_of(names: Names, name: str) -> str | None:
    found = names.find(name)
    return found and found.path


def listed(names: Names) -> dict[str, str]:
    """Name by path, of all files."""
    candidates = [*names.scope.select(names.database, "TRUE"), *names.also]
    called = names.of(candidates)
    # Whoever is asked alone has the same name.
    assert called == {file.id: names.of([file])[file.id] for file in candidates}
    return {file.path: called[file.id] for file in candidates}


def test_only_files_of_the_noun_that_are_there_are_meant(database: Database) -> None:
    add(database, "/m/loras/a.gguf", kind="lora")
    add(database, "/m/vae/a.gguf", kind="vae")
    add_file(database, "/m/old/a.gguf", kind="checkpoint", missing=True)
    add(database, "/m/unet/a.gguf", kind="diffusion_model")
    assert path_of(names_in(database), "a") == "/m/unet/a.gguf"
    assert path_of(names_in(database, LORA), "A.GGUF") == "/m/loras/a.gguf"
    assert listed(names_in(database)) == {"/m/unet/a.gguf": "a"}


def test_a_broken_file_counts_by_its_folder(database: Database) -> None:
    for folder in ("checkpoints", "loras", "else"):
        add_file(database, f"/m/{folder}/broken.gguf", problem="is cut off")
    assert path_of(names_in(database), "broken") == "/m/checkpoints/broken.gguf"
    assert path_of(names_in(database, LORA), "broken") == "/m/loras/broken.gguf"
    assert names_in(database).strangers() == [2, 3]


def test_every_form_of_a_name(database: Database) -> None:
    add(database, "/m/checkpoints/xl/Foo.v1.safetensors", "/m/checkpoints/other.gguf")
    file = add_file(
        database, "/m/checkpoints/sd/bar.gguf", kind="checkpoint", hashes={"sha256": SHA, "autov3": "f" * 12}
    )
    add_model(database, 12, VersionData(id=34), VersionData(id=35))
    link(database, file, 34)
    names = names_in(database)
    for name in ("Foo.v1", "foo.V1", "FOO.V1.SAFETENSORS", "xl/foo.v1", "/m/checkpoints/xl/Foo.v1.safetensors"):
        assert path_of(names, name) == "/m/checkpoints/xl/Foo.v1.safetensors"
    for name in ("bar", SHA[:6], SHA.upper(), "FFFFFFF", "12@34"):
        assert path_of(names, name) == "/m/checkpoints/sd/bar.gguf"
    # Neither a file's number nor a model's.
    for name in ("1", "12", "34", "12@35", "13@34", "12@", "@34", SHA[:5], "", ".", "a/../bar.gguf\0", "\ud800"):
        assert path_of(names, name) is None


def test_every_file_can_be_named_by_its_version(database: Database) -> None:
    """Whatever its kind; one that is there comes before missing ones."""
    add_model(database, 12, VersionData(id=34))
    for path, missing in (("/m/old.gguf", True), ("/m/new.gguf", False)):
        link(database, add_file(database, path, kind="vae", missing=missing), 34)
    assert find_file(database, "12@34") == 2
    with pytest.raises(FileNotInLibrary):
        find_file(database, "34@12")


def test_a_name_comes_before_a_version_and_a_hash(database: Database) -> None:
    add_model(database, 12, VersionData(id=34))
    file = add_file(database, "/m/a.gguf", kind="checkpoint", hashes={"sha256": SHA})
    link(database, file, 34)
    add(database, "/m/12@34.gguf", f"/m/{SHA[:8]}.gguf", "/m/1.gguf")
    for name in ("12@34", SHA[:8], "1"):
        assert path_of(names_in(database), name) == f"/m/{name}.gguf"


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/m/a/x.gguf", "/m/b/y.gguf"], ["x", "y"]),
        (["/m/a/x.gguf", "/m/b/x.gguf"], ["a/x", "b/x"]),
        (["/m/a/X.gguf", "/m/b/x.gguf", "/m/c/é.gguf", "/m/d/É.gguf"], ["a/X", "b/x", "c/é", "d/É"]),
        (["/m/a/c/x.gguf", "/m/b/c/x.gguf", "/m/b/x.gguf"], ["a/c/x", "b/c/x", "b/x"]),
        (["/m/a/x.gguf", "/m/a/x.safetensors"], ["x.gguf", "x.safetensors"]),
        (["/m/a/x.gguf", "/m/a/x.safetensors", "/m/b/x.gguf"], ["a/x.gguf", "x.safetensors", "b/x"]),
        # A stem that is another one's whole name.
        (["/m/a/x.gguf", "/m/a/x.gguf.safetensors"], ["x", "x.gguf.safetensors"]),
        # Nothing but case is different.
        (["/m/a/x.gguf", "/m/a/X.gguf"], ["x", "X"]),
        # One path is the end of the other.
        (["/m/x.gguf", "/a/m/x.gguf"], ["/m/x.gguf", "a/m/x"]),
        (["/x.gguf", "/a/x.gguf"], ["/x.gguf", "a/x"]),
    ],
)
def test_the_shortest_name_that_only_one_file_has(database: Database, paths: list[str], names: list[str]) -> None:
    add(database, *paths)
    add(database, "/m/loras/x.gguf", kind="lora")
    add_file(database, "/m/gone/x.gguf", kind="checkpoint", missing=True)
    assert listed(names_in(database)) == dict(zip(paths, names, strict=True))


def test_several_are_told_with_names_that_tell_them_apart(database: Database) -> None:
    add(database, *(f"/m/{folder}/foo.gguf" for folder in "abcdefghij"), kind="lora")
    with pytest.raises(InvalidRequest) as caught:
        names_in(database, LORA).find("Foo")
    told = ", ".join(f"{folder}/foo" for folder in "abcdefgh")
    assert caught.value.message == f"'Foo' can be 10 LoRAs: {told} and 2 more"
    assert caught.value.hint == "name one of these"
    assert caught.value.details["candidates"][1] == {"name": "b/foo", "path": "/m/b/foo.gguf"}


def test_files_that_are_not_in_the_library_have_names_too(database: Database) -> None:
    add(database, "/m/a/foo.gguf")
    also = (Candidate(-1, "/demo", "shapes.gguf", "shapes", True), Candidate(-2, "/else", "foo.gguf", "foo", True))
    names = names_in(database, also=also)
    assert listed(names) == {"/m/a/foo.gguf": "a/foo", "/demo/shapes.gguf": "shapes", "/else/foo.gguf": "else/foo"}
    assert path_of(names, "SHAPES") == path_of(names, "/demo/shapes.gguf") == "/demo/shapes.gguf"
    assert path_of(names, "else/foo") == "/else/foo.gguf"
    with pytest.raises(InvalidRequest, match="can be 2 models: a/foo, else/foo"):
        names.find("foo")


@pytest.mark.parametrize(
    ("noun", "name", "message"),
    [
        (MODEL, "ponny", "model 'ponny' not found; did you mean 'ponyDiffusionV6XL'?"),
        (
            MODEL,
            "xl/ponyDiffusionV6.gguf",
            "model 'xl/ponyDiffusionV6.gguf' not found; did you mean 'ponyDiffusionV6XL'?",
        ),
        (MODEL, "Flux.1-dv", "model 'Flux.1-dv' not found; did you mean 'flux.1-dev'?"),
        (MODEL, "shape", "model 'shape' not found; did you mean 'shapes'?"),
        (MODEL, "nothing like it", "model 'nothing like it' not found"),
        (MODEL, "1", "model '1' not found"),
        (MODEL, "DETAIL", "'DETAIL' is a LoRA, not a checkpoint"),
        (MODEL, SHA[:7], f"'{SHA[:7]}' is a LoRA, not a checkpoint"),
        (MODEL, "what", "'what' is a file of unknown kind, not a checkpoint"),
        (MODEL, "gone", "model 'gone' is not there any more: /m/gone.gguf"),
        (MODEL, "html", "'html' cannot be used: it is a web page"),
        (LORA, "ponyDiffusionV6XL", "'ponyDiffusionV6XL' is a checkpoint, not a LoRA"),
        (LORA, "flux.1-dev", "'flux.1-dev' is a diffusion model, not a LoRA"),
        (LORA, "detial", "LoRA 'detial' not found; did you mean 'detail'?"),
        (LORA, "\ud800", r"LoRA '\ud800' not found"),
        (LORA, "x" * 300, f"LoRA '{'x' * 300}' not found"),
    ],
)
def test_why_there_is_none(database: Database, noun: Noun, name: str, message: str) -> None:
    add(database, "/m/ponyDiffusionV6XL.safetensors")
    add(database, "/m/flux.1-dev.gguf", kind="diffusion_model")
    add_file(database, "/m/detail.gguf", kind="lora", hashes={"sha256": SHA})
    add_file(database, "/m/gone.gguf", kind="checkpoint", missing=True)
    add_file(database, "/m/html.gguf", problem="is a web page")
    add(database, "/m/what.gguf", kind="unknown")
    names = names_in(database, noun, (Candidate(-1, "/demo", "shapes.gguf", "shapes", True),))
    assert names.find(name) is None
    error = names.error(name)
    assert error.message == message
    assert (type(error), error.hint) == {
        MODEL: (ModelNotFound, "tsr models list"),
        LORA: (LoraNotFound, "tsr models loras"),
    }[noun]


STEMS = st.text(alphabet="aAbÉé.@1", min_size=1, max_size=3).filter(lambda stem: not stem.startswith("."))
FOLDERS = st.lists(st.sampled_from(["m", "M", "a", "a.gguf", "É"]), max_size=3).map(
    lambda parts: "".join(f"/{part}" for part in parts)
)
PATHS = st.builds("/r{}/{}{}".format, FOLDERS, STEMS, st.sampled_from([".gguf", ".GGUF", ".gguf.gguf", ".safetensors"]))


@given(
    files=st.dictionaries(PATHS, st.sampled_from(["checkpoint", "checkpoint", "lora", "missing", "also"]), max_size=9)
)
def test_every_listed_name_means_its_own_file(shared: Database, files: dict[str, str]) -> None:
    shared.connection.execute("DELETE FROM files")
    also = []
    for number, (path, kind) in enumerate(files.items(), 1):
        if kind == "also":
            directory, _, name = path.rpartition("/")
            also.append(Candidate(-number, directory, name, name.rpartition(".")[0], True))
        else:
            add_file(shared, path, kind="lora" if kind == "lora" else "checkpoint", missing=kind == "missing")
    names = Names(shared, MODEL, lambda directory: None, tuple(also))
    called = listed(names)
    assert set(called) == {path for path, kind in files.items() if kind in ("checkpoint", "also")}
    assert len(set(called.values())) == len(called)
    for path, name in called.items():
        assert path_of(names, name) == path
    folded = [Path(path).stem.casefold() for path in called]
    wholes = [Path(path).name.casefold() for path in called]
    for path, name in called.items():
        stem = Path(path).stem.casefold()
        if folded.count(stem) == 1 and stem not in wholes:
            assert name == Path(path).stem
