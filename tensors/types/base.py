"""How the types are made, and what every noun has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, dataclass_transform

T = TypeVar("T")


def _record(config: Mapping[str, Any]) -> Callable[[type[T]], type[T]]:
    """A frozen dataclass that pydantic, where it reads it, reads with this configuration."""

    def make(cls: type[T]) -> type[T]:
        made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
        setattr(made, "__pydantic_config__", config)  # noqa: B010 - no annotation: it is not a field
        return made

    return make


@dataclass_transform(frozen_default=True, kw_only_default=True)
def request(cls: type[T]) -> type[T]:
    """A type that comes in: strict, and its fields' docs are in the API's schema."""
    return _record({"extra": "forbid", "use_attribute_docstrings": True, "allow_inf_nan": False})(cls)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def answer(cls: type[T]) -> type[T]:
    """A type that goes out: tolerant, and its fields' docs are in the API's schema."""
    return _record({"use_attribute_docstrings": True})(cls)


@answer
class Page(Generic[T]):
    """A part of a list; `next_cursor` fetches the next."""

    items: tuple[T, ...]
    next_cursor: str | None = None


@answer
class Deleted:
    """What was deleted."""

    id: str
