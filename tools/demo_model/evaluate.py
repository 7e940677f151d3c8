"""Scoring pictures: are background, colour and shape the ones that were asked for?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from tools.demo_model.captions import plain_caption
from tools.demo_model.model import Model
from tools.demo_model.pictures import HELD_OUT, Triple
from tools.demo_model.sampling import CFG_SCALE, SIDE, STEPS, sample
from tools.demo_model.shapes import PALETTE, SHAPES, coverage, rgb, signed_distance

FIRST_SEED = 100
"""Prompt i of the held-out ones is drawn with seed `FIRST_SEED` + i."""

_SCALES = tuple(0.85 + 0.05 * step for step in range(7))
_SHIFT_X, _SHIFT_Y = 2, 3
"""In 64ths of the picture: a triangle's middle is less sure up and down than sideways."""


@dataclass(frozen=True, slots=True)
class Score:
    """What was asked for and what is to be seen."""

    asked: Triple
    background: str
    colour: str
    shape: str
    iou: float
    """Intersection over union with the best-fitting shape of the kind that was asked for, 0..1."""

    @property
    def background_right(self) -> bool:
        return self.background == self.asked[2]

    @property
    def colour_right(self) -> bool:
        return self.colour == self.asked[0]

    @property
    def shape_right(self) -> bool:
        return self.shape == self.asked[1]


@dataclass(frozen=True, slots=True)
class Summary:
    """Shares of right answers, 0..1, and the mean IoU."""

    count: int
    background: float
    colour: float
    shape: float
    all_three: float
    mean_iou: float

    @classmethod
    def of(cls, scores: Sequence[Score]) -> Summary:
        """Raises `ValueError` for no scores."""
        if not scores:
            raise ValueError("nothing to summarise")
        count = len(scores)
        return cls(
            count,
            sum(score.background_right for score in scores) / count,
            sum(score.colour_right for score in scores) / count,
            sum(score.shape_right for score in scores) / count,
            sum(score.background_right and score.colour_right and score.shape_right for score in scores) / count,
            sum(score.iou for score in scores) / count,
        )


def score(picture: Tensor, asked: Triple) -> Score:
    """Looks at a picture `[3, side, side]`, 0..1, of a single shape; `side` a multiple of 64."""
    while picture.shape[-1] > 128:
        picture = F.avg_pool2d(picture, 2)
    border = torch.cat((picture[:, 0], picture[:, -1], picture[:, :, 0], picture[:, :, -1]), dim=1)
    ground = border.median(dim=1).values
    distance = (picture - ground[:, None, None]).norm(dim=0)
    mask = (distance > 0.5 * torch.quantile(distance.flatten(), 0.97)).float()
    fits = best_ious(mask)
    return Score(
        asked, nearest_colour(ground), _inner_colour(picture, mask), max(fits, key=fits.__getitem__), fits[asked[1]]
    )


def nearest_colour(colour: Tensor) -> str:
    """The name of the palette colour that is nearest to `[3]`, 0..1."""
    return min(PALETTE, key=lambda name: float((rgb(name) - colour).square().sum()))


def _inner_colour(picture: Tensor, mask: Tensor) -> str:
    """The colour of a mask without its edge, where colours mix."""
    eroded = -F.max_pool2d(F.pad(-mask[None], (1, 1, 1, 1), value=-1.0), 3, stride=1)[0]
    chosen = eroded if eroded.any() else mask
    if not chosen.any():
        return nearest_colour(picture.flatten(1).median(dim=1).values)
    return nearest_colour(picture[:, chosen > 0].median(dim=1).values)


def best_ious(mask: Tensor) -> dict[str, float]:
    """For each shape the best intersection over union with a mask `[side, side]` of 0 and 1.

    Each shape is tried at 7 sizes and 35 places around the one with the mask's area and middle.
    """
    if not mask.any():
        return dict.fromkeys(SHAPES, 0.0)
    side = mask.shape[-1]
    unit = side // SIDE
    area = float(mask.sum())
    where = mask.nonzero().float().mean(dim=0) + 0.5
    # Distances on a wider grid: a window of it is the shape, shifted.
    x = torch.arange(-_SHIFT_X * unit, side + _SHIFT_X * unit)[None, :] + 0.5
    y = torch.arange(-_SHIFT_Y * unit, side + _SHIFT_Y * unit)[:, None] + 0.5
    ideal = []
    for shape in SHAPES:
        share, offset_x, offset_y = moments(shape)
        matched = math.sqrt(area / share)
        for radius in (matched * scale for scale in _SCALES):
            centre_x, centre_y = float(where[1]) - offset_x * radius, float(where[0]) - offset_y * radius
            ideal.append((signed_distance(shape, x - centre_x, y - centre_y, radius) < 0).float())
    stack = torch.stack(ideal)[:, None]
    common = F.conv2d(stack, mask[None, None], stride=unit)
    areas = F.conv2d(stack, torch.ones_like(mask)[None, None], stride=unit)
    ious = (common / (areas + area - common)).view(len(SHAPES), -1).amax(dim=1)
    return dict(zip(SHAPES, ious.tolist(), strict=True))


@cache
def moments(shape: str) -> tuple[float, float, float]:
    """Area of a shape of radius 1, and x and y of its middle from its centre."""
    side, radius = 512, 200.0
    cover = coverage(shape, side, side, (side / 2, side / 2), radius, oversampling=1)
    points = torch.arange(side) + 0.5 - side / 2
    area = cover.sum()
    x, y = (cover * points[None, :]).sum() / area, (cover * points[:, None]).sum() / area
    return float(area) / radius**2, float(x) / radius, float(y) / radius


def evaluate(
    model: Model,
    side: int = SIDE,
    steps: int = STEPS,
    cfg_scale: float = CFG_SCALE,
    triples: Sequence[Triple] = HELD_OUT,
    batch: int = 8,
) -> Iterator[tuple[Score, Tensor]]:
    """Draws the plain prompt of each triple and scores it: score and picture `[3, side, side]` one by one."""
    for start in range(0, len(triples), batch):
        part = triples[start : start + batch]
        prompts = [plain_caption(*triple) for triple in part]
        seeds = [FIRST_SEED + start + place for place in range(len(part))]
        pictures = sample(model, prompts, seeds, side, side, steps, cfg_scale)
        for triple, picture in zip(part, pictures, strict=True):
            yield score(picture, triple), picture
