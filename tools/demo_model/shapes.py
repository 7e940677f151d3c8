"""Flat shapes by formula: a palette, eight signed distances, and how much of a pixel a shape covers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (220, 38, 38),
    "green": (34, 160, 66),
    "blue": (37, 80, 220),
    "yellow": (247, 211, 40),
    "orange": (245, 130, 25),
    "purple": (130, 50, 170),
    "pink": (244, 130, 180),
    "cyan": (40, 200, 220),
    "white": (250, 250, 250),
    "black": (16, 16, 16),
}
"""RGB, 0..255. The order is part of the held-out split."""

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "diamond")
"""The order is part of the held-out split."""

OUTLINE_WIDTH = 0.22
"""Line width of an outlined shape, in units of its radius."""

_HALF_SQUARE = 0.86
_TRIANGLE_RADIUS = 1.1
_TRIANGLE_LOWERED = 0.18
_STAR_RADIUS = 1.1
_STAR_LOWERED = 0.06
_ARM = 0.32
_HOLE = 0.52
_HEART_HALF = 0.56
_HEART_LOWERED = 0.05
_DIAMOND_HALF_WIDTH = 0.78


def rgb(colour: str) -> Tensor:
    """A palette colour as a float tensor `[3]`, 0..1."""
    return torch.tensor(PALETTE[colour], dtype=torch.float32) / 255


def signed_distance(shape: str, x: Tensor, y: Tensor, radius: float, outlined: bool = False) -> Tensor:
    """Distance to the edge of a shape, negative inside; all lengths in one unit.

    `x` (to the right) and `y` (down) count from the centre of the shape and may have any mutually broadcastable shapes.
    Outside of corners the distance is to the extended edge, which is what a half-covered pixel needs.
    """
    distance = _unit_distance(shape, x / radius, y / radius)
    if outlined:
        distance = torch.maximum(distance, -distance - OUTLINE_WIDTH)
    return distance * radius


def _unit_distance(shape: str, x: Tensor, y: Tensor) -> Tensor:
    """The same for a radius of 1."""
    match shape:
        case "circle":
            return torch.hypot(x, y) - 1
        case "square":
            return torch.maximum(x.abs(), y.abs()) - _HALF_SQUARE
        case "triangle":
            y = y - _TRIANGLE_LOWERED
            sides = math.sqrt(0.75) * x.abs() - 0.5 * y
            return torch.maximum(sides, y) - 0.5 * _TRIANGLE_RADIUS
        case "star":
            # A point belongs to a pentagram if it is on the inner side of at least four of its five lines.
            y = y - _STAR_LOWERED
            lines = [math.sin(turn) * x - math.cos(turn) * y for turn in (math.tau * k / 5 for k in range(5))]
            return torch.stack(lines).topk(2, dim=0).values[1] - math.cos(math.tau / 5) * _STAR_RADIUS
        case "cross":
            across, along = x.abs(), y.abs()
            bars = torch.maximum(across - 1, along - _ARM), torch.maximum(across - _ARM, along - 1)
            return torch.minimum(*bars)
        case "ring":
            from_centre = torch.hypot(x, y)
            return torch.maximum(from_centre - 1, _HOLE - from_centre)
        case "heart":
            # A square on its tip with a disc on each of the two upper sides, in coordinates along and across the lower
            # right side. Exact inside too, or the outline would have a seam where square and disc meet.
            x, y = x.abs(), y - _HEART_LOWERED
            along, across = (x - y) * math.sqrt(0.5), (x + y) * math.sqrt(0.5)
            disc = torch.hypot(along - _HEART_HALF, across) - _HEART_HALF
            notch = torch.hypot(along - _HEART_HALF, across + _HEART_HALF)
            return torch.where(along > _HEART_HALF, disc, torch.maximum(across - _HEART_HALF, -notch))
        case "diamond":
            steepness = _DIAMOND_HALF_WIDTH / math.hypot(1, _DIAMOND_HALF_WIDTH)
            return (x.abs() / _DIAMOND_HALF_WIDTH + y.abs() - 1) * steepness
    raise ValueError(f"no shape named {shape!r}; there are {', '.join(SHAPES)}")


def coverage(
    shape: str,
    width: int,
    height: int,
    centre: tuple[float, float],
    radius: float,
    outlined: bool = False,
    oversampling: int = 2,
) -> Tensor:
    """How much of each pixel a shape covers: `[height, width]`, 0..1.

    `centre` (x, y) and `radius` in pixels, (0, 0) being the outer corner of the first pixel. Each pixel is the mean of
    `oversampling` squared points, and each of those already knows half coverage from its distance.
    """
    n = oversampling
    x = (torch.arange(width * n, dtype=torch.float32) + 0.5)[None, :] - centre[0] * n
    y = (torch.arange(height * n, dtype=torch.float32) + 0.5)[:, None] - centre[1] * n
    inside = (0.5 - signed_distance(shape, x, y, radius * n, outlined)).clamp(0, 1)
    return inside.view(height, n, width, n).mean(dim=(1, 3)) if n > 1 else inside
