"""A picture made again: the request that draws it, and what differs."""

from __future__ import annotations

from tensors.types.base import answer
from tensors.types.files import Hash
from tensors.types.generation import GenerateRequest
from tensors.types.recipe import Recipe


@answer
class Difference:
    """Something that is not now as it was when the picture was made."""

    what: str
    """`model`, `family`, `lora NAME`, `prompt`, `seed`, `sampler`, `init image`, `engine`, `tsr`, `program`, ..."""
    then: str | None = None
    """As the picture has it; none where it does not tell."""
    now: str | None = None
    """As the request has it; none where that is left to the defaults, or where there is nothing like it."""
    says: str
    """A sentence."""


@answer
class MissingPart:
    """What a picture was made with and is not here."""

    kind: str
    """`model`, `lora` or `input` (a picture that was drawn over, or its mask)."""
    name: str
    hash: Hash | None = None
    version_id: int | None = None
    """Of its version on CivitAI."""
    command: str | None = None
    """Fetches it; none where nothing tells from where."""


@answer
class Remake:
    """How to make a picture again."""

    request: GenerateRequest
    """Draws it again. What is missing is in it as it was named: drawing says then what is missing."""
    recipe: Recipe | None = None
    """Of a file, and of a picture in the gallery that another program made."""
    image: str | None = None
    """Its id in the gallery; none for a file."""
    differences: tuple[Difference, ...] = ()
    missing: tuple[MissingPart, ...] = ()


@answer
class Comparison:
    """How two pictures differ."""

    same_file: bool
    """To the byte."""
    same_pixels: bool
    """Metadata aside."""
    differing: float
    """Share of the pixels that differ, from 0 to 1; 1 for pictures of different sizes."""
