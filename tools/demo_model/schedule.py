"""What every training program here shares: a budget, its progress, the learning rate over it, a moving average."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import nn

WARM_UP = 20
"""Steps in which a learning rate rises to its peak."""

FLOOR = 0.01
"""Where the cosine ends, as a share of the peak."""

AVERAGE_DECAY = 0.996

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to train: until the minutes or the steps are used up, whichever is first."""

    minutes: float = math.inf
    steps: float = math.inf

    def __post_init__(self) -> None:
        if math.isinf(self.minutes) and math.isinf(self.steps):
            raise ValueError("a training without end: give minutes or steps")
        if self.minutes <= 0 or self.steps <= 0:
            raise ValueError("a training needs more than 0 minutes and more than 0 steps")

    def used(self, seconds: float, steps: int) -> float:
        """The share of the budget that is used, from 0; 1 or more when it is over."""
        return max(seconds / 60 / self.minutes, steps / self.steps)


@dataclass(frozen=True, slots=True)
class Progress:
    """The state after a training step."""

    step: int
    """Steps done."""
    used: float
    """Share of the budget, 0..1."""
    loss: float
    seconds: float


def run(step: Callable[[float], float], budget: Budget) -> Iterator[Progress]:
    """Calls `step` with the used share of the budget until that is 1; what it returns is the loss."""
    start, count, used = time.monotonic(), 0, 0.0
    while used < 1:
        loss = step(used)
        count += 1
        seconds = time.monotonic() - start
        used = min(budget.used(seconds, count), 1)
        yield Progress(count, used, loss, seconds)


def cosine_rate(used: float, step: int) -> float:
    """The learning rate as a share of its peak: a short rise, then half a cosine down to `FLOOR`."""
    cosine = FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(used, 1)))
    return min(1, (step + 1) / WARM_UP) * cosine


def linear_rate(used: float, step: int) -> float:
    """The same with a straight line down to 0."""
    return min(1, (step + 1) / WARM_UP) * (1 - min(used, 1))


class Rates:
    """Optimisers whose learning rates follow a schedule from the peaks they were made with."""

    def __init__(self, optimisers: list[torch.optim.Optimizer], schedule: Callable[[float, int], float]) -> None:
        self._optimisers = optimisers
        self._groups = [group for optimiser in optimisers for group in optimiser.param_groups]
        self._peaks = [group["lr"] for group in self._groups]
        self._schedule = schedule
        self._steps = 0

    def step(self, loss: torch.Tensor, used: float) -> float:
        """One step down the gradient of a loss, clipped to a norm of 1; returns the loss as a number."""
        share = self._schedule(used, self._steps)
        self._steps += 1
        for group, peak in zip(self._groups, self._peaks, strict=True):
            group["lr"] = peak * share
        for optimiser in self._optimisers:
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([parameter for group in self._groups for parameter in group["params"]], 1.0)
        for optimiser in self._optimisers:
            optimiser.step()
        return loss.item()


class Average(Generic[M]):
    """An exponential moving average of a module; early steps count more, so that it does not start stale."""

    def __init__(self, live: M, decay: float = AVERAGE_DECAY) -> None:
        self.live = live
        self.module: M = copy.deepcopy(live).requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the present weights."""
        self.steps += 1
        weight = 1 - min(self.decay, self.steps / (10 + self.steps))
        for mean, new in zip(self.module.parameters(), self.live.parameters(), strict=True):
            mean.lerp_(new, weight)
