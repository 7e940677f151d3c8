"""CivitAI's records back from the rows of the database."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tensors.civitai.records import FileRecord, ImageRecord, ModelRecord, VersionRecord
from tensors.db.words import as_json

if TYPE_CHECKING:
    from tensors.db.database import Database

HASHES = ("sha256", "autov3", "blake3")
"""What files are matched by, in this order: columns of `version_files`."""

_MODEL = """SELECT models.name, type, description, nsfw, nsfw_level, mode, creators.name, creators.image,
    download_count, thumbs_up_count, rating
    FROM models LEFT JOIN creators ON creators.id = creator_id WHERE models.id = ?"""
_TAGS = "SELECT tags.name FROM model_tags JOIN tags ON tags.id = tag_id WHERE model_id = ? ORDER BY position"
_VERSIONS = """SELECT id, model_id, name, position, base_model, air, status, availability, usage_control, created_at,
    updated_at, published_at, early_access_ends_at, description, nsfw_level, download_url, download_count
    FROM versions WHERE id IN (SELECT value FROM json_each(?)) ORDER BY position, id"""
_WORDS = """SELECT version_id, word FROM trigger_words
    WHERE version_id IN (SELECT value FROM json_each(?)) ORDER BY version_id, position"""
_FILES = """SELECT version_id, id, name, type, size, format, size_kind, precision, is_primary, download_url,
        sha256, autov3, blake3, other_hashes
    FROM version_files WHERE version_id IN (SELECT value FROM json_each(?)) ORDER BY version_id, id"""
_IMAGES = """SELECT version_id, url, type, width, height, nsfw_level, blurhash FROM preview_images
    WHERE version_id IN (SELECT value FROM json_each(?)) ORDER BY version_id, position"""


def read_model(database: Database, model_id: int) -> ModelRecord:
    """A model that is stored, with its versions, without its document."""
    execute = database.connection.execute
    (row,) = execute(_MODEL, (model_id,)).fetchall()
    ids = [id for (id,) in execute("SELECT id FROM versions WHERE model_id = ?", (model_id,))]
    return ModelRecord(
        id=model_id,
        name=row[0],
        type=row[1],
        description=row[2],
        nsfw=bool(row[3]),
        nsfw_level=row[4],
        mode=row[5],
        creator=row[6],
        creator_image=row[7],
        download_count=row[8],
        thumbs_up_count=row[9],
        rating=row[10],
        tags=tuple(tag for (tag,) in execute(_TAGS, (model_id,))),
        versions=tuple(read_versions(database, ids)),
    )


def read_versions(database: Database, version_ids: Iterable[int]) -> list[VersionRecord]:
    """Those of the versions that are stored, in CivitAI's order."""
    wanted = (as_json(version_ids),)
    words, images = defaultdict[int, list[str]](list), defaultdict[int, list[ImageRecord]](list)
    for version_id, word in database.connection.execute(_WORDS, wanted):
        words[version_id].append(word)
    for version_id, url, type, width, height, level, blurhash in database.connection.execute(_IMAGES, wanted):
        images[version_id].append(
            ImageRecord(url=url, type=type, width=width, height=height, nsfw_level=level, blurhash=blurhash)
        )
    files = _read_files(database, wanted)
    return [
        VersionRecord(
            id=row[0],
            model_id=row[1],
            name=row[2],
            position=row[3],
            base_model=row[4],
            air=row[5],
            status=row[6],
            availability=row[7],
            usage_control=row[8],
            created_at=row[9],
            updated_at=row[10],
            published_at=row[11],
            early_access_ends_at=row[12],
            description=row[13],
            nsfw_level=row[14],
            download_url=row[15],
            download_count=row[16],
            trained_words=tuple(words[row[0]]),
            files=tuple(files[row[0]]),
            images=tuple(images[row[0]]),
        )
        for row in database.connection.execute(_VERSIONS, wanted)
    ]


def _read_files(database: Database, wanted: tuple[str]) -> defaultdict[int, list[FileRecord]]:
    files = defaultdict[int, list[FileRecord]](list)
    for row in database.connection.execute(_FILES, wanted):
        files[row[0]].append(
            FileRecord(
                id=row[1],
                name=row[2],
                type=row[3],
                size=row[4],
                format=row[5],
                size_kind=row[6],
                precision=row[7],
                primary=bool(row[8]),
                download_url=row[9],
                hashes=_hashes(*row[10:]),
            )
        )
    return files


def _hashes(
    sha256: str | None, autov3: str | None, blake3: str | None, others: str | None
) -> tuple[tuple[str, str], ...]:
    found = {kind: value for kind, value in zip(HASHES, (sha256, autov3, blake3), strict=True) if value}
    return tuple({**found, **json.loads(others or "{}")}.items())
