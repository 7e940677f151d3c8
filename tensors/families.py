"""Family defaults: `rocm-docker/model-defaults.toml`, which the wheel carries as `tensors/model-defaults.toml`."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from tensors.errors import ConfigError
from tensors.types.generation import Hires
from tensors.types.models import Defaults

TABLE = "model-defaults.toml"


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
