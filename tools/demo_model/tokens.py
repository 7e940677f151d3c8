"""Captions as token ids: exactly what the engine hands to the network for the same prompt."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from tools.demo_model.words import IDS, PAD, PREFIX, SPACE, SUFFIX, TEXT_TOKENS, UNTRAINED

# The part of Qwen2's rule for cutting a text that matters for English words and punctuation. A word takes the one
# character in front of it along, which is how " red" and "red" become two different tokens.
_PIECE = re.compile(r"[^\r\nA-Za-z0-9]?[A-Za-z]+|[0-9]| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


class UnknownWordError(ValueError):
    """A caption holds a word whose token ids are not in the table."""

    def __init__(self, word: str) -> None:
        super().__init__(
            f"the word {word.strip() or word!r} is not in the table of tools/demo_model/words.py; "
            "use the words of the model card, or add its id there"
        )
        self.word = word


def encode(caption: str) -> list[int]:
    """Token ids of a caption between the engine's prefix and suffix, without pads.

    The empty caption (what classifier-free guidance compares with) is prefix, a lone space, suffix. Raises
    `UnknownWordError` for a word outside the table: how many tokens it has, only the full vocabulary knows.
    """
    ids: list[int] = []
    for piece in _PIECE.findall(" " + caption):
        if piece == " ":
            ids.append(SPACE)
        elif piece in IDS:
            ids.append(IDS[piece])
        elif piece in UNTRAINED:
            ids.append(UNTRAINED[piece])
        else:
            raise UnknownWordError(piece)
    return [*PREFIX, *ids, *SUFFIX]


def pad(ids: Sequence[int], length: int = TEXT_TOKENS) -> list[int]:
    """The ids filled up with pads to `length`. Longer ones stay as they are: the engine does not cut either."""
    return [*ids, *[PAD] * (length - len(ids))]


def with_unknown_words(ids: Sequence[int], rng: random.Random, count: int) -> list[int]:
    """The ids of a caption with `count` words of zero rows put between its own words."""
    result = list(ids)
    for _ in range(count):
        place = rng.randint(len(PREFIX), len(result) - len(SUFFIX))
        result.insert(place, rng.choice(tuple(UNTRAINED.values())))
    return result
