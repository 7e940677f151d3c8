"""Family defaults: `rocm-docker/model-defaults.toml`, which the wheel carries as `tensors/model-defaults.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from tensors.errors import ConfigError
from tensors.types.generation import Hires

TABLE = "model-defaults.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What a family's pictures are drawn with when nothing else is said."""

    width: int
    height: int
    steps: int
    cfg_scale: float
    sampler: str
    scheduler: str
    negative_prompt: str = ""
    clip_skip: int | None = None
    guidance: float | None = None
    hires: Hires | None = None
    """Only for requests that leave the size open too: who asks for 64x64 gets 64x64."""


def _table() -> dict[str, Any]:
    packaged = resources.files("tensors").joinpath(TABLE)
    checkout = Path(__file__).parent.parent / "rocm-docker" / TABLE
    text = packaged.read_text("utf-8") if packaged.is_file() else checkout.read_text("utf-8")
    return tomllib.loads(text)


@cache
def load_families() -> dict[str, Defaults]:
    """Every family of the table. Raises `ConfigError` when a section does not fit."""
    found = {}
    for family, section in _table().items():
        hires = section.pop("hires", None)
        try:
            found[family] = Defaults(**section, hires=Hires(**hires) if hires else None)
        except TypeError as error:
            raise ConfigError(f"[{family}] in {TABLE}: {error}") from None
    return found


UNKNOWN = Defaults(width=512, height=512, steps=20, cfg_scale=5.0, sampler="euler", scheduler="discrete")
"""For a family the table does not have: nothing that presumes how it was trained."""


_TRAINED_LIKE = {"noobai": "illustrious"}
"""Families without a section of their own, and the one they were trained from."""


def defaults_for(family: str) -> Defaults:
    """The defaults of a family; `UNKNOWN` for one the table does not have."""
    return load_families().get(_TRAINED_LIKE.get(family, family), UNKNOWN)
