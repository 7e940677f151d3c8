"""Training the words and the transformer by flow matching: the loss, the optimisers, the phases of the curriculum."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

from tools.demo_model.batches import Batch, Recipe, Size, Text, batches
from tools.demo_model.model import Model
from tools.demo_model.network import Modulation, Transformer, WordTable
from tools.demo_model.pictures import Mix
from tools.demo_model.schedule import Average, Budget, Progress, Rates, cosine_rate, run

EARLY = Mix(single=62, bare=10, equal_pair=13, different_pair=15)
LATE = Mix(single=79, bare=9, equal_pair=6, different_pair=6)

_TIME_MEAN, _TIME_DEVIATION = 0.5, 1.2


@dataclass(frozen=True, slots=True)
class Phase:
    """A stage of the curriculum."""

    recipe: Recipe
    muon_rate: float = 0.02
    """Peak learning rate of the matrices inside the blocks."""
    adam_rate: float = 0.002
    """Peak learning rate of everything else."""

    def gentler(self, share: float) -> Phase:
        """The same with a share of its learning rates: the peaks are for long runs and first undo a lot."""
        return replace(self, muon_rate=self.muon_rate * share, adam_rate=self.adam_rate * share)


_MIXED = (Size(64, 64, 45), Size(96, 96, 15), Size(128, 128, 30), Size(96, 64, 5), Size(64, 96, 5))
_LARGE = (Size(64, 64, 38), Size(96, 96, 10), Size(128, 128, 28), Size(256, 256, 24))
_FINISH = (Size(64, 64, 25), Size(96, 96, 5), Size(128, 128, 40), Size(256, 256, 30))

PHASES: dict[str, Phase] = {
    "base": Phase(Recipe((Size(64, 64, 1),), EARLY)),
    "mixed": Phase(Recipe(_MIXED, EARLY)),
    "large": Phase(Recipe(_LARGE, EARLY)),
    "finish": Phase(Recipe(_FINISH, LATE), muon_rate=0.015),
}
"""In the order in which they are trained. Small pictures first: they teach where a shape belongs, which runs with large
pictures from the start did not learn."""


def moments(count: int, generator: torch.Generator) -> Tensor:
    """Times `[count]`, 0 (picture) to 1 (noise): sigmoid of a normal number, evenly spread over the batch."""
    even = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    normal = torch.special.ndtri(even.clamp(1e-6, 1 - 1e-6))
    return torch.sigmoid(_TIME_MEAN + _TIME_DEVIATION * normal)[torch.randperm(count, generator=generator)]


def velocity_loss(
    words: WordTable, transformer: Transformer, latents: Tensor, text: Text, generator: torch.Generator
) -> Tensor:
    """Mean square error of the predicted velocity, at random moments and noise.

    At moment t the noisy latent is (1 - t) * latents + t * noise, and the velocity noise - latents. `latents` `[batch,
    LATENT_CHANNELS, h, w]`.
    """
    t = moments(len(latents), generator)
    noise = torch.randn(latents.shape, generator=generator)
    noisy = torch.lerp(latents, noise, t[:, None, None, None])
    velocity = transformer(noisy, t, words(text.ids), text.places, text.key_bias)
    return F.mse_loss(velocity, noise - latents)


def optimisers(words: WordTable, transformer: Transformer, phase: Phase) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks except the modulation, AdamW for everything else."""
    modulations = [module for module in transformer.modules() if isinstance(module, Modulation)]
    modulation = {id(parameter) for module in modulations for parameter in module.parameters()}
    of_muon: list[Parameter] = []
    of_adam = list(words.parameters())
    for name, parameter in transformer.named_parameters():
        inside = name.startswith(("double_blocks.", "single_blocks.")) and id(parameter) not in modulation
        (of_muon if inside and parameter.dim() == 2 else of_adam).append(parameter)
    return [
        torch.optim.Muon(of_muon, lr=phase.muon_rate, weight_decay=0.02, momentum=0.95),
        torch.optim.AdamW(of_adam, lr=phase.adam_rate, betas=(0.9, 0.97), weight_decay=0.0),
    ]


class Trainer:
    """Words and transformer of a model in training; they are changed in place."""

    def __init__(self, model: Model, phase: Phase, seed: int, precision: torch.dtype = torch.float32) -> None:
        self.model = model
        self.words = Average(model.words.requires_grad_(True))
        self.transformer = Average(model.transformer.requires_grad_(True))
        self.projection = model.projection
        self.rates = Rates(optimisers(model.words, model.transformer, phase), cosine_rate)
        self.generator = torch.Generator().manual_seed(seed)
        self.precision = precision

    @property
    def result(self) -> Model:
        """The model with the averaged weights, which draw better than the present ones."""
        return Model(self.words.module, self.transformer.module, self.model.encoder, self.model.decoder)

    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch at fresh moments and noise."""
        latents = self.projection(batch.pictures)
        with torch.autocast("cpu", self.precision, enabled=self.precision != torch.float32):
            return velocity_loss(self.words.live, self.transformer.live, latents, batch.text, self.generator)

    def step(self, batch: Batch, used: float = 0.0) -> float:
        """One step of the optimisers; returns the loss before it. `used` is the share of the budget, 0..1."""
        loss = self.rates.step(self.loss(batch), used)
        self.words.update()
        self.transformer.update()
        return loss

    def train(self, recipe: Recipe, budget: Budget, seed: int) -> Iterator[Progress]:
        """Trains on fresh batches until the budget is used up; `result` can be taken at any time."""
        source = batches(recipe, random.Random(seed))
        yield from run(lambda used: self.step(next(source), used), budget)
