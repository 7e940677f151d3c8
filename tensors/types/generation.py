"""What to draw."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le, MaxLen, MinLen, MultipleOf

from tensors.types.base import answer, request

MAX_SEED = 2**31 - 1
"""Largest seed: sd-server keeps seeds in a signed 32-bit integer and takes negative ones as 'random'."""

MAX_STEPS = 100
"""Most sampling steps: sd-server draws 100 where more are asked for, without a word."""

Side = Annotated[int, Ge(64), Le(4096), MultipleOf(8)]
"""Width or height of a picture in pixels."""


@request
class Lora:
    """A LoRA and how strongly it is applied."""

    name: Annotated[str, MinLen(1), MaxLen(255)]
    """File name without its extension."""
    weight: Annotated[float, Ge(-10), Le(10)] = 1.0
    """Multiplier; 1 is the strength it was trained with."""


@request
class Hires:
    """The hires fix: draw small, enlarge, then draw again over the enlarged picture."""

    scale: Annotated[float, Ge(1), Le(8)] = 2.0
    """How many times larger each side gets."""
    upscaler: Annotated[str, MaxLen(100)] = "Latent"
    """`Lanczos`, `Nearest`, `Latent` and its variants, or the name of an upscaler model."""
    steps: Annotated[int, Ge(0), Le(MAX_STEPS)] = 0
    """Steps of the second pass; 0 takes as many as the first."""
    denoising_strength: Annotated[float, Ge(0), Le(1)] = 0.7
    """How much of the enlarged picture is drawn anew."""


@request
class GenerateRequest:
    """What to draw. Whatever is left out is filled in with the defaults of the model's family."""

    prompt: Annotated[str, MinLen(1), MaxLen(20_000)]
    """What the picture shows. `<lora:name:0.8>` applies a LoRA."""
    negative_prompt: Annotated[str, MaxLen(20_000)] | None = None
    """What it must not show."""
    model: Annotated[str, MinLen(1), MaxLen(255)] | None = None
    """Name of a checkpoint; the loaded one when left out."""
    width: Side | None = None
    """Pixels, a multiple of 8."""
    height: Side | None = None
    """Pixels, a multiple of 8."""
    steps: Annotated[int, Ge(1), Le(MAX_STEPS)] | None = None
    """Sampling steps."""
    cfg_scale: Annotated[float, Ge(0), Le(50)] | None = None
    """Classifier-free guidance scale."""
    guidance: Annotated[float, Ge(0), Le(50)] | None = None
    """Distilled guidance, for models that take it (Flux)."""
    sampler: Annotated[str, MinLen(1), MaxLen(64)] | None = None
    """Sampling method, such as `euler_a` or `dpm++2m`; A1111's names are understood."""
    scheduler: Annotated[str, MinLen(1), MaxLen(64)] | None = None
    """Noise schedule, such as `karras`."""
    seed: Annotated[int, Ge(-1), Le(MAX_SEED)] = -1
    """Picture i of a batch has seed + i; -1 draws one at random."""
    batch_size: Annotated[int, Ge(1), Le(256)] = 1
    """How many pictures."""
    clip_skip: Annotated[int, Ge(1), Le(12)] | None = None
    """1 uses all layers of the CLIP text encoder, 2 all but the last."""
    loras: Annotated[tuple[Lora, ...], MaxLen(32)] = ()
    """LoRAs to apply, besides those in the prompt."""
    init_image: str | None = None
    """Picture to start from (img2img): base64 of a PNG, JPEG or WebP."""
    mask: str | None = None
    """Where to redraw `init_image` (white) and where to keep it (black): base64."""
    strength: Annotated[float, Ge(0), Le(1)] | None = None
    """Denoising strength of img2img: 0 keeps `init_image`, 1 ignores it."""
    hires: Hires | None = None
    """Second pass at a larger size."""
    tags: Annotated[tuple[Annotated[str, MinLen(1), MaxLen(64)], ...], MaxLen(64)] = ()
    """Tags for the gallery."""
    force: bool = False
    """Draw also what will hardly look right: LoRAs of another family, sizes far from what the model was trained at."""

    def __post_init__(self) -> None:
        from tensors.checks import check_request

        check_request(self)


@answer
class UsedModel:
    """A model file as it was used for a picture."""

    name: str
    family: str
    """`sd15`, `sdxl`, `pony`, `illustrious`, `flux`, `shapes`, ... or `unknown`."""
    sha256: str | None = None


@answer
class UsedLora:
    """A LoRA as it was used for a picture."""

    name: str
    weight: float
    autov3: str | None = None
    """SHA256 of the weights alone, without the header: the hash A1111 and CivitAI know a LoRA by."""


@answer
class Settings:
    """A request with nothing left open: what is sent to the engine, stored with the job and written into pictures."""

    prompt: str
    """Without `<lora:...>`: those are in `loras`."""
    negative_prompt: str
    model: UsedModel
    width: int
    height: int
    steps: int
    cfg_scale: float
    sampler: str
    scheduler: str
    seed: int
    batch_size: int = 1
    guidance: float | None = None
    clip_skip: int | None = None
    loras: tuple[UsedLora, ...] = ()
    init_image: str | None = None
    """`sha256:...` of the stored input picture."""
    mask: str | None = None
    """`sha256:...` of the stored mask."""
    strength: float | None = None
    hires: Hires | None = None
    tags: tuple[str, ...] = ()
