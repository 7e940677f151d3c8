"""The network: an embedding table and a small diffusion transformer, computed exactly as the engine does it.

Module names are the engine's tensor names, so a state dict needs no translation. Token sequences run text first,
picture after. One head; no attention mask.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.demo_model.positions import Rotation, picture_positions, text_positions
from tools.demo_model.words import COPIES, TRAINED, VOCABULARY

WIDTH = 128
"""Channels of a token, of the one head, and of the timestep vector."""

TEXT_WIDTH = 16
"""Channels of a row of the embedding table."""

MLP_WIDTH = 512
DOUBLE_BLOCKS = 1
SINGLE_BLOCKS = 6
LATENT_CHANNELS = 16
PATCH = 2
"""A picture token is a square of `PATCH` x `PATCH` latent pixels, that is 16 x 16 pixels."""

_PATCH_CHANNELS = LATENT_CHANNELS * PATCH * PATCH
_TIMESTEP_WIDTH = 256
_PERIOD = 10_000.0
_EPS = 1e-6


def _normalised(x: Tensor) -> Tensor:
    """Divided by the root of the mean square over the last axis, always in float32."""
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + _EPS)


class RootMeanSquareNorm(nn.Module):
    """RMSNorm over the last axis with a scale and no bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return _normalised(x) * self.scale


class WordTable(nn.Module):
    """Rows of the trained words; synonyms share theirs, every other id is a zero row."""

    row_of_id: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(len(TRAINED), TEXT_WIDTH))
        self.weight = nn.Parameter(torch.ones(TEXT_WIDTH))
        rows = {number: row for row, number in enumerate(TRAINED, start=1)}
        row_of_id = torch.zeros(VOCABULARY, dtype=torch.long)
        for number, row in rows.items():
            row_of_id[number] = row
        for number, original in COPIES.items():
            row_of_id[number] = rows[original]
        self.register_buffer("row_of_id", row_of_id, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Text vectors `[..., TEXT_WIDTH]` of token ids `[...]` (int64)."""
        rows = F.pad(self.rows, (0, 0, 1, 0))
        return _normalised(F.embedding(self.row_of_id[ids], rows)) * self.weight


class QueryKeyNorm(nn.Module):
    """The norms of queries and keys."""

    def __init__(self) -> None:
        super().__init__()
        self.query_norm = RootMeanSquareNorm(WIDTH)
        self.key_norm = RootMeanSquareNorm(WIDTH)


class Attention(nn.Module):
    """Projections around the attention of one of the two streams of a double block."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.norm = QueryKeyNorm()
        self.proj = nn.Linear(WIDTH, WIDTH)

    def queries_keys_values(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self.norm.query_norm(q), self.norm.key_norm(k), v


def attend(q: Tensor, k: Tensor, v: Tensor, rotation: Rotation, key_bias: Tensor | None) -> Tensor:
    """Softmax attention `[batch, tokens, WIDTH]`; `key_bias` `[tokens]` is added to the logits of each key."""
    logits = rotation(q) @ rotation(k).mT / math.sqrt(WIDTH)
    if key_bias is not None:
        logits = logits + key_bias
    return logits.softmax(dim=-1) @ v


class GatedMlp(nn.Module):
    """down(up(x) * silu(gate(x)))."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(WIDTH, MLP_WIDTH)
        self.up_proj = nn.Linear(WIDTH, MLP_WIDTH)
        self.down_proj = nn.Linear(MLP_WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(self.up_proj(x) * F.silu(self.gate_proj(x)))
        return out


class Modulation(nn.Module):
    """Shifts, scales and gates from the timestep vector."""

    def __init__(self, chunks: int) -> None:
        super().__init__()
        self.chunks = chunks
        self.lin = nn.Linear(WIDTH, chunks * WIDTH)

    def forward(self, vec: Tensor) -> tuple[Tensor, ...]:
        """`chunks` tensors of `[batch, 1, WIDTH]` from `[batch, WIDTH]`."""
        out: Tensor = self.lin(F.silu(vec))
        return out[:, None].chunk(self.chunks, dim=-1)


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x, (WIDTH,), eps=_EPS) * (1 + scale) + shift


class DoubleBlock(nn.Module):
    """Text and picture with weights of their own and a common attention."""

    def __init__(self) -> None:
        super().__init__()
        self.img_mod, self.txt_mod = Modulation(6), Modulation(6)
        self.img_attn, self.txt_attn = Attention(), Attention()
        self.img_mlp, self.txt_mlp = GatedMlp(), GatedMlp()

    def forward(
        self, img: Tensor, txt: Tensor, vec: Tensor, rotation: Rotation, key_bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        img_shift, img_scale, img_gate, img_shift2, img_scale2, img_gate2 = self.img_mod(vec)
        txt_shift, txt_scale, txt_gate, txt_shift2, txt_scale2, txt_gate2 = self.txt_mod(vec)
        of_txt = self.txt_attn.queries_keys_values(_modulated(txt, txt_shift, txt_scale))
        of_img = self.img_attn.queries_keys_values(_modulated(img, img_shift, img_scale))
        q, k, v = (torch.cat(pair, dim=1) for pair in zip(of_txt, of_img, strict=True))
        attention = attend(q, k, v, rotation, key_bias)
        img = img + img_gate * self.img_attn.proj(attention[:, txt.shape[1] :])
        img = img + img_gate2 * self.img_mlp(_modulated(img, img_shift2, img_scale2))
        txt = txt + txt_gate * self.txt_attn.proj(attention[:, : txt.shape[1]])
        txt = txt + txt_gate2 * self.txt_mlp(_modulated(txt, txt_shift2, txt_scale2))
        return img, txt


class SingleBlock(nn.Module):
    """Attention and MLP side by side, over all tokens with the same weights."""

    def __init__(self) -> None:
        super().__init__()
        self.modulation = Modulation(3)
        self.linear1 = nn.Linear(WIDTH, 3 * WIDTH + 2 * MLP_WIDTH)
        self.linear2 = nn.Linear(WIDTH + MLP_WIDTH, WIDTH)
        self.norm = QueryKeyNorm()

    def forward(self, x: Tensor, vec: Tensor, rotation: Rotation, key_bias: Tensor | None) -> Tensor:
        shift, scale, gate = self.modulation(vec)
        widths = (WIDTH, WIDTH, WIDTH, MLP_WIDTH, MLP_WIDTH)
        q, k, v, value, opening = self.linear1(_modulated(x, shift, scale)).split(widths, dim=-1)
        attention = attend(self.norm.query_norm(q), self.norm.key_norm(k), v, rotation, key_bias)
        out: Tensor = x + gate * self.linear2(torch.cat((attention, value * F.silu(opening)), dim=-1))
        return out


class TimestepMlp(nn.Module):
    """The timestep vector of a moment between 0 (picture) and 1 (noise)."""

    def __init__(self) -> None:
        super().__init__()
        self.in_layer = nn.Linear(_TIMESTEP_WIDTH, WIDTH)
        self.out_layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, t: Tensor) -> Tensor:
        half = _TIMESTEP_WIDTH // 2
        speeds = _PERIOD ** -(torch.arange(half, device=t.device) / half)
        angle = t[:, None].float() * 1000 * speeds
        out: Tensor = self.out_layer(F.silu(self.in_layer(torch.cat((angle.cos(), angle.sin()), dim=-1))))
        return out


class FinalLayer(nn.Module):
    """From tokens back to patches."""

    def __init__(self) -> None:
        super().__init__()
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(WIDTH, 2 * WIDTH))
        self.linear = nn.Linear(WIDTH, _PATCH_CHANNELS)

    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(vec)[:, None].chunk(2, dim=-1)
        out: Tensor = self.linear(_modulated(x, shift, scale))
        return out


class Transformer(nn.Module):
    """Predicts the velocity (noise minus picture) of a noisy latent."""

    def __init__(self) -> None:
        super().__init__()
        self.img_in = nn.Linear(_PATCH_CHANNELS, WIDTH)
        self.time_in = TimestepMlp()
        self.txt_norm = RootMeanSquareNorm(TEXT_WIDTH)
        self.txt_in = nn.Linear(TEXT_WIDTH, WIDTH)
        self.double_blocks = nn.ModuleList(DoubleBlock() for _ in range(DOUBLE_BLOCKS))
        self.single_blocks = nn.ModuleList(SingleBlock() for _ in range(SINGLE_BLOCKS))
        self.final_layer = FinalLayer()

    def forward(
        self, latent: Tensor, t: Tensor, text: Tensor, places: Tensor | None = None, key_bias: Tensor | None = None
    ) -> Tensor:
        """Velocity, shaped like `latent`.

        `latent` `[batch, LATENT_CHANNELS, height / 8, width / 8]`, both even; `t` `[batch]`, 0..1; `text` `[batch, n,
        TEXT_WIDTH]`. `places` `[n]` are the positions of the text tokens (0, 1, 2, ... when left out) and `key_bias`
        `[n]` is added to the attention logits of their keys: with both, a few pads stand for many.
        """
        rows, columns = latent.shape[2] // PATCH, latent.shape[3] // PATCH
        if places is None:
            places = torch.arange(text.shape[1])
        rotation = Rotation.at(torch.cat((text_positions(places), picture_positions(rows, columns))))
        if key_bias is not None:
            key_bias = F.pad(key_bias, (0, rows * columns))
        vec = self.time_in(t)
        img = self.img_in(F.pixel_unshuffle(latent, PATCH).flatten(2).mT)
        txt = self.txt_in(self.txt_norm(text))
        for double in self.double_blocks:
            img, txt = double(img, txt, vec, rotation, key_bias)
        both = torch.cat((txt, img), dim=1)
        for single in self.single_blocks:
            both = single(both, vec, rotation, key_bias)
        patches = self.final_layer(both[:, txt.shape[1] :], vec).float()
        return F.pixel_shuffle(patches.mT.unflatten(2, (rows, columns)), PATCH)


def initialise(network: Transformer) -> None:
    """Small random weights to train from scratch, from the global generator of torch.

    Every block starts as almost nothing, and its gates already let gradients through.
    """
    for name, parameter in network.named_parameters():
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.1 / math.sqrt(parameter.shape[1]))
        elif name.endswith(".bias"):
            nn.init.zeros_(parameter)
    nn.init.normal_(network.final_layer.linear.weight, std=0.002 / math.sqrt(WIDTH))
    for module in network.modules():
        if isinstance(module, Modulation):
            gates = [chunk for place, chunk in enumerate(module.lin.bias.chunk(module.chunks)) if place % 3 == 2]
            for gate in gates:
                nn.init.constant_(gate, 0.3)
