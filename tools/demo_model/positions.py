"""Where a token stands: position numbers, and the rotary embedding that turns queries and keys by them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

AXES = (16, 56, 56)
"""Channels of the head turned by each of the three position numbers."""

PERIOD = 10_000.0
"""The base of the rotary embedding; the slowest pair of channels turns about once in so many positions."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """Cosines and sines of the rotary position embedding, each `[tokens, channels / 2]`."""

    cos: Tensor
    sin: Tensor

    @classmethod
    def at(cls, positions: Tensor) -> Rotation:
        """For position numbers `[tokens, 3]`."""
        angles = []
        for axis, channels in enumerate(AXES):
            speeds = PERIOD ** -(torch.arange(0, channels, 2, device=positions.device) / channels)
            angles.append(positions[:, axis, None].float() * speeds)
        angle = torch.cat(angles, dim=1)
        return cls(angle.cos(), angle.sin())

    def __call__(self, x: Tensor) -> Tensor:
        """Turns each pair of neighbouring channels of `[batch, tokens, channels]`.

        The result has all first halves of the pairs in front of all second ones. Queries and keys are permuted alike,
        so their products are those of the engine, and nothing has to be interleaved again.
        """
        first, second = x[..., 0::2], x[..., 1::2]
        return torch.cat((first * self.cos - second * self.sin, first * self.sin + second * self.cos), dim=-1)


def text_positions(places: Tensor) -> Tensor:
    """Position numbers `[n, 3]` of the text tokens at `places` `[n]`: (0, j, j)."""
    return torch.stack((torch.zeros_like(places), places, places), dim=1)


def picture_positions(rows: int, columns: int) -> Tensor:
    """Position numbers `[rows * columns, 3]` of the picture tokens, row by row: (0, row, column)."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack((torch.zeros_like(row), row, column), dim=-1).reshape(-1, 3)
