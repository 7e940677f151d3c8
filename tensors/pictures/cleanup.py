"""What goes when a gallery gets too old or too large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from tensors.checks import check_fields
from tensors.pictures.index import Row
from tensors.pictures.trash import Deleted

_DAY = 86_400_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How much a gallery keeps. Without limits: everything."""

    max_size: Annotated[int, Ge(0)] | None = None
    """Bytes of all pictures and their sidecars, the trash included."""
    max_age: Annotated[float, Ge(0)] | None = None
    """Days since a picture was saved, imported or restored."""
    keep_favourites: bool = True
    """Favourites stay, however old they are and however large the gallery is; in the trash until it expires."""
    trash_days: Annotated[float, Ge(0)] | None = None
    """Days after which what was deleted is removed for good."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in this order."""

    trash: tuple[str, ...]
    """Pictures of the gallery that go to the trash."""
    purge: tuple[str, ...]
    """Pictures in the trash, those just moved there included, that are removed for good."""
    drop: tuple[str, ...]
    """Pictures of the gallery that are removed for good: the trash is empty, and it still is too large."""
    freed: int
    """Bytes."""
    size: int
    """Bytes of what is left."""


def plan(
    pictures: Sequence[Row], deleted: Sequence[Deleted], policy: Policy, *, now: int, kept: frozenset[str] = frozenset()
) -> Plan:
    """What a policy wants, `now` in nanoseconds since 1970. `kept`: favourites in the trash.

    The oldest go first; from the trash what was deleted first. Of the same age the one whose name sorts first.
    """
    oldest = sorted(pictures, key=lambda row: (row.arrived, row.id))
    loose = [row for row in oldest if not (policy.keep_favourites and row.favourite)]
    old = [row for row in loose if policy.max_age is not None and row.arrived < now - policy.max_age * _DAY]
    size = before = sum(row.bytes for row in pictures) + sum(each.bytes for each in deleted)
    limit = size if policy.max_size is None else policy.max_size
    purge: list[str] = []
    in_trash: list[Deleted] = []
    for each in sorted(deleted):
        if policy.trash_days is not None and each.when <= now - policy.trash_days * _DAY:
            purge.append(each.id)
            size -= each.bytes
        elif not (policy.keep_favourites and each.id in kept):
            in_trash.append(each)
    for name, length in [*((each.id, each.bytes) for each in in_trash), *((row.id, row.bytes) for row in old)]:
        if size > limit:
            purge.append(name)
            size -= length
    drop: list[str] = []
    gone = {row.id for row in old}
    for row in loose:
        if size > limit and row.id not in gone:
            drop.append(row.id)
            size -= row.bytes
    return Plan(tuple(row.id for row in old), tuple(purge), tuple(drop), before - size, size)
