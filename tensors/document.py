"""The JSON of an answer, also where it is not quite JSON."""

from __future__ import annotations

import json
import math

import msgspec

from tensors.decoding import NOT_THAT_JSON
from tensors.fields import encodable

_MOST_DIGITS = 25
"""Of an integer; a longer one is of no use and takes long to read."""


class BrokenRecord(ValueError):
    """A record that cannot be used: no JSON, no object, or without a usable id."""


_read = msgspec.json.Decoder().decode


def opened(raw: object) -> tuple[object, bytes]:
    """What the JSON says, and JSON that says it and can be read again. Raises `BrokenRecord`."""
    try:
        if isinstance(raw, bytes | msgspec.Raw):
            return _opened_bytes(bytes(raw))
        try:
            return raw, msgspec.json.encode(raw)
        except UnicodeEncodeError:
            return _opened_bytes(json.dumps(raw).encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise BrokenRecord(f"not JSON: {error}"[:200]) from error


_NULL = msgspec.Raw(b"null")


class _Page(msgspec.Struct):
    items: list[msgspec.Raw]
    metadata: msgspec.Raw = _NULL


def page(raw: object) -> tuple[list[object], object]:
    """A page's items and its metadata; items of bytes stay unread. Raises `BrokenRecord` when it is no page."""
    if isinstance(raw, bytes):
        try:
            found = msgspec.json.decode(raw, type=_Page)
            return list(found.items), _read(found.metadata)
        except NOT_THAT_JSON:
            # One bad byte in one record takes the whole page with it in a strict reader.
            raw, _ = opened(raw)
    if not isinstance(raw, dict) or not isinstance(raw.get("items"), list):
        raise BrokenRecord("not a page of records")
    return raw["items"], raw.get("metadata")


def listing(raw: object) -> list[object]:
    """A list's items but for null; those of bytes stay unread. Raises `BrokenRecord` when it is no list."""
    if isinstance(raw, bytes):
        try:
            return [item for item in msgspec.json.decode(raw, type=list[msgspec.Raw]) if item != _NULL]
        except NOT_THAT_JSON:
            raw, _ = opened(raw)
    if not isinstance(raw, list):
        raise BrokenRecord("not a list of records")
    return [item for item in raw if item is not None]


def _opened_bytes(raw: bytes) -> tuple[object, bytes]:
    try:
        return _read(raw), raw
    except NOT_THAT_JSON:
        mended = _mended(raw)
        return _read(mended), mended


def _mended(raw: bytes) -> bytes:
    """JSON without what only lenient readers take: bytes that are no UTF-8, half of a surrogate pair, NaN, 1e999."""
    document = json.loads(
        raw.decode("utf-8-sig", "replace"),
        strict=False,
        parse_constant=lambda name: None,
        parse_float=_float,
        parse_int=_int,
    )
    return encodable(json.dumps(document, ensure_ascii=False)).encode()


def _float(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


def _int(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MOST_DIGITS else None
