"""The clock, compared with somebody else's."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from datetime import UTC, datetime

from tensors.doctoring.finding import error, ok, skipped
from tensors.types.doctor import Finding

MOST_SECONDS = 300
"""That clocks may differ by. Beyond, signed addresses of downloads and certificates are refused."""
MEND = "sudo timedatectl set-ntp true"


def ahead(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds by which `now` is ahead of what an answer's headers say; None when they do not say.

    `Date` is when the answer was made, `Age` for how long a cache has had it since (RFC 9111).
    """
    try:
        made = email.utils.parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return None
    if made.tzinfo is None:
        made = made.replace(tzinfo=UTC)
    age = headers.get("age", "")
    return (now - made).total_seconds() - (int(age) if age.isdecimal() and len(age) < 10 else 0)


def judge(seconds: float | None, whose: str) -> Finding:
    """What a difference to the clock of `whose` means."""
    if seconds is None:
        return skipped("clock", f"{whose} does not say what time it is")
    if abs(seconds) > MOST_SECONDS:
        return error("clock", f"the clock is {_minutes(seconds)} {_side(seconds)} {whose}'s", MEND)
    return ok("clock", f"the clock is that of {whose}, within {max(abs(seconds), 1):.0f} s")


def _minutes(seconds: float) -> str:
    minutes = abs(seconds) / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:,.0f} h"


def _side(seconds: float) -> str:
    return "ahead of" if seconds > 0 else "behind"
