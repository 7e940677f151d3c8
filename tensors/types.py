"""Every type that crosses a boundary: the command line, HTTP, the job store, a sidecar.

Plain frozen dataclasses are the one definition. Bounds stand in the annotations (`annotated_types`), so that the HTTP
schema, the checks of `tensors.checks` and the documentation all read the same line. Requests are strict: what they do
not know is refused. Answers are tolerant: a newer server may say more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar, dataclass_transform

from annotated_types import Ge, Le, MaxLen, MinLen, MultipleOf

MAX_SEED = 2**31 - 1
"""Largest seed: sd-server keeps seeds in a signed 32-bit integer and takes negative ones as 'random'."""

MAX_STEPS = 100
"""Most sampling steps: sd-server draws 100 where more are asked for, without a word."""

Side = Annotated[int, Ge(64), Le(4096), MultipleOf(8)]
"""Width or height of a picture in pixels."""

T = TypeVar("T")


def _record(config: Mapping[str, Any]) -> Callable[[type[T]], type[T]]:
    """A frozen dataclass that pydantic, where it reads it, reads with this configuration."""

    def make(cls: type[T]) -> type[T]:
        made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
        setattr(made, "__pydantic_config__", config)  # noqa: B010 - no annotation: it is not a field
        return made

    return make


@dataclass_transform(frozen_default=True, kw_only_default=True)
def request(cls: type[T]) -> type[T]:
    """A type that comes in: strict, and its fields' docs are in the API's schema."""
    return _record({"extra": "forbid", "use_attribute_docstrings": True, "allow_inf_nan": False})(cls)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def answer(cls: type[T]) -> type[T]:
    """A type that goes out: tolerant, and its fields' docs are in the API's schema."""
    return _record({"use_attribute_docstrings": True})(cls)


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


@answer
class Image:
    """One picture in the gallery, with everything needed to make it again."""

    id: str
    created: str
    """RFC 3339, UTC."""
    job: str
    index: int
    """Which picture of its job, from 0."""
    width: int
    """Of the file: with a hires fix, larger than `settings.width`."""
    height: int
    settings: Settings
    """With this picture's own seed and `batch_size` 1."""
    engine: str
    """The engine's name and version."""
    tsr: str
    """Version of tsr."""
    path: str
    """The file, on the machine that keeps the gallery."""
    base64: str | None = None
    """The PNG itself; only in the answer to a request with `return_base64`."""


@answer
class Progress:
    """How far a running job is."""

    phase: str
    """`queued`, `loading`, `encoding`, `sampling`, `decoding` or `saving`."""
    step: int = 0
    """Sampling step of the current picture."""
    steps: int = 0
    image: int = 0
    """The picture being drawn, from 1."""
    images: int = 0
    seconds_left: float | None = None
    attempt: int = 1
    """2 and more: the engine died and the job is tried again."""


@answer
class ErrorInfo:
    """Why a job failed, as an error of `tensors.errors`."""

    code: str
    message: str
    hint: str | None = None


@answer
class Job:
    """One durable piece of work."""

    id: str
    kind: str
    """`generate`."""
    state: str
    """`queued`, `running`, `succeeded`, `failed` or `cancelled`."""
    created: str
    finished: str | None = None
    settings: Settings | None = None
    progress: Progress | None = None
    images: tuple[str, ...] = ()
    """Ids of the pictures made so far."""
    error: ErrorInfo | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to this job."""
        return self.state in ("succeeded", "failed", "cancelled")


@answer
class JobEvent:
    """What a listener hears: each event is the whole present state, so the last one is enough to know all."""

    seq: int
    """Counts the events of this job from 1."""
    job: str
    state: str
    progress: Progress | None = None
    images: tuple[str, ...] = ()
    error: ErrorInfo | None = None

    @property
    def last(self) -> bool:
        """Whether no event follows."""
        return self.state in ("succeeded", "failed", "cancelled")


@answer
class Generated:
    """The answer to a generate request that waited: the job and its pictures."""

    job: Job
    images: tuple[Image, ...] = ()


@answer
class Page(Generic[T]):
    """A part of a list; `next_cursor` fetches the next."""

    items: tuple[T, ...]
    next_cursor: str | None = None


@answer
class Deleted:
    """What was deleted."""

    id: str


@answer
class Health:
    """Whether the server answers."""

    status: str = "ok"


@answer
class Version:
    """Versions of what runs there."""

    tsr: str
    engine: str | None
    python: str
    api: int = 1


@answer
class EngineStatus:
    """The engine and the model in it."""

    state: str
    """`missing`, `stopped`, `loading`, `ready`, `busy` or `failed`."""
    version: str | None = None
    model: str | None = None
    family: str | None = None
    pid: int | None = None
    message: str | None = None
    """The engine's last words, when it failed."""


@answer
class Status:
    """What runs where."""

    mode: str
    """`server`, or `local` when there is none."""
    url: str | None
    version: str
    engine: EngineStatus
    queued: int
    running: int
    images: int
    """Pictures in the gallery."""
    data_dir: str
    uptime_seconds: float | None = None
