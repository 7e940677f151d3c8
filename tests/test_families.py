"""The table of family defaults, and that the wheel carries it."""

from __future__ import annotations

import tomllib
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder

from tensors import __version__, families
from tensors.errors import ConfigError
from tensors.families import TABLE, UNKNOWN, Defaults, defaults_for, load_families
from tensors.samplers import SAMPLERS, SCHEDULERS
from tensors.types.generation import GenerateRequest, Hires

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "rocm-docker" / TABLE
SECTIONS = tomllib.loads(SOURCE.read_text())
REQUIRED = {"width", "height", "steps", "cfg_scale", "sampler", "scheduler", "negative_prompt"}


def test_the_families_people_use_are_there() -> None:
    assert {"sd15", "sdxl", "pony", "illustrious", "flux", "shapes"} <= set(load_families())
    assert set(SECTIONS) == set(load_families())


@pytest.mark.parametrize("family", SECTIONS)
def test_a_section_has_every_key_and_no_unknown_one(family: str) -> None:
    keys = set(SECTIONS[family])
    assert keys >= REQUIRED
    assert keys <= {field.name for field in fields(Defaults)}


@pytest.mark.parametrize("family", [*SECTIONS, "unknown"])
def test_defaults_are_a_request_that_would_be_accepted(family: str) -> None:
    defaults = defaults_for(family)
    GenerateRequest(prompt="x", **{field.name: getattr(defaults, field.name) for field in fields(Defaults)})
    assert defaults.sampler in SAMPLERS
    assert defaults.scheduler in SCHEDULERS
    for side in (defaults.width, defaults.height):
        assert isinstance(side, int)
        assert side % 64 == 0


def test_flux_is_guided_by_its_distilled_guidance() -> None:
    flux = defaults_for("flux")
    assert (flux.cfg_scale, flux.guidance, flux.negative_prompt) == (1.0, 3.5, "")
    assert {family for family in SECTIONS if defaults_for(family).guidance is not None} == {"flux", "flux2"}


def test_the_demo_model_is_enlarged_by_default() -> None:
    assert defaults_for("shapes").hires == Hires(**SECTIONS["shapes"]["hires"])


def test_an_unknown_family_has_defaults_too() -> None:
    assert defaults_for("of tomorrow") is UNKNOWN


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"width": 64}, "missing"),
        ({**SECTIONS["sd15"], "colour": 1}, "colour"),
        ({**SECTIONS["sd15"], "hires": {"size": 2}}, "size"),
    ],
)
def test_a_section_that_does_not_fit_is_named(
    section: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(families, "_table", lambda: {"odd": section})
    with pytest.raises(ConfigError, match=rf"\[odd\] in {TABLE}: .*{said}"):
        load_families.__wrapped__()


def test_the_wheel_carries_the_table_and_the_model(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(f"tensors/{TABLE}") == SOURCE.read_bytes()
        names = archive.namelist()
    assert {"tensors/demo/shapes.safetensors", "tensors/demo/loras/shapes-outline.safetensors"} <= set(names)
    assert {Path(name).parts[0] for name in names} == {"tensors", f"tensors-{__version__}.dist-info"}
