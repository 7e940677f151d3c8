"""The header of a safetensors file.

8 bytes of length, little-endian, then that many bytes of JSON, then the weights. The JSON names each tensor with its
dtype, its shape and its place among the weights; `__metadata__` is a table of texts. The weights lie one after the
other without holes: https://github.com/huggingface/safetensors#format. The length is not trusted.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Annotated

import msgspec
from msgspec import Meta

from tensors.decoding import NOT_THAT_JSON
from tensors.tensor import MAX_HEADER, BrokenHeader, Head, Header, Tensor

_BITS = {
    **dict.fromkeys(("C64", "F64", "I64", "U64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
"""Of the dtypes that are known; another one is taken as it is."""

# What people really find under the name of a model, and the first bytes of it.
_SOMETHING_ELSE = (
    (b"PK\x03\x04", "is a zip archive (a PyTorch pickle?), not a model that can be read safely"),
    (b"\x80\x02", "is a pickle, not a model that can be read safely"),
    (b"\x80\x04", "is a pickle, not a model that can be read safely"),
    (b"version https://git-lfs", "is a Git LFS pointer: the model itself was not downloaded"),
    (b"<", "is a web page, not a model: the download went wrong"),
    (b"{", "is a JSON text, not a model: the download went wrong"),
)


_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Entry(msgspec.Struct, frozen=True, gc=False):
    """A tensor as the header has it."""

    dtype: str
    shape: Annotated[tuple[_Count, ...], Meta(max_length=32)]
    data_offsets: tuple[_Count, _Count]


_entries = msgspec.json.Decoder(dict[str, msgspec.Raw])
_entry = msgspec.json.Decoder(_Entry)
_texts = msgspec.json.Decoder(dict[str, str])
_anything = msgspec.json.Decoder()


def parse(head: Head) -> Header:
    """The header of a safetensors file. Raises `BrokenHeader`."""
    head.reach(8)
    length = int.from_bytes(head.data[:8], "little")
    start = 8 + length
    if length < 2 or length > MAX_HEADER or (start > head.size and head.data[8:9] not in (b"{", b"")):
        raise BrokenHeader(_instead(head.data) or f"says its header has {length} bytes, which cannot be")
    head.reach(start)
    try:
        raw = _entries.decode(memoryview(head.data)[8:start])
        metadata = _metadata(raw.pop("__metadata__", None))
    except NOT_THAT_JSON as error:
        raise BrokenHeader(f"has a broken header: {error}") from None
    return Header("safetensors", _tensors(raw, start, head.size), metadata, start)


def _instead(head: bytes) -> str | None:
    return next((words for beginning, words in _SOMETHING_ELSE if head.startswith(beginning)), None)


def _metadata(raw: msgspec.Raw | None) -> dict[str, str]:
    """The file's own words. What is no text, against the format, stays the JSON it is: no reason to refuse a file."""
    if raw is None:
        return {}
    try:
        return _texts.decode(raw)
    except msgspec.ValidationError:
        values = _anything.decode(raw)
    if not isinstance(values, dict):
        return {}
    return {
        key: value if isinstance(value, str) else msgspec.json.encode(value).decode() for key, value in values.items()
    }


def _tensors(raw: dict[str, msgspec.Raw], start: int, size: int) -> dict[str, Tensor]:
    tensors = {}
    places = []
    position, in_order = 0, True
    for name, text in raw.items():
        try:
            entry = _entry.decode(text)
        except NOT_THAT_JSON as error:
            raise BrokenHeader(f"has a broken header: {_shown(name)}: {error}") from None
        begin, end = entry.data_offsets
        bits = _BITS.get(entry.dtype)
        if begin > end or (bits is not None and prod(entry.shape) * bits != (end - begin) * 8):
            raise BrokenHeader(f"has a broken header: {_shown(name)} does not have the bytes that its shape needs")
        in_order = in_order and begin == position
        position = end
        places.append((begin, end, name))
        tensors[name] = Tensor(entry.dtype, entry.shape)
    if not in_order:
        position = _end_of(sorted(places))
    if start + position > size:
        raise BrokenHeader(f"is cut off: it has {size:,} bytes and should have {start + position:,}")
    if start + position < size:
        raise BrokenHeader(f"has {size - start - position:,} bytes at its end that are no tensor's: it is damaged")
    return tensors


def _end_of(places: Iterable[tuple[int, int, str]]) -> int:
    """Where the last of these places ends, which must follow each other."""
    position = 0
    for begin, end, name in places:
        if begin != position:
            fault = "lies over another tensor" if begin < position else "leaves a hole before it"
            raise BrokenHeader(f"has a broken header: {_shown(name)} {fault}")
        position = end
    return position


def _shown(name: str) -> str:
    return f"{name[:100]!r}"
