"""The model as one safetensors file: the engine's names, the storage types, the metadata; writing and reading."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tools.demo_model.autoencoder import Decoder, Encoder
from tools.demo_model.model import Model
from tools.demo_model.network import TEXT_WIDTH, Transformer, WordTable
from tools.demo_model.words import COPIES, TRAINED, VOCABULARY

SHIPPED = Path(__file__).resolve().parents[2] / "tensors" / "demo" / "shapes.safetensors"
"""The model that comes with tsr."""

TRANSFORMER_PREFIX = "model.diffusion_model."
TEXT_PREFIX = "text_encoders.llm.model."
ROWS = TEXT_PREFIX + "embed_tokens.weight"
NORM = TEXT_PREFIX + "norm.weight"

METADATA: Mapping[str, str] = {
    "format": "pt",
    "modelspec.sai_model_spec": "1.0.0",
    "modelspec.title": "tsr shapes",
    "modelspec.author": "tsr",
    "modelspec.license": "CC0-1.0",
    "modelspec.architecture": "ovis-image",
    "modelspec.implementation": "https://github.com/leejet/stable-diffusion.cpp",
    "modelspec.prediction_type": "v",
    "modelspec.resolution": "64x64",
    "modelspec.tags": "shapes,tiny,test",
    "modelspec.description": "A tiny text-to-image model that draws flat shapes on a plain background.",
    "modelspec.usage_hint": "64x64, 10 steps, cfg 2, euler",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """What the header of a safetensors file says about one tensor."""

    dtype: str
    shape: tuple[int, ...]
    offsets: tuple[int, int]


class NotThisModelError(ValueError):
    """A file does not hold a model of this shape."""


def read_header(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """Tensors by name and the metadata of a safetensors file, without reading its data."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    metadata: dict[str, str] = header.pop("__metadata__", {})
    entries = {
        name: Entry(entry["dtype"], tuple(entry["shape"]), tuple(entry["data_offsets"]))
        for name, entry in header.items()
    }
    return entries, metadata


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file at once: a reader sees the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, dict(metadata))
    os.replace(partial, path)


def save(model: Model, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Writes the model as the engine reads it; `metadata` is added to `METADATA`."""
    write_tensors(path, tensors_of(model), {**METADATA, **(metadata or {})})


def tensors_of(model: Model) -> dict[str, Tensor]:
    """Every tensor of the file by name, in its storage type.

    Matrices of the transformer and convolutions of the decoder are F16, vectors F32; embedding rows and encoder, which
    lose nothing or next to nothing by it, F8_E4M3.
    """
    tensors = {ROWS: _table(model.words), NORM: model.words.weight.detach().float()}
    for name, tensor in model.transformer.state_dict().items():
        tensors[TRANSFORMER_PREFIX + name] = _stored(tensor, torch.float16)
    for name, tensor in model.encoder.state_dict().items():
        tensors["encoder." + name] = _stored(tensor, torch.float8_e4m3fn)
    for name, tensor in model.decoder.state_dict().items():
        tensors["decoder." + name] = _stored(tensor, torch.float16)
    return tensors


def _stored(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype if tensor.dim() > 1 else torch.float32)


def _table(words: WordTable) -> Tensor:
    """All rows `[VOCABULARY, TEXT_WIDTH]`, synonyms filled in.

    The length of a row means nothing, so each is brought near 1 per channel, where F8 has its full precision. By a
    power of two: rows that come from a file go back into one unchanged.
    """
    rows = words.rows.detach().float()
    size = rows.square().mean(dim=1, keepdim=True).sqrt()
    rows = (rows * torch.exp2(-size.log2().round())).to(torch.float8_e4m3fn)
    table = torch.zeros(VOCABULARY, TEXT_WIDTH, dtype=torch.float8_e4m3fn)
    for number, row in zip(TRAINED, rows, strict=True):
        table[number] = row
    for number, original in COPIES.items():
        table[number] = table[original]
    return table


def load(path: Path = SHIPPED) -> Model:
    """Reads a model written by `save`, all in float32. Raises `NotThisModelError` for another file."""
    words, transformer, encoder, decoder = WordTable(), Transformer(), Encoder(), Decoder()
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
        rows = tensors.pop(ROWS)[list(TRAINED)]
        words.load_state_dict({"rows": rows, "weight": tensors.pop(NORM)})
        _fill(transformer, tensors, TRANSFORMER_PREFIX)
        _fill(encoder, tensors, "encoder.")
        _fill(decoder, tensors, "decoder.")
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise NotThisModelError(f"{path} is not a 'tsr shapes' model: {error}") from error
    return Model(words, transformer, encoder.requires_grad_(False), decoder)


def _fill(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> None:
    module.load_state_dict(
        {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    )
