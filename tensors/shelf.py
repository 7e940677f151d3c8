"""What can be drawn with: the checkpoints and LoRAs of the library, the model that ships, and the one the owner named.

New files need no scan: the folders are looked through, without hashing, before a list and before anything is said to be
missing. A name that is known costs one look at its file. May be called from any thread.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tensors.base_models import FAMILIES, UNKNOWN
from tensors.config import Config
from tensors.db.checkpoints import After, Row, list_rows, load_row, lora_entry, model_entry, words_by_file, words_in
from tensors.db.finding import Place, examine, signed
from tensors.db.model_names import KIND_WORDS, LORA, MODEL, Names, Noun
from tensors.db.names import Candidate, best_of, folded
from tensors.errors import InvalidRequest, LibraryError, LoraNotFound, ModelNotFound
from tensors.fitting import fits as fits_family
from tensors.fitting import misfits
from tensors.header import EXTENSIONS
from tensors.layouts import Hint, hint
from tensors.library import Library
from tensors.models import DEMO_MODEL, demo_dir
from tensors.types.base import Page
from tensors.types.models import LoraEntry, ModelEntry

if TYPE_CHECKING:
    from tensors.db.database import Database
    from tensors.db.walk import Folder
    from tensors.types.jobs import Progress

FRESH_SECONDS = 5.0
"""For so long a list relies on the last look through the folders."""
MOST = 500
"""Entries of one page."""

_CURSOR = re.compile(r"-?[1-9][0-9]{0,17}", re.ASCII)
_Entry = TypeVar("_Entry", ModelEntry, LoraEntry)


@dataclass(frozen=True, slots=True)
class _Extra:
    """A file that is there though no scan finds it."""

    path: Path
    hint: Hint
    builtin: bool
    id: int
    """Below zero: no file of the library has it."""


@dataclass(frozen=True, slots=True)
class _View:
    """The names of a noun's files at one moment, with those of the extras that count."""

    names: Names
    extras: tuple[Row, ...]
    builtin: frozenset[int]
    """Ids of those that ship."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a list."""

    rows: Sequence[Row]
    names: dict[int, str]
    words: dict[int, tuple[str, ...]]
    builtin: frozenset[int]
    next_cursor: str | None


class Shelf:
    """Checkpoints and LoRAs by name."""

    def __init__(self, library: Library, config: Config, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` tells seconds."""
        self._library = library
        self._site: str = config["api.civitai_url"].rstrip("/")
        self._clock = clock
        self._lock = threading.Lock()
        self._looked: float | None = None
        """When the last look through the folders began."""
        self._folders = library.folders()
        self._folder_kinds: dict[str, str | None] = {}
        self._named: str = config["engine.model"] or DEMO_MODEL
        self._extras = {MODEL: _extra_models(self._named), LORA: _extra_loras()}
        self._seen: dict[int, tuple[Place, Row]] = {}

    def models(
        self, *, query: str | None = None, family: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page[ModelEntry]:
        """Checkpoints and diffusion models by name; `query`: words, each in the name of the file, its model or version.

        Raises `InvalidRequest` for a limit outside 1..500 or a foreign cursor, `LibraryError`.
        """
        part = self._part(MODEL, query, family, (), limit, cursor)
        ids = [row.candidate.id for row in part.rows]
        items = [
            model_entry(row, part.names[number], builtin=number in part.builtin)
            for number, row in zip(ids, part.rows, strict=True)
        ]
        return Page(items=tuple(items), next_cursor=part.next_cursor)

    def loras(
        self,
        *,
        query: str | None = None,
        family: str | None = None,
        fits: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[LoraEntry]:
        """LoRAs by name. `fits`: a checkpoint's family; those that cannot fit it are left out.

        Raises `InvalidRequest`, also for a family to fit that is unknown, and `LibraryError`.
        """
        if fits is not None and fits not in (*FAMILIES, UNKNOWN):
            raise InvalidRequest(f"unknown family {fits!r}", hint=f"families: {', '.join(FAMILIES)}")
        part = self._part(LORA, query, family, misfits(fits) if fits else (), limit, cursor)
        items = []
        for row in part.rows:
            number = row.candidate.id
            entry = lora_entry(row, part.names[number], part.words.get(number, ()), builtin=number in part.builtin)
            fitting = fits_family(row.family, fits, lora_variant=row.variant) if fits else None
            items.append(replace(entry, fits=fitting))
        return Page(items=tuple(items), next_cursor=part.next_cursor)

    def model(self, name: str) -> ModelEntry:
        """The checkpoint that is called so: by stem, last folders, full path, hash or `MODEL@VERSION`.

        It may be broken: `usable` says so. Raises `ModelNotFound` with a suggestion, `InvalidRequest` when several are
        called so, `LibraryError` unless it is one that needs no library.
        """
        row, called, builtin, _ = self._one(MODEL, name)
        return model_entry(row, called, builtin=builtin)

    def lora(self, name: str) -> LoraEntry:
        """The LoRA that is called so. Raises `LoraNotFound`, and what `model` raises."""
        row, called, builtin, words = self._one(LORA, name)
        return lora_entry(row, called, words, builtin=builtin)

    def default(self) -> ModelEntry:
        """The checkpoint to draw with when nothing is loaded and none is named: `engine.model`, or the one that ships.

        Raises what `model` raises.
        """
        path = _as_file(self._named)
        return self.model(str(path) if path else self._named)

    def refresh(self) -> None:
        """List what has come into the folders by now. Raises `LibraryError`."""
        self._look_through(self._clock())

    # One

    def _one(self, noun: Noun, name: str) -> tuple[Row, str, bool, tuple[str, ...]]:
        """A file, its name, whether it ships, and its trigger words."""
        try:
            with self._library.open() as database:
                view, row = self._find(database, noun, name)
                number = row.candidate.id
                called = view.names.of([row.candidate])[number]
                words = words_by_file(database, [row]).get(number, ()) if noun is LORA else ()
                return row, called, number in view.builtin, words
        except LibraryError:
            # A library that is broken keeps nobody from drawing with what is not in it.
            for extra in self._extras[noun]:
                row_of = self._row_of(extra, noun)
                if row_of and _is_called(row_of.candidate, name):
                    return row_of, row_of.candidate.stem, extra.builtin, ()
            raise

    def _find(self, database: Database, noun: Noun, name: str) -> tuple[_View, Row]:
        asked = self._clock()
        view = self._view(database, noun)
        row = self._look_up(database, view, name, several=False)
        if row is None or not _is_unchanged(row):
            self._look_through(asked, row and row.candidate.directory)
            view = self._view(database, noun)
            row = self._look_up(database, view, name, several=True)
        if row is None:
            raise view.names.error(name)
        if not os.path.exists(row.candidate.path):
            # It lies in no folder that is looked through, or in one that cannot be read.
            raise noun.missing(f"{noun.word} {name!r} is not there any more: {row.candidate.path}", hint="tsr db scan")
        return view, row

    def _look_up(self, database: Database, view: _View, name: str, *, several: bool) -> Row | None:
        """The file as it is known. `several`: say so when it can be several; one of them may have gone."""
        try:
            file = view.names.find(name)
        except InvalidRequest:
            if several:
                raise
            return None
        if file is None or file.id > 0:
            return file and load_row(database, file.id, civitai=self._site)
        return next(row for row in view.extras if row.candidate.id == file.id)

    # Lists

    def _part(
        self,
        noun: Noun,
        query: str | None,
        family: str | None,
        without: Sequence[str],
        limit: int,
        cursor: str | None,
    ) -> _Part:
        if not 1 <= limit <= MOST:
            raise InvalidRequest(f"limit must be between 1 and {MOST}, not {limit}")
        words = words_in(query)
        self._look_through(self._clock() - FRESH_SECONDS)
        with self._library.open() as database:
            view = self._view(database, noun)
            after = None if cursor is None else self._after(database, noun, cursor)
            rows = list_rows(
                view.names,
                query=query,
                family=family,
                without=without,
                after=after,
                limit=limit + 1,
                civitai=self._site,
            )
            rows += [
                row
                for row in view.extras
                if (after is None or _order(row.candidate) > _order(after))
                and family in (None, row.family)
                and row.family not in without
                and all(folded(word) in folded(row.candidate.name) for word in words)
            ]
            rows.sort(key=lambda row: _order(row.candidate))
            shown = rows[:limit]
            return _Part(
                shown,
                view.names.of([row.candidate for row in shown]),
                words_by_file(database, shown) if noun is LORA else {},
                view.builtin,
                str(shown[-1].candidate.id) if len(rows) > limit else None,
            )

    def _after(self, database: Database, noun: Noun, cursor: str) -> After:
        if _CURSOR.fullmatch(cursor):
            number = int(cursor)
            row = database.connection.execute("SELECT stem, id FROM files WHERE id = ?", (number,)).fetchone()
            stems = {extra.id: extra.path.stem for extra in self._extras[noun]}
            if row or number in stems:
                return After(*row) if row else After(stems[number], number)
        raise InvalidRequest(f"{cursor!r} is not a cursor of this list", hint="list from the beginning again")

    # What is there

    def _view(self, database: Database, noun: Noun) -> _View:
        rows = [(extra, row) for extra in self._extras[noun] if (row := self._row_of(extra, noun))]
        scope = Names(database, noun, self._folder_kind).scope
        own = [
            row
            for extra, row in rows
            if not extra.builtin
            and not scope.select(database, "directory = ? AND name = ?", row.candidate.directory, row.candidate.name)
        ]
        taken = {folded(row.candidate.stem) for row in own}
        # A user's file takes the place of what ships under its name.
        shipped = [
            row
            for extra, row in rows
            if extra.builtin
            and folded(row.candidate.stem) not in taken
            and not scope.select(database, "stem = ?", row.candidate.stem)
        ]
        extras = (*own, *shipped)
        names = Names(database, noun, self._folder_kind, tuple(row.candidate for row in extras))
        return _View(names, extras, frozenset(row.candidate.id for row in shipped))

    def _row_of(self, extra: _Extra, noun: Noun) -> Row | None:
        """What an extra file says, read anew when it has changed; None when it is not there."""
        try:
            place = Place.of(str(extra.path.parent), extra.path.name, extra.path.stat())
        except OSError:
            return None
        seen = self._seen.get(extra.id)
        if seen is None or seen[0] != place:
            row = _read(place, extra, noun)
            if row is None:
                return None
            seen = self._seen[extra.id] = place, row
        return seen[1]

    def _folder_kind(self, directory: str) -> str | None:
        if directory not in self._folder_kinds:
            path = Path(directory)
            above = [folder for folder in self._folders if _is_below(path, folder.path)]
            nearest = max(above, key=lambda folder: len(folder.path.parts), default=None)
            said = hint(str(nearest.path), directory, nearest.kind) if nearest else hint(directory, directory)
            self._folder_kinds[directory] = said.kind
        return self._folder_kinds[directory]

    def _look_through(self, since: float, directory: str | None = None) -> None:
        """List what is in the folders, unless somebody has begun to after `since`.

        `directory`: if it is in no configured folder, what was scanned with it is looked through too.
        """
        from tensors.db.scan import scan

        with self._lock:
            if self._looked is not None and self._looked > since:
                return
            begun = self._clock()
            with self._library.open() as database:
                folders = [*self._folders, *self._scanned_with(database, directory)]
                scan(database, folders, hash=False, report=_tell_nobody, stop=_never)
            self._looked = begun

    def _scanned_with(self, database: Database, directory: str | None) -> list[Folder]:
        from tensors.db.walk import Folder

        if directory is None or any(_is_below(Path(directory), folder.path) for folder in self._folders):
            return []
        scanned = [Path(path) for (path,) in database.connection.execute("SELECT path FROM folders")]
        return [Folder(path, optional=True) for path in scanned if _is_below(Path(directory), path)]


def usable(entry: _Entry) -> _Entry:
    """The same, unless it is broken. Raises `ModelNotFound` or `LoraNotFound` with what is wrong."""
    if entry.problem is None:
        return entry
    missing = ModelNotFound if isinstance(entry, ModelEntry) else LoraNotFound
    raise missing(f"{entry.name} cannot be used: it {entry.problem}", details={"path": entry.path})


def _extra_models(named: str) -> tuple[_Extra, ...]:
    shipped = _Extra(demo_dir() / f"{DEMO_MODEL}.safetensors", Hint("checkpoint"), builtin=True, id=-1)
    path = _as_file(named)
    return (shipped, _Extra(path, Hint("checkpoint"), builtin=False, id=-2)) if path else (shipped,)


def _extra_loras() -> tuple[_Extra, ...]:
    files = sorted((demo_dir() / "loras").glob("*.safetensors"))
    return tuple(_Extra(path, Hint("lora"), builtin=True, id=-number) for number, path in enumerate(files, 1))


def _as_file(named: str) -> Path | None:
    """The file that `engine.model` names; None when it is a name."""
    path = Path(os.path.abspath(os.path.expanduser(named)))
    return path if path.suffix.lower() in EXTENSIONS and path.is_file() else None


def _read(place: Place, extra: _Extra, noun: Noun) -> Row | None:
    finding = examine(place, extra.hint, hash=False)
    if finding is None:
        return None
    facts, problem = finding.facts, finding.problem
    kind = facts.found_kind if facts else UNKNOWN
    if facts and kind not in noun.kinds:
        problem = f"is {KIND_WORDS.get(kind, 'of unknown kind')}, not {KIND_WORDS[noun.kinds[0]]}"
    return Row(
        Candidate(extra.id, place.directory, place.name, extra.path.stem, True, kind, problem),
        size=place.size,
        mtime_ns=place.mtime_ns,
        family=facts.found_family if facts else UNKNOWN,
        variant=facts.variant if facts else None,
        adapter=facts.adapter if facts else None,
        precision=facts.precision if facts else None,
        sha256=None,
        autov3=None,
        added=None,
        link=None,
    )


def _is_unchanged(row: Row) -> bool:
    try:
        found = os.stat(row.candidate.path)
    except OSError:
        return False
    return (row.size, row.mtime_ns) == (found.st_size, signed(found.st_mtime_ns))


def _is_called(file: Candidate, name: str) -> bool:
    if os.path.isabs(name):
        return file.path == os.path.normpath(name)
    return bool(best_of([file], *os.path.split(os.path.normpath(name)))[1])


def _is_below(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def _order(file: Candidate | After) -> tuple[bytes, int]:
    """As SQLite's NOCASE sorts stems."""
    return file.stem.encode().lower(), file.id


def _tell_nobody(progress: Progress) -> None:
    """Nobody waits for it."""


def _never() -> bool:
    return False
