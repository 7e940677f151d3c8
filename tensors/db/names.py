"""Which file is meant: by number, path, name, version on CivitAI or the beginning of a hash."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tensors.db.words import as_json
from tensors.errors import FileNotInLibrary, InvalidRequest

if TYPE_CHECKING:
    from tensors.db.database import Database

_NUMBER = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_VERSION = re.compile(r"([1-9][0-9]{0,17})@([1-9][0-9]{0,17})", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{6,64}", re.ASCII | re.IGNORECASE)
LONGEST_GUESS = 256
"""Characters of a name that a suggestion is looked for."""
_SHOWN = 8
EXACT_NAME, EXACT_STEM, _OTHER_CASE, NO_FIT = 0, 1, 2, 4
"""Ranks of a name: with extension, without, the same two in other letters' case."""
_COLUMNS = "files.id, files.directory, files.name, files.stem, files.missing_since IS NULL, files.kind, files.problem"


class Candidate(NamedTuple):
    """A file that may be meant."""

    id: int
    directory: str
    name: str
    stem: str
    present: int
    kind: str = "unknown"
    problem: str | None = None

    @property
    def path(self) -> str:
        return os.path.join(self.directory, self.name)


@dataclass(frozen=True, slots=True)
class Scope:
    """The files that can be meant."""

    condition: str = "TRUE"
    """SQL about `files`; no parameters."""
    accepts: Callable[[Candidate], bool] | None = None
    """What SQL cannot tell."""
    numbers: bool = True
    """Whether a file's number names it."""
    also: tuple[Candidate, ...] = ()
    """Files that are not in the library; their ids are not positive."""

    def select(self, database: Database, condition: str, *parameters: object) -> list[Candidate]:
        """Those of the library for which a condition on `files` holds."""
        query = f"SELECT {_COLUMNS} FROM files WHERE {condition} AND {self.condition}"
        found = [Candidate(*row) for row in database.connection.execute(query, parameters)]
        return found if self.accepts is None else list(filter(self.accepts, found))


EVERYTHING = Scope()


def find_file(database: Database, name: str) -> int:
    """The number of the file that is called so.

    `name` is, the first that fits: its number; its full path; its name, also with the last folders before it and also
    without extension; the same in other letters' case; `MODEL@VERSION`, CivitAI's numbers of what it is linked to; at
    least 6 digits a hash of it begins with. Of several that fit alike, one that is there is meant rather than missing
    ones.

    Raises:
        FileNotInLibrary: when there is none, with a suggestion.
        InvalidRequest: when there are several, with their numbers and paths.
    """
    found = fitting(database, name)
    if not found:
        raise _not_here(database, name)
    return _one(name, found)


def fitting(database: Database, name: str, scope: Scope = EVERYTHING) -> list[Candidate]:
    """The files that can be meant by a name, all equally well: see `find_file`."""
    try:
        name.encode()
    except UnicodeEncodeError:
        # Bytes that are no text: such files are not in the library.
        return []
    found = (
        _by_number(database, name, scope)
        or _by_path(database, name, scope)
        or _by_name(database, name, scope)
        or _by_version(database, name, scope)
    )
    return [file for file in found if file.present] or found or _by_hash(database, name, scope)


def _by_number(database: Database, name: str, scope: Scope) -> list[Candidate]:
    return scope.select(database, "id = ?", int(name)) if scope.numbers and _NUMBER.fullmatch(name) else []


def _by_path(database: Database, name: str, scope: Scope) -> list[Candidate]:
    if not os.path.isabs(name) or "\0" in name:
        return []
    # A scan knows a file by one path; another may lead there through links.
    for path in (os.path.normpath(name), os.path.realpath(name)):
        found = scope.select(database, "directory = ? AND name = ?", *os.path.split(path))
        if found := found or [file for file in scope.also if file.path == path]:
            return found
    return []


def _by_name(database: Database, name: str, scope: Scope) -> list[Candidate]:
    """The files whose names fit best, all equally well."""
    if os.path.isabs(name) or not name:
        return []
    folder, base = os.path.split(os.path.normpath(name))
    found = scope.select(database, "stem IN (?, ?)", base, base.rpartition(".")[0])
    best, files = best_of([*found, *scope.also], folder, base)
    if best < _OTHER_CASE or base.isascii():
        return files
    # SQLite knows the case of ASCII letters only.
    return best_of([*scope.select(database, "TRUE"), *scope.also], folder, base)[1]


def _by_version(database: Database, name: str, scope: Scope) -> list[Candidate]:
    numbers = _VERSION.fullmatch(name)
    if numbers is None:
        return []
    linked = """id IN (SELECT links.file_id FROM versions JOIN links ON links.version_id = versions.id
        WHERE versions.model_id = ? AND versions.id = ?)"""
    return scope.select(database, linked, int(numbers[1]), int(numbers[2]))


def best_of(candidates: Iterable[Candidate], folder: str, base: str) -> tuple[int, list[Candidate]]:
    """The files that a name in a folder fits best, and how well."""
    ranks: dict[int, list[Candidate]] = {NO_FIT: []}
    for candidate in candidates:
        ranks.setdefault(rank(candidate, folder, base), []).append(candidate)
    best = min(ranks)
    return (best, ranks[best]) if best < NO_FIT else (best, [])


def rank(candidate: Candidate, folder: str, base: str) -> int:
    """How well a file's name fits, 0 being best."""
    if _ends_with(candidate.directory, folder):
        if base == candidate.name:
            return EXACT_NAME
        if base == candidate.stem:
            return EXACT_STEM
    if _ends_with(folded(candidate.directory), folded(folder)):
        if folded(base) == folded(candidate.name):
            return _OTHER_CASE
        if folded(base) == folded(candidate.stem):
            return 3
    return NO_FIT


def _ends_with(directory: str, folder: str) -> bool:
    return not folder or directory.endswith(f"{os.sep}{folder}")


def folded(text: str) -> str:
    """Without the difference of case, nor that of how accents are written: some systems take them apart."""
    if text.isascii():
        return text.lower()
    import unicodedata

    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _by_hash(database: Database, name: str, scope: Scope) -> list[Candidate]:
    """The files with a hash that begins so; of copies those that are there, when any is."""
    if not _HASH.fullmatch(name):
        return []
    beginning = name.lower()
    # In hexadecimal nothing follows 'f' but what begins with 'g'.
    rows = database.connection.execute(
        "SELECT file_id, value FROM file_hashes WHERE value >= ? AND value < ?", (beginning, f"{beginning}g")
    )
    values: dict[int, set[str]] = {}
    for file_id, value in rows:
        values.setdefault(file_id, set()).add(value)
    found = scope.select(database, "id IN (SELECT value FROM json_each(?))", as_json(values))
    hashes = {file: values[file.id] for file in sorted(found, key=lambda file: file.id)}
    there = set[str]().union(*(own for file, own in hashes.items() if file.present))
    return [file for file, own in hashes.items() if file.present or not own & there]


def _one(name: str, found: list[Candidate]) -> int:
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
    if len(name) <= LONGEST_GUESS:
        rows = database.connection.execute("SELECT DISTINCT stem FROM files")
        guess = did_you_mean(os.path.splitext(os.path.basename(name))[0], (stem for (stem,) in rows))
    return FileNotInLibrary(f"file {name!r} is not in the library{guess}", hint="tsr db scan")
