"""CivitAI's records, read tolerantly: shapes differ between years, so every field but the ids may be missing or odd.

A field of an unexpected type is read as missing, and unknown values of `type`, `baseModel` and the like are kept as
they are. A record of a list that cannot be read at all is left out and counted: it never takes the rest with it. The
document as it came is kept too, so that nothing a newer site says is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tensors.civitai.fields import hashes, permission, size, uses
from tensors.civitai.markup import text_of
from tensors.document import BrokenRecord, listing, opened, page
from tensors.fields import entries, flag, identity, line, lines, link, number, table, whole

__all__ = [
    "BrokenRecord",
    "FileRecord",
    "ImageRecord",
    "ModelRecord",
    "VersionRecord",
    "model_of",
    "models_page",
    "version_of",
    "versions_list",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """A file of a version."""

    id: int
    name: str = ""
    type: str | None = None
    """`Model`, `VAE`, `Config`, `Training Data`, ..."""
    size: int | None = None
    """Bytes: CivitAI says KiB with a fraction."""
    format: str | None = None
    """`SafeTensor`, `PickleTensor`, `GGUF`, `Diffusers`, `Other`."""
    size_kind: str | None = None
    """`full` or `pruned`."""
    precision: str | None = None
    """`fp16`, `fp32`, `bf16`, `fp8`, ..."""
    primary: bool = False
    download_url: str | None = None
    pickle_scan: str | None = None
    """`Success`, `Danger`, `Error`, `Pending`, ..."""
    virus_scan: str | None = None
    hashes: tuple[tuple[str, str], ...] = ()
    """(kind, value) in lower case: `("sha256", "7c81...")`, also `autov1`, `autov2`, `autov3`, `blake3`, `crc32`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """A preview picture of a version."""

    url: str
    id: int | None = None
    type: str | None = None
    """`image` or `video`."""
    width: int | None = None
    height: int | None = None
    nsfw_level: int | None = None
    """1 PG, 2 PG-13, 4 R, 8 X, 16 XXX; more for what is blocked."""
    blurhash: str | None = None
    nsfw: bool | None = None
    """What older records say instead of a level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRecord:
    """A version of a model."""

    id: int
    model_id: int
    name: str = ""
    position: int = 0
    """In CivitAI's order, the newest first as a rule."""
    base_model: str | None = None
    base_model_type: str | None = None
    air: str | None = None
    status: str | None = None
    availability: str | None = None
    """`Public`, `EarlyAccess`, `Archived`, ..."""
    usage_control: str | None = None
    """`Download`, `Generation` or `InternalGeneration`."""
    created_at: str | None = None
    updated_at: str | None = None
    published_at: str | None = None
    early_access_ends_at: str | None = None
    description: str | None = None
    """As text: HTML taken off."""
    nsfw_level: int | None = None
    download_url: str | None = None
    download_count: int = 0
    trained_words: tuple[str, ...] = ()
    files: tuple[FileRecord, ...] = ()
    images: tuple[ImageRecord, ...] = ()
    model_name: str | None = None
    """Of the model, where a version is told on its own (`/model-versions/...`)."""
    model_type: str | None = None
    model_nsfw: bool = False
    model_mode: str | None = None
    broken: int = 0
    """Files left out because they could not be read."""
    document: bytes = b""
    """The record as it came, as JSON, where a version is told on its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """A model with all its versions."""

    id: int
    name: str = ""
    type: str | None = None
    """`Checkpoint`, `LORA`, `LoCon`, `DoRA`, `TextualInversion`, `VAE`, `Controlnet`, `Upscaler`, ..., and new ones."""
    description: str | None = None
    """As text: HTML taken off."""
    nsfw: bool = False
    nsfw_level: int | None = None
    mode: str | None = None
    """`Archived` (no files) or `TakenDown` (no images)."""
    creator: str | None = None
    creator_image: str | None = None
    tags: tuple[str, ...] = ()
    download_count: int = 0
    thumbs_up_count: int = 0
    rating: float | None = None
    poi: bool = False
    """Shows a real person."""
    no_credit: bool | None = None
    """May be used without naming the creator; None where nothing is said."""
    derivatives: bool | None = None
    different_license: bool | None = None
    commercial_use: tuple[str, ...] | None = None
    """`Image`, `RentCivit`, `Rent`, `Sell`; an empty one allows none."""
    versions: tuple[VersionRecord, ...] = ()
    broken: int = 0
    """Versions or files left out because they could not be read."""
    document: bytes = b""
    """The record as it came, as JSON."""


def model_of(raw: bytes | object) -> ModelRecord:
    """A model from its JSON, or from what was decoded of it. Raises `BrokenRecord`."""
    said, document = opened(raw)
    fields = _fields(said)
    model_id = _id(fields, "model")
    stats, creator = table(fields.get("stats")), table(fields.get("creator"))
    versions, broken = _versions(fields.get("modelVersions"), model_id)
    return ModelRecord(
        id=model_id,
        name=line(fields.get("name")) or "",
        type=line(fields.get("type")),
        description=text_of(fields.get("description")),
        nsfw=flag(fields.get("nsfw")),
        nsfw_level=whole(fields.get("nsfwLevel")),
        mode=line(fields.get("mode")),
        creator=line(creator.get("username")),
        creator_image=link(creator.get("image")),
        tags=lines(fields.get("tags")),
        download_count=whole(stats.get("downloadCount")) or 0,
        thumbs_up_count=whole(stats.get("thumbsUpCount")) or 0,
        rating=number(stats.get("rating")),
        poi=flag(fields.get("poi")),
        no_credit=permission(fields.get("allowNoCredit")),
        derivatives=permission(fields.get("allowDerivatives")),
        different_license=permission(fields.get("allowDifferentLicense")),
        commercial_use=uses(fields.get("allowCommercialUse")),
        versions=versions,
        broken=broken + sum(version.broken for version in versions),
        document=document,
    )


def version_of(raw: bytes | object, model_id: int | None = None) -> VersionRecord:
    """A version that is told on its own. `model_id` is for one that does not say it. Raises `BrokenRecord`."""
    said, document = opened(raw)
    fields = _fields(said)
    parent = identity(fields.get("modelId")) or identity(table(fields.get("model")).get("id")) or identity(model_id)
    if parent is None:
        raise BrokenRecord(f"version {fields.get('id')!r:.40} does not say which model it is of")
    return _version(fields, parent, document=document)


def models_page(raw: bytes | object) -> tuple[tuple[ModelRecord, ...], str | None, int]:
    """A page's models, the cursor of the next page, and how many models could not be read.

    Raises `BrokenRecord` when it is no page.
    """
    items, metadata = page(raw)
    models, broken = _kept(items, model_of)
    cursor = table(metadata).get("nextCursor")
    # Opaque: a text, in some years a number.
    return models, line(cursor if identity(cursor) is None else str(cursor)), broken


def versions_list(raw: bytes | object) -> tuple[tuple[VersionRecord, ...], int]:
    """A list's versions, and how many could not be read. Raises `BrokenRecord` when it is no list.

    CivitAI tells a version once for each file that was asked for, and null for one without files.
    """
    return _kept(listing(raw), version_of)


def _version(fields: dict[str, object], model_id: int, *, position: int = 0, document: bytes = b"") -> VersionRecord:
    stats, model = table(fields.get("stats")), table(fields.get("model"))
    files, broken = _kept(entries(fields.get("files")), _file)
    return VersionRecord(
        id=_id(fields, "version"),
        model_id=model_id,
        name=line(fields.get("name")) or "",
        position=position,
        base_model=line(fields.get("baseModel")),
        base_model_type=line(fields.get("baseModelType")),
        air=line(fields.get("air")),
        status=line(fields.get("status")),
        availability=line(fields.get("availability")),
        usage_control=line(fields.get("usageControl")),
        created_at=line(fields.get("createdAt")),
        updated_at=line(fields.get("updatedAt")),
        published_at=line(fields.get("publishedAt")),
        early_access_ends_at=line(fields.get("earlyAccessEndsAt")) or line(fields.get("earlyAccessDeadline")),
        description=text_of(fields.get("description")),
        nsfw_level=whole(fields.get("nsfwLevel")),
        download_url=link(fields.get("downloadUrl")),
        download_count=whole(stats.get("downloadCount")) or 0,
        trained_words=lines(fields.get("trainedWords")),
        files=files,
        images=_images(fields.get("images")),
        model_name=line(model.get("name")),
        model_type=line(model.get("type")),
        model_nsfw=flag(model.get("nsfw")),
        model_mode=line(model.get("mode")),
        broken=broken,
        document=document,
    )


def _file(raw: object) -> FileRecord:
    fields = _fields(raw)
    metadata = table(fields.get("metadata"))
    return FileRecord(
        id=_id(fields, "file"),
        name=line(fields.get("name")) or "",
        type=line(fields.get("type")),
        size=size(fields.get("sizeKB")),
        format=line(metadata.get("format")),
        size_kind=line(metadata.get("size")),
        precision=line(metadata.get("fp")),
        primary=flag(fields.get("primary")),
        download_url=link(fields.get("downloadUrl")),
        pickle_scan=line(fields.get("pickleScanResult")),
        virus_scan=line(fields.get("virusScanResult")),
        hashes=hashes(fields.get("hashes")),
    )


def _images(raw: object) -> tuple[ImageRecord, ...]:
    """Those with a URL, each once."""
    found: dict[str, ImageRecord] = {}
    for entry in entries(raw):
        fields = table(entry)
        url = link(fields.get("url"))
        if url is not None and url not in found:
            found[url] = ImageRecord(
                url=url,
                id=identity(fields.get("id")),
                type=line(fields.get("type")),
                width=whole(fields.get("width")),
                height=whole(fields.get("height")),
                nsfw_level=whole(fields.get("nsfwLevel")),
                blurhash=line(fields.get("hash")),
                nsfw=flag(fields["nsfw"]) if "nsfw" in fields else None,
            )
    return tuple(found.values())


def _versions(raw: object, model_id: int) -> tuple[tuple[VersionRecord, ...], int]:
    """A model's versions. The model they are listed under counts, whatever they say themselves."""
    return _kept(enumerate(entries(raw)), lambda entry: _version(_fields(entry[1]), model_id, position=entry[0]))


class _Identified(Protocol):
    @property
    def id(self) -> int: ...


E = TypeVar("E")
R = TypeVar("R", bound=_Identified)


def _kept(items: Iterable[E], read: Callable[[E], R]) -> tuple[tuple[R, ...], int]:
    """What can be read of the items, each id once, and how many cannot."""
    kept: dict[int, R] = {}
    broken = 0
    for item in items:
        try:
            record = read(item)
        except BrokenRecord:
            broken += 1
            continue
        kept.setdefault(record.id, record)
    return tuple(kept.values()), broken


def _fields(raw: object) -> dict[str, object]:
    if not isinstance(raw, dict):
        raise BrokenRecord(f"not a record but {type(raw).__name__}")
    return raw


def _id(fields: dict[str, object], noun: str) -> int:
    found = identity(fields.get("id"))
    if found is None:
        raise BrokenRecord(f"a {noun} whose id is {fields.get('id')!r:.40}")
    return found
