"""Model files on disk, with all that is known about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from tensors.types.base import answer
from tensors.types.file import File, Link

__all__ = ["File", "FileDetails", "Hash", "Link", "Sidecar", "Tag", "Triggers"]


@answer
class Hash:
    """One hash of a file."""

    kind: str
    """`sha256`, `autov2`, `autov3`, `blake3` or `crc32`."""
    value: str


@answer
class Tag:
    """A tag, and how many training pictures had it."""

    tag: str
    count: int


@answer
class Sidecar:
    """What another tool wrote beside a file."""

    name: str
    tool: str
    model_id: int | None = None
    version_id: int | None = None
    notes: str | None = None
    problem: str | None = None


@answer
class FileDetails(File):
    """One model file, with all that is known about it."""

    hashes: tuple[Hash, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    """The header's own words."""
    training_tags: tuple[Tag, ...] = ()
    sidecars: tuple[Sidecar, ...] = ()
    description: str | None = None
    """Of its model on CivitAI."""
    asked: str | None = None
    """When CivitAI was asked for it and did not know it."""


@answer
class Triggers:
    """The words that call up what a file was trained for."""

    file: str
    """Its name."""
    lora: str | None
    """What applies it in a prompt: `<lora:name:1>`; none for what is no LoRA."""
    words: tuple[str, ...]
    """One after the other they go into a prompt."""
    source: str | None
    """`civitai`, `sidecar` or `training` (the tags it was most trained on); none when there are no words."""
