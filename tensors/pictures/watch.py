"""Keeps a gallery's index right, whatever becomes of the files.

A folder's time of change tells, for next to nothing, whether files came or went. What tsr does itself it notes. When
the time is another than noted, somebody else was there: all files are looked at, which takes a second for 100,000. In
a large gallery that is not done at every question, but so rarely that it takes a twentieth of the time at most.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice

from tensors.errors import LibraryError
from tensors.pictures import index
from tensors.pictures.folder import NO_SIDECAR, Entry, Folder, Listing, mtime_of
from tensors.pictures.store import UNMADE, IndexDamaged, Store

log = logging.getLogger(__name__)

_CHEAP = 0.01
"""Seconds: a look that takes no longer is taken whenever it may find something."""
_NONE, _SLIGHT, _GREAT, _UNMADE = range(4)
"""Doubts: files may have changed at the moment of the last look; files changed; nobody has looked to the end yet."""
_PATIENCE = {_SLIGHT: 200, _GREAT: 20}
"""How many times longer than a look took the next one waits."""
_COARSE = 2_000_000_000
"""Nanoseconds: file systems keep times so exactly, or better. In a shorter time two changes can look like one."""
_BATCH = 10_000


class Watch:
    """The index of a folder."""

    def __init__(self, folder: Folder, store: Store) -> None:
        self._folder = folder
        self._store = store
        self._looking = threading.Lock()
        self._looked: float | None = None
        """When this process last looked."""
        self._took = 0.0

    def refresh(self, *, patient: bool = True) -> None:
        """Look at the files if they changed; if not `patient`, at once. Raises `LibraryError`, `IndexDamaged`."""
        doubt = self._doubt()
        if doubt == _NONE or (doubt < _UNMADE and (patient or doubt == _SLIGHT) and self._may_wait(doubt)):
            return
        # While another thread looks, the index is shown as it is, if there is one.
        if self._looking.acquire(blocking=not patient or doubt == _UNMADE):
            try:
                if self._doubt():
                    self._look()
            finally:
                self._looking.release()

    def look(self) -> None:
        """Look at all files. Raises `LibraryError`, `IndexDamaged`."""
        with self._looking:
            self._look()

    def look_anew(self) -> None:
        """Forget everything and read all files. Raises `LibraryError`, `IndexDamaged`."""
        with self._looking:
            self._store.clear()
            self._look()

    def _doubt(self) -> int:
        """Whether the index fits the files."""
        with self._store.reading() as connection:
            noted, verified = connection.execute("SELECT directory_mtime, verified FROM state").fetchone()
        if noted == UNMADE:
            return _UNMADE
        if noted != mtime_of(self._folder.path):
            return _GREAT
        return _SLIGHT if noted and verified - noted < _COARSE else _NONE

    def _may_wait(self, doubt: int) -> bool:
        if self._looked is None or self._took <= _CHEAP:
            return False
        return time.monotonic() - self._looked < _PATIENCE[doubt] * self._took

    def _look(self) -> None:
        began, verified = time.monotonic(), time.time_ns()
        mtime = mtime_of(self._folder.path)
        # The index first: what is saved from now on is in the listing, and putting it in twice does no harm.
        with self._store.reading() as connection:
            known = index.stamps(connection)
            strangers = dict(connection.execute("SELECT id, stamp FROM strangers"))
        listing = self._folder.listing()
        self._forget(known.keys() - listing.pictures.keys(), strangers.keys() - listing.pictures.keys())
        changed = (name for name in sorted(listing.pictures) if self._is_changed(name, listing, known, strangers))
        while names := list(islice(changed, _BATCH)):
            self.read(names)
        with self._store.writing() as connection:
            connection.execute("UPDATE state SET directory_mtime = ?, verified = ?", (mtime, verified))
        self._looked = time.monotonic()
        self._took = self._looked - began

    def _is_changed(
        self, name: str, listing: Listing, known: dict[str, tuple[str, str]], strangers: dict[str, str]
    ) -> bool:
        if name in strangers:
            return strangers[name] != self._stranger(name)
        if name not in known:
            return True
        stamp = self._folder.stamp(name) if name in listing.sidecars else NO_SIDECAR
        return known.get(name) != (listing.pictures[name], stamp)

    def _stranger(self, name: str) -> str:
        """Changes when a file that nothing is known of does, or its sidecar."""
        path = self._folder.picture(name)
        try:
            return f"{self._folder.stamp(name)} {os.stat(path).st_mtime_ns if path else 0}"
        except FileNotFoundError:
            return ""

    def _forget(self, pictures: Iterable[str], strangers: Iterable[str]) -> None:
        gone, unknown = sorted(pictures), sorted(strangers)
        if gone or unknown:
            with self._store.writing() as connection:
                index.remove(connection, [name for name in gone if not self._folder.picture(name)])
                connection.executemany("DELETE FROM strangers WHERE id = ?", [(name,) for name in unknown])

    def read(self, names: Iterable[str]) -> None:
        """Bring the index to what the files of these pictures say. Raises `LibraryError`, `IndexDamaged`."""
        found: list[Entry] = []
        unknown: dict[str, str] = {}
        for name in names:
            stranger = ""
            entry = self._folder.entry(name)
            if entry is None and self._folder.picture(name):
                # Once more: what is noted now must be of before it was read.
                stranger = self._stranger(name)
                entry = self._folder.entry(name)
            if entry:
                found.append(entry)
            else:
                unknown[name] = stranger
        with self._store.writing() as connection:
            index.put(connection, found)
            index.remove(connection, unknown)
            connection.executemany("DELETE FROM strangers WHERE id = ?", [(entry.image.id,) for entry in found])
            connection.executemany(
                "INSERT OR REPLACE INTO strangers VALUES (?, ?)", [each for each in unknown.items() if each[1]]
            )

    @contextmanager
    def noting(self) -> Iterator[set[str]]:
        """Change files, in the gallery's lock; the block adds the names of the pictures that it changed.

        What cannot be noted is found by the next look.
        """
        before = mtime_of(self._folder.path)
        names: set[str] = set()
        try:
            yield names
        finally:
            try:
                self._note(before, names)
            except (LibraryError, IndexDamaged) as error:
                log.warning("the gallery's index could not be brought up to date: %s", error)

    def _note(self, before: int, names: set[str]) -> None:
        after = mtime_of(self._folder.path)
        if names:
            self.read(names)
        if before != after:
            with self._store.writing() as connection:
                note = "UPDATE state SET directory_mtime = ?, verified = ? WHERE directory_mtime = ?"
                connection.execute(note, (after, after, before))
