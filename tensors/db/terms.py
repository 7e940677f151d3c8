"""Words of texts, as search compares them: without case, accents, width and punctuation.

`Café` is cafe, wide letters are narrow ones. Chinese and Japanese do not put spaces between words, so there each
character and each pair of neighbours is a word too; `ponyDiffusionV6XL` is also pony, diffusion, v6 and xl.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_SPACELESS = "\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Han, Hiragana and Katakana."""
_WORD = re.compile(rf"[{_SPACELESS}]+|[^\0-/:-@\[-`{{-\x7f{_SPACELESS}]+")
_ASCII_WORD = re.compile("[0-9A-Za-z]+")
_PART = re.compile("[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z]+[0-9]*|[0-9]+")
_BEGINS_SPACELESS = re.compile(f"[{_SPACELESS}]").match
_ACCENTS = re.compile("[\u0300-\u036f\ufe00-\ufe0f]")
"""What Latin, Greek and Cyrillic letters wear, and what says how to draw a symbol."""


class _Separators(dict[int, str | int]):
    """For `str.translate`: punctuation, spaces and what cannot be seen become a space, a symbol a word of its own.

    People put emoji right behind words, and do not ask for them.
    """

    def __missing__(self, code: int) -> str | int:
        kind = unicodedata.category(chr(code))[0]
        self[code] = found = " " if kind in "PZC" else f" {chr(code)} " if kind == "S" else code
        return found


_SEPARATORS = _Separators()


def words(text: str) -> list[str]:
    """The words that a query asks for, each once, in order."""
    return list(dict.fromkeys(_words(_bare(text))))


def name_terms(texts: Iterable[str]) -> list[str]:
    """All that names, tags and the like can be found by, each once."""
    bare = _bare("\n".join(texts))
    return list(dict.fromkeys([*_with_pieces(_words(bare)), *(part.lower() for part in _PART.findall(bare))]))


def text_terms(texts: Iterable[str]) -> list[str]:
    """All that long texts can be found by, each once."""
    return list(dict.fromkeys(_with_pieces(_words(_bare("\n".join(texts))))))


def asked_terms(word: str) -> list[str]:
    """The terms that a long text with this word of a query must have."""
    return _pairs(word) if len(word) > 1 and _BEGINS_SPACELESS(word) else [word]


def _bare(text: str) -> str:
    """A text without accents, width and punctuation."""
    if text.isascii():
        return text
    bare = unicodedata.normalize("NFKC", _ACCENTS.sub("", unicodedata.normalize("NFKD", text)))
    return bare.translate(_SEPARATORS)


def _words(bare: str) -> list[str]:
    if bare.isascii():
        return _ASCII_WORD.findall(bare.lower())
    return [word.casefold() for word in _WORD.findall(bare)]


def _with_pieces(words: list[str]) -> Iterable[str]:
    """Also the characters, and pairs of them, of words in a writing without spaces."""
    spaceless = [word for word in words if len(word) > 1 and not word.isascii() and _BEGINS_SPACELESS(word)]
    return [*words, *(piece for word in spaceless for piece in (*_pairs(word), *word))] if spaceless else words


def _pairs(word: str) -> list[str]:
    return [word[start : start + 2] for start in range(len(word) - 1)]
