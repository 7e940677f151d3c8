"""Texts of others made fit for a terminal, and numbers for people."""

from __future__ import annotations

_SPACES = frozenset("\t\n\v\f\r\x85\u2028\u2029")
_REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""These make a terminal show a text in another order than it is in."""

_SMALLEST_UNIT = 1000


def plain(text: str) -> str:
    """A text on one line that does nothing to a terminal.

    Line breaks and tabs become spaces; other control characters and what is no character (bytes of a file name that are
    no UTF-8) become their escapes, such as `\\x1b`.
    """
    return text if text.isprintable() else "".join(map(_plain_character, text))


def plain_lines(text: str) -> str:
    """The same for a text of several lines."""
    return "\n".join(map(plain, text.split("\n")))


def _plain_character(char: str) -> str:
    if char in _SPACES:
        return " "
    code = ord(char)
    if code < 0x20 or 0x7F <= code < 0xA0:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:
        # How Python hands on a byte that is no text.
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if char in _REORDERING or 0xD800 <= code < 0xE000 else char


def width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    def of(char: str) -> int:
        if category(char) in ("Mn", "Me", "Cf"):
            return 0
        return 2 if east_asian_width(char) in "WF" else 1

    return sum(map(of, text))


def shortened(text: str, most: int = 48) -> str:
    """The text, of which the middle is left out when it is longer than `most`: both ends of a name tell something."""
    if len(text) <= most:
        return text
    tail = (most - 3) // 2
    return f"{text[: most - 3 - tail]}...{text[-tail:]}"


def first_words(text: str, most: int) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3].rstrip() + "..."


def _scaled(number: float, units: tuple[str, ...]) -> str:
    for unit in units:
        # Three digits, and never '1000' of what is one of the next.
        for limit, digits in ((9.995, 2), (99.95, 1), (999.5, 0)):
            if number < limit:
                return f"{number:.{digits}f} {unit}"
        number /= _SMALLEST_UNIT
    return f"{number * _SMALLEST_UNIT:,.0f} {units[-1]}"


def size(count: float) -> str:
    """Bytes: `999 B`, `1.23 kB`, `144 MB`, `6.94 GB`."""
    return f"{count:.0f} B" if count < 999.5 else _scaled(count / _SMALLEST_UNIT, ("kB", "MB", "GB", "TB", "PB"))


def amount(count: int) -> str:
    """A large number: `860 M`, `2.57 B`."""
    return str(count) if count < _SMALLEST_UNIT else _scaled(count / _SMALLEST_UNIT, ("K", "M", "B", "T"))


def counted(count: int, noun: str) -> str:
    """`1 file`, `1,234 files`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(parts: list[tuple[int, str]]) -> str:
    """`12 new, 1 changed`, without what there is none of."""
    return ", ".join(f"{count:,} {what}" for count, what in parts if count)


def duration(seconds: float) -> str:
    """`50 s`, `6 min`, `2 h 5 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def amount_done(done: int, total: int, unit: str) -> str:
    """`120 of 1,234 files`, `1.20 GB of 6.94 GB`; without a total only what is done."""
    if unit == "bytes":
        return f"{size(done)} of {size(total)}" if total else size(done)
    return f"{done:,} of {counted(total, unit.removesuffix('s'))}" if total else counted(done, unit.removesuffix("s"))
