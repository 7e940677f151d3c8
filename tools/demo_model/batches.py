"""Training batches: sizes, scenes and captions by lot, and the few pads that stand for all the others."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tools.demo_model.captions import caption
from tools.demo_model.pictures import Mix, Scene, draw_all, random_scene
from tools.demo_model.tokens import encode, pad, with_unknown_words
from tools.demo_model.words import PAD, TEXT_TOKENS

UNKNOWN_SHARE = 0.12
"""Captions that get one to three words of zero rows."""

PADS = 5
"""How many pads a batch carries for the two hundred and more that the engine has."""

_POOL = 8


@dataclass(frozen=True, slots=True)
class Size:
    """A picture size and how often it is drawn."""

    width: int
    height: int
    weight: float

    @property
    def tokens(self) -> int:
        """Picture tokens."""
        return self.width * self.height // 256


@dataclass(frozen=True, slots=True)
class Text:
    """Captions as the network reads them in training."""

    ids: Tensor
    """`[batch, n]`: captions padded to the longest, then `PADS` pads."""
    places: Tensor
    """`[n]`: the position of each token; those of the last `PADS` were drawn from all that the engine would fill."""
    key_bias: Tensor
    """`[n]`: what makes `PADS` keys weigh as much as all the pads they stand for."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures `[batch, 3, height, width]`, 0..1, and what is said about them."""

    pictures: Tensor
    text: Text


@dataclass(frozen=True, slots=True)
class Recipe:
    """What batches consist of."""

    sizes: tuple[Size, ...]
    mix: Mix
    tokens: int = 2200
    """Tokens in a batch, text included: what decides how long a step takes."""
    largest: int = 48
    """Most pictures in a batch."""
    outlined: float = 0.0
    """Share of outlined scenes, 0..1."""
    outline_named: float = 0.0
    """Share of their captions that say so, 0..1."""

    def count(self, size: Size) -> int:
        """Pictures in a batch of this size."""
        typical_text = 30
        return max(2, min(self.largest, self.tokens // (size.tokens + typical_text)))


def batches(recipe: Recipe, rng: random.Random) -> Iterator[Batch]:
    """Endless fresh batches, the same ones for the same state of `rng`.

    Captions of like length come together, so that few tokens of a batch are pads.
    """
    weights = [size.weight for size in recipe.sizes]
    while True:
        sizes = rng.choices(recipe.sizes, weights, k=_POOL)
        counts = [recipe.count(size) for size in sizes]
        pool = sorted((_captioned(recipe, rng) for _ in range(sum(counts))), key=lambda item: len(item[1]))
        drawn: list[Batch] = []
        for size, count in zip(sizes, counts, strict=True):
            part, pool = pool[:count], pool[count:]
            pictures = draw_all([scene for scene, _ in part], size.width, size.height)
            drawn.append(Batch(pictures, text_of([ids for _, ids in part], rng)))
        rng.shuffle(drawn)
        yield from drawn


def _captioned(recipe: Recipe, rng: random.Random) -> tuple[Scene, list[int]]:
    scene = random_scene(rng, recipe.mix, recipe.outlined)
    ids = encode(caption(scene, rng, recipe.outline_named))
    if rng.random() < UNKNOWN_SHARE:
        ids = with_unknown_words(ids, rng, rng.randint(1, 3))
    return scene, ids


def text_of(captions: list[list[int]], rng: random.Random) -> Text:
    """Token ids of captions of any length as one batch.

    Pads up to the longest caption are real. Of the ones behind it, a handful at random positions is computed, with a
    bias on the logits of their keys that gives them the weight of all: the same attention in expectation.
    """
    longest = max(map(len, captions))
    rest = TEXT_TOKENS - longest
    ids = [pad(ids, longest) + [PAD] * PADS for ids in captions]
    places = [*range(longest), *sorted(rng.sample(range(longest, TEXT_TOKENS), PADS))]
    key_bias = [0.0] * longest + [math.log(rest / PADS)] * PADS
    return Text(torch.tensor(ids), torch.tensor(places), torch.tensor(key_bias))
