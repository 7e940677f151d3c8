"""The header of a safetensors file: names, shapes, metadata. Weights are never read.

Format: 8 bytes little-endian length, then that many bytes of JSON. The length is not trusted.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tensors.decoding import NOT_THAT_JSON

MAX_HEADER = 100_000_000


class NotSafetensors(ValueError):
    """The file is not a whole safetensors file."""


class Tensor(msgspec.Struct, frozen=True):
    """One tensor's entry."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says about itself."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    data_start: int
    """Offset of the first weight in the file, in bytes."""


def read_header(path: Path) -> Header:
    """Read a file's header. Raises `NotSafetensors`, or `OSError` when the file cannot be read."""
    with path.open("rb") as file:
        total = path.stat().st_size
        prefix = file.read(8)
        if len(prefix) < 8:
            raise NotSafetensors("is shorter than its length field")
        (length,) = struct.unpack("<Q", prefix)
        if not 2 <= length <= min(MAX_HEADER, total - 8):
            raise NotSafetensors(f"says its header has {length} bytes, which cannot be")
        raw = file.read(length)
    try:
        entries = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        metadata = msgspec.json.decode(entries.pop("__metadata__", msgspec.Raw(b"{}")), type=dict[str, str])
        tensors = {name: msgspec.json.decode(entry, type=Tensor) for name, entry in entries.items()}
    except NOT_THAT_JSON as error:
        raise NotSafetensors(f"has a broken header: {error}") from None
    _check_offsets(tensors, total - 8 - length)
    return Header(tensors, metadata, 8 + length)


def _check_offsets(tensors: Mapping[str, Tensor], weights: int) -> None:
    for name, tensor in tensors.items():
        start, end = tensor.data_offsets
        if not 0 <= start <= end or any(side < 0 for side in tensor.shape):
            raise NotSafetensors(f"has a broken header: {name!r} cannot have that shape and place")
        if end > weights:
            raise NotSafetensors("is cut off: weights are missing at its end")
