"""Finding model files by name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from headers import write_gguf

from tensors.config import load_config
from tensors.errors import LoraNotFound, ModelNotFound
from tensors.models import DEMO_MODEL, ModelFiles, demo_dir, describe

DEMO = demo_dir() / f"{DEMO_MODEL}.safetensors"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The folder of models in the data directory."""
    folder = tmp_path / "data" / "models"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "loras").mkdir()
    return folder


def put(path: Path) -> Path:
    """A whole model file of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.link(DEMO, path) if path.parent.stat().st_dev == DEMO.stat().st_dev else shutil.copy(DEMO, path)
    return path


def files(model: str | None = None, **folders: Path | list[Path]) -> ModelFiles:
    """Model files with more folders configured."""
    given = {
        f"paths__{kind}": (folder,) if isinstance(folder, Path) else tuple(folder) for kind, folder in folders.items()
    }
    return ModelFiles(load_config().with_values(engine__model=model, **given))


def test_without_any_file_there_is_the_demo_model() -> None:
    found = files().checkpoint(DEMO_MODEL)
    assert (found.name, found.path, found.family) == (DEMO_MODEL, DEMO.absolute(), "shapes")
    assert (found.kind, found.companions) == ("checkpoint", (("taesd", found.path),))
    assert files().default() == found
    assert list(files().checkpoints()) == [DEMO_MODEL]
    assert list(files().loras()) == ["shapes-outline"]


@pytest.mark.parametrize("name", ["Pony V6.1", "pony v6.1", "Pony V6.1.safetensors", "PONY V6.1.SAFETENSORS"])
def test_a_name_is_found_whatever_its_case_and_with_its_extension(name: str, own: Path) -> None:
    checkpoint = put(own / "checkpoints" / "sdxl" / "Pony V6.1.safetensors")
    lora = put(own / "loras" / "Pony V6.1.SafeTensors")
    assert files().checkpoint(name).path == checkpoint
    assert files().checkpoint(name).name == "Pony V6.1"
    assert files().lora(name) == lora


def test_the_exact_name_wins_over_another_case(own: Path) -> None:
    upper, lower = (put(own / "checkpoints" / f"{name}.safetensors") for name in ("MODEL", "model"))
    assert files().checkpoint("MODEL").path == upper
    assert files().checkpoint("model").path == lower
    with pytest.raises(ModelNotFound, match="model 'Model' not found; did you mean"):
        files().checkpoint("Model")


def test_a_new_file_needs_no_restart(own: Path) -> None:
    known = files()
    with pytest.raises(ModelNotFound):
        known.checkpoint("new")
    put(own / "checkpoints" / "new.safetensors")
    assert known.checkpoint("new").name == "new"


def test_of_two_files_with_one_name_the_first_folders_wins(own: Path, tmp_path: Path) -> None:
    ours = put(own / "checkpoints" / "a.safetensors")
    for folder in ("one", "two"):
        put(tmp_path / folder / "a.safetensors")
        put(tmp_path / folder / "b.safetensors")
    found = files(checkpoints=[tmp_path / "one", tmp_path / "two"])
    assert found.checkpoint("a").path == ours
    assert found.checkpoint("b").path == tmp_path / "one" / "b.safetensors"


def test_only_model_files_are_found_and_none_that_hide(own: Path, tmp_path: Path) -> None:
    folder = own / "checkpoints"
    for name in ("pickle.ckpt", "model.bin", "notes.txt", "safetensors", ".hidden.safetensors", ".git/x.safetensors"):
        put(folder / name)
    (folder / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe.safetensors")
    put(folder / "folder.safetensors" / "inside.safetensors")
    (folder / "quantized.gguf").write_bytes(b"GGUF")
    assert set(files().checkpoints()) == {DEMO_MODEL, "inside", "quantized"}


def test_links_are_followed_and_loops_end(own: Path, tmp_path: Path) -> None:
    folder = own / "checkpoints"
    put(tmp_path / "disk" / "far.safetensors")
    put(folder / "near.safetensors")
    (folder / "disk").symlink_to(tmp_path / "disk")
    (folder / "again").symlink_to(tmp_path / "disk")
    (folder / "itself").symlink_to("itself")
    (folder / "round").symlink_to(folder)
    (tmp_path / "disk" / "back").symlink_to(folder)
    assert set(files().checkpoints()) == {DEMO_MODEL, "near", "far"}


def test_a_folder_that_is_not_there_today_has_no_models_today(own: Path, tmp_path: Path) -> None:
    put(own / "checkpoints" / "here.safetensors")
    (tmp_path / "file").touch()
    found = files(checkpoints=[tmp_path / "mount", tmp_path / "file"], loras=tmp_path / "mount")
    assert set(found.checkpoints()) == {DEMO_MODEL, "here"}
    assert list(found.loras()) == ["shapes-outline"]


def test_an_unknown_name_gets_a_suggestion_and_a_list(own: Path) -> None:
    put(own / "checkpoints" / "ponyDiffusionV6XL.safetensors")
    with pytest.raises(ModelNotFound) as caught:
        files().checkpoint("ponny")
    assert caught.value.message == "model 'ponny' not found; did you mean 'ponyDiffusionV6XL'?"
    assert caught.value.hint == "models: ponyDiffusionV6XL, shapes"
    with pytest.raises(LoraNotFound) as missing:
        files().lora("shapes-outlin")
    assert missing.value.message == "LoRA 'shapes-outlin' not found; did you mean 'shapes-outline'?"
    assert missing.value.hint == "LoRAs: shapes-outline"


def test_a_long_list_is_cut(own: Path) -> None:
    for number in range(14):
        put(own / "checkpoints" / f"m{number:02}.safetensors")
    with pytest.raises(ModelNotFound) as caught:
        files().checkpoint("zzz")
    assert caught.value.hint == "models: " + ", ".join(f"m{number:02}" for number in range(12)) + " and 3 more"


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "checkpoints/here", "here/../here", "", ".safetensors"])
def test_a_name_is_no_path(name: str, own: Path) -> None:
    put(own / "checkpoints" / "here.safetensors")
    put(own / "outside.safetensors")
    for find in (files().checkpoint, files().lora):
        with pytest.raises((ModelNotFound, LoraNotFound)):
            find(name)


def test_the_owner_may_name_a_file_anywhere(tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = put(tmp_path / "downloads" / "mine.safetensors")
    put(own / "checkpoints" / "mine.safetensors")
    monkeypatch.chdir(tmp_path)
    for given in (str(elsewhere), "downloads/mine.safetensors"):
        known = files(given)
        assert known.default().path == elsewhere
        assert known.checkpoint("mine").path == elsewhere
        assert set(known.checkpoints()) == {DEMO_MODEL, "mine"}


def test_the_default_may_be_a_name_and_must_be_there(own: Path) -> None:
    path = put(own / "checkpoints" / "mine.safetensors")
    assert files("MINE").default().path == path
    with pytest.raises(ModelNotFound, match=r"model '/gone/mine\.safetensors' not found"):
        files("/gone/mine.safetensors").default()


def test_a_file_that_cannot_be_used_says_why(own: Path, tmp_path: Path) -> None:
    broken = own / "checkpoints" / "broken.safetensors"
    broken.write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelNotFound, match=r"^broken\.safetensors cannot be used: it is a web page, not a model"):
        files().checkpoint("broken")
    with pytest.raises(ModelNotFound, match=r"^gone\.safetensors cannot be read: No such file or directory$"):
        describe(tmp_path / "gone.safetensors")


def test_a_gguf_file_says_its_family_too(tmp_path: Path) -> None:
    signs = {"double_blocks.0.img_attn.norm.key_norm.scale": (128,), "img_in.weight": (3072, 64)}
    found = describe(write_gguf(tmp_path / "q4.GGUF", signs))
    assert (found.name, found.family, found.kind, found.companions) == ("q4", "flux", "diffusion_model", ())
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\0\0\0")
    with pytest.raises(ModelNotFound, match=r"^cut\.gguf cannot be used: it is cut off"):
        describe(tmp_path / "cut.gguf")
