"""What a recipe says, as a request can say it, and what it cannot."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tensors.checks import INJECTION
from tensors.errors import InvalidRequest
from tensors.generation import MAX_FINAL_SIDE
from tensors.samplers import hires_upscaler
from tensors.types.generation import MAX_SEED, MAX_STEPS, Hires, Lora
from tensors.types.recipe import Named, Recipe, RecipeHires
from tensors.types.remake import Difference

T = TypeVar("T", int, float)

SMALLEST, LARGEST, STEP = 64, 4096, 8
"""Sides of a picture in pixels."""
_LONGEST_PROMPT = 20_000
_LONGEST_NAME = 64
_LONGEST_UPSCALER = 100
_OPENED = re.compile(r"<(?=lora:)", re.IGNORECASE)
_INJECTION = re.compile(INJECTION, re.IGNORECASE)
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
NO_PROMPT = ","
"""Stands for an empty prompt, which no request may have."""
_UNDONE = re.compile(
    "(adetailer|controlnet|refiner|variation seed|face restoration|ti hashes|ensd|tiling)( |$)", re.IGNORECASE
)
"""Beginnings of what other programs write about a picture and tsr has nothing like."""


@dataclass(slots=True)
class Notes:
    """Collects what differs."""

    differences: list[Difference] = field(default_factory=list)

    def say(self, what: str, says: str, *, then: object = None, now: object = None) -> None:
        """Add a difference."""
        self.differences.append(Difference(what=what, then=_shown(then), now=_shown(now), says=f"{says}."))


def _shown(value: object) -> str | None:
    if value is None:
        return None
    return f"{value:g}" if isinstance(value, float) else str(value)


def clamped(notes: Notes, what: str, value: T | None, low: T, high: T) -> T | None:
    """The value, or the nearest that tsr draws with."""
    if value is None or low <= value <= high:
        return value
    now = min(max(value, low), high)
    notes.say(what, f"Its {what} is {value:g}, and can be {low:g} to {high:g} here", then=value, now=now)
    return now


def plain_text(notes: Notes, what: str, text: str, longest: int = _LONGEST_PROMPT) -> str:
    """A text as a request takes it."""
    cleaned = _INJECTION.sub(INJECTION.replace("_", " "), _NO_TEXT.sub("", text))[:longest]
    if cleaned != text:
        notes.say(what, f"The {what} has characters or words that are not drawn here, or is too long", then=text)
    return cleaned


def prompt_of(notes: Notes, recipe: Recipe, loras: Sequence[Lora]) -> tuple[str, tuple[Lora, ...]]:
    """The prompt, and the LoRAs that are not in it."""
    said = plain_text(notes, "prompt", recipe.prompt or "").strip()
    prompt = _OPENED.sub("< ", said)[:_LONGEST_PROMPT]
    if prompt != said:
        notes.say("prompt", "The prompt has a <lora: that is none, and gets a space there", then=said, now=prompt)
    if prompt:
        return prompt, tuple(loras)
    if loras and not set("<>:") & set(loras[0].name) and loras[0].name == loras[0].name.strip():
        # Such a picture was asked for with nothing but LoRAs in its prompt.
        return f"<lora:{loras[0].name}:{loras[0].weight!r}>", tuple(loras[1:])
    notes.say("prompt", "The picture has no prompt, and a request needs one: a comma stands for it", now=NO_PROMPT)
    return NO_PROMPT, tuple(loras)


def seed_of(notes: Notes, seed: int | None) -> int:
    """A seed that the engine takes."""
    if seed is None:
        notes.say("seed", "The picture does not tell its seed: one is drawn at random")
        return -1
    if seed <= MAX_SEED:
        return seed
    now = seed % (MAX_SEED + 1)
    says = f"The engine takes seeds up to 2**31 - 1 only: {now} is {seed} modulo 2**31, and draws other noise"
    notes.say("seed", says, then=seed, now=now)
    return now


def name_of(notes: Notes, what: str, named: Named | None) -> str | None:
    """A sampler or a scheduler as the engine calls it; None leaves it to the family."""
    if named is None:
        notes.say(what, f"The picture does not tell its {what}: the family's own is taken")
        return None
    if named.name and len(named.name) <= _LONGEST_NAME and not _INJECTION.search(named.name):
        return _NO_TEXT.sub("", named.name) or None
    notes.say(what, f"The engine has no {what} {named.written!r}: the family's own is taken", then=named.written)
    return None


def size_of(notes: Notes, recipe: Recipe, picture: tuple[int, int]) -> tuple[int, int]:
    """Width and height; where the recipe has none, those of the `picture`, before its second pass."""
    if recipe.width and recipe.height:
        said = recipe.width, recipe.height
    else:
        scale = max(1.0, (recipe.hires and recipe.hires.scale) or 1.0)
        said = round(picture[0] / scale), round(picture[1] / scale)
        now = f"{said[0]}x{said[1]}"
        notes.say("size", f"The picture does not tell the size it was drawn at: {now} follows from its own", now=now)
    now_ = tuple(min(max(side, SMALLEST), LARGEST) // STEP * STEP for side in said)
    if now_ != said:
        then, now = (f"{width}x{height}" for width, height in (said, now_))
        says = f"{then} is no size to draw at: sides have {SMALLEST} to {LARGEST} pixels, in steps of {STEP}"
        notes.say("size", says, then=then, now=now)
    return now_[0], now_[1]


def hires_of(
    notes: Notes,
    said: RecipeHires | None,
    size: tuple[int, int],
    picture: tuple[int, int],
    *,
    ours: bool,
    upscalers: Iterable[str],
) -> Hires | None:
    """The second pass. `ours`: tsr itself wrote the recipe, so its upscaler was one."""
    if said is None:
        return None
    usual = Hires()
    scale = said.scale
    if scale is None:
        scale = round(max(picture[0] / size[0], picture[1] / size[1]), 4)
        scale = scale if scale > 1 else usual.scale
        notes.say("hires scale", f"The picture does not tell how much it was enlarged: {scale:g} times", now=scale)
    strength = said.denoising_strength
    if strength is None:
        strength = usual.denoising_strength
        notes.say("hires denoising strength", f"The picture does not tell it: {strength:g} is taken", now=strength)
    most = 8.0
    if scale * max(size) > MAX_FINAL_SIDE:
        most = min(most, MAX_FINAL_SIDE * 1000 // max(size) / 1000)
    return Hires(
        scale=clamped(notes, "hires scale", scale, 1.0, most) or usual.scale,
        upscaler=_upscaler(notes, said.upscaler, ours=ours, known=upscalers),
        steps=clamped(notes, "hires steps", said.steps or 0, 0, MAX_STEPS) or 0,
        denoising_strength=clamped(notes, "hires denoising strength", strength, 0.0, 1.0) or 0.0,
    )


def _upscaler(notes: Notes, said: str | None, *, ours: bool, known: Iterable[str]) -> str:
    usual = Hires().upscaler
    if said is None:
        notes.say("hires upscaler", f"The picture does not tell its upscaler: {usual} is taken", now=usual)
        return usual
    if ours and len(said) <= _LONGEST_UPSCALER and not _NO_TEXT.search(said) and not _INJECTION.search(said):
        return said
    try:
        return hires_upscaler(said, known=known)
    except InvalidRequest:
        says = f"The engine has no upscaler {said!r}: {usual} is taken; upscaler models it has to be started with"
        notes.say("hires upscaler", says, then=said, now=usual)
        return usual


def note_what_is_left(notes: Notes, recipe: Recipe) -> None:
    """Say what another program did that a request of ours does not repeat."""
    if recipe.strength is not None:
        says = f"It was drawn over another picture (strength {recipe.strength:g}), which is not in the file"
        notes.say("init image", f"{says}: this starts from nothing")
    if recipe.vae:
        says = f"It was decoded with the VAE {recipe.vae}: here it is the model's, or the one of engine.models"
        notes.say("vae", says, then=recipe.vae)
    undone = [key for key in recipe.rest if _UNDONE.match(key)]
    if undone:
        notes.say("extras", f"The program did more, which tsr does not: {', '.join(undone)}", then=", ".join(undone))
