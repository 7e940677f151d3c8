"""Which linked files have a newer version on CivitAI, as far as it is cached."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from tensors.db.words import as_json
from tensors.types.base import Page
from tensors.types.library import Update

if TYPE_CHECKING:
    from tensors.db.database import Database

_LINKED = """
    SELECT stem, models.id, models.name, versions.id, versions.name, versions.base_model, versions.position,
        julianday(coalesce(versions.published_at, versions.created_at))
    FROM files
    JOIN links ON links.file_id = files.id
    JOIN versions ON versions.id = links.version_id
    JOIN models ON models.id = versions.model_id
    WHERE files.missing_since IS NULL AND versions.base_model IS NOT NULL AND models.mode IS NOT 'Archived'
    ORDER BY stem, files.id
"""
_OFFERED = """
    SELECT versions.model_id, versions.id, versions.name, versions.base_model, versions.position,
        julianday(coalesce(versions.published_at, versions.created_at)), versions.published_at,
        CASE WHEN julianday(early_access_ends_at) > julianday(:now) THEN early_access_ends_at END,
        EXISTS (SELECT 1 FROM links WHERE links.version_id = versions.id)
    FROM versions JOIN models ON models.id = versions.model_id
    WHERE models.id IN (SELECT value FROM json_each(:models)) AND versions.base_model IS NOT NULL
        AND coalesce(status, 'Published') = 'Published' AND coalesce(usage_control, 'Download') = 'Download'
        AND (availability IS NOT 'EarlyAccess' OR julianday(early_access_ends_at) IS NOT NULL)
        AND EXISTS (
            SELECT 1 FROM version_files WHERE version_files.version_id = versions.id
            AND coalesce(version_files.type, 'Model') IN ('Model', 'Pruned Model', models.type))
    ORDER BY versions.model_id, versions.position, versions.id
"""


_Line = tuple[int, str, bool]
"""What can follow each other: versions of one model, for one base model, for one purpose."""


class _Linked(NamedTuple):
    file: str
    model_id: int
    model: str
    version_id: int
    version: str
    base_model: str
    position: int
    day: float | None


class _Offered(NamedTuple):
    model_id: int
    version_id: int
    version: str
    base_model: str
    position: int
    day: float | None
    published: str | None
    early_access_until: str | None
    here: int


def updates(database: Database, *, now: str) -> Page[Update]:
    """Files that are there and whose model has a newer version for the same base model, by the files' names.

    A version is newer when CivitAI lists it before the file's own and it was published later. Both are needed: authors
    put an inpainting variant after the version it belongs to, a re-upload keeps its place, and some keep another order.
    A version to inpaint with follows only one of its sort, and the other way round.

    Of the newer ones that are free CivitAI's first is told, unless some file in the library is that version. Only when
    none is free, it is the first one in early access. Left out are versions that are not published, cannot be
    downloaded or have no model file, and those of archived models. `now` is the present.
    """
    linked = [_Linked(*row) for row in database.connection.execute(_LINKED)]
    parameters = {"now": now, "models": as_json({one.model_id for one in linked})}
    offered: dict[_Line, list[_Offered]] = {}
    for one in (_Offered(*row) for row in database.connection.execute(_OFFERED, parameters)):
        offered.setdefault(_line(one), []).append(one)
    found = ((one, _newest(one, offered.get(_line(one), ()))) for one in linked)
    return Page(items=tuple(_update(one, newest) for one, newest in found if newest and not newest.here))


def _line(one: _Linked | _Offered) -> _Line:
    return one.model_id, one.base_model, "inpaint" in one.version.lower()


def _newest(linked: _Linked, offered: Iterable[_Offered]) -> _Offered | None:
    newer = [one for one in offered if _is_newer(one, linked)]
    return next((one for one in newer if one.early_access_until is None), newer[0] if newer else None)


def _is_newer(offered: _Offered, linked: _Linked) -> bool:
    later = offered.day is None or linked.day is None or offered.day > linked.day
    return offered.position < linked.position and later


def _update(linked: _Linked, newest: _Offered) -> Update:
    return Update(
        file=linked.file,
        model_id=linked.model_id,
        model=linked.model,
        version_id=linked.version_id,
        version=linked.version,
        newest_id=newest.version_id,
        newest=newest.version,
        base_model=linked.base_model,
        published=newest.published,
        early_access_until=newest.early_access_until,
    )
