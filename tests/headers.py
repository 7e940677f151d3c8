"""Model files for tests: real headers, and weights that are nothing but a hole in the file."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

from tensors.header import Header, Tensor

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
"""Names and shapes, the outermost side first."""

BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "I8": 8, "U8": 8, "F4": 4, "I64": 64}
GGML_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 8, "Q4_K": 12, "I32": 26, "BF16": 30}
# Numbers in a block, bytes of a block.
GGML_BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 8: (32, 34), 12: (256, 144), 26: (1, 4), 30: (1, 2)}
GGUF_TYPES = {
    "uint8": (0, "B"),
    "int8": (1, "b"),
    "uint16": (2, "H"),
    "int16": (3, "h"),
    "uint32": (4, "I"),
    "int32": (5, "i"),
    "float32": (6, "f"),
    "bool": (7, "?"),
    "uint64": (10, "Q"),
    "int64": (11, "q"),
    "float64": (12, "d"),
}


def header(shapes: Shapes, metadata: Mapping[str, str] | None = None, *, dtype: str = "F16") -> Header:
    """A header that was never in a file."""
    return Header("safetensors", {name: Tensor(dtype, shape) for name, shape in shapes.items()}, metadata or {}, 8)


def safetensors_header(
    shapes: Shapes, metadata: Mapping[str, str] | None = None, *, dtype: str | Mapping[str, str] = "F16"
) -> tuple[bytes, int]:
    """The bytes before the weights, and how many bytes of weights belong to them."""
    document: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    position = 0
    for name, shape in shapes.items():
        kind = dtype if isinstance(dtype, str) else dtype[name]
        end = position + prod(shape) * BITS[kind] // 8
        document[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    return packed(document), position


def packed(document: object) -> bytes:
    """A safetensors header of any JSON, or of bytes that are none."""
    raw = document if isinstance(document, bytes) else json.dumps(document, separators=(",", ":")).encode()
    return struct.pack("<Q", len(raw)) + raw


def write_safetensors(
    path: Path,
    shapes: Shapes,
    metadata: Mapping[str, str] | None = None,
    *,
    dtype: str | Mapping[str, str] = "F16",
) -> Path:
    """A safetensors file of zeros, which takes no room on the disk. Folders are made."""
    raw, weights = safetensors_header(shapes, metadata, dtype=dtype)
    return _write(path, raw, weights)


def gguf_header(
    shapes: Shapes,
    metadata: Mapping[str, object] | None = None,
    *,
    dtype: str | int = "F16",
    version: int = 3,
    alignment: int = 32,
) -> tuple[bytes, int]:
    """The bytes before the weights, padding included, and how many bytes of weights belong to them.

    Metadata: texts, whole numbers and truth values as they are; `(type, value)` for what needs a type said, such as
    `("float32", 1.5)`; `("array", [values])` for an array of one of these.
    """
    values = dict(metadata or {})
    if alignment != 32:
        values["general.alignment"] = ("uint32", alignment)
    raw = b"GGUF" + struct.pack("<IQQ", version, len(shapes), len(values))
    for key, value in values.items():
        raw += _text(key) + gguf_value(value)
    kind = GGML_TYPES[dtype] if isinstance(dtype, str) else dtype
    block, size = GGML_BLOCKS.get(kind, (1, 1))
    position = end = 0
    for name, shape in shapes.items():
        raw += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), kind, position)
        end = position + prod(shape) // block * size
        position = -(-end // alignment) * alignment
    return raw + bytes(-len(raw) % alignment), end


def gguf_value(value: object) -> bytes:
    """A value with its type before it."""
    kind, raw = _gguf_value(value)
    return struct.pack("<I", kind) + raw


def write_gguf(
    path: Path,
    shapes: Shapes,
    metadata: Mapping[str, object] | None = None,
    *,
    dtype: str | int = "F16",
    version: int = 3,
    alignment: int = 32,
) -> Path:
    """A GGUF file of zeros, which takes no room on the disk. Folders are made."""
    raw, weights = gguf_header(shapes, metadata, dtype=dtype, version=version, alignment=alignment)
    return _write(path, raw, weights)


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _gguf_value(value: object) -> tuple[int, bytes]:
    if isinstance(value, str):
        return 8, _text(value)
    if isinstance(value, bool | int):
        value = ("bool" if isinstance(value, bool) else "uint32", value)
    assert isinstance(value, tuple)
    kind, content = value
    if kind == "array":
        assert isinstance(content, Sequence)
        parts = [_gguf_value(part) for part in content]
        inner = parts[0][0] if parts else 4
        return 9, struct.pack("<IQ", inner, len(parts)) + b"".join(raw for _, raw in parts)
    number, code = GGUF_TYPES[kind]
    return number, struct.pack("<" + code, content)


def _write(path: Path, raw: bytes, weights: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(raw)
        file.truncate(len(raw) + weights)
    return path
