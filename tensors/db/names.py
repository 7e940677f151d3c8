"""Which file is meant: by number, path, name or the beginning of a hash."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from tensors.errors import FileNotInLibrary, InvalidRequest

if TYPE_CHECKING:
    from tensors.db.database import Database

_NUMBER = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{6,64}", re.ASCII | re.IGNORECASE)
_LONGEST_GUESS = 256
_SHOWN = 8
_OTHER_CASE, _NO_FIT = 2, 4
"""Ranks of a name: with extension, without, the same two in other letters' case."""
_COLUMNS = "files.id, files.directory, files.name, files.stem, files.missing_since IS NULL"


class _Candidate(NamedTuple):
    """A file that may be meant."""

    id: int
    directory: str
    name: str
    stem: str
    present: int

    @property
    def path(self) -> str:
        return os.path.join(self.directory, self.name)


def find_file(database: Database, name: str) -> int:
    """The number of the file that is called so.

    `name` is, the first that fits: its number; its full path; its name, also with the last folders before it and also
    without extension; the same in other letters' case; at least 6 digits a hash of it begins with. Of several that fit
    alike, one that is there is meant rather than missing ones.

    Raises:
        FileNotInLibrary: when there is none, with a suggestion.
        InvalidRequest: when there are several, with their numbers and paths.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        # Bytes that are no text: such files are not in the library.
        raise _not_here(database, name) from None
    found = _by_number(database, name) or _by_path(database, name) or _by_name(database, name)
    if found:
        return _one(name, [candidate for candidate in found if candidate.present] or found)
    if hashed := _by_hash(database, name):
        return _one(name, hashed)
    raise _not_here(database, name)


def _select(database: Database, rest: str, *parameters: object) -> list[_Candidate]:
    rows = database.connection.execute(f"SELECT {_COLUMNS} FROM files {rest}", parameters)
    return [_Candidate(*row) for row in rows]


def _by_number(database: Database, name: str) -> list[_Candidate]:
    return _select(database, "WHERE id = ?", int(name)) if _NUMBER.fullmatch(name) else []


def _by_path(database: Database, name: str) -> list[_Candidate]:
    if not os.path.isabs(name) or "\0" in name:
        return []
    # A scan knows a file by one path; another may lead there through links.
    for path in (os.path.normpath(name), os.path.realpath(name)):
        if found := _select(database, "WHERE directory = ? AND name = ?", *os.path.split(path)):
            return found
    return []


def _by_name(database: Database, name: str) -> list[_Candidate]:
    """The files whose names fit best, all equally well."""
    if os.path.isabs(name) or not name:
        return []
    folder, base = os.path.split(os.path.normpath(name))
    rank, found = _best(_select(database, "WHERE stem IN (?, ?)", base, base.rpartition(".")[0]), folder, base)
    if rank < _OTHER_CASE or base.isascii():
        return found
    # SQLite knows the case of ASCII letters only.
    return _best(_select(database, ""), folder, base)[1]


def _best(candidates: Iterable[_Candidate], folder: str, base: str) -> tuple[int, list[_Candidate]]:
    ranks: dict[int, list[_Candidate]] = {_NO_FIT: []}
    for candidate in candidates:
        ranks.setdefault(_rank(candidate, folder, base), []).append(candidate)
    best = min(ranks)
    return (best, ranks[best]) if best < _NO_FIT else (best, [])


def _rank(candidate: _Candidate, folder: str, base: str) -> int:
    """How well a file's name fits, 0 being best."""
    if _ends_with(candidate.directory, folder):
        if base == candidate.name:
            return 0
        if base == candidate.stem:
            return 1
    if _ends_with(_folded(candidate.directory), _folded(folder)):
        if _folded(base) == _folded(candidate.name):
            return _OTHER_CASE
        if _folded(base) == _folded(candidate.stem):
            return 3
    return _NO_FIT


def _ends_with(directory: str, folder: str) -> bool:
    return not folder or directory.endswith(f"{os.sep}{folder}")


def _folded(text: str) -> str:
    """Without the difference of case, nor that of how accents are written: some systems take them apart."""
    if text.isascii():
        return text.lower()
    import unicodedata

    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _by_hash(database: Database, name: str) -> list[_Candidate]:
    """The files with a hash that begins so; of copies those that are there, when any is."""
    if not _HASH.fullmatch(name):
        return []
    beginning = name.lower()
    # In hexadecimal nothing follows 'f' but what begins with 'g'.
    rows = database.connection.execute(
        f"""SELECT file_hashes.value, {_COLUMNS} FROM file_hashes JOIN files ON files.id = file_hashes.file_id
        WHERE file_hashes.value >= ? AND file_hashes.value < ? ORDER BY files.id""",
        (beginning, f"{beginning}g"),
    )
    hashes: dict[_Candidate, set[str]] = {}
    for value, *columns in rows:
        hashes.setdefault(_Candidate(*columns), set()).add(value)
    there = set[str]().union(*(values for candidate, values in hashes.items() if candidate.present))
    return [candidate for candidate, values in hashes.items() if candidate.present or not values & there]


def _one(name: str, found: list[_Candidate]) -> int:
    if len(found) == 1:
        return found[0].id
    shown = [{"id": candidate.id, "path": candidate.path} for candidate in found[:_SHOWN]]
    listed = ", ".join(f"{candidate.id} {candidate.path}" for candidate in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    raise InvalidRequest(
        f"{name!r} can be {len(found)} files: {listed}{more}",
        hint="name one by its number or its path",
        details={"candidates": shown},
    )


def _not_here(database: Database, name: str) -> FileNotInLibrary:
    from tensors.checks import did_you_mean

    guess = ""
    if len(name) <= _LONGEST_GUESS:
        rows = database.connection.execute("SELECT DISTINCT stem FROM files")
        guess = did_you_mean(os.path.splitext(os.path.basename(name))[0], (stem for (stem,) in rows))
    return FileNotInLibrary(f"file {name!r} is not in the library{guess}", hint="tsr db scan")
