"""Pictures in the gallery."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le, MaxLen, MinLen

from tensors.types.base import answer, request
from tensors.types.generation import Settings

Tag = Annotated[str, MinLen(1), MaxLen(64)]
Word = Annotated[str, MinLen(1), MaxLen(255)]
Moment = Annotated[str, MinLen(1), MaxLen(40)]
"""A date or a time: `2026-11-22`, `2026-11-22T18:49:01Z`."""
Pixels = Annotated[int, Ge(1), Le(1_000_000)]


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
    tags: tuple[str, ...] = ()
    """Those of the request, until they are edited."""
    notes: str = ""
    rating: int | None = None
    """1 to 5."""
    favourite: bool = False
    deleted: str | None = None
    """When it went to the trash: RFC 3339, UTC. Only of pictures that are there."""
    sha256: str | None = None
    """Of the file; only of pictures that were imported."""


@request
class ImageEdit:
    """What to change about a picture. What is left out stays as it is."""

    tags: Annotated[tuple[Tag, ...], MaxLen(64)] | None = None
    """All its tags from now on."""
    notes: Annotated[str, MaxLen(10_000)] | None = None
    rating: Annotated[int, Ge(0), Le(5)] | None = None
    """1 to 5; 0 takes the rating away."""
    favourite: bool | None = None

    def __post_init__(self) -> None:
        from tensors.checks import check_fields

        check_fields(self)


@request
class ImageQuery:
    """Which pictures to find: those that fit everything given."""

    text: Annotated[str, MaxLen(1000)] = ""
    """Words of the prompt or the notes: `cat`, `photo*` for all that begin like this, `-dog` for what must not be."""
    model: Word | None = None
    """Name of a checkpoint."""
    lora: Word | None = None
    """Name of a LoRA."""
    seed: Annotated[int, Ge(0), Le(2**64 - 1)] | None = None
    tags: Annotated[tuple[Tag, ...], MaxLen(16)] = ()
    """All of them."""
    width: Pixels | None = None
    height: Pixels | None = None
    min_side: Pixels | None = None
    """The shorter side has at least so many pixels."""
    max_side: Pixels | None = None
    """The longer side has at most so many pixels."""
    since: Moment | None = None
    """Made then or later, in UTC where no zone is named."""
    until: Moment | None = None
    """Made before; of a date without a time: also on that day."""
    rating: Annotated[int, Ge(1), Le(5)] | None = None
    """At least."""
    favourite: bool | None = None
    job: Word | None = None

    def __post_init__(self) -> None:
        from tensors.checks import check_fields

        check_fields(self)


@answer
class Imported:
    """A picture that was to be imported."""

    image: Image
    new: bool
    """False when the same file was there already."""


@request
class CleanupRequest:
    """What to clean up in the gallery: what its settings do not keep, and what was long enough in the trash."""

    dry_run: bool = False
    """Only say what it would be."""
    empty_trash: bool = False
    """Remove all that is in the trash, and nothing else."""


@request
class GcRequest:
    """Which files that belong to nothing to remove."""

    dry_run: bool = False
    """Only say which."""


@answer
class Reindexed:
    """What reading all files again came to."""

    images: int
    """Pictures in the gallery."""


@answer
class Cleaning:
    """What a cleanup did, or would do."""

    trashed: tuple[str, ...]
    """Pictures moved to the trash, in this order."""
    removed: tuple[str, ...]
    """Pictures removed for good, in this order."""
    freed: int
    """Bytes on disk."""
    size: int
    """Bytes of what is left, gallery and trash together."""


@answer
class Garbage:
    """Files that belong to nothing."""

    temporary: tuple[str, ...]
    """Half files of writers that a crash or a power cut ended."""
    sidecars: tuple[str, ...]
    """Records without a picture."""
    thumbnails: tuple[str, ...]
    """Of pictures that are gone."""
    inputs: tuple[str, ...]
    """Input pictures that no picture and no job names."""
    bytes: int
    """On disk, altogether."""
