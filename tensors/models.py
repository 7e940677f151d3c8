"""A model's files as an engine needs them, and the model that ships."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

DEMO_MODEL = "shapes"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One checkpoint as the engine needs it."""

    name: str
    path: Path
    family: str
    kind: str = "checkpoint"
    """Or `diffusion_model`: only the part that draws, and companions bring the rest."""
    companions: tuple[tuple[str, Path], ...] = ()
    """Files that go with it, each with sd-server's option without dashes: `vae`, `clip_l`, `t5xxl`, `taesd`, ..."""


def demo_dir() -> Path:
    """Where the shipped model lies."""
    return Path(str(resources.files("tensors") / "demo"))
