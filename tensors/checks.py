"""Checks that need nothing but the request itself: bounds, and what the engine would take silently and wrongly."""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Le, MaxLen, MinLen, MultipleOf

from tensors.errors import InvalidRequest

if TYPE_CHECKING:
    from tensors.types.generation import GenerateRequest

INJECTION = "sd_cpp_extra_args"
"""sd-server lets a prompt with this word override any setting on some of its routes."""


def refusal(problems: Iterable[tuple[str, str]]) -> InvalidRequest:
    """One error for all the (field, what is wrong with it) found; the first is its message."""
    rows = [{"field": field, "message": message} for field, message in problems]
    first = f"{rows[0]['field']} {rows[0]['message']}"
    more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
    return InvalidRequest(first + more, details={"fields": rows})


def broken_bound(bound: object, value: Any) -> str | None:
    """What is wrong with `value`, or None. What is not finite breaks every bound."""
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    shown = int(value) if isinstance(value, float) and value.is_integer() else value
    match bound:
        case Ge(ge=limit) if not value >= limit:
            return f"must be at least {limit}, not {shown}"
        case Le(le=limit) if not value <= limit:
            return f"must be at most {limit}, not {shown}"
        case MultipleOf(multiple_of=step) if value % step:
            below = value - value % step
            return f"must be a multiple of {step}, not {value}: {below} or {below + step}"
        case MinLen(min_length=1) if len(value) < 1:
            return "must not be empty"
        case MaxLen(max_length=limit) if len(value) > limit:
            return f"is too long: {len(value):,} and at most {limit:,} allowed"
        case _:
            return None


@cache
def _bounds(cls: type) -> dict[str, tuple[tuple[object, ...], tuple[object, ...]]]:
    """Of each field of a dataclass: the bounds of the value and, for a tuple, those of its items."""
    found = {}
    for name, hint in get_type_hints(cls, include_extras=True).items():
        own: list[object] = []
        items: list[object] = []
        _collect(hint, own, items)
        if own or items:
            found[name] = (tuple(own), tuple(items))
    return found


def _collect(hint: Any, own: list[object], items: list[object]) -> None:
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *bounds = get_args(hint)
        own.extend(bounds)
        _collect(inner, own, items)
    elif origin in (Union, types.UnionType):
        for part in get_args(hint):
            _collect(part, own, items)
    elif origin is tuple:
        _collect(get_args(hint)[0], items, [])


def _broken(thing: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    cls: type = type(thing)
    for name, (own, items) in _bounds(cls).items():
        value = getattr(thing, name)
        if value is None:
            continue
        problem = next(filter(None, (broken_bound(bound, value) for bound in own)), None)
        if problem:
            yield prefix + name, problem
        elif items:
            for position, item in enumerate(value):
                for bound in items:
                    if problem := broken_bound(bound, item):
                        yield f"{prefix}{name}[{position}]", problem


def _no_text(name: str, text: str) -> Iterator[tuple[str, str]]:
    if "\0" in text:
        yield name, "contains a NUL character"
    if any("\ud800" <= char <= "\udfff" for char in text):
        yield name, "contains half a surrogate pair, which is no character"


def _bad_text(name: str, text: str | None) -> Iterator[tuple[str, str]]:
    if text is None:
        return
    yield from _no_text(name, text)
    if INJECTION in text.lower():
        yield name, f"must not contain {INJECTION}: it would override the engine's settings"


def check_fields(thing: Any) -> None:
    """Raise `InvalidRequest` with everything that is out of bounds in a request, or no text."""
    cls: type = type(thing)
    problems = list(_broken(thing))
    for name in _bounds(cls):
        value = getattr(thing, name)
        texts = [(name, value)] if isinstance(value, str) else []
        if isinstance(value, tuple):
            texts = [(f"{name}[{position}]", item) for position, item in enumerate(value) if isinstance(item, str)]
        for field, text in texts:
            problems.extend(_no_text(field, text))
    if problems:
        raise refusal(problems)


def check_request(request: GenerateRequest) -> None:
    """Raise `InvalidRequest` with everything that is wrong with a request, whatever the model."""
    problems = list(_broken(request))
    if request.prompt and not request.prompt.strip():
        problems.append(("prompt", "must not be empty"))
    for name in ("prompt", "negative_prompt", "model", "sampler", "scheduler"):
        problems.extend(_bad_text(name, getattr(request, name)))
    for position, lora in enumerate(request.loras):
        problems.extend(_broken(lora, f"loras[{position}]."))
        problems.extend(_bad_text(f"loras[{position}].name", lora.name))
    for position, tag in enumerate(request.tags):
        problems.extend(_bad_text(f"tags[{position}]", tag))
    if request.hires:
        problems.extend(_broken(request.hires, "hires."))
        problems.extend(_bad_text("hires.upscaler", request.hires.upscaler))
    if request.mask is not None and request.init_image is None:
        problems.append(("mask", "needs an init_image to redraw"))
    if request.strength is not None and request.init_image is None:
        problems.append(("strength", "needs an init_image to start from"))
    if problems:
        raise refusal(problems)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing when nothing is near."""
    by_folded: dict[str, str] = {}
    for candidate in known:
        by_folded.setdefault(candidate.casefold(), candidate)
    folded = name.casefold()
    near = difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.5)
    if folded and not near:
        # Names of files are long and people type how they begin: 'ponny' is 'ponyDiffusionV6XL'.
        beginnings = {candidate[: len(folded)]: candidate for candidate in by_folded}
        near = [beginnings[close] for close in difflib.get_close_matches(folded, beginnings, n=1, cutoff=0.7)]
    return f"; did you mean {by_folded[near[0]]!r}?" if near else ""
