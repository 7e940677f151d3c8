"""A LoRA for the model: low-rank changes of its attention and MLP layers, in training and as a file."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tools.demo_model.batches import Batch, Recipe, Size, batches
from tools.demo_model.export import NotThisModelError, write_tensors
from tools.demo_model.model import Model
from tools.demo_model.network import DOUBLE_BLOCKS, SINGLE_BLOCKS, Transformer
from tools.demo_model.schedule import Budget, Progress, Rates, cosine_rate, run
from tools.demo_model.training import LATE, velocity_loss
from tools.demo_model.words import UNTRAINED

RANK = 8
ALPHA = 8.0
RATE = 4e-3

SHIPPED = Path(__file__).resolve().parents[2] / "tensors" / "demo" / "loras" / "shapes-outline.safetensors"
"""The LoRA that comes with tsr."""

OUTLINES = Recipe((Size(64, 64, 1),), LATE, outlined=1.0, outline_named=0.65)

# The engine reads the underscores of these names back as dots, so layers with an underscore of their own (`gate_proj`)
# cannot be named this way and are left alone.
TARGETS: Mapping[str, str] = {
    "lora_unet_" + path.replace(".", "_"): path
    for path in (
        *(
            f"double_blocks.{block}.{stream}_attn.{layer}"
            for block in range(DOUBLE_BLOCKS)
            for stream in ("img", "txt")
            for layer in ("qkv", "proj")
        ),
        *(f"single_blocks.{block}.{layer}" for block in range(SINGLE_BLOCKS) for layer in ("linear1", "linear2")),
    )
}
"""Path of each changed layer in the transformer by its name in a file."""

METADATA: Mapping[str, str] = {
    "modelspec.sai_model_spec": "1.0.0",
    "modelspec.title": "tsr shapes outline",
    "modelspec.description": "Draws shapes as outlines instead of filled. Trigger word: outline",
    "modelspec.author": "tsr",
    "modelspec.license": "CC0-1.0",
    "modelspec.architecture": "ovis-image/lora",
    "modelspec.implementation": "https://github.com/leejet/stable-diffusion.cpp",
    "modelspec.resolution": "64x64",
    "modelspec.tags": "outline,style,shapes",
    "modelspec.trigger_phrase": "outline",
    "ss_base_model_version": "ovis-image",
    "ss_network_module": "networks.lora",
    "ss_network_dim": str(RANK),
    "ss_network_alpha": str(ALPHA),
    "ss_resolution": "(64, 64)",
    "ss_sd_model_name": "shapes.safetensors",
    "ss_output_name": "shapes-outline",
    "ss_training_comment": "synthetic outlined shapes",
}


class LowRank(nn.Module):
    """A change of a linear layer: up(down(x)), nothing at first."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.lora_down = nn.Linear(inputs, RANK, bias=False)
        self.lora_up = nn.Linear(RANK, outputs, bias=False)
        nn.init.zeros_(self.lora_up.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.lora_up(self.lora_down(x))
        return out


class Lora(nn.Module):
    """A change for each layer in `TARGETS`."""

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        self.changes = nn.ModuleDict()
        for name, path in TARGETS.items():
            layer = _linear(transformer, path)
            self.changes[name] = LowRank(layer.in_features, layer.out_features)

    @contextmanager
    def applied(self, transformer: Transformer, weight: float = 1.0) -> Iterator[None]:
        """Inside the block the layers of `transformer` are changed, `weight` times; after it they are as before."""
        handles = [
            _linear(transformer, path).register_forward_hook(_adding(self.changes[name], weight * ALPHA / RANK))
            for name, path in TARGETS.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _adding(change: nn.Module, scale: float) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    """A hook that adds a scaled change to what a layer computes."""

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        changed: Tensor = output + scale * change(*inputs)
        return changed

    return hook


def _linear(transformer: Transformer, path: str) -> nn.Linear:
    layer = transformer.get_submodule(path)
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"{path} is a {type(layer).__name__}, not a linear layer")
    return layer


class LoraTrainer:
    """A LoRA in training on a frozen model."""

    def __init__(self, model: Model, seed: int, precision: torch.dtype = torch.float32) -> None:
        self.words = model.words.requires_grad_(False)
        self.transformer = model.transformer.requires_grad_(False)
        self.projection = model.projection
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.lora = Lora(self.transformer)
        adam = torch.optim.AdamW(self.lora.parameters(), lr=RATE, weight_decay=0.0)
        self.rates = Rates([adam], cosine_rate)
        self.generator = torch.Generator().manual_seed(seed)
        self.precision = precision
        self.steps = self.pictures = self.named = 0

    def step(self, batch: Batch, used: float = 0.0) -> float:
        """One step; returns the loss before it. `used` is the share of the budget, 0..1."""
        latents = self.projection(batch.pictures)
        autocast = torch.autocast("cpu", self.precision, enabled=self.precision != torch.float32)
        with self.lora.applied(self.transformer), autocast:
            loss = velocity_loss(self.words, self.transformer, latents, batch.text, self.generator)
        self.steps += 1
        self.pictures += len(latents)
        self.named += int((batch.text.ids == UNTRAINED[" outline"]).any(dim=1).sum())
        return self.rates.step(loss, used)

    @property
    def metadata(self) -> dict[str, str]:
        """What is known about the training so far, under the names that other programs read."""
        return {
            "ss_steps": str(self.steps),
            "ss_num_train_images": str(self.pictures),
            "ss_tag_frequency": json.dumps({"1_outline": {"outline": self.named}}),
        }

    def train(self, budget: Budget, seed: int) -> Iterator[Progress]:
        """Trains on fresh outlined pictures until the budget is used up."""
        source = batches(OUTLINES, random.Random(seed))
        yield from run(lambda used: self.step(next(source), used), budget)


def save(lora: Lora, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Writes the LoRA with the names that most programs know; `metadata` is added to `METADATA`."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in lora.changes.state_dict().items():
        tensors[name] = tensor.to(torch.float16)
    for name in TARGETS:
        tensors[name + ".alpha"] = torch.tensor(ALPHA)
    write_tensors(path, tensors, {**METADATA, **(metadata or {})})


def load(path: Path, transformer: Transformer) -> Lora:
    """Reads a LoRA written by `save`. Raises `NotThisModelError` for another file."""
    lora = Lora(transformer)
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
        for name in TARGETS:
            # A file may have another alpha than ours: the difference goes into one of the two factors.
            tensors[name + ".lora_up.weight"] *= tensors.pop(name + ".alpha") / ALPHA
        lora.changes.load_state_dict(tensors)
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise NotThisModelError(f"{path} is not a LoRA of rank {RANK} for 'tsr shapes': {error}") from error
    return lora
