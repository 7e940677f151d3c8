"""What the header of a model file says, whatever its format, and the bytes it is read from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import msgspec

MAX_HEADER = 100_000_000
"""Bytes. Real ones have at most a few million; a longer one is bad input."""

_PRECISIONS = {
    "F64": "fp64",
    "F32": "fp32",
    "F16": "fp16",
    "BF16": "bf16",
    "F8_E4M3": "fp8",
    "F8_E5M2": "fp8",
    "F8_E4M3FNUZ": "fp8",
    "F8_E5M2FNUZ": "fp8",
    "F4": "fp4",
    "I8": "int8",
    "U8": "uint8",
}
_NF4 = ".quant_state.bitsandbytes__nf4"


class BrokenHeader(ValueError):
    """The file is not a whole model file. The text reads after the file's name: `is empty`."""


class Tensor(msgspec.Struct, frozen=True, gc=False):
    """One tensor: how its numbers are stored, and its sides."""

    dtype: str
    """`F16`, `BF16`, `F32`, `F8_E4M3`, `Q4_K`, ..."""
    shape: tuple[int, ...]
    """The outermost side first, also where the format has them the other way round."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says about itself."""

    format: str
    """`safetensors` or `gguf`."""
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    data_start: int
    """Offset of the first weight in the file, in bytes."""

    @property
    def parameters(self) -> int:
        """How many numbers all tensors have together."""
        return sum(prod(tensor.shape) for tensor in self.tensors.values())

    @property
    def precision(self) -> str:
        """How most parameters are stored: `fp16`, `bf16`, `fp8`, `q4_k`, ...; `unknown` for a file without tensors."""
        counts: dict[str, int] = {}
        for tensor in self.tensors.values():
            counts[tensor.dtype] = counts.get(tensor.dtype, 0) + prod(tensor.shape)
        if not counts:
            return "unknown"
        dtype = max(counts, key=counts.__getitem__)
        if dtype == "U8" and any(name.endswith(_NF4) for name in self.tensors):
            # bitsandbytes packs two numbers of four bits into a byte.
            return "nf4"
        return _PRECISIONS.get(dtype, dtype.lower())


class Head:
    """The beginning of a file, read from it only as far as somebody asks."""

    def __init__(self, data: bytes, size: int, descriptor: int | None = None) -> None:
        self.data = data
        self.size = size
        """Bytes, of the whole file."""
        self._descriptor = descriptor

    def reach(self, end: int) -> None:
        """Have the first `end` bytes of the file in `data`. Raises `BrokenHeader` when it has fewer."""
        if end <= len(self.data):
            return
        if end > MAX_HEADER + 8:
            raise BrokenHeader(f"has a header of more than {MAX_HEADER:,} bytes, which cannot be")
        if end > self.size:
            raise BrokenHeader(f"is cut off: it ends within its header, after {self.size:,} bytes")
        if self._descriptor is None:
            raise ValueError(f"the header goes beyond the {len(self.data)} bytes that were given")
        self.data += read_at(self._descriptor, len(self.data), end - len(self.data))
        if len(self.data) < end:
            raise BrokenHeader(f"is cut off: it ends within its header, after {len(self.data):,} bytes")


def read_at(descriptor: int, start: int, count: int) -> bytes:
    """Bytes of an open file; fewer where it ends. Raises `OSError`."""
    # One call is enough but for network mounts, which may answer with a part.
    part = os.pread(descriptor, count, start)
    if len(part) == count or not part:
        return part
    parts = [part]
    while part and (missing := count - sum(map(len, parts))):
        part = os.pread(descriptor, missing, start + count - missing)
        parts.append(part)
    return b"".join(parts)
