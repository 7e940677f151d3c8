"""Training pictures: what can be on one, how one is drawn by lot, and how it becomes pixels."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tools.demo_model.shapes import PALETTE, SHAPES, coverage, rgb

Triple = tuple[str, str, str]
"""Colour, shape and background."""


def _hold_out(count: int, seed: int) -> tuple[Triple, ...]:
    triples = [t for t in itertools.product(PALETTE, SHAPES, PALETTE) if t[0] != t[2]]
    random.Random(seed).shuffle(triples)
    return tuple(triples[:count])


HELD_OUT = _hold_out(40, seed=20261122)
"""Triples that are never drawn or named in training: whoever draws them has learned the words one by one."""

_HELD_OUT = frozenset(HELD_OUT)

PLACES: dict[str, tuple[float, float]] = {
    f"{row} {column}".strip(): (x, y)
    for row, y in (("top", 0.27), ("", 0.5), ("bottom", 0.73))
    for column, x in (("left", 0.27), ("", 0.5), ("right", 0.73))
    if row or column
} | {"center": (0.5, 0.5)}
"""Where a named place is: x and y as fractions of width and height."""

_RADII: dict[str, tuple[float, float]] = {"": (0.29, 0.34), "small": (0.15, 0.175), "large": (0.40, 0.44)}
_RADII_PLACED = (0.185, 0.22)
# Little jitter on purpose: where a shape is expected decides how sharp the mean of all answers is.
_JITTER = 0.025
_PAIR = ((0.27, 0.5), (0.73, 0.5))


@dataclass(frozen=True, slots=True)
class Figure:
    """One shape on a picture."""

    shape: str
    colour: str
    x: float
    """Centre as a fraction of the width."""
    y: float
    """Centre as a fraction of the height."""
    radius: float
    """In units of the shorter side."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything a picture shows, and what its caption may say about it."""

    background: str
    figures: tuple[Figure, ...]
    size: str = ""
    """`small`, `large`, or nothing to be said."""
    place: str = ""
    """A key of `PLACES`, or nothing to be said."""
    bare: bool = False
    """The caption names no background."""
    outlined: bool = False

    @property
    def triples(self) -> tuple[Triple, ...]:
        """Colour, shape and background of each figure."""
        return tuple((figure.colour, figure.shape, self.background) for figure in self.figures)


@dataclass(frozen=True, slots=True)
class Mix:
    """How often each kind of scene is drawn; the weights need not sum to 1."""

    single: float
    bare: float
    equal_pair: float
    different_pair: float


def random_scene(rng: random.Random, mix: Mix, outlined: float = 0.0) -> Scene:
    """A scene by lot, never with a held-out triple; `outlined` is the share of outlined ones, 0..1."""
    while True:
        scene = _any_scene(rng, mix, rng.random() < outlined)
        if _HELD_OUT.isdisjoint(scene.triples):
            return scene


def _any_scene(rng: random.Random, mix: Mix, outlined: bool) -> Scene:
    weights = (mix.single, mix.bare, mix.equal_pair, mix.different_pair)
    (kind,) = rng.choices(("single", "bare", "equal", "different"), weights)
    if kind in ("equal", "different"):
        background, first, second = rng.sample(tuple(PALETTE), 3)
        if kind == "equal":
            kinds = [(rng.choice(SHAPES), first)] * 2
        else:
            kinds = [(rng.choice(SHAPES), first), (rng.choice(SHAPES), second)]
        radius = rng.uniform(*_RADII_PLACED)
        pair = zip(kinds, _PAIR, strict=True)
        return Scene(background, tuple(_figure(rng, *k, place, radius) for k, place in pair), outlined=outlined)
    colour = rng.choice(tuple(PALETTE))
    size = rng.choices(("", "small", "large"), (6, 2, 2))[0]
    if kind == "bare":
        background, place = ("black" if colour == "white" else "white"), ""
    else:
        background = rng.choice([name for name in PALETTE if name != colour])
        place = rng.choice(tuple(PLACES)) if not size and rng.random() < 0.4 else ""
    radius = rng.uniform(*(_RADII_PLACED if place else _RADII[size]))
    figure = _figure(rng, rng.choice(SHAPES), colour, PLACES[place or "center"], radius)
    return Scene(background, (figure,), size, place, kind == "bare", outlined)


def _figure(rng: random.Random, shape: str, colour: str, place: tuple[float, float], radius: float) -> Figure:
    x, y = (coordinate + rng.uniform(-_JITTER, _JITTER) for coordinate in place)
    return Figure(shape, colour, x, y, radius)


def plain_scene(triple: Triple, radius: float = 0.315) -> Scene:
    """The scene that 'a <colour> <shape> on a <background> background' asks for, exactly in the middle."""
    colour, shape, background = triple
    return Scene(background, (Figure(shape, colour, 0.5, 0.5, radius),))


def draw(scene: Scene, width: int, height: int) -> Tensor:
    """The picture of a scene: `[3, height, width]`, 0..1, for sides of any length in pixels."""
    picture = rgb(scene.background)[:, None, None].expand(3, height, width)
    shorter = min(width, height)
    for figure in scene.figures:
        centre = (figure.x * width, figure.y * height)
        # Above 128 px the edge is a small part of the picture, and finer points cost four times as much.
        points = 2 if shorter <= 128 else 1
        cover = coverage(figure.shape, width, height, centre, figure.radius * shorter, scene.outlined, points)
        picture = torch.lerp(picture, rgb(figure.colour)[:, None, None].expand_as(picture), cover)
    return picture.contiguous()


def draw_all(scenes: Sequence[Scene], width: int, height: int) -> Tensor:
    """The pictures of many scenes: `[len(scenes), 3, height, width]`, 0..1."""
    return torch.stack([draw(scene, width, height) for scene in scenes])
