"""How long to wait before a server is asked again."""

from __future__ import annotations

import email.utils
import math
import random
import time

LONGEST_WAIT = 60.0
"""Seconds a server may ask for before the next try."""
_LONGEST_BACK_OFF = 30.0


def back_off(tries: int) -> float:
    """Seconds: 1, 2, 4, ... and up to half as much again, so that many clients do not come back together."""
    return min(2.0 ** (tries - 1) * random.uniform(1.0, 1.5), _LONGEST_BACK_OFF)


def asked_wait(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date; at least one, at most `LONGEST_WAIT`."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 1.0), LONGEST_WAIT) if not math.isnan(seconds) else None
