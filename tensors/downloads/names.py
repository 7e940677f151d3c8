"""Names for files that others chose, safe on Linux, macOS and Windows."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from urllib.parse import unquote_to_bytes

from tensors.errors import DownloadRefused

LONGEST = 240
"""Bytes in UTF-8: file systems take 255, and a part of a download has a longer name."""

_LONGEST_HEADER = 8192
_LONGEST_PATH = 1024
_HARMFUL = ("Cc", "Cf", "Cn", "Cs")
"""Control characters, marks that cannot be seen or turn the direction of a text, what is no character."""
_RESERVED = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3])", re.IGNORECASE)
_SPECIAL = re.compile(r'[<>:"|?*]')
_DOTS = re.compile(r"\.{2,}")
_EXTENSION = re.compile(r"\.(?:safetensors|gguf)\Z", re.IGNORECASE | re.ASCII)

# RFC 6266, with what servers get wrong: no closing quote, spaces around the sign. A quoted text is passed as a whole:
# nothing in another parameter looks like a file name.
_PARAMETER = re.compile(r';\s*([\w.-]+\*?)\s*=\s*("(?:[^"\\]|\\.)*(?:"|\Z)|[^;"]*)', re.ASCII | re.DOTALL)
_EXTENDED = re.compile(r"([\w-]+)'[^']*'(.*)", re.ASCII | re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_CHARSETS = ("utf-8", "iso-8859-1", "us-ascii")


def is_model_name(name: str) -> bool:
    """Whether it ends in `.safetensors` or `.gguf`, in any case."""
    return bool(_EXTENSION.search(name))


def is_confined(path: str) -> bool:
    """Whether a path in a repository stays in it, is one line of text, and means the same in an address."""
    parts = path.split("/")
    odd = not path.isprintable() or any(char in path for char in "\\?#\ufffd") or len(path) > _LONGEST_PATH
    return not odd and all(part == part.strip() and part not in ("", ".", "..") for part in parts)


def safe_name(said: str | None, fallback: str) -> str:
    """The name for a file that somebody else calls `said`; `fallback` where nothing of that can be used.

    It has neither folders nor characters that a file system, a shell's user or a terminal stumbles over, is not hidden,
    at most `LONGEST` bytes and ends in `.safetensors` or `.gguf`. Reserved on Windows:
    learn.microsoft.com/windows/win32/fileio/naming-a-file.

    Raises:
        DownloadRefused: for any other extension.
    """
    text = _plain(said or "") or _plain(fallback)
    stem, dot, end = text.rpartition(".")
    if not is_model_name(text):
        raise DownloadRefused(
            f"a file called {text[:100]!r} is not taken", hint="only .safetensors and .gguf; others can run any code"
        )
    return _fitted(stem, dot + end.lower())


def second_name(name: str, version_id: int, file_id: int | None = None) -> str:
    """For a file whose safe name another one has: `name.V1318.safetensors`, of several in a version `name.V1318-F55`.

    Always the same for the same file.
    """
    stem, dot, end = name.rpartition(".")
    return _fitted(stem, f".V{version_id}{'' if file_id is None else f'-F{file_id}'}{dot}{end}")


def name_in_disposition(header: str) -> str | None:
    """The file name in a `Content-Disposition` (RFC 6266), as it was said: not safe. None when there is none.

    `filename*` counts before `filename`; for the latter also UTF-8 that was read as Latin-1, and RFC 2047.
    """
    if len(header) > _LONGEST_HEADER:
        return None
    found: dict[str, str] = {}
    for key, value in _PARAMETER.findall(f";{header}"):
        found.setdefault(key.lower(), value.strip())
    extended = _extended(found["filename*"]) if "filename*" in found else None
    return extended or _quoted(found.get("filename", "")) or None


def _plain(text: str) -> str:
    """The last part of a path, without what is not for names; empty when nothing or only an extension is left."""
    # A line break separates words, and is a control character too.
    text = "".join(char for char in " ".join(text.split()) if unicodedata.category(char) not in _HARMFUL)
    text = unicodedata.normalize("NFC", text).replace("\\", "/").rpartition("/")[2]
    text = _DOTS.sub(".", _SPECIAL.sub("_", text)).rstrip(" .")
    end = _EXTENSION.search(text)
    # A hyphen at the beginning would make an option of it.
    stem = " ".join((text[: end.start()] if end else text).lstrip(" .-").split())
    return stem + end[0] if stem and end else stem


def _fitted(stem: str, end: str) -> str:
    """Both together, the stem cut at a character."""
    stem = stem.rstrip(" .")
    if _RESERVED.fullmatch(stem.partition(".")[0].rstrip()):
        stem = f"_{stem}"
    room = LONGEST - len(end.encode())
    return stem.encode()[:room].decode("utf-8", "ignore").rstrip(" .") + end


def _extended(value: str) -> str | None:
    """`UTF-8'en'a%20b` (RFC 8187); None when it is no such thing."""
    found = _EXTENDED.fullmatch(value.strip('"'))
    if not found or found[1].lower() not in _CHARSETS:
        return None
    try:
        return unquote_to_bytes(found[2]).decode(found[1])
    except ValueError:
        # Bytes that are not in the charset.
        return None


def _quoted(value: str) -> str:
    if value.startswith('"'):
        value = _ESCAPE.sub(r"\1", value[1:].removesuffix('"'))
    with suppress(ValueError):
        # UTF-8 that was read as Latin-1, as HTTP has it.
        value = value.encode("latin-1").decode("utf-8")
    return _encoded_words(value) if value.startswith("=?") else value


def _encoded_words(value: str) -> str:
    """RFC 2047, which is not for this header, and sent nevertheless."""
    from email.errors import HeaderParseError
    from email.header import decode_header, make_header

    try:
        parts = decode_header(value)
        known = all(charset is None or charset in _CHARSETS for _, charset in parts)
        return str(make_header(parts)) if known else value
    except (HeaderParseError, ValueError):
        return value
