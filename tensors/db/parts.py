"""Files of the library that other models need: VAEs, text encoders, tiny autoencoders."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tensors.header import BrokenHeader, read_header
from tensors.part_signs import variant_of_part

if TYPE_CHECKING:
    from tensors.db.database import Database

_ROWS = """
    SELECT directory, name, kind, family, variant, precision, size, added_at FROM files
    WHERE kind IN ('vae', 'text_encoder', 'tae') AND missing_since IS NULL AND problem IS NULL
    ORDER BY directory, name"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file that brings a part of a model."""

    path: Path
    kind: str
    """`vae`, `text_encoder` or `tae`."""
    family: str = "unknown"
    variant: str | None = None
    """As `tensors.part_signs.variant_of_part` tells it, joined with commas; none for one that nobody knows."""
    precision: str | None = None
    size: int
    """Bytes."""
    added_at: str = ""
    """When the library first saw it: RFC 3339 in UTC."""


def candidates(database: Database) -> list[Part]:
    """Every such file that is there and can be read, by path. Does not look whether it still is.

    Of files that were listed before variants were told, the header is read again.
    """
    found = []
    for directory, name, kind, family, variant, precision, size, added_at in database.connection.execute(_ROWS):
        path = Path(os.path.join(directory, name))
        part = Part(
            path=path,
            kind=kind,
            family=family,
            variant=variant or _variant(path, kind),
            precision=precision,
            size=size,
            added_at=added_at,
        )
        found.append(part)
    return found


def _variant(path: Path, kind: str) -> str | None:
    if kind == "tae":
        return None
    try:
        return ", ".join(variant_of_part(kind, read_header(path).tensors)) or None
    except (BrokenHeader, OSError):
        return None
