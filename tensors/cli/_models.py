"""Models of CivitAI as text, in lists and as a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tensors.cli._app import table
from tensors.cli._text import first_words, shortened, size

if TYPE_CHECKING:
    from tensors.types.catalog import Found, Model, ModelDetails, ModelVersion, VersionFile

_NOTHING = "-"


def model_rows(models: Iterable[Model | Found]) -> Iterator[str]:
    """Models as lines of columns; a star is before those with files here."""
    return table(map(_columns, models), right=(4,))


def _columns(model: Model | Found) -> tuple[object, ...]:
    return (
        "*" if model.here else " ",
        shortened(model.name),
        model.type or _NOTHING,
        _several(model.base_models),
        f"{model.downloads:,}",
        model.creator or _NOTHING,
        model.id,
    )


def _several(names: tuple[str, ...], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) + more) or _NOTHING


def only(model: ModelDetails, version_id: int) -> ModelDetails:
    """A model with one of its versions. Raises `NotInCatalog`."""
    from dataclasses import replace

    from tensors.errors import NotInCatalog

    found = tuple(version for version in model.all_versions if version.id == version_id)
    if not found:
        raise NotInCatalog(f"model {model.id} has no version {version_id}", hint=f"tsr get {model.id}")
    return replace(model, all_versions=found)


def early_access(until: str | None) -> str | None:
    """The day until which only buyers get it; None when that has passed."""
    from tensors.clock import now

    return until[:10] if until and until > now() else None


def page_of(model: ModelDetails) -> Iterator[str]:
    """A model with its versions, the newest first."""
    rows: list[tuple[str, object]] = [
        ("name", model.name),
        ("number", model.id),
        ("type", model.type),
        ("creator", model.creator),
        ("downloads", f"{model.downloads:,}"),
        ("tags", ", ".join(model.tags)),
        ("mode", model.mode),
        ("adult", "yes" if model.nsfw else None),
        ("page", model.url),
        ("fetched", model.fetched and model.fetched[:10]),
        ("description", model.description and first_words(model.description, 600)),
    ]
    yield from table((name, value) for name, value in rows if value not in (None, ""))
    for version in model.all_versions:
        yield ""
        yield from _version(model, version)


def _version(model: ModelDetails, version: ModelVersion) -> Iterator[str]:
    until = early_access(version.early_access_until)
    heading = (
        f"{model.id}@{version.id}",
        version.name,
        version.base_model,
        version.published and version.published[:10],
        f"early access until {until}" if until else None,
        # Early access that is over, and what anybody can have, are not worth a word.
        None if version.availability in ("Public", "EarlyAccess") else version.availability,
    )
    yield "  ".join(filter(None, heading))
    rows = [
        ("here", ", ".join(version.here)),
        ("trigger words", ", ".join(version.words)),
        ("about", first_words(version.description or "", 300)),
    ]
    yield from (f"  {line}" for line in table((name, value) for name, value in rows if value))
    yield from (f"  {line}" for line in table(map(_file, version.files), right=(1,)))


def _file(file: VersionFile) -> tuple[str, ...]:
    sort = None if file.type == "Model" else file.type
    about = filter(None, (sort, file.format, file.size_kind, file.precision, "main file" if file.primary else None))
    return file.name, size(file.size) if file.size is not None else _NOTHING, ", ".join(about)
