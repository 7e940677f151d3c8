"""The folders of a scan, one after the other, and what lies in them: model files and other tools' notes.

Symbolic links are followed once. What a link points to is left to its own place when that lies in one of the scanned
folders and would be found there; otherwise it is taken under the link's name, each real folder and file once. Links to
folders come after all real folders, so that a file is found at its real place first where it has one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

from tensors.header import EXTENSIONS
from tensors.sidecars import ENDINGS

Entry = os.DirEntry[str]
Key = tuple[int, int]
"""Device and inode: the same for all names of one folder or file."""

_SKIPPED = frozenset({"@eadir", "#recycle", "lost+found", "$recycle.bin", "system volume information", "__macosx"})
"""Folders of file systems, storage boxes and archives, in lower case. What begins with a dot is skipped too."""
_UNNAMEABLE = "has a name that is not valid UTF-8: rename it"
_name = attrgetter("name")
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder to scan."""

    path: Path
    kind: str | None = None
    """What its files are, where their tensors do not say: somebody configured it so."""
    optional: bool = False
    """It need not be there."""


@dataclass(frozen=True, slots=True)
class Root:
    """A folder to scan that is there."""

    path: str
    kind: str | None
    real: str
    key: Key


@dataclass(frozen=True, slots=True)
class Listing:
    """One folder's files, each list in the order of names."""

    path: str
    root: Root
    """The scanned folder that it was reached from."""
    models: list[Entry]
    notes: list[Entry]
    """Files that may be other tools' notes or preview pictures."""


@dataclass(slots=True)
class Walk:
    """Goes through folders. `tell(path, message)` hears what is wrong with which file or folder."""

    tell: Callable[[str, str], None]
    roots: list[Root] = field(default_factory=list)
    """Those that are there."""
    unreadable: list[str] = field(default_factory=list)
    """Folders that are there but cannot be listed: what is in them is not known."""
    _owned: dict[Key, str] = field(default_factory=dict)
    _known: Sequence[str] = ()
    _places: list[str] = field(default_factory=list)
    """Where links are not followed to, once there is a link: one of these may be a share that does not answer."""
    _seen: set[Key] = field(default_factory=set)
    _links: list[tuple[str, Root]] = field(default_factory=list)
    _linked: set[Key] = field(default_factory=set)

    def listings(self, folders: Sequence[Folder], known: Sequence[str]) -> Iterator[Listing]:
        """Every folder in and below `folders`; links into one of `known` are not followed either."""
        for folder in folders:
            self._add_root(folder)
        self._known = known
        for root in self.roots:
            yield from self._below(root.path, root, linked=False)
        while self._links:
            links, self._links = sorted(self._links, key=lambda link: link[0]), []
            for path, root in links:
                yield from self._below(path, root, linked=True)

    def _add_root(self, folder: Folder) -> None:
        path = os.path.abspath(folder.path)
        if not is_text(path):
            self.tell(path, _UNNAMEABLE)
            return
        try:
            found = os.stat(path)
        except OSError as error:
            if error.errno not in _GONE:
                self.unreadable.append(path)
                self.tell(path, f"cannot be read: {error.strerror}")
            elif not folder.optional:
                self.tell(path, "is not there")
            return
        if not stat.S_ISDIR(found.st_mode):
            self.tell(path, "is not a folder")
            return
        root = Root(path, folder.kind, os.path.realpath(path), (found.st_dev, found.st_ino))
        if self._owned.setdefault(root.key, path) == path and all(path != other.path for other in self.roots):
            self.roots.append(root)

    def _below(self, top: str, root: Root, *, linked: bool) -> Iterator[Listing]:
        pending = [top]
        while pending:
            path = pending.pop()
            # A folder that is scanned in its own right comes with what is said about it.
            if self._is_new(path, root):
                listing = Listing(path, root, [], [])
                pending.extend(reversed(self._list(listing, root, linked)))
                yield listing

    def _is_new(self, path: str, root: Root) -> bool:
        try:
            found = os.stat(path)
        except OSError as error:
            self._refused(path, error)
            return False
        key = (found.st_dev, found.st_ino)
        if key in self._seen or self._owned.get(key, root.path) != root.path:
            return False
        self._seen.add(key)
        return True

    def _refused(self, path: str, error: OSError) -> None:
        # What has gone since its parent was listed is simply not there.
        if error.errno not in _GONE:
            self.unreadable.append(path)
            self.tell(path, f"cannot be read: {error.strerror}")

    def _list(self, listing: Listing, root: Root, linked: bool) -> list[str]:
        """Fill in one folder's files; returns the folders in it, in order."""
        folders: list[str] = []
        links: list[Entry] = []
        models, notes = listing.models, listing.notes
        try:
            with os.scandir(listing.path) as entries:
                for entry in entries:
                    name = entry.name
                    if name[0] == ".":
                        continue
                    lower = name.lower()
                    is_model = lower.endswith(EXTENSIONS)
                    if is_model and entry.is_file(follow_symlinks=False):
                        models.append(entry)
                    elif entry.is_symlink():
                        links.append(entry)
                    elif entry.is_dir(follow_symlinks=False):
                        if lower not in _SKIPPED and self._can_enter(entry, is_model):
                            folders.append(entry.path)
                    elif is_model:
                        self.tell(entry.path, "is no ordinary file")
                    elif lower.endswith(ENDINGS):
                        notes.append(entry)
        except OSError as error:
            self._refused(listing.path, error)
        if linked and self._linked:
            models[:] = [entry for entry in models if not self._is_linked(entry)]
        # Of several links to one file the first by name is taken, in each scan.
        for entry in sorted(links, key=_name):
            self._link(entry, root, listing)
        if not all(map(str.isascii, map(_name, models))):
            models[:] = filter(self._can_be_named, models)
        models.sort(key=_name)
        notes.sort(key=_name)
        folders.sort()
        return folders

    def _can_be_named(self, entry: Entry) -> bool:
        if is_text(entry.name):
            return True
        self.tell(entry.path, _UNNAMEABLE)
        return False

    def _can_enter(self, entry: Entry, is_model: bool) -> bool:
        if is_model:
            self.tell(entry.path, "is a folder, not a model file")
        return self._can_be_named(entry)

    def _is_linked(self, entry: Entry) -> bool:
        """Whether a link elsewhere has brought this file already."""
        try:
            found = entry.stat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) in self._linked

    def _link(self, entry: Entry, root: Root, listing: Listing) -> None:
        is_model = entry.name.lower().endswith(EXTENSIONS)
        try:
            found = entry.stat()
        except OSError as error:
            self._broken_link(entry, error, is_model)
            return
        if stat.S_ISDIR(found.st_mode):
            if entry.name.lower() not in _SKIPPED and self._can_be_named(entry) and not self._has_place(entry.path):
                self._links.append((entry.path, root))
        elif not is_model:
            if entry.name.lower().endswith(ENDINGS):
                listing.notes.append(entry)
        elif not stat.S_ISREG(found.st_mode):
            self.tell(entry.path, "is no ordinary file")
        elif (found.st_dev, found.st_ino) not in self._linked and not self._has_place(entry.path, of_model=True):
            self._linked.add((found.st_dev, found.st_ino))
            listing.models.append(entry)

    def _broken_link(self, entry: Entry, error: OSError, is_model: bool) -> None:
        if error.errno not in (*_GONE, errno.ELOOP):
            self.unreadable.append(entry.path)
            self.tell(entry.path, f"cannot be read: {error.strerror}")
        elif is_model:
            self.tell(entry.path, "is a link that leads nowhere")

    def _has_place(self, link: str, *, of_model: bool = False) -> bool:
        """Whether what a link points to is found at its own place."""
        if not self._places:
            self._places = [*(root.real for root in self.roots), *map(os.path.realpath, self._known)]
        target = os.path.realpath(link)
        if of_model and not target.lower().endswith(EXTENSIONS):
            return False
        for place in self._places:
            if target == place:
                return True
            inside = place if place.endswith(os.sep) else place + os.sep
            if target.startswith(inside):
                parts = target[len(inside) :].split(os.sep)
                if not any(part[0] == "." or part.lower() in _SKIPPED for part in parts):
                    return True
        return False


def is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8: names are bytes, and some are not."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(path: str) -> str:
    """A path that can be shown and stored, with escapes for bytes that are not UTF-8."""
    return path if is_text(path) else os.fsencode(path).decode("utf-8", "backslashreplace")
