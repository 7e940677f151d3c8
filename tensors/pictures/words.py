"""What people type to find pictures: `cat`, `photo*`, `-dog`."""

from __future__ import annotations

from typing import NamedTuple

from tensors.db.terms import asked_terms, words
from tensors.errors import InvalidRequest

_MOST_WORDS = 50


class Asked(NamedTuple):
    """FTS5 queries; empty when there is nothing to look for."""

    wanted: str
    """What a picture must have."""
    unwanted: str
    """What it must not have."""


def asked(text: str) -> Asked:
    """The queries of a text. Raises `InvalidRequest`."""
    wanted: dict[str, None] = {}
    unwanted: dict[str, None] = {}
    for piece in text.split():
        excluded = piece.startswith("-")
        terms = _terms(piece.removeprefix("-"))
        if excluded and terms:
            unwanted[f"({' AND '.join(terms)})"] = None
        elif not excluded:
            wanted.update(dict.fromkeys(terms))
    if len(wanted) + len(unwanted) > _MOST_WORDS:
        raise InvalidRequest(f"a search has at most {_MOST_WORDS} words, not {len(wanted) + len(unwanted)}")
    if text.strip() and not wanted and not unwanted:
        raise InvalidRequest(f"text {text!r:.60} has no word to look for")
    return Asked(" AND ".join(wanted), " OR ".join(unwanted))


def _terms(piece: str) -> list[str]:
    """A piece between spaces may be several words: `blue-eyed`. Of these the last may be a beginning."""
    found = [[f'"{term}"' for term in asked_terms(word)] for word in words(piece)]
    if found and piece.endswith("*"):
        found[-1][-1] += "*"
    return [term for terms in found for term in terms]
