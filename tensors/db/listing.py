"""The first phase of a scan: go through the folders, and find out what each file is that is new or has changed.

Of an unchanged file nothing is read but what its folder says about it: size, time and inode.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tensors.db.finding import UNREADABLE, Place, examine
from tensors.db.intake import FoundNote, Intake
from tensors.db.moves import note_gone, note_unvisited, prepare, settle_listing
from tensors.db.tally import Stopped, Tally
from tensors.db.walk import Entry, Folder, Listing, Walk, is_text
from tensors.layouts import Hint, hint
from tensors.sidecars import PREVIEW, Note, claims, read_note

if TYPE_CHECKING:
    from tensors.db.database import Database

_CHUNK = 1_000
"""Files of one folder that are compared with the database at once."""
_KNOWN = """
    SELECT name, id, size, mtime_ns, inode, coalesce(missing_since, problem), missing_since, problem FROM files
    WHERE directory = ? AND name > ? AND name <= ? ORDER BY name"""
_KNOWN_LAST = _KNOWN.replace("AND name <= ?", "")
_KNOWN_NOTES = """
    SELECT files.name, sidecars.name, files.id, sidecars.size, sidecars.mtime_ns,
        CASE WHEN sidecars.problem LIKE 'cannot be read%' THEN 1 END
    FROM files CROSS JOIN sidecars ON sidecars.file_id = files.id WHERE files.directory = ?"""


_Row = tuple[Any, ...]
"""As the queries above have them: a class would cost more than all the rest."""


def list_files(database: Database, folders: Sequence[Folder], tally: Tally, *, hash: bool, full: bool) -> None:
    """Bring the rows of all files in line with what is in the folders. Raises `Stopped`; what was found is kept."""
    before = [path for (path,) in database.connection.execute("SELECT path FROM folders ORDER BY path")]
    paths = [path for path in (os.path.abspath(folder.path) for folder in folders) if is_text(path)]
    walk = Walk(tally.tell)
    lister = _Lister(database, tally, hash, full)
    prepare(database, paths)
    try:
        for listing in walk.listings(folders, before):
            lister.take(listing)
        lister.settle_inodes()
    except Stopped:
        lister.intake.write()
        raise
    lister.intake.write()
    tally.listing(lister.last, last=True)
    note_unvisited(database, paths, lister.visited)
    settle_listing(database, tally, walk.unreadable, [root.path for root in walk.roots])


@dataclass(slots=True)
class _Lister:
    """Takes in one folder after the other."""

    database: Database
    tally: Tally
    hash: bool
    full: bool
    intake: Intake = field(init=False)
    visited: set[str] = field(default_factory=set)
    last: str = ""
    """The folder that was visited last."""
    _has_notes: bool = field(init=False)
    _kept: dict[int, int] = field(default_factory=dict)
    """How many files of a device have the inodes they had."""
    _renumbered: dict[int, list[tuple[Place, _Row, Hint]]] = field(default_factory=dict)
    """Those that differ in nothing else."""

    def __post_init__(self) -> None:
        self.intake = Intake(self.database, self.tally, self.full and self.hash)
        noted = self.database.connection.execute("SELECT EXISTS (SELECT 1 FROM sidecars)").fetchone()
        self._has_notes = bool(noted[0])

    def take(self, listing: Listing) -> None:
        """Compare one folder's files with what is known of them."""
        self.visited.add(listing.path)
        self.last = listing.path
        said = hint(listing.root.path, listing.path, listing.root.kind)
        after = ""
        for start in range(0, max(len(listing.models), 1), _CHUNK):
            self.tally.check()
            chunk = listing.models[start : start + _CHUNK]
            is_last = start + _CHUNK >= len(listing.models)
            known = self._known(listing.path, after, None if is_last else chunk[-1].name)
            self._compare(listing.path, chunk, known, said)
            gone = [(row[1], listing.path, name) for name, row in known.items() if row[6] is None]
            note_gone(self.database, gone)
            after = chunk[-1].name if chunk else ""
            self.tally.listing(listing.path)
        if listing.notes or self._has_notes:
            self._take_notes(listing)
        self.intake.write_if_due()

    def _known(self, directory: str, after: str, upto: str | None) -> dict[str, _Row]:
        execute = self.database.connection.execute
        rows = execute(_KNOWN_LAST, (directory, after)) if upto is None else execute(_KNOWN, (directory, after, upto))
        return {row[0]: row for row in rows}

    def _compare(self, directory: str, chunk: Sequence[Entry], known: dict[str, _Row], said: Hint) -> None:
        """Look at what is new or has changed. What is left in `known` has gone."""
        full = self.full
        kept = lost = device = 0
        for entry in chunk:
            name = entry.name
            row = known.get(name)
            try:
                found = entry.stat()
            except OSError as error:
                if isinstance(error, FileNotFoundError):
                    lost += 1
                else:
                    self.tally.tell(entry.path, f"{UNREADABLE}{error.strerror}")
                    known.pop(name, None)
                continue
            device = found.st_dev
            # This is all that is done for nearly all files of nearly all scans.
            if (
                row is not None
                and row[2] == found.st_size
                and row[3] == found.st_mtime_ns
                and row[4] == found.st_ino
                and row[5] is None
                and not full
            ):
                del known[name]
                kept += 1
            elif self._look(Place.of(directory, name, found), device, row, said):
                known.pop(name, None)
            else:
                lost += 1
        self._kept[device] = self._kept.get(device, 0) + kept
        self.tally.files += len(chunk) - lost

    def _look(self, place: Place, device: int, row: _Row | None, said: Hint) -> bool:
        """Take in a file that needs more than a glance. False when it has gone meanwhile."""
        if row is not None and not self.full:
            if self._is_known(place, row):
                return True
            if row[2:4] == (place.size, place.mtime_ns) and row[5] is None:
                self._renumbered.setdefault(device, []).append((place, row, said))
                return True
        return self._read(place, row, said)

    def settle_inodes(self) -> None:
        """Tell files that were replaced from those whose inode says nothing.

        Some file systems make inodes up (exFAT, most of FUSE, many shares), others each time they are mounted; and a
        library that was copied to a larger disk has all new ones. Then most files of the device differ in their inodes
        and in nothing else: they are what they were. Of a few among many that is not likely, and they are read; so are
        those of the same size and time as another, as their names might have been swapped.
        """
        for device, files in self._renumbered.items():
            is_mounted_anew = len(files) > max(1, self._kept.get(device, 0))
            alike = Counter((place.size, place.mtime_ns) for place, _, _ in files)
            for place, row, said in files:
                if is_mounted_anew and alike[place.size, place.mtime_ns] == 1:
                    self.intake.same.append(place)
                    self.intake.write_if_due()
                elif not self._read(place, row, said):
                    note_gone(self.database, [(row[1], place.directory, place.name)])
                    self.tally.files -= 1

    def _read(self, place: Place, row: _Row | None, said: Hint) -> bool:
        tally = self.tally
        tally.check()
        finding = examine(place, said, hash=self.hash)
        if finding is None:
            return False
        if row is None:
            tally.added += 1
        elif row[6] is not None:
            tally.returned += 1
        elif row[2:5] != (place.size, place.mtime_ns, place.inode):
            tally.changed += 1
        tally.hashed += finding.hashes is not None
        if finding.problem:
            tally.tell(place.path, finding.problem)
        self.intake.add(finding)
        self.intake.write_if_due()
        return True

    def _is_known(self, place: Place, row: _Row) -> bool:
        """Whether a file is what it was, and need not be read again."""
        _, _, size, mtime_ns, inode, _, missing_since, problem = row
        # What comes back may have been mounted anew, with other inodes.
        is_same = (size, mtime_ns) == (place.size, place.mtime_ns) and (
            inode == place.inode or missing_since is not None
        )
        if not is_same or (problem is not None and problem.startswith(UNREADABLE)):
            return False
        if missing_since is not None:
            self.tally.returned += 1
            self.intake.same.append(place)
        if problem is not None:
            self.tally.tell(place.path, problem)
        return True

    def _take_notes(self, listing: Listing) -> None:
        """Read what is new among the notes and pictures beside the files."""
        rows = self.database.connection.execute(_KNOWN_NOTES, (listing.path,))
        known = {(row[0], row[1]): row for row in rows}
        stems: dict[str, list[str]] = {}
        for entry in listing.models:
            stems.setdefault(os.path.splitext(entry.name)[0], []).append(entry.name)
        for entry in listing.notes:
            for stem, tool in claims(entry.name):
                for model in stems.get(stem, ()):
                    self._take_note(listing.path, entry, tool, model, known)
        present = {entry.name for entry in listing.models}
        self.intake.lost_notes += [(row[2], row[1]) for row in known.values() if row[0] in present]

    def _take_note(
        self, directory: str, entry: Entry, tool: str, model: str, known: dict[tuple[str, str], _Row]
    ) -> None:
        try:
            found = entry.stat()
        except OSError:
            return
        place = Place.of(directory, entry.name, found)
        row = known.pop((model, entry.name), None)
        is_known = row is not None and row[3:5] == (place.size, place.mtime_ns) and row[5] is None
        if (is_known and not self.full) or not stat.S_ISREG(found.st_mode):
            return
        self.tally.check()
        note = Note(PREVIEW) if tool == PREVIEW else read_note(entry.path, tool, model)
        self.intake.notes.append(FoundNote(place, model, note))
        self.intake.write_if_due()
