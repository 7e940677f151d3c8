"""The header of a model file: names, shapes and metadata. Weights are never read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tensors import gguf, safetensors
from tensors.tensor import MAX_HEADER, BrokenHeader, Head, Header, Tensor, read_at

__all__ = ["EXTENSIONS", "MAX_HEADER", "BrokenHeader", "Header", "Tensor", "parse_header", "read_header"]

EXTENSIONS = (".safetensors", ".gguf")
"""What files are called whose header can be read. What one is, its first bytes tell."""

# Holds the whole header of nearly all LoRAs, so one read does.
_FIRST_READ = 16 * 1024
# A pipe without a writer must not stop the scan that comes across it.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def read_header(path: Path) -> Header:
    """Read a file's header. Raises `BrokenHeader`, or `OSError` when the file cannot be read."""
    descriptor = os.open(path, _FLAGS)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BrokenHeader(f"is {_sort(status.st_mode)}, not a file")
        return _parse(Head(read_at(descriptor, 0, min(_FIRST_READ, status.st_size)), status.st_size, descriptor))
    finally:
        os.close(descriptor)


def parse_header(head: bytes, size: int) -> Header:
    """The header of a file of `size` bytes, from its beginning or all of it. Raises `BrokenHeader`.

    Raises another `ValueError` when less is given than the file's header is long, though the file is long enough.
    """
    return _parse(Head(head, size))


def _parse(head: Head) -> Header:
    if not head.size:
        raise BrokenHeader("is empty")
    return gguf.parse(head) if head.data.startswith(gguf.MAGIC) else safetensors.parse(head)


def _sort(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device"
