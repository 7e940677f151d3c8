"""Findings, in few words."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from tensors.types.doctor import Finding


def ok(check: str, message: str) -> Finding:
    """All is well."""
    return _finding(check, "ok", message)


def warning(check: str, message: str, command: str | None = None) -> Finding:
    """It works, but not as well as it could, or not for long."""
    return _finding(check, "warning", message, command)


def error(check: str, message: str, command: str | None = None) -> Finding:
    """Something that the settings ask for does not work."""
    return _finding(check, "error", message, command)


def skipped(check: str, message: str) -> Finding:
    """It cannot be known, or does not matter here."""
    return _finding(check, "skipped", message)


def _finding(check: str, state: str, message: str, command: str | None = None) -> Finding:
    return Finding(check=check, state=state, message=_text(message), command=_text(command) if command else None)


def _text(words: str) -> str:
    """Names of files may have bytes that are no text; what is sent must be."""
    return words.encode("utf-8", "backslashreplace").decode()


def shell(*words: str | Path) -> str:
    """A command line of these words."""
    return shlex.join(map(str, words))


def gigabytes(count: float) -> str:
    """Bytes: `41.3 GB`."""
    return f"{count / 1e9:.1f} GB"


def listed(words: Iterable[object]) -> str:
    """`one, two, three`."""
    return ", ".join(map(str, words))
