"""Names for files that others chose, safe on Linux, macOS and Windows."""

from __future__ import annotations

import re
import unicodedata

from tensors.errors import DownloadRefused

LONGEST = 240
"""Bytes in UTF-8: file systems take 255, and a part of a download has a longer name."""

_LONGEST_PATH = 1024
_HARMFUL = ("Cc", "Cf", "Cn", "Cs")
"""Control characters, marks that cannot be seen or turn the direction of a text, what is no character."""
_RESERVED = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3])", re.IGNORECASE)
_SPECIAL = re.compile(r'[<>:"|?*]')
_DOTS = re.compile(r"\.{2,}")
_EXTENSION = re.compile(r"\.(?:safetensors|gguf)\Z", re.IGNORECASE | re.ASCII)


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
