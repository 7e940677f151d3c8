"""Fields of a kind that only CivitAI has."""

from __future__ import annotations

import re

from tensors.fields import LARGEST, lines, number, whole

_KIND = re.compile(r"[a-z0-9_.-]{1,32}")
_HEX = re.compile(r"[0-9a-f]+")
_DIGITS = {"sha256": 64, "blake3": 64, "crc32": 8, "autov1": 8, "autov2": 10}


def size(kibibytes: object) -> int | None:
    """Bytes: the site says KiB with a fraction, whose binary digits are exact."""
    value = number(kibibytes)
    return whole(round(value * 1024)) if value is not None and value < LARGEST else None


def permission(value: object) -> bool | None:
    """A yes, a no, or nothing said."""
    return value if isinstance(value, bool) else None


def uses(value: object) -> tuple[str, ...] | None:
    """`allowCommercialUse`: a list, one word, or a list in one text like `{Image,Rent}`; None when nothing is said."""
    if isinstance(value, str):
        value = value.strip().strip("{}").replace('"', "").split(",")
    if not isinstance(value, list):
        return None
    return tuple(use for use in lines(value) if use != "None")


def hashes(value: object) -> tuple[tuple[str, str], ...]:
    """(kind, value), both in lower case. Kinds nobody knows yet are kept; what is no hexadecimal number is not."""
    if not isinstance(value, dict):
        return ()
    found: dict[str, str] = {}
    for name, text in value.items():
        if not isinstance(name, str) or not isinstance(text, str):
            continue
        kind, digest = name.strip().lower(), text.strip().lower()
        digits = _DIGITS.get(kind, len(digest))
        if _KIND.fullmatch(kind) and len(digest) == digits <= 128 and _HEX.fullmatch(digest):
            found.setdefault(kind, digest)
    return tuple(found.items())
