"""The header of a GGUF file, versions 2 and 3.

`GGUF`, the version, the number of tensors and of key-value pairs; the pairs; then each tensor's name, sides (the
innermost first), type and place among the weights, which begin at the next multiple of the alignment. All numbers are
little-endian: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. No count is trusted: nothing is made room for
before the bytes are there.
"""

from __future__ import annotations

import struct
from math import prod

from tensors.tensor import MAX_HEADER, BrokenHeader, Head, Header, Tensor

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_SIDES = 8
_MAX_DEPTH = 4
_MAX_COUNT = 1_000_000
_DEFAULT_ALIGNMENT = 32

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_COUNTS = struct.Struct("<4sIQQ")
_PLACE = struct.Struct("<IQ")
_SHAPES = tuple(struct.Struct(f"<{sides}Q") for sides in range(_MAX_SIDES + 1))

_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_SCALARS = {kind: struct.Struct("<" + code) for kind, code in _CODES.items()}
_FLOAT32, _BOOL, _STRING, _ARRAY = 6, 7, 8, 9

# ggml's types: name, numbers in a block, bytes of a block.
_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
}


def parse(head: Head) -> Header:
    """The header of a GGUF file. Raises `BrokenHeader`."""
    reader = _Reader(head)
    _, version, tensors, pairs = reader.unpack(_COUNTS)
    if version not in _VERSIONS:
        raise BrokenHeader(_unreadable(version))
    if max(tensors, pairs) > _MAX_COUNT:
        raise BrokenHeader(f"says it has {tensors} tensors and {pairs} values, which cannot be")
    metadata = {}
    for _ in range(pairs):
        key = reader.text()
        value = reader.value(reader.unpack(_U32)[0])
        if value is not None:
            metadata[key] = value
    alignment = _alignment(metadata.get("general.alignment"))
    found, places = _tensors(reader, tensors)
    start = -(-reader.position // alignment) * alignment
    _check_places(places, start, head.size)
    return Header("gguf", found, metadata, min(start, head.size))


class _Reader:
    """Goes through the header's bytes, which are read as far as it gets."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self.position = 0

    def _pass(self, count: int) -> int:
        """Go `count` bytes on, and return where they begin. Raises `BrokenHeader` where the file ends before."""
        begin = self.position
        end = begin + count
        if end > len(self._head.data):
            # Ever more at a time: what is there already is copied at each step.
            self._head.reach(max(end, min(4 * end, self._head.size, MAX_HEADER)))
        self.position = end
        return begin

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        begin = self._pass(layout.size)
        return layout.unpack_from(self._head.data, begin)

    def text(self) -> str:
        length: int = self.unpack(_U64)[0]
        begin = self._pass(length)
        return self._head.data[begin : begin + length].decode("utf-8", "replace")

    def value(self, kind: int) -> str | None:
        """A value as text. Arrays are passed over: a text encoder's tokens would fill megabytes."""
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            self._pass_array(0)
            return None
        layout = _SCALARS.get(kind)
        if layout is None:
            raise BrokenHeader(f"has a broken header: there are no values of type {kind}")
        (value,) = self.unpack(layout)
        if kind == _FLOAT32:
            # A number of 32 bits has no more than seven digits that mean something.
            return f"{value:.7g}"
        return str(value).lower() if kind == _BOOL else str(value)

    def _pass_array(self, depth: int) -> None:
        kind, count = self.unpack(_PLACE)
        layout = _SCALARS.get(kind)
        if layout is not None:
            self._pass(layout.size * count)
        elif kind == _STRING:
            for _ in range(count):
                self._pass(self.unpack(_U64)[0])
        elif kind == _ARRAY and depth < _MAX_DEPTH:
            for _ in range(count):
                self._pass_array(depth + 1)
        else:
            raise BrokenHeader(f"has a broken header: there are no arrays of type {kind}")


def _unreadable(version: int) -> str:
    if int.from_bytes(version.to_bytes(4, "little"), "big") in (1, *_VERSIONS):
        return "is a big-endian GGUF file; only little-endian ones can be read"
    return f"is of GGUF version {version}; only versions 2 and 3 can be read"


def _alignment(said: str | None) -> int:
    if said is None:
        return _DEFAULT_ALIGNMENT
    alignment = int(said) if said.isdecimal() and len(said) < 10 else 0
    if alignment <= 0 or alignment & (alignment - 1):
        raise BrokenHeader(f"has a broken header: {said[:20]!r} is no alignment")
    return alignment


def _tensors(reader: _Reader, count: int) -> tuple[dict[str, Tensor], list[tuple[int, int, str]]]:
    found: dict[str, Tensor] = {}
    places = []
    for _ in range(count):
        name = reader.text()
        (sides,) = reader.unpack(_U32)
        if sides > _MAX_SIDES or name in found:
            fault = f"has {sides} sides" if sides > _MAX_SIDES else "is there twice"
            raise BrokenHeader(f"has a broken header: {name[:100]!r} {fault}")
        shape = reader.unpack(_SHAPES[sides])[::-1]
        kind, offset = reader.unpack(_PLACE)
        dtype, block, size = _TYPES.get(kind, (f"type_{kind}", 1, 0))
        if shape and shape[-1] % block:
            raise BrokenHeader(f"has a broken header: rows of {name[:100]!r} do not fill the blocks of {dtype}")
        places.append((offset, offset + prod(shape) // block * size, name))
        found[name] = Tensor(dtype, shape)
    return found, places


def _check_places(places: list[tuple[int, int, str]], start: int, size: int) -> None:
    last = 0
    for begin, end, name in sorted(places):
        if begin < last:
            raise BrokenHeader(f"has a broken header: {name[:100]!r} lies over another tensor")
        last = end
    if places and start + last > size:
        raise BrokenHeader(f"is cut off: it has {size:,} bytes and should have {start + last:,}")
