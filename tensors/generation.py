"""From a request to settings with nothing left open."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import replace

from tensors.checks import INJECTION, refusal
from tensors.errors import InvalidRequest
from tensors.families import defaults_for, load_families
from tensors.fitting import fits
from tensors.inputs import Inputs
from tensors.samplers import hires_upscaler, sampler_and_scheduler
from tensors.shelf import Shelf, usable
from tensors.types.generation import MAX_SEED, GenerateRequest, Hires, Lora, Settings, UsedLora, UsedModel
from tensors.types.models import Defaults, LoraEntry, ModelEntry

_LORA_TAG = re.compile(r"<lora:([^<>]*)>", re.IGNORECASE)
_BEFORE_COMMA = re.compile(r"[ \t]+(?:<lora:[^<>]*>[ \t]*)+(?=,)", re.IGNORECASE)
"""Tags that would leave a space before a comma."""
MOST_AREA = 5
"""So many times the area that a family draws at by itself may be asked for without `force`."""
DEMO_FAMILY = "shapes"
"""Of the model that ships: small, and drawn at any size in a moment."""
MAX_FINAL_SIDE = 8192
"""Largest side in pixels after the hires fix."""
DEFAULT_STRENGTH = 0.75
"""Denoising strength of img2img when none is given; sd-server's own default."""


def split_loras(prompt: str) -> tuple[str, tuple[Lora, ...]]:
    """The prompt without its `<lora:name:weight>` and those LoRAs. Raises `InvalidRequest` for a malformed one."""
    loras = []
    for content in _LORA_TAG.findall(prompt):
        name, _, weight = content.partition(":")
        try:
            loras.append(Lora(name=name.strip(), weight=float(weight) if weight else 1.0))
        except ValueError:
            raise refusal([("prompt", f"has <lora:{content}>; it is written <lora:name:0.8>")]) from None
        if not name.strip() or not -10 <= loras[-1].weight <= 10:
            raise refusal([("prompt", f"has <lora:{content}>; it needs a name and a weight between -10 and 10")])
    if not loras:
        return _checked_rest(prompt), ()
    rest = _LORA_TAG.sub("", _BEFORE_COMMA.sub("", prompt))
    return _checked_rest(re.sub(r"[ \t]{2,}", " ", rest)), tuple(loras)


def _checked_rest(prompt: str) -> str:
    """What is left without the tags; taking one out may have joined what stood around it."""
    if "<lora:" in prompt.lower():
        raise refusal([("prompt", "has a <lora: that does not end; it is written <lora:name:0.8>")])
    if INJECTION in prompt.lower():
        raise refusal([("prompt", f"must not contain {INJECTION}: it would override the engine's settings")])
    return prompt.strip()


def _seed(request: GenerateRequest) -> int:
    """Seeds are ours to draw: the engine's own 'random' repeats within a second and is never told."""
    last = MAX_SEED - request.batch_size + 1
    if request.seed > last:
        raise refusal([("seed", f"must be at most {last} for a batch of {request.batch_size}, not {request.seed}")])
    return request.seed if request.seed >= 0 else secrets.randbelow(last + 1)


def _loras(named: Iterable[Lora], model: ModelEntry, shelf: Shelf, *, force: bool) -> tuple[UsedLora, ...]:
    used: dict[str, UsedLora] = {}
    for lora in named:
        entry = usable(shelf.lora(lora.name))
        if entry.name in used:
            raise refusal([("loras", f"name {entry.name!r} twice")])
        if not force:
            _check_fits(entry, model)
        used[entry.name] = UsedLora(name=entry.name, weight=lora.weight)
    return tuple(used.values())


def _check_fits(lora: LoraEntry, model: ModelEntry) -> None:
    """The engine takes a LoRA of another family without a word, and ignores it."""
    if fits(lora.family, model.family, lora_variant=lora.variant, checkpoint_variant=model.variant) is False:
        raise InvalidRequest(
            f"LoRA {lora.name!r} is for {_kind_of(lora)} and {model.name!r} is {_kind_of(model)}: it would do nothing",
            hint="tsr models loras --fits lists those that fit; --force tries it all the same",
        )


def _kind_of(entry: LoraEntry | ModelEntry) -> str:
    return f"{entry.family} ({entry.variant})" if entry.variant else entry.family


def _check_native_size(request: GenerateRequest, family: str, width: int, height: int) -> None:
    """Far beyond what it was trained at, a model repeats its subject, and the memory may not do."""
    if request.force or family not in load_families() or family == DEMO_FAMILY:
        return
    usual = defaults_for(family)
    if width * height > MOST_AREA * usual.width * usual.height:
        times = width * height / (usual.width * usual.height)
        raise refusal(
            [
                (
                    "width",
                    f"and height make {width}x{height}, {times:.0f} times what {family} draws at "
                    f"({usual.width}x{usual.height}): draw smaller and enlarge (hires), or say --force",
                )
            ]
        )


def _hires(request: GenerateRequest, defaults: Defaults, known_upscalers: Iterable[str]) -> Hires | None:
    if request.hires:
        return replace(request.hires, upscaler=hires_upscaler(request.hires.upscaler, known=known_upscalers))
    if request.init_image is not None:
        return None
    return defaults.hires if request.width is None and request.height is None else None


def _check_final_size(width: int, height: int, hires: Hires | None) -> None:
    """A size beyond its memory does not fail in sd-server: it ends it."""
    scale = hires.scale if hires else 1
    if max(width, height) * scale > MAX_FINAL_SIDE:
        final = f"{width * scale:.0f}x{height * scale:.0f}"
        raise refusal([("hires.scale", f"makes the picture {final}; a side may have {MAX_FINAL_SIDE} at most")])


def resolve(
    request: GenerateRequest,
    model: ModelEntry,
    *,
    shelf: Shelf,
    inputs: Inputs,
    known_samplers: Iterable[str] = (),
    known_schedulers: Iterable[str] = (),
    known_upscalers: Iterable[str] = (),
) -> Settings:
    """Fill in a request for a model: what was said wins, the family's defaults fill the rest.

    Raises:
        InvalidRequest: for an unknown sampler, scheduler or upscaler, a seed too high for its batch, a picture that
            cannot be used, a LoRA of another family, a size far beyond the family's (not with `force`).
        LoraNotFound: with a suggestion.
    """
    defaults = defaults_for(model.family)
    sampler, scheduler = sampler_and_scheduler(
        request.sampler, request.scheduler, known_samplers=known_samplers, known_schedulers=known_schedulers
    )
    prompt, from_prompt = split_loras(request.prompt)
    seed = _seed(request)
    loras = _loras((*from_prompt, *request.loras), model, shelf, force=request.force)
    strength = DEFAULT_STRENGTH if request.strength is None else request.strength
    width, height = request.width or defaults.width, request.height or defaults.height
    hires = _hires(request, defaults, known_upscalers)
    _check_native_size(request, model.family, width, height)
    _check_final_size(width, height, hires)
    init_image, mask = inputs.keep_all([("init_image", request.init_image, "RGB"), ("mask", request.mask, "L")])
    return Settings(
        prompt=prompt,
        negative_prompt=defaults.negative_prompt if request.negative_prompt is None else request.negative_prompt,
        model=UsedModel(name=model.name, family=model.family),
        width=width,
        height=height,
        steps=request.steps or defaults.steps,
        cfg_scale=defaults.cfg_scale if request.cfg_scale is None else request.cfg_scale,
        guidance=defaults.guidance if request.guidance is None else request.guidance,
        sampler=sampler or defaults.sampler,
        scheduler=scheduler or defaults.scheduler,
        seed=seed,
        batch_size=request.batch_size,
        clip_skip=request.clip_skip or defaults.clip_skip,
        loras=loras,
        init_image=init_image,
        mask=mask,
        strength=None if request.init_image is None else strength,
        hires=hires,
        tags=request.tags,
    )
