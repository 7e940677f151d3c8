"""Pictures in the gallery."""

from __future__ import annotations

from tensors.types.base import answer
from tensors.types.generation import Settings


@answer
class Image:
    """One picture in the gallery, with everything needed to make it again."""

    id: str
    created: str
    """RFC 3339, UTC."""
    job: str
    index: int
    """Which picture of its job, from 0."""
    width: int
    """Of the file: with a hires fix, larger than `settings.width`."""
    height: int
    settings: Settings
    """With this picture's own seed and `batch_size` 1."""
    engine: str
    """The engine's name and version."""
    tsr: str
    """Version of tsr."""
    path: str
    """The file, on the machine that keeps the gallery."""
    base64: str | None = None
    """The PNG itself; only in the answer to a request with `return_base64`."""
