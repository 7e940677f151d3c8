"""Descriptions, from HTML to text."""

from __future__ import annotations

import re
from html import unescape

from tensors.fields import harmless

MOST_MARKUP = 1024 * 1024
"""Characters of HTML that are looked at."""
MOST_TEXT = 64 * 1024
"""Bytes of the text, as UTF-8; more are cut off."""

# Each alternative consumes what it looked at, also when its end is missing: time stays linear for any input.
_UNSEEN = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style|template)\b[^<>]*>.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE
)
_TAG = re.compile(r"</?([a-zA-Z][a-zA-Z0-9-]*)(?=[\s/>])[^<>]*>|<[!?][^<>]*>|</[^<>]*>")
_SPACES = re.compile(r"[^\S\n]+")
_GAPS = re.compile(r" ?\n ?(?:\n ?)+")
_BREAKS = re.compile(r" ?\n ?")
_ODD_BREAKS = re.compile(r"\r\n?|[\v\f\x85\u2028\u2029]")

_ITEM = "\0"
"""Stands for the beginning of a list item: the text itself has none of these left."""
_ITEMS = re.compile(r"[ \n]*\0[ \n]*")
_BETWEEN = {"br": "\n", "li": _ITEM, "tr": "\n", "td": " ", "th": " ", "dt": "\n", "dd": "\n"}
_PARAGRAPH = re.compile(
    "address|article|aside|blockquote|details|div|dl|figcaption|figure|footer|h[1-6]|header|hr|main|nav|ol|p|pre|section"
    "|summary|table|ul"
)


def _in_place_of(tag: re.Match[str]) -> str:
    name = (tag[1] or "").lower()
    if _PARAGRAPH.fullmatch(name):
        return "\n\n"
    return "" if tag[0].startswith("</") else _BETWEEN.get(name, "")


def text_of(markup: object) -> str | None:
    """Paragraphs and list items as lines, without scripts and control characters; None when nothing is left.

    A text without any tag keeps its own line breaks.
    """
    if not isinstance(markup, str):
        return None
    text = _ODD_BREAKS.sub("\n", harmless(markup[:MOST_MARKUP]))
    if "<" in text:
        text = _UNSEEN.sub(" ", text)
        if _TAG.search(text):
            text = _TAG.sub(_in_place_of, text.replace("\n", " "))
    if "&" in text:
        text = unescape(text)
    text = _BREAKS.sub("\n", _GAPS.sub("\n\n", _SPACES.sub(" ", text)))
    text = harmless(_ITEMS.sub("\n- ", text))
    return text.encode()[:MOST_TEXT].decode(errors="ignore").strip() or None
