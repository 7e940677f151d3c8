"""Checkpoints as an engine needs them: which one is meant, and with which files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from headers import write_safetensors
from signs import GUIDED
from test_part_signs import CLIP_L, T5, vae

from tensors.checkpoints import Checkpoints
from tensors.config import Config, load_config
from tensors.engine_settings import ModelSettings
from tensors.errors import MissingCompanions, ModelNotFound
from tensors.library import Library
from tensors.models import DEMO_MODEL, demo_dir
from tensors.shelf import Shelf

DEMO = demo_dir() / f"{DEMO_MODEL}.safetensors"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "models"
    for name in ("checkpoints", "diffusion_models", "vae", "text_encoders"):
        (folder / name).mkdir(parents=True)
    return folder


def known(config: Config | None = None, **settings: Any) -> Checkpoints:
    config = (config or load_config()).with_values(**settings)
    library = Library(config)
    return Checkpoints(config, library, Shelf(library, config))


def test_without_anything_it_is_the_model_that_ships() -> None:
    checkpoints = known()
    model = checkpoints.equip(checkpoints.active())
    assert (model.name, model.path, model.family, model.kind) == (DEMO_MODEL, DEMO, "shapes", "checkpoint")
    assert model.companions == (("taesd", DEMO),)


def test_where_the_model_that_ships_cannot_be_it_is_one_that_an_engine_has(
    models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of containers, for example: they do not see it."""
    shutil.copy(DEMO, models / "checkpoints" / "mine.safetensors")
    for chosen, there, wanted in (
        (None, "mine", "mine"),
        (None, None, DEMO_MODEL),
        (None, "gone", DEMO_MODEL),
        (DEMO_MODEL, "mine", DEMO_MODEL),
    ):
        checkpoints = known(engine__model=chosen)
        checkpoints.instead_of_builtin = lambda there=there: there
        assert checkpoints.active().name == wanted
    assert "gone cannot be used, though an engine has it" in caplog.text


def test_what_was_switched_to_stays_active_over_a_restart(models: Path) -> None:
    file = models / "checkpoints" / "mine.safetensors"
    shutil.copy(DEMO, file)
    checkpoints = known()
    checkpoints.activate(checkpoints.equip(checkpoints.named("mine")))
    assert known().active().name == "mine"
    assert known(engine__model="shapes").active().name == "shapes", "said for this run"
    assert known().active().name == "shapes", "and from then on"


def test_when_the_active_one_has_gone_it_is_that_of_the_settings(
    models: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = models / "checkpoints" / "mine.safetensors"
    shutil.copy(DEMO, file)
    checkpoints = known()
    checkpoints.activate(checkpoints.equip(checkpoints.named("mine")))
    file.unlink()
    assert checkpoints.active().name == DEMO_MODEL
    assert "the active model cannot be used" in caplog.text


def flux(models: Path) -> None:
    write_safetensors(models / "diffusion_models" / "flux1-dev.safetensors", GUIDED)


def test_a_split_model_gets_its_companions_or_says_what_is_missing(models: Path) -> None:
    flux(models)
    checkpoints = known()
    entry = checkpoints.named("flux1-dev")
    assert checkpoints.missing(entry) == ("VAE (ae)", "text encoder (clip_l)", "text encoder (t5xxl)")
    with pytest.raises(MissingCompanions, match="needs a VAE") as caught:
        checkpoints.equip(entry)
    assert "tsr dl hf:" in (caught.value.hint or "")
    write_safetensors(models / "vae" / "ae.safetensors", vae(16))
    write_safetensors(models / "text_encoders" / "clip_l.safetensors", CLIP_L)
    with pytest.raises(MissingCompanions, match=r"needs a text encoder \(t5xxl\): not in the library"):
        checkpoints.equip(entry)
    write_safetensors(models / "text_encoders" / "t5xxl_fp16.safetensors", T5)
    companions = dict(checkpoints.equip(entry).companions)
    assert {option: path.stem for option, path in companions.items()} == {
        "vae": "ae",
        "clip_l": "clip_l",
        "t5xxl": "t5xxl_fp16",
    }
    assert checkpoints.missing(entry) == ()


def test_files_that_the_settings_name_are_taken_at_their_word(models: Path, tmp_path: Path) -> None:
    flux(models)
    named = {option: tmp_path / f"my-{option}.safetensors" for option in ("vae", "clip_l", "t5xxl")}
    config = load_config()
    config = Config(
        config.file, config.values, config.origins, {}, (), {"flux1-dev": ModelSettings(name="x", companions=named)}
    )
    checkpoints = known(config)
    model = checkpoints.equip(checkpoints.named("flux1-dev"))
    assert dict(model.companions) == named
    assert model.kind == "diffusion_model"


def test_a_broken_file_is_refused_with_what_is_wrong(models: Path) -> None:
    (models / "checkpoints" / "torn.safetensors").write_bytes(DEMO.read_bytes()[:-10])
    with pytest.raises(ModelNotFound, match="torn cannot be used: it"):
        known().named("torn")
