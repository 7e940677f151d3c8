"""Models as CivitAI and Hugging Face know them."""

from __future__ import annotations

from tensors.types.base import answer


@answer
class VersionFile:
    """A file of a version on CivitAI."""

    id: int
    name: str
    type: str | None = None
    size: int | None = None
    """Bytes."""
    format: str | None = None
    size_kind: str | None = None
    precision: str | None = None
    primary: bool = False
    sha256: str | None = None
    download_url: str | None = None


@answer
class PreviewImage:
    """A picture that shows what a version does."""

    url: str
    width: int | None = None
    height: int | None = None
    nsfw_level: int | None = None


@answer
class ModelVersion:
    """A version of a model on CivitAI."""

    id: int
    name: str
    base_model: str | None = None
    family: str | None = None
    """Ours, as far as the base model tells."""
    published: str | None = None
    availability: str | None = None
    early_access_until: str | None = None
    words: tuple[str, ...] = ()
    """Trigger words."""
    description: str | None = None
    files: tuple[VersionFile, ...] = ()
    images: tuple[PreviewImage, ...] = ()
    here: tuple[str, ...] = ()
    """Names of the files in the library that are this version."""


@answer
class Model:
    """A model on CivitAI, in a list."""

    id: int
    name: str
    type: str | None = None
    creator: str | None = None
    tags: tuple[str, ...] = ()
    base_models: tuple[str, ...] = ()
    """Of its versions."""
    versions: int = 0
    downloads: int = 0
    nsfw: bool = False
    url: str = ""
    here: int = 0
    """How many files in the library are of it."""


@answer
class ModelDetails(Model):
    """A model on CivitAI, with its versions."""

    description: str | None = None
    mode: str | None = None
    """`Archived`, `TakenDown` or nothing."""
    complete: bool = True
    """False when only one of its versions was fetched so far."""
    fetched: str | None = None
    """When CivitAI told this; none when it is not kept."""
    all_versions: tuple[ModelVersion, ...] = ()


@answer
class Found:
    """A model in an online catalog."""

    provider: str
    """`civitai` or `huggingface`."""
    id: str
    """What `tsr get` and `tsr dl` take."""
    name: str
    type: str | None = None
    creator: str | None = None
    base_models: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    downloads: int = 0
    nsfw: bool = False
    url: str = ""
    here: int = 0
    """How many files in the library are of it."""
