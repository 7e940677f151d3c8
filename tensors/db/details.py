"""CivitAI's records as they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tensors.base_models import family_of_base_model
from tensors.types.catalog import ModelDetails, ModelVersion, PreviewImage, VersionFile

if TYPE_CHECKING:
    from tensors.civitai.records import FileRecord, ModelRecord, VersionRecord

CIVITAI = "https://civitai.com"
_NOWHERE: Mapping[int, Sequence[str]] = {}


def details_of_record(
    record: ModelRecord,
    here: Mapping[int, Sequence[str]] = _NOWHERE,
    *,
    site: str = CIVITAI,
    complete: bool = True,
    fetched: str | None = None,
) -> ModelDetails:
    """A model for showing. `here`: names of the files that are its versions, by version."""
    return ModelDetails(
        id=record.id,
        name=record.name,
        type=record.type,
        creator=record.creator,
        tags=record.tags,
        base_models=tuple(dict.fromkeys(version.base_model for version in record.versions if version.base_model)),
        versions=len(record.versions),
        downloads=record.download_count,
        nsfw=record.nsfw,
        url=f"{site}/models/{record.id}",
        here=sum(len(here.get(version.id, ())) for version in record.versions),
        description=record.description,
        mode=record.mode,
        complete=complete,
        fetched=fetched,
        all_versions=tuple(_version(version, here.get(version.id, ())) for version in record.versions),
    )


def _version(record: VersionRecord, here: Sequence[str]) -> ModelVersion:
    return ModelVersion(
        id=record.id,
        name=record.name,
        base_model=record.base_model,
        family=family_of_base_model(record.base_model) if record.base_model else None,
        published=record.published_at,
        availability=record.availability,
        early_access_until=record.early_access_ends_at,
        words=record.trained_words,
        description=record.description,
        # The file that most people want first.
        files=tuple(_file(file) for file in sorted(record.files, key=lambda file: (not file.primary, file.id))),
        images=tuple(
            PreviewImage(url=image.url, width=image.width, height=image.height, nsfw_level=image.nsfw_level)
            for image in record.images
        ),
        here=tuple(here),
    )


def _file(record: FileRecord) -> VersionFile:
    return VersionFile(
        id=record.id,
        name=record.name,
        type=record.type,
        size=record.size,
        format=record.format,
        size_kind=record.size_kind,
        precision=record.precision,
        primary=record.primary,
        sha256=dict(record.hashes).get("sha256"),
        download_url=record.download_url,
    )
