"""Room on the disks that tsr writes to and models lie on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from tensors.doctoring.finding import error, gigabytes, listed, ok, shell, warning
from tensors.types.doctor import Finding

LITTLE = 20_000_000_000
"""Bytes free below which it is a warning: the largest checkpoints (Flux) have 12 to 24 GB."""
NEXT_TO_NOTHING = 2_000_000_000
"""Bytes free below which it is an error: databases and pictures need room too."""


class Usage(Protocol):
    """Of a file system, in bytes; `shutil.disk_usage` tells it."""

    @property
    def total(self) -> int: ...

    @property
    def free(self) -> int: ...


def look(places: Sequence[tuple[str, Path]], usage: Callable[[Path], Usage] = shutil.disk_usage) -> Iterator[Finding]:
    """One finding for each file system. `places`: what is kept where, such as `("gallery", Path("/srv/pictures"))`."""
    disks: dict[int, tuple[Path, list[str]]] = {}
    for name, path in places:
        there = _existing(path)
        _, names = disks.setdefault(there.stat().st_dev, (there, []))
        if name not in names:
            names.append(name)
    for path, names in disks.values():
        found = usage(path)
        said = f"{gigabytes(found.free)} of {gigabytes(found.total)} free for {listed(names)} ({path})"
        command = f"{shell('du', '-xhd2', path)} | sort -h | tail -20"
        if found.free < NEXT_TO_NOTHING:
            yield error("disk", said, command)
        elif found.free < LITTLE:
            yield warning("disk", said, command)
        else:
            yield ok("disk", said)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there: it will be made in that."""
    path = Path(os.path.abspath(path))
    return next(above for above in (path, *path.parents) if above.exists())
