"""Drawing with the model the way the engine does: same noise, same sigmas, Euler, classifier-free guidance."""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from tools.demo_model.autoencoder import BLOCK
from tools.demo_model.model import Model
from tools.demo_model.network import LATENT_CHANNELS, PATCH
from tools.demo_model.noise import normal
from tools.demo_model.tokens import encode, pad

STEPS = 10
CFG_SCALE = 2.0
SIDE = 64
"""What the model is best at: 64 x 64 pixels, 10 steps, CFG scale 2."""

_TIMESTEPS = 1000


def sigmas(steps: int) -> list[float]:
    """The engine's default noise levels, from 1 to about 0.003, and a final 0: `steps` + 1 numbers."""
    last = _TIMESTEPS - 1
    times = [last - last * step / (steps - 1) for step in range(steps)] if steps > 1 else [float(last)]
    return [math.e / (math.e + _TIMESTEPS / (time + 1) - 1) for time in times] + [0.0]


def text_vectors(model: Model, captions: Sequence[str]) -> Tensor:
    """What the network reads for captions of equal token count after padding: `[captions, tokens, TEXT_WIDTH]`."""
    ids = [pad(encode(caption)) for caption in captions]
    vectors: Tensor = model.words(torch.tensor(ids))
    return vectors


@torch.no_grad()
def sample(
    model: Model,
    prompts: Sequence[str],
    seeds: Sequence[int],
    width: int = SIDE,
    height: int = SIDE,
    steps: int = STEPS,
    cfg_scale: float = CFG_SCALE,
) -> Tensor:
    """One picture for each prompt and seed: `[prompts, 3, height, width]`, 0..1.

    Sides are multiples of 16 pixels. With a CFG scale of 1 the empty prompt is not computed, as in the engine.
    """
    unit = BLOCK * PATCH
    if width % unit or height % unit:
        raise ValueError(f"{width}x{height}: sides must be multiples of {unit} pixels")
    text = text_vectors(model, prompts)
    empty = text_vectors(model, [""]).expand(len(prompts), -1, -1)
    shape = (LATENT_CHANNELS, height // BLOCK, width // BLOCK)
    x = torch.stack([torch.from_numpy(normal(seed, shape)) for seed in seeds])
    levels = sigmas(steps)
    for sigma, following in itertools.pairwise(levels):
        t = torch.full((len(prompts),), sigma)
        velocity = model.transformer(x, t, text)
        if cfg_scale != 1:
            away = model.transformer(x, t, empty)
            velocity = away + cfg_scale * (velocity - away)
        x = x + velocity * (following - sigma)
    pictures: Tensor = model.decoder(x)
    return pictures.clamp(0, 1)


def as_bytes(picture: Tensor) -> Tensor:
    """A picture `[3, height, width]`, 0..1, as rows of RGB bytes `[height, width, 3]`."""
    return (picture * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()


def write_png(path: Path, picture: Tensor) -> None:
    """Writes a picture `[3, height, width]`, 0..1, as PNG."""
    pixels = as_bytes(picture)
    height, width, _ = pixels.shape
    # Each row starts with its filter: 0, none.
    rows = torch.cat((torch.zeros(height, 1, dtype=torch.uint8), pixels.flatten(1)), dim=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.numpy().tobytes(), 9)), (b"IEND", b""))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
