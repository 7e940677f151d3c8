"""Fitting the encoder's projection, and training the decoder to undo it, noise and all."""

from __future__ import annotations

import random
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from tools.demo_model.autoencoder import BLOCK, Decoder, Projection
from tools.demo_model.pictures import draw, random_scene
from tools.demo_model.schedule import Average, Budget, Progress, Rates, linear_rate, run
from tools.demo_model.training import EARLY

CROP = 48
"""Side in pixels of what the decoder is trained on: six latent pixels see as far as it looks."""

BATCH = 8
RATE_FROM_SCRATCH, RATE_ONWARD = 1.2e-3, 6e-4
"""Peak learning rates for a new decoder and for one that was trained before."""

_SIDES = (64, 96, 128, 192, 256)
_OUTLINED = 0.3
_NOISE = 0.16
_DETAIL = slice(3, None)
_DETAIL_SCALE = (0.83, 1.08)


def _any_picture(rng: random.Random) -> Tensor:
    side = rng.choice(_SIDES)
    return draw(random_scene(rng, EARLY, _OUTLINED), side, side)


def _crop(picture: Tensor, rng: random.Random, side: int, edge: bool) -> Tensor | None:
    """A square `[3, side, side]` of a picture, with an edge in it or of one colour; None if some tries find none."""
    for _ in range(16):
        y, x = (rng.randint(0, length - side) for length in picture.shape[1:])
        crop = picture[:, y : y + side, x : x + side]
        flat = bool((crop.amax(dim=(1, 2)) - crop.amin(dim=(1, 2))).max() < 0.02)
        if flat != edge:
            return crop
    return None


def sample_blocks(rng: random.Random, count: int = 20_000) -> Tensor:
    """Blocks of 8 x 8 pixels to fit a projection to, about two thirds with an edge: `[count, 3, 8, 8]`."""
    blocks: list[Tensor] = []
    while len(blocks) < count:
        picture = _any_picture(rng)
        crops = (_crop(picture, rng, BLOCK, edge) for edge in (True, True, False))
        blocks += [crop for crop in crops if crop is not None]
    return torch.stack(blocks[:count])


def decoder_loss(decoded: Tensor, pictures: Tensor) -> Tensor:
    """L1, half the mean square error, and half the L1 of the differences between neighbours, which keep edges sharp."""
    across = F.l1_loss(decoded.diff(dim=3), pictures.diff(dim=3))
    down = F.l1_loss(decoded.diff(dim=2), pictures.diff(dim=2))
    return F.l1_loss(decoded, pictures) + 0.5 * F.mse_loss(decoded, pictures) + 0.5 * (across + down)


def disturbed(latents: Tensor, generator: torch.Generator) -> Tensor:
    """Latents as soft as the transformer's: with noise, and half of them with detail too weak or too strong.

    A decoder that has seen them snaps to the palette and to sharp edges.
    """
    count = len(latents)
    strength = _NOISE * torch.rand(count, 1, 1, 1, generator=generator)
    scale = torch.empty(count, 1, 1, 1).uniform_(*_DETAIL_SCALE, generator=generator)
    scale[torch.rand(count, generator=generator) < 0.5] = 1
    latents = latents.clone()
    latents[:, _DETAIL] *= scale
    return latents + strength * torch.randn(latents.shape, generator=generator)


class DecoderTrainer:
    """A decoder in training; it is changed in place, and `average.module` is the result."""

    def __init__(
        self, decoder: Decoder, projection: Projection, rate: float, seed: int, precision: torch.dtype = torch.float32
    ) -> None:
        # Channels last is how the convolutions of the CPU like their numbers: about a third faster.
        decoder.requires_grad_(True).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = Average(decoder, decay=0.995)
        self.projection = projection
        adam = torch.optim.AdamW(decoder.parameters(), lr=rate, weight_decay=0.0)
        self.rates = Rates([adam], linear_rate)
        self.generator = torch.Generator().manual_seed(seed)
        self.precision = precision

    def step(self, pictures: Tensor, used: float = 0.0) -> float:
        """One step on pictures `[batch, 3, h, w]`, 0..1; returns the loss before it."""
        latents = disturbed(self.projection(pictures), self.generator)
        with torch.autocast("cpu", self.precision, enabled=self.precision != torch.float32):
            decoded = self.average.live(latents.to(memory_format=torch.channels_last))
        loss = self.rates.step(decoder_loss(decoded.float(), pictures), used)
        self.average.update()
        return loss

    def train(self, budget: Budget, seed: int) -> Iterator[Progress]:
        """Trains on fresh crops until the budget is used up."""
        rng = random.Random(seed)
        yield from run(lambda used: self.step(edges(rng), used), budget)


def edges(rng: random.Random) -> Tensor:
    """A batch of crops with edges: `[BATCH, 3, CROP, CROP]`, 0..1."""
    crops: list[Tensor] = []
    while len(crops) < BATCH:
        crop = _crop(_any_picture(rng), rng, CROP, edge=True)
        if crop is not None:
            crops.append(crop)
    return torch.stack(crops)
