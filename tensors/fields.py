"""Single fields of a site's answers, read tolerantly: what has another type than expected is read as missing."""

from __future__ import annotations

import math
import re
from typing import Any

LARGEST = 2**63 - 1
"""Of an integer that SQLite keeps as one."""
LONGEST = 8192
"""Characters of a text that goes into one line; more are cut off."""

_HARMFUL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ufeff\u202a-\u202e\u2066-\u2069]")
"""Control characters, which a terminal obeys, and marks that turn the direction of what follows them."""
_BREAKS = re.compile(r"[\t-\r\u2028\u2029]+")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_LINK = re.compile(r"https?://[^\s\"<>\\^`{|}]+")
_NOT_SET = frozenset({"", "0", "false", "no", "none"})


def encodable(value: str) -> str:
    """The text without halves of surrogate pairs, which no encoding has."""
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", value)


def harmless(value: str) -> str:
    """The text without what breaks a database or a terminal; its line breaks stay."""
    return value if value.isprintable() else encodable(_HARMFUL.sub("", value))


def line(value: object) -> str | None:
    """A text in one line; None for an empty one and for anything else."""
    if not isinstance(value, str):
        return None
    if not value.isprintable():
        value = _BREAKS.sub(" ", harmless(value))
    return value[:LONGEST].strip() or None


def lines(value: object) -> tuple[str, ...]:
    """A list of texts, or of `{"name": text}`, or one text alone; each once."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        return ()
    found = (line(entry.get("name") if isinstance(entry, dict) else entry) for entry in value)
    return tuple(dict.fromkeys(text for text in found if text))


def link(value: object) -> str | None:
    """An http or https URL."""
    text = line(value)
    return text if text and len(text) < LONGEST and _LINK.fullmatch(text) else None


def whole(value: object) -> int | None:
    """An integer from 0 to 2**63 - 1."""
    return value if type(value) is int and 0 <= value <= LARGEST else None


def identity(value: object) -> int | None:
    """A usable id: an integer from 1 to 2**63 - 1."""
    return whole(value) or None


def number(value: object) -> float | None:
    """A number that is none of infinity and NaN."""
    if type(value) is int:
        return float(value) if abs(value) <= LARGEST else None
    return value if isinstance(value, float) and math.isfinite(value) else None


def flag(value: object) -> bool:
    """A yes or no; older answers say it in words, `None` meaning no and a level such as `Mature` yes."""
    if isinstance(value, str):
        return value.strip().lower() not in _NOT_SET
    return isinstance(value, bool | int | float) and bool(value)


def table(value: object) -> dict[str, Any]:
    """An object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def entries(value: object) -> list[Any]:
    """A list; an empty one for anything else."""
    return value if isinstance(value, list) else []
