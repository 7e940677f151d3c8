"""Names of pictures: `{time}_{seed}`, with `-2`, `-3`, ... where that is taken. They sort by time."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from tensors.clock import compact

_NAME = re.compile(
    r"(19[7-9]\d|2[01]\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])-([01]\d|2[0-3])([0-5]\d)([0-5]\d)-(\d{3})"
    r"_\d{1,20}(?:-\d{1,6})?",
    re.ASCII,
)
_YEARS = range(1970, 2200)
END = len(_YEARS) * 12 * 31 * 86_400_000
"""After every moment."""


def is_name(text: str) -> bool:
    """Whether a picture can be called that. Such a name never leads out of a folder."""
    return _NAME.fullmatch(text) is not None


def moment_of(name: str) -> int:
    """The time in a name as a number that grows with it, from 0 to before `END`. Raises `ValueError`."""
    parsed = _NAME.fullmatch(name)
    if parsed is None:
        raise ValueError(f"{name!r} is no picture's name")
    year, month, day, hour, minute, second, millisecond = map(int, parsed.groups())
    return _number(year, month, day, ((hour * 60 + minute) * 60 + second) * 1000 + millisecond)


def moment_at(time: datetime) -> int:
    """The number of a time. Times before 1970 and after 2199 are those years' first and last."""
    utc = time.astimezone(UTC)
    if utc.year not in _YEARS:
        return 0 if utc.year < _YEARS.start else END
    clock = ((utc.hour * 60 + utc.minute) * 60 + utc.second) * 1000 + utc.microsecond // 1000
    return _number(utc.year, utc.month, utc.day, clock)


def _number(year: int, month: int, day: int, clock: int) -> int:
    """Not milliseconds since 1970: a name's 31st of February has a place, too, and this takes a third of the time."""
    return (((year - _YEARS.start) * 12 + month - 1) * 31 + day - 1) * 86_400_000 + clock


def candidates(created: str, seed: int) -> Iterator[str]:
    """The names a picture may get, best first."""
    first = f"{compact(created)}_{seed}"
    yield first
    for number in itertools.count(2):
        yield f"{first}-{number}"
