"""Work on the library, and the library as a whole."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, MaxLen, MinLen

from tensors.types.base import answer, request

Name = Annotated[str, MinLen(1), MaxLen(4096)]
"""Of a file: its number in the library, its path, its name with or without extension, or the beginning of a hash."""


@request
class ScanRequest:
    """Which folders to look through for model files."""

    directories: Annotated[tuple[Name, ...], MaxLen(256)] = ()
    """The configured ones, and those scanned before, when left out."""
    hash: bool = True
    """Also hash what has no hashes yet. Without hashes nothing can be linked."""
    full: bool = False
    """Read every file again, also those that have not changed."""

    def __post_init__(self) -> None:
        from tensors.checks import check_fields

        check_fields(self)


@request
class LinkRequest:
    """Which files to match with CivitAI."""

    files: Annotated[tuple[Name, ...], MaxLen(10_000)] = ()
    """All that are not linked, when left out."""
    refresh: bool = False
    """Ask again for what CivitAI did not know before, and fetch anew what is linked."""
    offline: bool = False
    """Match with what is cached and with other tools' notes only."""

    def __post_init__(self) -> None:
        from tensors.checks import check_fields

        check_fields(self)


@request
class CacheRequest:
    """Which models to fetch from CivitAI and keep."""

    models: Annotated[tuple[Annotated[int, Ge(1)], ...], MaxLen(10_000)] = ()
    """CivitAI's numbers; the models of all linked files when left out."""

    def __post_init__(self) -> None:
        from tensors.checks import check_fields

        check_fields(self)


@request
class FileEdit:
    """What the owner says about a file. What is left out stays as it is; `auto` goes back to what was found."""

    kind: Annotated[str, MinLen(1), MaxLen(32)] | None = None
    """`checkpoint`, `diffusion_model`, `lora`, `vae`, `tae`, `embedding`, `text_encoder`, `controlnet`, `upscaler`."""
    family: Annotated[str, MinLen(1), MaxLen(32)] | None = None
    """`sd15`, `sdxl`, `pony`, `illustrious`, `flux`, ..."""
    model: Annotated[str, MinLen(1), MaxLen(64)] | None = None
    """The version on CivitAI: `MODEL@VERSION`, or `MODEL` for its newest; `none`: it is not there."""

    def __post_init__(self) -> None:
        from tensors.checks import check_fields

        check_fields(self)


@answer
class FileProblem:
    """A file or folder that something is wrong with."""

    path: str
    message: str
    """Follows the path: `is cut off: ...`."""


@answer
class ScanReport:
    """What a scan found."""

    folders: tuple[str, ...] = ()
    files: int = 0
    """Model files that are there."""
    added: int = 0
    changed: int = 0
    moved: int = 0
    """Known by their hash or inode, with another name or place."""
    returned: int = 0
    """Were missing, and are back."""
    missing: int = 0
    """Are not there any more."""
    hashed: int = 0
    unhashed: int = 0
    """Have no hashes yet."""
    problems: tuple[FileProblem, ...] = ()
    """The first thousand."""


@answer
class LinkReport:
    """What linking found."""

    files: int = 0
    """Looked at."""
    linked: int = 0
    by_sha256: int = 0
    by_autov3: int = 0
    by_blake3: int = 0
    by_sidecar: int = 0
    """From the notes of other tools."""
    not_found: int = 0
    """Not known to CivitAI, or not any more."""
    unhashed: int = 0
    """Have no hashes yet, so could not be matched."""
    fetched: int = 0
    """Models fetched from CivitAI and kept."""
    problems: tuple[FileProblem, ...] = ()


@answer
class CacheReport:
    """What was fetched from CivitAI and kept."""

    models: tuple[int, ...] = ()
    not_found: tuple[int, ...] = ()
    """CivitAI has no models of these numbers."""


@answer
class Forgotten:
    """What was taken out of the library; files on disk are not touched."""

    id: int
    name: str


@answer
class Duplicates:
    """Files with the same bytes."""

    sha256: str
    size: int
    """Bytes, of each."""
    files: tuple[str, ...]
    """Paths."""


@answer
class Update:
    """A linked file whose model has a newer version for the same base model."""

    file: str
    model_id: int
    model: str
    version_id: int
    version: str
    """What the file is."""
    newest_id: int
    newest: str
    base_model: str | None = None
    published: str | None = None
    early_access_until: str | None = None
    """Until then only buyers get it."""


@answer
class Count:
    """How many files of a sort, and how large they are together."""

    name: str
    files: int
    size: int
    """Bytes."""


@answer
class LibraryStats:
    """The library in numbers."""

    files: int
    size: int
    """Bytes, of all files that are there."""
    missing: int
    broken: int
    unhashed: int
    linked: int
    not_found: int
    duplicates: int
    """Files that could go without anything being lost."""
    duplicate_size: int
    """Bytes, of these."""
    kinds: tuple[Count, ...] = ()
    families: tuple[Count, ...] = ()
    models: int = 0
    """CivitAI's models that are cached."""
    versions: int = 0
    database: str = ""
    database_size: int = 0
    """Bytes."""


@answer
class LibraryCheck:
    """Whether the database is sound."""

    sound: bool
    problems: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()
    """What was wrong and is right now: the search index, for one, is built anew."""
