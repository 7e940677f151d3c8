"""The same picture with one thing changed, and another: axes of values, and a request for each combination."""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from tensors.errors import InvalidRequest
from tensors.types.generation import MAX_SEED, GenerateRequest, Hires, Lora

MOST_CELLS = 10_000
"""Requests of one sweep."""

_ALIASES = {
    "cfg": "cfg_scale",
    "negative": "negative_prompt",
    "hires": "hires.scale",
    "hires_strength": "hires.denoising_strength",
}
_WHOLE = frozenset({"steps", "seed", "width", "height", "clip_skip", "hires.steps"})
_NUMBERS = frozenset({"cfg_scale", "guidance", "strength", "hires.scale", "hires.denoising_strength"})
_WORDS = frozenset({"sampler", "scheduler", "model", "prompt", "negative_prompt", "hires.upscaler"})
FIELDS = (*sorted(_WHOLE | _NUMBERS | _WORDS), "lora", "lora:NAME", "prompt:PART", "size")
"""What can be swept."""
_IN_WORDS = str.maketrans("_.", "  ")
_RANGE = re.compile(r"(-?[\d.]+?)\.\.(-?[\d.]+?)(?::([\d.]+))?")

_DIGITS = 12
"""Before and behind the point; no value of a request has more."""


@dataclass(frozen=True, slots=True)
class Point:
    """One value of an axis, as it is shown, and what it is."""

    label: str
    value: Any


@dataclass(frozen=True, slots=True)
class Axis:
    """What is swept, and its values."""

    field: str
    """`steps`, `size`, `lora:NAME`, `prompt:PART`, ..."""
    points: tuple[Point, ...]

    def said(self, position: int) -> str:
        """A value with what tells what it is: `steps 20`, `CFG scale 4.5`, `NAME 0.8`; words stand for themselves."""
        label = self.points[position].label
        kind, _, rest = self.field.partition(":")
        if kind == "lora" and rest:
            return f"{rest} {label}"
        if self.field not in _WHOLE | _NUMBERS:
            return label
        return f"{'CFG scale' if kind == 'cfg_scale' else kind.translate(_IN_WORDS)} {label}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination, and the request that draws it."""

    request: GenerateRequest
    place: tuple[int, ...]
    """Of each axis the position of its value."""


def parse_axis(text: str) -> Axis:
    """An axis as it is written: `steps=10,20,30`, `seed=1..4`, `cfg_scale=2..4:0.5`, `size=512x512,832x1216`.

    Values are separated as in CSV: one with a comma stands in double quotes. A range has both its ends.

    Raises `InvalidRequest` for what cannot be swept, no value, or one twice.
    """
    written, equals, values = text.partition("=")
    field = _field(written)
    if not equals or not values:
        raise InvalidRequest(f"sweep {text!r} has no values: it is written steps=10,20,30")
    points: list[Point] = []
    for value in _split(values, text):
        points.extend(_points(field, value))
        if len(points) > MOST_CELLS:
            raise InvalidRequest(f"sweep of {field} has more than {MOST_CELLS:,} values")
    seen: set[Any] = set()
    for point in points:
        if point.value in seen:
            raise InvalidRequest(f"sweep of {field} has {point.label} twice")
        seen.add(point.value)
    return Axis(field, tuple(points))


def _field(written: str) -> str:
    kind, colon, rest = written.strip().partition(":")
    name = kind.replace("-", "_").lower()
    name = _ALIASES.get(name, name.replace("hires_", "hires.", 1))
    if colon and name in ("lora", "prompt") and rest:
        return f"{name}:{rest}"
    if colon or name not in {*_WHOLE, *_NUMBERS, *_WORDS, "lora", "size"}:
        from tensors.checks import did_you_mean

        near = did_you_mean(name, FIELDS)
        raise InvalidRequest(f"{written.strip()!r} cannot be swept{near}", hint=f"these can: {', '.join(FIELDS)}")
    return name


def _split(values: str, text: str) -> list[str]:
    try:
        rows = list(csv.reader([values], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise InvalidRequest(
            f"sweep {text!r} cannot be read: {error}", hint='a value with a comma stands in quotes: prompt="a, b","c"'
        ) from None
    return [value.strip() for value in rows[0]]


def _points(field: str, value: str) -> Iterator[Point]:
    kind, _, rest = field.partition(":")
    if field in _WHOLE:
        yield from (Point(f"{int(number)}", int(number)) for number in _numbers(field, value, whole=True))
    elif field in _NUMBERS or (kind == "lora" and rest):
        yield from (Point(f"{number:f}", float(number)) for number in _numbers(field, value, whole=False))
    elif field == "size":
        yield Point(value.lower(), _size(value))
    elif field == "lora":
        yield Point(value or "none", _lora(value))
    elif not value and field not in ("negative_prompt", f"prompt:{rest}"):
        raise InvalidRequest(f"sweep of {field} has an empty value")
    else:
        yield Point(value or "(empty)", value)


def _numbers(field: str, value: str, *, whole: bool) -> Iterator[Decimal]:
    """The number, or those of a range. Decimals: of 0.1..0.3:0.1 the last one is 0.3."""
    parts = match.groups(default="1") if (match := _RANGE.fullmatch(value)) else (value, value, "1")
    try:
        first, last, step = map(Decimal, parts)
    except InvalidOperation:
        raise InvalidRequest(f"sweep of {field}: {value!r} is not a number, nor a range such as 10..30:10") from None
    if not all(number.is_finite() and -_DIGITS < number.adjusted() < _DIGITS for number in (first, last, step)):
        raise InvalidRequest(f"sweep of {field}: {value!r} is far too large, or too small")
    if whole and any(number != number.to_integral_value() for number in (first, last, step)):
        raise InvalidRequest(f"sweep of {field}: {value!r} is not a whole number")
    if field == "seed" and min(first, last) < 0:
        raise InvalidRequest("sweep of seed: a seed is not negative", hint="one at random: leave it out of the sweep")
    if not step:
        raise InvalidRequest(f"sweep of {field}: {value!r} never gets to its end")
    count = abs(last - first) // step + 1
    if count > MOST_CELLS:
        raise InvalidRequest(f"sweep of {field}: {value!r} has more than {MOST_CELLS:,} values")
    for number in range(int(count)):
        yield _short(first + number * step.copy_sign(last - first))


def _short(number: Decimal) -> Decimal:
    """Without zeros at the end of a fraction, and without an exponent."""
    whole = number.to_integral_value()
    return whole if number == whole else number.normalize()


def _size(value: str) -> tuple[int, int]:
    width, _, height = value.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise InvalidRequest(f"sweep of size: {value!r} is not WIDTHxHEIGHT")
    return int(width), int(height)


def _lora(value: str) -> Lora | None:
    if not value:
        return None
    name, _, weight = value.rpartition(":")
    try:
        return Lora(name=name, weight=float(weight)) if name else Lora(name=value)
    except ValueError:
        raise InvalidRequest(f"sweep of lora: {value!r} is not NAME or NAME:WEIGHT") from None


def cells_of(base: GenerateRequest, axes: Sequence[Axis]) -> tuple[Cell, ...]:
    """A cell for each combination; the first axis changes fastest. `base` has a seed, or one is swept.

    Raises `InvalidRequest` for two axes that change the same thing, more than 10,000 combinations, values that no
    request may have (it says which ones), and parts that the prompt does not have.
    """
    _check_apart(axes)
    count = math.prod(len(axis.points) for axis in axes)
    if count > MOST_CELLS:
        raise InvalidRequest(f"the sweep has {count:,} combinations and at most {MOST_CELLS:,} are allowed")
    places = itertools.product(*(range(len(axis.points)) for axis in reversed(axes)))
    return tuple(_cell(base, axes, place[::-1]) for place in places)


def _check_apart(axes: Sequence[Axis]) -> None:
    seen: set[str] = set()
    for axis in axes:
        if both := seen & (touched := _touched(axis)):
            raise InvalidRequest(f"{min(both)} is swept twice")
        seen |= touched


def _touched(axis: Axis) -> set[str]:
    if axis.field == "size":
        return {"width", "height"}
    names = _loras_of(axis)
    return {f"lora:{name}" for name in names} | ({"lora"} if axis.field == "lora" else set()) or {axis.field}


def _loras_of(axis: Axis) -> set[str]:
    """Names of the LoRAs that an axis puts in or leaves out."""
    if axis.field == "lora":
        return {point.value.name for point in axis.points if point.value}
    return {axis.field.removeprefix("lora:")} if axis.field.startswith("lora:") else set()


def _cell(base: GenerateRequest, axes: Sequence[Axis], place: tuple[int, ...]) -> Cell:
    chosen = {axis.field: axis.points[position] for axis, position in zip(axes, place, strict=True)}
    swept = frozenset(name for axis in axes for name in _loras_of(axis))
    try:
        return Cell(_changed(base, {field: point.value for field, point in chosen.items()}, swept), place)
    except InvalidRequest as error:
        at = ", ".join(f"{field}={point.label}" for field, point in chosen.items())
        raise InvalidRequest(f"sweep at {at}: {error.message}", hint=error.hint, details=error.details) from None


def _changed(base: GenerateRequest, values: Mapping[str, Any], without: frozenset[str]) -> GenerateRequest:
    """The request with these values, and with no LoRAs of its own that have the names of swept ones."""
    changes: dict[str, Any] = {}
    hires: dict[str, Any] = {}
    for field, value in values.items():
        kind, _, rest = field.partition(".")
        if field == "size":
            changes |= dict(zip(("width", "height"), value, strict=True))
        elif rest and kind == "hires":
            hires[rest] = value
        elif field != "lora" and ":" not in field:
            changes[field] = value
    if hires:
        changes["hires"] = replace(base.hires or Hires(), **hires)
    parts = {field.removeprefix("prompt:"): value for field, value in values.items() if field.startswith("prompt:")}
    if parts:
        changes["prompt"] = _with_parts(changes.get("prompt", base.prompt), parts)
    loras = [value for field, value in values.items() if field == "lora" and value]
    loras += [Lora(name=field[5:], weight=value) for field, value in values.items() if field.startswith("lora:")]
    if without:
        changes |= _with_loras(changes.get("prompt", base.prompt), base.loras, without, loras)
    return replace(base, **changes)


def _with_parts(prompt: str, parts: Mapping[str, str]) -> str:
    """The prompt with each part replaced, all at once: red may become blue while blue becomes red."""
    for part in parts:
        if part not in prompt:
            raise InvalidRequest(f"prompt has no {part!r} in it that could be replaced")
    longest_first = sorted(parts, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), lambda match: parts[match[0]], prompt)


def _with_loras(prompt: str, loras: Sequence[Lora], without: frozenset[str], more: Sequence[Lora]) -> dict[str, Any]:
    """Prompt and LoRAs `without` those of these names, of the prompt too, and with some more."""
    changes: dict[str, Any] = {}
    if "<lora:" in prompt.lower():
        from tensors.generation import split_loras

        rest, tagged = split_loras(prompt)
        if any(lora.name in without for lora in tagged):
            changes["prompt"], loras = rest, (*tagged, *loras)
    return {**changes, "loras": (*(lora for lora in loras if lora.name not in without), *more)}


def seeded(request: GenerateRequest, draw: Callable[[int], int]) -> GenerateRequest:
    """The request with a seed of its own when it has none; `draw(n)`: a random number below n."""
    if request.seed >= 0:
        return request
    return replace(request, seed=draw(MAX_SEED - request.batch_size + 2))
