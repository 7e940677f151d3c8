"""The few Exif fields that programs put texts into. Facts: TIFF 6.0, Exif 2.32 (4.6.5, UserComment)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_POINTER = 0x8769
_USER_COMMENT = 0x9286
_TEXT_TAGS = {
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0131: "Software",
    0x8298: "Copyright",
    0x927C: "MakerNote",
    _USER_COMMENT: "UserComment",
}
_WIDE_TEXT_TAGS = {0x9C9B: "XPTitle", 0x9C9C: "XPComment"}
_NAMES = _TEXT_TAGS | _WIDE_TEXT_TAGS
_BYTES, _ASCII, _LONG, _UNDEFINED = 1, 2, 4, 7
_MOST_ENTRIES = 512


def exif_texts(data: bytes) -> dict[str, str]:
    """The texts of an Exif block, with or without `Exif` before it. What is broken in it is left out."""
    data = data.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return {}
    found: dict[str, str] = {}
    (folder,) = struct.unpack_from(order + "I", data, 4)
    own = _texts_in(data, folder, order, found)
    if own is not None:
        _texts_in(data, own, order, found)
    return found


def _texts_in(data: bytes, folder: int, order: str, found: dict[str, str]) -> int | None:
    """Add the texts of one folder; where the folder of Exif's own fields is, if it says so."""
    own = None
    for tag, kind, start, size in _entries(data, folder, order):
        name = _NAMES.get(tag)
        if tag == _POINTER and kind == _LONG and start + 4 <= len(data):
            (own,) = struct.unpack_from(order + "I", data, start)
        elif name and name not in found and kind != _LONG:
            # A length beyond the end is a file cut off, or one that lies: what is there is taken.
            found[name] = _decoded(tag, data[start : start + size])
    return own


def _entries(data: bytes, folder: int, order: str) -> Iterator[tuple[int, int, int, int]]:
    """Tag, type, place and size in bytes of each field in one folder."""
    if folder + 2 > len(data):
        return
    (count,) = struct.unpack_from(order + "H", data, folder)
    for position in range(folder + 2, folder + 2 + 12 * min(count, _MOST_ENTRIES), 12):
        if position + 12 > len(data):
            return
        tag, kind, length, offset = struct.unpack_from(order + "HHII", data, position)
        size = length * 4 if kind == _LONG else length
        if kind in (_BYTES, _ASCII, _LONG, _UNDEFINED) and size:
            yield tag, kind, position + 8 if size <= 4 else offset, size


def _decoded(tag: int, value: bytes) -> str:
    if tag == _USER_COMMENT:
        return user_comment(value)
    return value.decode("utf-16-le", "replace").rstrip("\0") if tag in _WIDE_TEXT_TAGS else plain(value)


def plain(value: bytes) -> str:
    """UTF-8 where it is that, else Latin-1."""
    value = value.rstrip(b"\0")
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def user_comment(value: bytes) -> str:
    """The text of a UserComment by the code in its first eight bytes, or by what it looks like."""
    code, body = value[:8], value[8:]
    if code == b"UNICODE\0":
        return _wide(body)
    if code == b"ASCII\0\0\0" or code == bytes(8):
        return _wide(body) if _looks_wide(body) else plain(body)
    if code == b"JIS\0\0\0\0\0":
        return body.decode("iso2022_jp", "replace").rstrip("\0")
    return plain(value)


def _looks_wide(body: bytes) -> bool:
    """Every second byte of a Latin text in UTF-16 is zero."""
    sample = body[:4096]
    return sample.rstrip(b"\0").count(0) * 4 > len(sample)


def _wide(body: bytes) -> str:
    """UTF-16 of either order: Exif does not say which, piexif writes big-endian ones and .NET little-endian ones."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace").rstrip("\0")
    if 0 not in body:
        # Some write UTF-8 behind the code for UTF-16.
        return plain(body)
    big = body[::2].count(0) >= body[1::2].count(0)
    return body.decode("utf-16-be" if big else "utf-16-le", "replace").rstrip("\0")
