"""Checkpoints and LoRAs: what a request can draw with."""

from __future__ import annotations

from typing import Annotated

from annotated_types import MaxLen, MinLen

from tensors.types.base import answer, request
from tensors.types.file import Link
from tensors.types.generation import Hires

__all__ = [
    "Defaults",
    "Link",
    "LoraEntry",
    "ModelEntry",
    "Options",
    "SwitchReport",
    "SwitchRequest",
    "UnloadRequest",
]


@answer
class ModelEntry:
    """One checkpoint or diffusion model."""

    name: str
    """What requests call it: its file's name without extension; where several have that, with what tells them apart."""
    path: str
    kind: str
    """`checkpoint`, `diffusion_model` (companion files bring the rest), or `unknown` when it is broken."""
    family: str
    variant: str | None = None
    """`inpainting`, `v-prediction`, `dev`, ..., with commas between."""
    size: int
    """Bytes."""
    precision: str | None = None
    """Of most of its weights: `fp16`, `bf16`, `fp8`, `q8_0`, ..."""
    sha256: str | None = None
    """None until a scan has hashed it."""
    link: Link | None = None
    """Its page on CivitAI."""
    added: str | None = None
    """When the library first saw it; none for what is not in there."""
    problem: str | None = None
    """Why it cannot be used, in words that follow its name."""
    id: int | None = None
    """Its file's number in the library; none when it is not in there."""
    builtin: bool = False
    """It ships with tsr."""
    active: bool = False
    """It is what a request without a model is drawn with."""
    loaded: tuple[str, ...] = ()
    """Backends that have it."""
    needs: tuple[str, ...] = ()
    """Companion files that it cannot do without and that are not there, in words."""


@answer
class LoraEntry:
    """One LoRA."""

    name: str
    """What requests call it, as `ModelEntry.name`; in a prompt `<lora:NAME:0.8>`."""
    path: str
    family: str
    """Of the checkpoints that it was made for."""
    variant: str | None = None
    adapter: str | None = None
    """`lora`, `loha`, `lokr`, `oft` or `dora`."""
    size: int
    """Bytes."""
    words: tuple[str, ...] = ()
    """Trigger words."""
    sha256: str | None = None
    """None until a scan has hashed it."""
    autov3: str | None = None
    link: Link | None = None
    """Its page on CivitAI."""
    added: str | None = None
    """When the library first saw it; none for what is not in there."""
    problem: str | None = None
    """Why it cannot be used, in words that follow its name."""
    id: int | None = None
    """Its file's number in the library; none when it is not in there."""
    builtin: bool = False
    """It ships with tsr."""
    fits: bool | None = None
    """Whether it can be applied to the active model, or to the family that was asked for; none: not known."""


@answer
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


@answer
class Options:
    """What a request for a model can say, and what it gets when it does not."""

    model: str
    family: str
    defaults: Defaults
    samplers: tuple[str, ...]
    schedulers: tuple[str, ...]
    upscalers: tuple[str, ...]
    """Of the hires fix."""


@request
class SwitchRequest:
    """Which model to load, and to take from now on for requests that name none."""

    model: Annotated[str, MinLen(1), MaxLen(4096)]
    """Its name, path, hash or `MODEL@VERSION`."""
    backend: Annotated[str, MinLen(1), MaxLen(64)] | None = None
    """Where; the one that fits best when left out."""

    def __post_init__(self) -> None:
        from tensors.checks import check_fields

        check_fields(self)


@request
class UnloadRequest:
    """Which engines to end."""

    backends: Annotated[tuple[Annotated[str, MinLen(1), MaxLen(64)], ...], MaxLen(64)] = ()
    """Names of backends; all that are idle when there are none."""

    def __post_init__(self) -> None:
        from tensors.checks import check_fields

        check_fields(self)


@answer
class SwitchReport:
    """What a switch came to."""

    model: str
    backend: str
