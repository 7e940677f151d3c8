"""What a file is that is not here yet, from its first bytes."""

from __future__ import annotations

import http.client
from collections.abc import Callable

from tensors.downloads.asking import Asking, Passing
from tensors.header import MAX_HEADER, BrokenHeader, parse_header
from tensors.identify import identify

_FIRST = 256 * 1024
"""Bytes. The whole header of most checkpoints."""


def kind_of_remote(asking: Asking, url: str, *, name: str, size: int, stop: Callable[[], bool]) -> str | None:
    """Which kind of file a URL leads to; None when it cannot be told. `size`: bytes.

    Raises `DownloadRefused` when the site will not give it.
    """
    wanted = _FIRST
    while True:
        try:
            head = _beginning(asking, url, min(wanted, size), stop)
        except (Passing, OSError, http.client.HTTPException):
            # The download itself has its tries; without the kind there is a folder for it too.
            return None
        try:
            kind = identify(parse_header(head, size), name=name).kind
        except BrokenHeader:
            return None
        except ValueError:
            if wanted >= min(size, MAX_HEADER) or len(head) < wanted:
                return None
            wanted *= 8
            continue
        return None if kind == "unknown" else kind


def _beginning(asking: Asking, url: str, count: int, stop: Callable[[], bool]) -> bytes:
    """The first bytes, as many as there are; the rest is not waited for."""
    head = b""
    with asking.for_file(url, {"Range": f"bytes=0-{count - 1}"}, stop=stop) as (connection, _):
        if connection.status in (200, 206):
            while len(head) < count and (piece := connection.read()):
                head += piece
    return head[:count]
