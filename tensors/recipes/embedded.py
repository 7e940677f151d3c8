"""Texts inside PNG, JPEG and WebP files, out of the containers alone: no pixel is decoded, nothing is believed.

What is broken or too large is left out, and what stands before it is kept: a file cut off in its pixels still tells how
it was made.
"""

from __future__ import annotations

import html
import re
import struct
import zlib
from collections.abc import Iterator

from tensors.png import NotPng, chunks
from tensors.recipes.exif import exif_texts, plain

MAX_TEXT = 8 * 1024 * 1024
"""Bytes of one text, unpacked; a longer one is left out."""
_MAX_ALL_TEXTS = 4 * MAX_TEXT
_MOST_TEXTS = 1000
_MOST_SEGMENTS = 250_000
OWN_KEY = "tsr"
"""PNG keyword of tsr's own record (`tensors.gallery.RECORD_KEY`)."""
_JPEG, _RIFF, _WEBP = b"\xff\xd8\xff", b"RIFF", b"WEBP"
_EXIF_SEGMENT, _XMP_SEGMENT = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_COMMENT_KEY = b"parameters\0"
"""Begins the comment that stable-diffusion.cpp writes into JPEG files."""
_APP1, _COMMENT, _SCAN, _END = 0xE1, 0xFE, 0xDA, 0xD9
_ALONE = frozenset((0x01, *range(0xD0, 0xD8)))
"""JPEG markers without a length."""
_XMP_TAGS = {"sdcpp:parameters": "parameters", "exif:UserComment": "UserComment", "dc:description": "description"}
_TAG = re.compile(r"<[^<>]*>")


class NotAPicture(ValueError):
    """The bytes are no PNG, JPEG or WebP file."""


def texts_of(data: bytes) -> dict[str, str]:
    """The texts by PNG keyword, Exif field, `comment` (JPEG) or the name in the XMP packet. Raises `NotAPicture`."""
    if data.startswith(_JPEG):
        return _jpeg_texts(data)
    if data.startswith(_RIFF) and data[8:12] == _WEBP:
        return _webp_texts(data)
    try:
        next(chunks(data))
    except NotPng:
        raise NotAPicture("neither PNG nor JPEG nor WebP") from None
    return _png_texts(data)


def _segments_of_png(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each chunk that may hold a text, up to where the file breaks off."""
    try:
        for number, (kind, start, end) in enumerate(chunks(data)):
            if kind in (b"tEXt", b"zTXt", b"iTXt", b"eXIf"):
                yield kind, data[start + 8 : end - 4]
            if number > _MOST_SEGMENTS:
                return
    except NotPng:
        return


def _png_texts(data: bytes) -> dict[str, str]:
    raw: dict[str, tuple[bytes, bytes]] = {}
    found: dict[str, str] = {}
    room = _MAX_ALL_TEXTS
    for kind, body in _segments_of_png(data):
        if kind == b"eXIf":
            found |= exif_texts(body[:MAX_TEXT])
            continue
        keyword, _, rest = body.partition(b"\0")
        text = _unpacked(kind, rest, min(room, MAX_TEXT))
        if text is None or len(raw) == _MOST_TEXTS:
            continue
        room -= len(text)
        raw[keyword[:79].decode("latin-1")] = kind, text
    ours = OWN_KEY in raw
    for name, (kind, text) in raw.items():
        found[name] = _decoded(kind, text, as_specified=ours)
    return found


def _decoded(kind: bytes, text: bytes, *, as_specified: bool) -> str:
    """tEXt means Latin-1, and so do we; others (sd-server, exiftool) write UTF-8 there."""
    if kind == b"iTXt":
        return text.decode("utf-8", "replace")
    return text.decode("latin-1") if as_specified else plain(text)


def _unpacked(kind: bytes, rest: bytes, most: int) -> bytes | None:
    """The text's bytes; None where they cannot be had or are more than `most`."""
    packed = kind == b"zTXt"
    if packed:
        rest = rest[1:]
    elif kind == b"iTXt":
        # Compression flag and method, then language and translated keyword, each ended by a NUL.
        packed = rest[:1] == b"\1"
        _language, _, tail = rest[2:].partition(b"\0")
        _translated, _, rest = tail.partition(b"\0")
    if packed:
        try:
            rest = zlib.decompressobj().decompress(rest, most + 1)
        except zlib.error:
            return None
    return rest if len(rest) <= most else None


def _jpeg_texts(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for marker, body in _segments_of_jpeg(data):
        if marker == _APP1 and body.startswith(_EXIF_SEGMENT):
            found |= exif_texts(body)
        elif marker == _APP1 and body.startswith(_XMP_SEGMENT):
            found |= _xmp_texts(body[len(_XMP_SEGMENT) :])
        elif marker == _COMMENT:
            key = "parameters" if body.startswith(_COMMENT_KEY) else "comment"
            found.setdefault(key, plain(body.removeprefix(_COMMENT_KEY)))
    return found


def _segments_of_jpeg(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment before the pixels."""
    position = 2
    for _ in range(_MOST_SEGMENTS):
        # Any number of FF may stand before a marker.
        while data[position : position + 2] == b"\xff\xff":
            position += 1
        if data[position : position + 1] != b"\xff" or position + 2 > len(data):
            return
        marker = data[position + 1]
        position += 2
        if marker in _ALONE:
            continue
        if marker in (_SCAN, _END) or position + 2 > len(data):
            return
        (length,) = struct.unpack_from(">H", data, position)
        if length < 2:
            return
        yield marker, data[position + 2 : position + length]
        position += length


def _webp_texts(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    position = 12
    for _ in range(_MOST_SEGMENTS):
        if position + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : position + 8 + min(length, MAX_TEXT)]
        if kind == b"EXIF":
            found |= exif_texts(body)
        elif kind == b"XMP ":
            found |= _xmp_texts(body)
        # Bodies are padded to an even length.
        position += 8 + length + (length & 1)
    return found


def _xmp_texts(packet: bytes) -> dict[str, str]:
    """The few properties that are of use, found as text: an XML reader would follow what a hostile file declares."""
    text = packet.decode("utf-8", "replace")
    found = {}
    for tag, name in _XMP_TAGS.items():
        start = text.find(f"<{tag}")
        inside, end = text.find(">", start) + 1, text.find(f"</{tag}>", start)
        if start >= 0 and 0 < inside <= end:
            found[name] = html.unescape(_TAG.sub("", text[inside:end])).strip()
    return found
