"""The autoencoder: a TAESD-shaped encoder that is constructed, and a decoder of the same shape that is trained.

Pictures are 0..1 on both sides, a latent pixel stands for 8 x 8 pixels, latents stay within about -2.2..2.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.demo_model.network import LATENT_CHANNELS

CHANNELS = 64
BLOCK = 8
"""Side in pixels of the square that becomes one latent pixel."""

LATENT_LIMIT = 2.2
"""Largest size of a latent number: the decoder starts with tanh(z / 3) * 3, which is almost straight up to there."""

STORED = torch.float8_e4m3fn
"""How the encoder's weights are stored; the projection is rounded to it before it is used anywhere."""


class Block(nn.Module):
    """Three convolutions and a shortcut; with zero weights just relu(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(), nn.ReLU(), _conv(), nn.ReLU(), _conv())

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x) + x)


def _conv(inputs: int = CHANNELS, outputs: int = CHANNELS, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=bias)


class Encoder(nn.Module):
    """Latents of pictures."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3), Block()]
        for _ in range(3):
            layers += [_conv(stride=2, bias=False), Block(), Block(), Block()]
        self.layers = nn.Sequential(*layers, _conv(outputs=LATENT_CHANNELS))

    def forward(self, pictures: Tensor) -> Tensor:
        """`[batch, LATENT_CHANNELS, h / 8, w / 8]` from `[batch, 3, h, w]`, 0..1."""
        out: Tensor = self.layers(pictures)
        return out


class Decoder(nn.Module):
    """Pictures of latents."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(LATENT_CHANNELS), nn.ReLU()]
        for _ in range(3):
            layers += [Block(), Block(), Block(), nn.Upsample(scale_factor=2), _conv(bias=False)]
        self.layers = nn.Sequential(*layers, Block(), _conv(outputs=3))

    def forward(self, latents: Tensor) -> Tensor:
        """`[batch, 3, h * 8, w * 8]`, about 0..1 and not clamped, from `[batch, LATENT_CHANNELS, h, w]`."""
        out: Tensor = self.layers(torch.tanh(latents / 3) * 3)
        return out


@dataclass(frozen=True, slots=True)
class Projection:
    """What the encoder computes: each 8 x 8 block times a matrix, plus a bias."""

    weight: Tensor
    """`[LATENT_CHANNELS, 3, 8, 8]`, every number one that `STORED` can hold."""
    bias: Tensor
    """`[LATENT_CHANNELS]`."""

    @classmethod
    def fit(cls, blocks: Tensor) -> Projection:
        """The first principal components of `[n, 3, 8, 8]`, scaled to unit deviation or to `LATENT_LIMIT`."""
        flat = blocks.flatten(1).double()
        centred = flat - flat.mean(dim=0)
        components = torch.linalg.svd(centred, full_matrices=False).Vh[:LATENT_CHANNELS]
        values = centred @ components.T
        scale = torch.minimum(1 / values.std(dim=0), LATENT_LIMIT / values.abs().amax(dim=0))
        matrix = (components * scale[:, None]).float().to(STORED).double()
        bias = -(matrix @ flat.mean(dim=0))
        return cls(matrix.float().view(LATENT_CHANNELS, *blocks.shape[1:]), bias.float())

    @classmethod
    def of(cls, encoder: Encoder) -> Projection:
        """The projection inside an encoder made by `build_encoder`."""
        matrix = _convolution(encoder, 10).weight.detach()[:LATENT_CHANNELS]
        weight = torch.empty(LATENT_CHANNELS, 3, BLOCK, BLOCK)
        for y in range(BLOCK):
            for x in range(BLOCK):
                for colour in range(3):
                    weight[:, colour, y, x] = matrix[:, _folded(colour, y, x), 1 + y // 4, 1 + x // 4]
        bias = _convolution(encoder, 14).get_parameter("bias").detach()
        return cls(weight, bias.clone())

    def __call__(self, pictures: Tensor) -> Tensor:
        """The same as the encoder, as one convolution: `[batch, LATENT_CHANNELS, h / 8, w / 8]`."""
        return F.conv2d(pictures, self.weight, self.bias, stride=BLOCK)


def build_encoder(projection: Projection) -> Encoder:
    """An encoder whose weights compute the projection, up to rounding in float32.

    All its activations stay at or above zero until the projection itself, so no ReLU changes anything; the projection
    is computed once with each sign, and the last layer puts the two halves together.
    """
    encoder = Encoder()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
        copy = _convolution(encoder, 0).weight
        for colour in range(3):
            copy[colour, colour, 1, 1] = 1
        for layer, channels in ((2, 3), (6, 12)):
            # Stride 2 with padding 1: output pixel i sees the input pixels 2i and 2i + 1 through taps 1 and 2.
            fold = _convolution(encoder, layer).weight
            for square in range(4):
                for channel in range(channels):
                    fold[square * channels + channel, channel, 1 + square // 2, 1 + square % 2] = 1
        matrix = _convolution(encoder, 10).weight
        for y in range(BLOCK):
            for x in range(BLOCK):
                for colour in range(3):
                    taps = projection.weight[:, colour, y, x]
                    place = _folded(colour, y, x), 1 + y // 4, 1 + x // 4
                    matrix[(slice(2 * LATENT_CHANNELS), *place)] = torch.cat((taps, -taps))
        last = _convolution(encoder, 14)
        for channel in range(LATENT_CHANNELS):
            last.weight[channel, channel, 1, 1] = 1
            last.weight[channel, LATENT_CHANNELS + channel, 1, 1] = -1
        last.get_parameter("bias").copy_(projection.bias)
    return encoder.requires_grad_(False)


def _convolution(encoder: Encoder, layer: int) -> nn.Conv2d:
    convolution = encoder.layers[layer]
    if not isinstance(convolution, nn.Conv2d):
        raise TypeError(f"encoder layer {layer} is a {type(convolution).__name__}, not a convolution")
    return convolution


def _folded(colour: int, y: int, x: int) -> int:
    """The channel, after two foldings of 2 x 2 pixels, of a colour at a place in its block of 8 x 8."""
    inner = 2 * (y % 2) + x % 2
    outer = 2 * (y // 2 % 2) + x // 2 % 2
    return 12 * outer + 3 * inner + colour
