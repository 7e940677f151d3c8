"""Small PNG, JPEG and WebP files with texts in them, put together byte by byte."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image


def blank(kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, kind)
    return out.getvalue()


PNG, JPEG, WEBP = blank("PNG"), blank("JPEG"), blank("WEBP")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(*chunks: bytes) -> bytes:
    """With these chunks behind the header."""
    return PNG[:33] + b"".join(chunks) + PNG[33:]


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_with(*segments: bytes) -> bytes:
    """With these segments at the beginning."""
    return JPEG[:2] + b"".join(segments) + JPEG[2:]


def webp_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """With these chunks at the end."""
    more = b"".join(kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2) for kind, body in chunks)
    return b"RIFF" + struct.pack("<I", len(WEBP) - 8 + len(more)) + WEBP[8:] + more


def exif(*, order: str = ">", comment: bytes | None = None, **tags: bytes) -> bytes:
    """An Exif block with a UserComment in its own folder and ASCII tags (`t0110=b"..."`) in the first one."""
    entries = [(int(name[1:], 16), 2, body + b"\0") for name, body in tags.items()]
    count = len(entries) + (comment is not None)
    place = 8 + 2 + 12 * count + 4
    first, data = struct.pack(order + "H", count), b""
    for tag, kind, body in sorted(entries):
        first += struct.pack(order + "HHII", tag, kind, len(body), place + len(data))
        data += body
    if comment is not None:
        where = place + len(data)
        first += struct.pack(order + "HHII", 0x8769, 4, 1, where)
        data += struct.pack(order + "HHHII", 1, 0x9286, 7, len(comment), where + 18) + bytes(4) + comment
    return {">": b"MM", "<": b"II"}[order] + struct.pack(order + "HI", 42, 8) + first + bytes(4) + data
