"""Checkpoints and LoRAs by name: from the library, the model that ships, the one the owner named; and what is new."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from headers import write_safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from library_data import add_file
from scanning import model_bytes, unknown_bytes, write

from tensors.config import load_config
from tensors.db import scan as scan_module
from tensors.db.database import Database
from tensors.errors import InvalidRequest, LibraryError, LoraNotFound, ModelNotFound
from tensors.library import Library
from tensors.models import DEMO_MODEL, demo_dir
from tensors.shelf import Shelf, usable
from tensors.types.library import ScanRequest

SDXL = {"model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight": (640, 2048), "vae.x": (4,)}
FLUX_UNET = {"double_blocks.0.img_attn.norm.key_norm.scale": (128,), "img_in.weight": (3072, 64)}
SDXL_LORA = {"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": (4, 2048)}


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The folder of models in the data directory."""
    return tmp_path / "data" / "models"


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time the folders are looked through."""
    found: list[int] = []
    scan = scan_module.scan

    def counted(*arguments: Any, **options: Any) -> Any:
        assert options["hash"] is False
        found.append(1)
        return scan(*arguments, **options)

    monkeypatch.setattr(scan_module, "scan", counted)
    return found


def shelf(clock: Callable[[], float] | None = None, **values: Any) -> Shelf:
    """A shelf over this test's library; unless told, no time passes for it."""
    config = load_config().with_values(**values)
    return Shelf(Library(config, confined=True), config, clock=clock or Clock())


def checkpoint(path: Path) -> Path:
    return write_safetensors(path, SDXL)


def lora(path: Path, content: int = 0) -> Path:
    return write(path, model_bytes(content))


def test_without_any_file_there_is_what_ships() -> None:
    demo = shelf().model("Shapes")
    path = demo_dir() / f"{DEMO_MODEL}.safetensors"
    assert (demo.name, demo.path, demo.kind, demo.family) == ("shapes", str(path), "checkpoint", "shapes")
    assert (demo.builtin, demo.id, demo.added, demo.size) == (True, None, None, path.stat().st_size)
    assert shelf().default() == shelf().model(str(path)) == usable(demo) == demo
    assert shelf().models().items == (demo,)
    outline = shelf().lora("shapes-outline.safetensors")
    assert (outline.name, outline.family, outline.builtin) == ("shapes-outline", "shapes", True)
    assert shelf().loras().items == (outline,)


def test_a_new_file_needs_no_scan(own: Path) -> None:
    known = shelf()
    with pytest.raises(ModelNotFound, match="model 'xl/base' not found"):
        known.model("xl/base")
    path = checkpoint(own / "checkpoints" / "xl" / "base.safetensors")
    found = known.model("xl/base")
    assert (found.name, found.path, found.kind, found.family) == ("base", str(path), "checkpoint", "sdxl")
    assert (found.builtin, found.id, found.sha256) == (False, 1, None)
    write_safetensors(own / "unet" / "flux.safetensors", FLUX_UNET)
    assert (known.model("FLUX").kind, known.model("flux").variant) == ("diffusion_model", "schnell")
    assert known.lora(lora(own / "loras" / "detail.safetensors").stem).adapter == "lora"


def test_a_user_has_a_file_called_as_what_ships(own: Path) -> None:
    path = checkpoint(own / "checkpoints" / "Shapes.safetensors")
    known = shelf()
    assert [entry.path for entry in known.models().items] == [str(path)]
    assert known.model("shapes").path == known.default().path == str(path)
    path.unlink()
    assert known.model("shapes").builtin


def test_the_folders_are_not_looked_through_for_a_name_that_is_known(own: Path, looks: list[int]) -> None:
    for folder in ("a", "b"):
        lora(own / "loras" / folder / "x.safetensors")
    checkpoint(own / "checkpoints" / "base.safetensors")
    known = shelf()
    known.models()
    assert looks == [1]
    for name in ("base", "BASE.safetensors", "checkpoints/base", "shapes"):
        known.model(name)
    for name in ("a/x", str(own / "loras" / "b" / "x.safetensors"), "shapes-outline"):
        known.lora(name)
    assert looks == [1]


def test_the_folders_are_looked_through_before_a_list_but_not_all_the_time(own: Path, looks: list[int]) -> None:
    clock = Clock()
    known = shelf(clock)
    for seconds, count in ((0, 1), (4.9, 1), (5, 2), (9.9, 2), (10, 3)):
        clock.seconds = seconds
        lora(own / "loras" / f"at {seconds}.safetensors", int(seconds * 10))
        known.models()
        # What came since the last look is not known yet.
        assert (len(looks), len(known.loras().items) - 1) == (count, [1, 3, 5][count - 1])


def test_nothing_is_said_to_be_missing_without_a_look(own: Path, looks: list[int]) -> None:
    known = shelf()
    known.models()
    for count in (2, 3):
        with pytest.raises(ModelNotFound):
            known.model("base")
        assert len(looks) == count
    checkpoint(own / "checkpoints" / "base.safetensors")
    assert known.model("base").family == "sdxl"
    assert len(looks) == 4


def test_a_file_that_changed_is_read_anew(own: Path, looks: list[int]) -> None:
    path = checkpoint(own / "checkpoints" / "base.safetensors")
    known = shelf()
    assert known.model("base").family == "sdxl"
    write_safetensors(path, FLUX_UNET)
    changed = known.model("base")
    assert (changed.family, changed.size) == ("flux", path.stat().st_size)
    assert len(looks) == 2
    write(path, b"<html>not found</html>")
    assert (known.model("base").problem or "").startswith("is a web page, not a model")
    assert known.model("base").kind == "unknown"
    assert len(looks) == 3


def test_a_file_that_is_gone_is_not_found(own: Path) -> None:
    path = checkpoint(own / "checkpoints" / "base.safetensors")
    known = shelf()
    known.model("base")
    moved = path.rename(own / "checkpoints" / "sd.safetensors")
    with pytest.raises(ModelNotFound) as caught:
        known.model("base")
    assert caught.value.message == "model 'base' not found"
    assert known.model("sd").path == str(moved)
    moved.unlink()
    with pytest.raises(ModelNotFound, match="model 'sd' is not there any more: "):
        known.model("sd")


def test_of_two_files_of_one_name_one_is_gone(own: Path) -> None:
    paths = [lora(own / "loras" / folder / "x.safetensors") for folder in ("a", "b")]
    known = shelf()
    with pytest.raises(InvalidRequest, match="'x' can be 2 LoRAs: a/x, b/x"):
        known.lora("x")
    paths[0].unlink()
    assert known.lora("x").path == str(paths[1])
    assert known.lora("x").name == "x"


def test_a_file_of_a_folder_that_was_scanned_once(tmp_path: Path) -> None:
    paths = [checkpoint(tmp_path / "else" / f"{name}.safetensors") for name in ("base", "other")]
    library = Library(load_config())
    request = ScanRequest(directories=(str(tmp_path / "else"),), hash=False)
    library.run_scan(request, lambda progress: None, lambda: False)
    known = shelf()
    assert known.model("base").family == "sdxl"
    write_safetensors(paths[0], FLUX_UNET)
    assert known.model("base").family == "flux"
    paths[0].unlink()
    with pytest.raises(ModelNotFound, match="model 'base' is not there any more"):
        known.model("base")
    # A disk that was taken out.
    shutil.rmtree(tmp_path / "else")
    with pytest.raises(ModelNotFound, match="model 'other' is not there any more"):
        known.model("other")


def test_a_broken_file_is_listed_with_what_is_wrong(own: Path, tmp_path: Path) -> None:
    write(own / "checkpoints" / "broken.safetensors", b"<html>not found</html>")
    write(own / "broken2.safetensors", b"<html>not found</html>")
    write(tmp_path / "extra" / "cut.gguf", b"GGUF\3\0\0\0")
    known = shelf(paths__loras=(tmp_path / "extra",))
    broken, demo = known.models().items
    assert (broken.name, broken.kind, demo.problem) == ("broken", "unknown", None)
    assert known.model("broken") == broken
    with pytest.raises(ModelNotFound, match=r"^broken cannot be used: it is a web page, not a model"):
        usable(broken)
    with pytest.raises(ModelNotFound, match=r"^'broken2' cannot be used: it is a web page, not a model"):
        known.model("broken2")
    with pytest.raises(LoraNotFound, match=r"^cut cannot be used: it is cut off"):
        usable(known.lora("cut"))
    with pytest.raises(ModelNotFound, match=r"^'cut' cannot be used"):
        known.model("cut")


def test_a_file_of_another_kind_is_said_to_be_one(own: Path) -> None:
    lora(own / "detail.safetensors")
    write(own / "what.safetensors", unknown_bytes())
    known = shelf()
    with pytest.raises(ModelNotFound, match=r"^'detail' is a LoRA, not a checkpoint$"):
        known.model("detail")
    with pytest.raises(ModelNotFound, match=r"^'what' is a file of unknown kind, not a checkpoint$"):
        known.model("what")
    with pytest.raises(LoraNotFound, match="LoRA 'shapes-outlin' not found; did you mean 'shapes-outline'"):
        known.lora("shapes-outlin")


def test_the_owner_may_name_a_file_anywhere(tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = checkpoint(tmp_path / "downloads" / "mine.safetensors")
    monkeypatch.chdir(tmp_path)
    for given_name in (str(elsewhere), "downloads/mine.safetensors"):
        known = shelf(engine__model=given_name)
        mine = known.default()
        assert (mine.name, mine.path, mine.family, mine.builtin) == ("mine", str(elsewhere), "sdxl", False)
        assert known.model("MINE") == mine
        assert [entry.name for entry in known.models().items] == ["mine", "shapes"]
    checkpoint(own / "checkpoints" / "mine.safetensors")
    known = shelf(engine__model=str(elsewhere))
    assert [entry.name for entry in known.models().items] == ["downloads/mine", "checkpoints/mine", "shapes"]
    assert known.default() == replace(mine, name="downloads/mine")
    elsewhere.unlink()
    assert [entry.name for entry in known.models().items] == ["mine", "shapes"]
    with pytest.raises(ModelNotFound, match=r"model '.*/mine\.safetensors' not found"):
        shelf(engine__model=str(elsewhere)).default()


def test_the_owner_may_name_a_file_of_the_library(own: Path) -> None:
    path = checkpoint(own / "checkpoints" / "mine.safetensors")
    known = shelf(engine__model=str(path))
    # Before the first look, and after.
    assert known.default().id is None
    assert [(entry.name, entry.id) for entry in known.models().items] == [("mine", 1), ("shapes", None)]
    assert known.default().id == 1
    assert shelf(engine__model="MINE").default() == known.default()


def test_the_owner_names_what_is_no_checkpoint(tmp_path: Path) -> None:
    known = shelf(engine__model=str(lora(tmp_path / "mine.safetensors")))
    with pytest.raises(ModelNotFound, match=r"^mine cannot be used: it is a LoRA, not a checkpoint$"):
        usable(known.default())


def test_loras_that_fit(own: Path) -> None:
    lora(own / "loras" / "old.safetensors")
    write_safetensors(own / "loras" / "new.safetensors", SDXL_LORA)
    write(own / "loras" / "what.safetensors", unknown_bytes())
    known = shelf()
    assert [(entry.name, entry.fits) for entry in known.loras().items] == [
        ("new", None),
        ("old", None),
        ("shapes-outline", None),
        ("what", None),
    ]
    assert [(entry.name, entry.fits) for entry in known.loras(fits="pony").items] == [("new", True), ("what", None)]
    assert [(entry.name, entry.fits) for entry in known.loras(fits="shapes").items] == [
        ("shapes-outline", True),
        ("what", None),
    ]
    with pytest.raises(InvalidRequest, match="unknown family 'sdlx'"):
        known.loras(fits="sdlx")


def test_what_ships_is_found_in_a_list_as_the_rest(own: Path) -> None:
    for name in ("Shape", "shapes 2", "zebra"):
        checkpoint(own / "checkpoints" / f"{name}.safetensors")
    known = shelf()

    def names(**options: Any) -> list[str]:
        return [entry.name for entry in known.models(**options).items]

    assert names() == ["Shape", "shapes", "shapes 2", "zebra"]
    assert names(query="SHAPES") == ["shapes", "shapes 2"]
    assert names(query="shapes zebra") == []
    assert names(family="shapes") == ["shapes"]
    assert names(family="sdxl", query="s") == ["Shape", "shapes 2", "zebra"]
    for limit in (1, 2, 3, 4, 500):
        found, cursor = list[str](), None
        while True:
            page = known.models(limit=limit, cursor=cursor)
            found += [entry.name for entry in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
            assert len(page.items) == limit
        assert found == names()


@pytest.mark.parametrize("limit", [0, 501, -1])
def test_a_page_has_bounds(limit: int) -> None:
    with pytest.raises(InvalidRequest, match="limit must be between 1 and 500"):
        shelf().models(limit=limit)


@pytest.mark.parametrize("cursor", ["", "0", "7", "-7", "x", "1.0", "٣", "9" * 30])
def test_a_foreign_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a cursor of this list"):
        shelf().models(cursor=cursor)


def test_a_library_that_is_broken_keeps_nobody_from_drawing(tmp_path: Path) -> None:
    write(tmp_path / "data" / "models.db", b"no database" * 100)
    elsewhere = checkpoint(tmp_path / "mine.safetensors")
    known = shelf(engine__model=str(elsewhere))
    assert known.default().path == str(elsewhere)
    assert known.model("mine").family == known.model("./MINE.safetensors").family == "sdxl"
    assert known.model("shapes").builtin
    assert known.lora("shapes-outline").builtin
    for ask in (known.models, known.loras, lambda: known.model("other"), lambda: known.lora("mine")):
        with pytest.raises(LibraryError, match="is no SQLite database"):
            ask()


def test_many_threads_ask_at_once(own: Path, looks: list[int]) -> None:
    for number in range(20):
        lora(own / "loras" / f"{number}.safetensors", number)
    known, together = shelf(), threading.Barrier(8)

    def ask(number: int) -> list[str]:
        together.wait(30)
        return [str(len(known.loras().items)), *(known.lora(str(n)).name for n in range(number, 20))]

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, range(8)))
    assert found == [["21", *map(str, range(number, 20))] for number in range(8)]
    assert looks == [1]


def test_a_file_that_no_look_can_reach_is_not_said_to_be_there(tmp_path: Path) -> None:
    """It was scanned in a folder that is remembered no more."""
    with Database(tmp_path / "data" / "models.db") as database:
        add_file(database, str(tmp_path / "else" / "base.gguf"), kind="checkpoint")
    with pytest.raises(ModelNotFound, match="model 'base' is not there any more: ") as caught:
        shelf().model("base")
    assert caught.value.hint == "tsr db scan"


STEMS = st.text("aAé.1", min_size=1, max_size=2).filter(lambda stem: not stem.startswith("."))
TREES = st.sets(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(["", "m/", "m/a/", "a/", "A/"]),
        STEMS,
        st.sampled_from([".gguf", ".safetensors"]),
    ),
    max_size=8,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES)
def test_every_listed_name_means_its_own_file(own: Path, tree: set[str]) -> None:
    shutil.rmtree(own, ignore_errors=True)
    for number, path in enumerate(sorted(tree)):
        lora(own / "loras" / path, number)
    known = shelf()
    items = [entry for entry in known.loras().items if not entry.builtin]
    # What is called .gguf and is safetensors is broken, and has its name all the same.
    assert {os.path.relpath(entry.path, own / "loras") for entry in items} == tree
    assert len({entry.name for entry in items}) == len(tree)
    for entry in items:
        assert known.lora(entry.name) == entry
