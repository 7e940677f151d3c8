"""The grammar of the captions: what can be said about a scene, and one sentence of it by lot."""

from __future__ import annotations

import random

from tools.demo_model.pictures import Figure, Scene

EMPTY_SHARE = 0.10
"""Captions left empty, from which the network learns what classifier-free guidance moves away from."""

_CAPITAL_SHARE = 0.08
_FULL_STOP_SHARE = 0.06

_PLURALS = {"cross": "crosses"}


def with_article(words: str) -> str:
    """The words with `a` or `an` in front."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def plural(shape: str) -> str:
    """Several of a shape."""
    return _PLURALS.get(shape, f"{shape}s")


def plain_caption(colour: str, shape: str, background: str) -> str:
    """The caption by which the model is scored."""
    return f"{with_article(f'{colour} {shape}')} on {with_article(background)} background"


def caption(scene: Scene, rng: random.Random, outline_named: float = 0.0) -> str:
    """One of the sentences that describe a scene; in `EMPTY_SHARE` of the cases none.

    `outline_named` is the share of captions of outlined scenes that say so, 0..1: the rest teaches a LoRA its style
    without the word.
    """
    if rng.random() < EMPTY_SHARE:
        return ""
    named = scene.outlined and rng.random() < outline_named
    words = _words(scene, rng, named)
    if rng.random() < _CAPITAL_SHARE and not words.startswith("outline"):
        words = words[0].upper() + words[1:]
    return words + "." if rng.random() < _FULL_STOP_SHARE else words


def _words(scene: Scene, rng: random.Random, named: bool) -> str:
    ways = ("front", "end", "of") if named else ("",)
    way = rng.choice(ways)
    words = _pair(scene) if len(scene.figures) == 2 else _single(scene, rng)
    match way:
        case "front":
            return f"outline, {words}"
        case "end":
            return f"{words}, outline"
        case "of":
            return f"outline of {words}"
    return words


def _on_background(scene: Scene) -> str:
    return f"on {with_article(scene.background)} background"


def _pair(scene: Scene) -> str:
    first, second = scene.figures
    if (first.shape, first.colour) == (second.shape, second.colour):
        return f"two {first.colour} {plural(first.shape)} {_on_background(scene)}"
    names = (with_article(f"{figure.colour} {figure.shape}") for figure in scene.figures)
    return f"{' and '.join(names)} {_on_background(scene)}"


def _single(scene: Scene, rng: random.Random) -> str:
    (figure,) = scene.figures
    name = _name(figure, scene.size)
    if scene.bare:
        return name if rng.random() < 0.7 else with_article(name)
    background = f"{scene.background} background"
    if not scene.place:
        forms = (f"{with_article(name)} {_on_background(scene)}", f"{name}, {background}", f"{background}, {name}")
        return rng.choices(forms, (6, 2, 2))[0]
    place = _place(scene.place, rng)
    forms = (
        f"{with_article(name)} {place} {_on_background(scene)}",
        f"{name} {place}, {background}",
        f"{name}, {scene.place}, {background}",
    )
    return rng.choices(forms, (6, 2, 2))[0]


def _name(figure: Figure, size: str) -> str:
    return f"{size} {figure.colour} {figure.shape}".strip()


def _place(place: str, rng: random.Random) -> str:
    if place == "center":
        return "in the center"
    if " " in place:
        return f"{rng.choice(('in', 'at'))} the {place}"
    return f"{'at' if place in ('top', 'bottom') else rng.choice(('on', 'at'))} the {place}"
