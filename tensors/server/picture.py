"""A picture's file as an answer: conditional, in parts where parts are asked for, kept by browsers for ever."""

from __future__ import annotations

import mmap
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import Response

_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)
# Not on macOS, where the pages are read when they are sent.
_READ_NOW: int = getattr(mmap, "MAP_POPULATE", 0)

PICTURES: dict[int | str, Any] = {200: {"content": {kind: {} for kind in sorted(set(_TYPES.values()))}}}
"""`responses` of a route that answers with a picture."""


def picture_body() -> dict[str, Any]:
    """`openapi_extra` of a route that takes a picture's file as its body."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in sorted(set(_TYPES.values()))}
    return {"requestBody": {"required": True, "content": content}}


@dataclass(frozen=True, slots=True)
class Mapped:
    """A file in memory, sent from there without a copy in this process: half of what serving it would cost.

    Only the kernel touches the pages, so a file that somebody cuts off meanwhile breaks a connection, no more.
    """

    path: Path
    tag: str
    """Its entity tag: another one when the file is another one."""
    content: memoryview

    @classmethod
    def of(cls, path: Path) -> Mapped:
        """Open a file. Raises `OSError`."""
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            # There is nothing to map in an empty file.
            flags = mmap.MAP_SHARED | _READ_NOW
            mapped = mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ) if stat.st_size else b""
        return cls(path, _tag(stat), memoryview(mapped))

    def is_current(self) -> bool:
        """Whether the file is still this one."""
        try:
            return _tag(os.stat(self.path)) == self.tag
        except OSError:
            return False


def _tag(stat: os.stat_result) -> str:
    return f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'


class Picture(Response):
    """The file, or the part of it that the request wants; nothing when the client has it already."""

    def __init__(self, file: Mapped, asked: Headers) -> None:
        size = len(file.content)
        # A picture never changes under its id.
        headers = {
            "ETag": file.tag,
            "Cache-Control": "private, max-age=31536000, immutable",
            "Accept-Ranges": "bytes",
            "Content-Disposition": f'inline; filename="{file.path.name}"',
            "X-Content-Type-Options": "nosniff",
        }
        content, status, kind = file.content, 200, _TYPES[file.path.suffix]
        if _has(asked.get("if-none-match", ""), file.tag):
            super().__init__(status_code=304, headers=headers)
            return
        if part := _part(asked, file.tag, size):
            first, last = part
            if first > last:
                super().__init__(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
                return
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            content, status = content[first : last + 1], 206
        super().__init__(content, status_code=status, headers=headers, media_type=kind)


def _has(known: str, tag: str) -> bool:
    """Whether a list of entity tags has this one. Proxies that compress make tags weak."""
    return known.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in known.split(","))


def _part(asked: Headers, tag: str, size: int) -> tuple[int, int] | None:
    """The first and the last byte that are wanted; none: all. Several parts at once are answered with all."""
    wanted = _RANGE.fullmatch(asked.get("range", "").replace(" ", ""))
    if wanted is None or wanted.group(0) == "bytes=-" or asked.get("if-range", tag) != tag:
        return None
    first, last = wanted.groups()
    if not first:
        return max(size - int(last), 0), size - 1
    if last and int(last) < int(first):
        return None
    end = min(int(last), size - 1) if last else size - 1
    return (int(first), end) if int(first) < size else (1, 0)
