"""Times as they are written: RFC 3339 in UTC, to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1)
"""In UTC, without saying so: lists have hundreds of times, and this takes half as long."""


def now() -> str:
    """The present, such as `2026-11-22T18:49:01.123Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_epoch_ms(milliseconds: int) -> str:
    """Milliseconds since 1970 as such a text."""
    return f"{(_EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec='milliseconds')}Z"


def compact(moment: str) -> str:
    """A time as part of a file name: `20261122-184901-123`."""
    date, _, clock = moment.rstrip("Z").partition("T")
    return f"{date.replace('-', '')}-{clock.replace(':', '').replace('.', '-')}"
