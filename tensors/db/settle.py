"""What files are in the end: what their owner says, else CivitAI, else what they themselves say.

Tensors are facts, which no wrong choice in CivitAI's forms can change. So CivitAI tells apart what has the same tensors
(`sdxl`, `pony`, `illustrious`, `noobai`), fills in what is unknown and overrules guesses by names of files and folders.
Where it contradicts the file, the file is right.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from tensors.base_models import UNKNOWN, architecture, kind_of_model_type
from tensors.db.words import as_json

if TYPE_CHECKING:
    from tensors.db.database import Database

GUESSES = ("folder", "name")

_ALSO = {"checkpoint": ("diffusion_model",), "vae": ("tae",)}
"""What CivitAI has no types of its own for."""
_SAME_LAYERS = ("flux", "chroma")
"""Their LoRAs have the same names and shapes."""
_MAIN = ("model", "pruned model")
"""Types of a version's files that are the model itself."""

_ROWS = """
    SELECT files.id, kind, kind_from, files.family, family_from, user_kind, found_kind, found_kind_from, user_family,
        found_family, found_family_from, versions.family, models.type, version_files.type
    FROM files
    LEFT JOIN links ON links.file_id = files.id
    LEFT JOIN versions ON versions.id = links.version_id
    LEFT JOIN models ON models.id = versions.model_id
    LEFT JOIN version_files
        ON version_files.version_id = links.version_id AND version_files.id = links.version_file_id
"""
_Answer = tuple[str, str | None]
"""What a file is, and who says so."""


class _Row(NamedTuple):
    id: int
    kind: str
    kind_from: str | None
    family: str
    family_from: str | None
    user_kind: str | None
    found_kind: str
    found_kind_from: str | None
    user_family: str | None
    found_family: str
    found_family_from: str | None
    version_family: str | None
    model_type: str | None
    file_type: str | None


def settle(database: Database, file_ids: Iterable[int] | None) -> None:
    """Bring kind and family of these files, or all, in line with what is known of them now."""
    wanted = "" if file_ids is None else "WHERE files.id IN (SELECT value FROM json_each(?))"
    parameters = () if file_ids is None else (as_json(file_ids),)
    with database.atomic():
        rows = map(_Row._make, database.connection.execute(_ROWS + wanted, parameters))
        changed = [(*_settled(row), row.id) for row in rows if _settled(row) != row[1:5]]
        database.connection.executemany(
            "UPDATE files SET kind = ?, kind_from = ?, family = ?, family_from = ? WHERE id = ?", changed
        )


def _settled(row: _Row) -> tuple[str, str | None, str, str | None]:
    kinds = kinds_of(row.model_type, row.file_type)
    return (
        *settled_kind(row.user_kind, row.found_kind, row.found_kind_from, kinds),
        *settled_family(
            row.user_family,
            row.found_family,
            row.found_family_from,
            row.version_family,
            is_lora=row.found_kind == "lora",
        ),
    )


def kinds_of(model_type: str | None, file_type: str | None) -> tuple[str, ...]:
    """What a file may be by CivitAI's types of its model and of itself, the likeliest first; none when unknown."""
    # A checkpoint's page also has its VAE, its configuration and what it was trained with.
    is_main = file_type is None or file_type.lower() in _MAIN
    kind = kind_of_model_type((model_type if is_main else file_type) or "")
    return (kind, *_ALSO.get(kind, ())) if kind else ()


def settled_kind(user: str | None, found: str, found_from: str | None, civitai: tuple[str, ...]) -> _Answer:
    """The kind of a file, from what its owner says, what it says itself and what it may be by CivitAI."""
    if user:
        return user, "user"
    if not civitai or not _is_open(found, found_from) or found in civitai[1:]:
        return found, found_from
    return civitai[0], "civitai"


def settled_family(
    user: str | None, found: str, found_from: str | None, civitai: str | None, *, is_lora: bool = False
) -> _Answer:
    """The family of a file, from what its owner says, what it says itself and the family of its version."""
    if user:
        return user, "user"
    if civitai is None or civitai == UNKNOWN:
        return found, found_from
    refined = civitai != found and architecture(civitai) == architecture(found)
    if _is_open(found, found_from) or refined or (is_lora and (found, civitai) == _SAME_LAYERS):
        return civitai, "civitai"
    return found, found_from


def _is_open(found: str, found_from: str | None) -> bool:
    """Whether what was found is no more than a guess."""
    return found == UNKNOWN or found_from in GUESSES
