"""Text inside PNG files, read and written without touching the pixels.

Decoding and encoding a 512x512 picture again costs a hundred times what inserting a chunk costs.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")


class NotPng(ValueError):
    """The bytes are not a whole PNG file."""


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Each chunk's type and where it starts and ends in `data`, length and checksum included. Raises `NotPng`."""
    if not data.startswith(SIGNATURE):
        raise NotPng("no PNG signature")
    if data[8:16] != b"\0\0\0\x0dIHDR":
        raise NotPng("does not start with IHDR")
    position = len(SIGNATURE)
    while position < len(data):
        if position + 12 > len(data):
            raise NotPng("cut off")
        (length,) = struct.unpack_from(">I", data, position)
        kind, end = data[position + 4 : position + 8], position + 12 + length
        if end > len(data):
            raise NotPng("cut off")
        yield kind, position, end
        position = end
        if kind == b"IEND":
            return
    raise NotPng("no end")


def size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels. Raises `NotPng`."""
    _, start, _ = next(chunks(data))
    width, height = struct.unpack_from(">II", data, start + 8)
    return width, height


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _text_chunk(keyword: str, text: str) -> bytes:
    try:
        return _chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + text.encode("latin-1"))
    except UnicodeEncodeError:
        # tEXt means Latin-1; what does not fit goes into the UTF-8 chunk, as other tools do it.
        return _chunk(b"iTXt", keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode())


def with_text(data: bytes, texts: Mapping[str, str]) -> bytes:
    """The same picture with these texts and no others. Raises `NotPng`."""
    parts = [SIGNATURE]
    for kind, start, end in chunks(data):
        if kind not in _TEXT_CHUNKS:
            parts.append(data[start:end])
        if kind == b"IHDR":
            parts.extend(_text_chunk(keyword, text) for keyword, text in texts.items())
    return b"".join(parts)


def read_text(data: bytes) -> dict[str, str]:
    """Every text in a PNG by its keyword. Raises `NotPng`."""
    found = {}
    for kind, start, end in chunks(data):
        if kind in _TEXT_CHUNKS:
            keyword, _, rest = data[start + 8 : end - 4].partition(b"\0")
            found[keyword.decode("latin-1")] = _decode(kind, rest)
    return found


def _decode(kind: bytes, rest: bytes) -> str:
    try:
        if kind == b"tEXt":
            return rest.decode("latin-1")
        if kind == b"zTXt":
            return zlib.decompress(rest[1:]).decode("latin-1")
        # iTXt: compression flag, method, then language and translated keyword, each ended by a NUL.
        _language, _, tail = rest[2:].partition(b"\0")
        _translated, _, body = tail.partition(b"\0")
        return (zlib.decompress(body) if rest[:1] == b"\1" else body).decode("utf-8", "replace")
    except zlib.error as error:
        raise NotPng(f"broken text: {error}") from None
