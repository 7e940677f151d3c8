"""What can be wrong with the library's database, in words. The user's file is left alone: it is said what to do."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from tensors.errors import LibraryError

_LOCKED = (
    "{path} is locked: another program has been writing to it for more than 30 s",
    "wait for the other tsr to finish, or close the program that has the database open",
)
_RIGHTS = "check who may write to it and to {folder}"
_WORDS = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_PROTOCOL: _LOCKED,
    sqlite3.SQLITE_FULL: ("no room is left for {path}; this change was taken back", "make room on that disk"),
    sqlite3.SQLITE_NOTADB: ("{path} is no SQLite database", "{aside}"),
    sqlite3.SQLITE_CORRUPT: ("{path} is damaged: {error}", "{aside}"),
    sqlite3.SQLITE_READONLY: ("{path} cannot be written: {error}", _RIGHTS),
    sqlite3.SQLITE_PERM: ("{path} cannot be used: {error}", _RIGHTS),
    sqlite3.SQLITE_IOERR: ("the disk or share that {path} is on does not work: {error}", "see the system's log"),
}
_OTHER = ("{path} cannot be used: {error}", "try again; if that does not help: tsr db check")


def problem(path: Path, error: sqlite3.DatabaseError) -> LibraryError:
    """What SQLite says about a library, for people."""
    # Errors of the `sqlite3` module itself have no code. The lower byte is the kind, the rest tells more.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_CANTOPEN:
        return _cannot_open(path)
    message, hint = _WORDS.get(code, _OTHER)
    words = {"path": path, "folder": path.parent, "error": error, "aside": _aside(path)}
    return LibraryError(message.format(**words), hint=hint.format(**words))


def backups(path: Path) -> list[Path]:
    """The backups of a library, the newest first."""
    found = [file for file in path.parent.iterdir() if file.name.startswith(f"{path.name}.backup-v")]
    return sorted(found, key=lambda file: (file.stat().st_mtime_ns, file.name), reverse=True)


def _aside(path: Path) -> str:
    try:
        newest = "".join(f"put {file} in its place, or " for file in backups(path)[:1])
    except OSError:
        newest = ""
    return f"{newest}move it away: tsr makes a new one, and `tsr db scan` fills it"


def _cannot_open(path: Path) -> LibraryError:
    """SQLite does not say why, so look."""
    if os.path.isdir(path):
        return LibraryError(f"{path} is a folder, not a database", hint="move it away")
    for needed in (path, path.parent):
        if os.path.exists(needed) and not os.access(needed, os.R_OK | os.W_OK):
            return LibraryError(f"{needed} may not be written by this user", hint="check its owner and rights")
    return LibraryError(f"{path} cannot be opened", hint=f"check the owner and rights of {path.parent}")
