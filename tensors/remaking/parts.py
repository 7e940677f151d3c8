"""The checkpoint and the LoRAs of a picture, found again by hash, by version on CivitAI or by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tensors.db.model_names import LORA, MODEL, Noun
from tensors.errors import InvalidRequest, NotFound
from tensors.models import DEMO_MODEL, demo_dir
from tensors.remaking.known import (
    Offer,
    files_called,
    files_of,
    files_with,
    hashes_of,
    is_telling,
    offers_of,
    scope_of,
)
from tensors.types.files import Hash
from tensors.types.models import LoraEntry, ModelEntry
from tensors.types.remake import Difference, MissingPart

if TYPE_CHECKING:
    from tensors.db.database import Database
    from tensors.db.names import Candidate
    from tensors.hash_cache import HashCache
    from tensors.library import Library
    from tensors.shelf import Shelf

Entry = ModelEntry | LoraEntry

AT_ONCE = 16 * 1024 * 1024
"""Bytes. A file up to this is hashed at once when its hash is not known; that takes some 20 ms."""
_NOUNS = {"model": MODEL, "lora": LORA}
_WORDS = {"sha256": "SHA256", "autov1": "AutoV1", "autov2": "AutoV2", "autov3": "AutoV3", "blake3": "BLAKE3"}
_COMPARED_WITH = {"sha256": "sha256", "autov2": "sha256", "autov3": "autov3", "blake3": "blake3"}
_SHORT_AUTOV3 = 12
"""Digits by which CivitAI knows an AutoV3."""
_ASKED_FOR = (8, 10, 12, 64)
"""Digits of the hashes that `tsr dl -H` takes."""
_LONGEST_NAME = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file as a picture names it."""

    kind: str
    """`model` or `lora`."""
    name: str | None = None
    hash: Hash | None = None
    version_id: int | None = None

    @property
    def called(self) -> str:
        """What is known of it first: the name, a hash, the version."""
        return self.name or (self.hash.value if self.hash else f"version {self.version_id}")

    @property
    def what(self) -> str:
        """As a `Difference` has it."""
        return self.kind if self.kind == "model" else f"{self.kind} {self.called}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The file that stands for it now, and what is to be said about that."""

    name: str
    """What a request calls it."""
    entry: Entry | None = None
    difference: Difference | None = None
    missing: MissingPart | None = None


class Parts:
    """Finds the files of pictures. May be called from any thread."""

    def __init__(self, library: Library, shelf: Shelf, hashes: HashCache) -> None:
        self._library = library
        self._shelf = shelf
        self._hashes = hashes

    def find(self, wanted: Sequence[Wanted]) -> list[Part]:
        """A part for each. The folders are looked through once, and only when something is missing.

        Raises `LibraryError`.
        """
        with self._library.open() as database:
            parts = [self._find(database, one) for one in wanted]
            if any(part.missing for part in parts):
                self._shelf.refresh()
                again = zip(parts, wanted, strict=True)
                parts = [self._find(database, one) if part.missing else part for part, one in again]
        return parts

    def _find(self, database: Database, wanted: Wanted) -> Part:
        scope = scope_of(_NOUNS[wanted.kind].kinds)
        same = files_with(database, wanted.hash, scope) if wanted.hash else []
        named = self._named(database, wanted)
        verdicts = [self._has(database, entry, wanted.hash, same) for entry in named]
        if True in verdicts:
            return _part(named[verdicts.index(True)])
        if entry := self._first(wanted.kind, same):
            return _part(entry, _renamed(wanted, entry))
        offers = offers_of(database, wanted.hash) if wanted.hash else []
        versions = [wanted.version_id] if wanted.version_id else []
        if entry := self._first(
            wanted.kind, files_of(database, [*versions, *(offer.version_id for offer in offers)], scope)
        ):
            return _part(entry, self._of_version(database, wanted, entry, same))
        if named:
            return _part(named[0], _by_name(wanted, named[0], verdicts[0], _command(wanted, offers)))
        return _absent(wanted, offers)

    def _named(self, database: Database, wanted: Wanted) -> list[Entry]:
        """What is called so; several, where a name from elsewhere does not tell them apart."""
        if not wanted.name or "\0" in wanted.name:
            return []
        noun = _NOUNS[wanted.kind]
        files = files_called(database, wanted.name, scope_of(noun.kinds))
        found = [self._entry(wanted.kind, file.path) for file in files] or [self._outside(noun, wanted)]
        return [entry for entry in found if entry]

    def _outside(self, noun: Noun, wanted: Wanted) -> Entry | None:
        """A file that is not in the library: what ships, or what the settings name."""
        folder = demo_dir() / "loras" if noun is LORA else demo_dir()
        if wanted.name in {path.stem for path in folder.glob("*.safetensors")}:
            return self._entry(wanted.kind, str(folder / f"{wanted.name}.safetensors"))
        if noun is LORA or wanted.name == DEMO_MODEL:
            return None
        try:
            default = self._shelf.default()
        except (NotFound, InvalidRequest):
            return None
        return default if default.name == wanted.name and not default.problem else None

    def _entry(self, kind: str, path: str) -> Entry | None:
        """A file that can be drawn with; None when it has gone meanwhile, or is broken."""
        try:
            entry: Entry = self._shelf.model(path) if kind == "model" else self._shelf.lora(path)
        except (NotFound, InvalidRequest):
            return None
        return None if entry.problem else entry

    def _first(self, kind: str, files: Sequence[Candidate]) -> Entry | None:
        return next((entry for file in files if (entry := self._entry(kind, file.path))), None)

    def _has(self, database: Database, entry: Entry, hash: Hash | None, same: Sequence[Candidate]) -> bool | None:
        """Whether a file has a hash; None where nobody knows."""
        if hash is None or not is_telling(hash):
            return None
        if entry.id is not None and any(file.id == entry.id for file in same):
            return True
        kind = _COMPARED_WITH.get(hash.kind)
        if kind is None:
            return None
        value = self._hash(database, entry, kind)
        return value.startswith(hash.value) if value else None

    def _hash(self, database: Database, entry: Entry, kind: str) -> str | None:
        known = hashes_of(database, entry.id) if entry.id is not None else {}
        if kind in known or kind == "blake3":
            return known.get(kind)
        path = Path(entry.path)
        try:
            if entry.size <= AT_ONCE:
                return self._hashes.autov3(path) if kind == "autov3" else self._hashes.sha256(path)
            return self._hashes.known(path, kind)
        except OSError:
            return None

    def _of_version(
        self, database: Database, wanted: Wanted, entry: Entry, same: Sequence[Candidate]
    ) -> Difference | None:
        if wanted.hash is None or not is_telling(wanted.hash):
            return None if wanted.name in (None, entry.name) else _of_page(wanted, entry)
        if self._has(database, entry, wanted.hash, same) is None:
            return _by_name(wanted, entry, None, None)
        says = f"{entry.name} is of the same version on CivitAI, but another file: its {_word(wanted.hash)} differs"
        return _difference(wanted, entry, says)


def _part(entry: Entry, difference: Difference | None = None) -> Part:
    # A name with folders before it can be longer than a request takes.
    name = entry.name if len(entry.name) <= _LONGEST_NAME else entry.sha256 or os.path.basename(entry.path)
    return Part(name=name, entry=entry, difference=difference)


def _absent(wanted: Wanted, offers: Sequence[Offer]) -> Part:
    version = wanted.version_id or (offers[0].version_id if offers else None)
    missing = MissingPart(
        kind=wanted.kind,
        name=wanted.called,
        hash=wanted.hash,
        version_id=version,
        command=_command(wanted, offers),
    )
    return Part(name=wanted.called, missing=missing)


def _command(wanted: Wanted, offers: Sequence[Offer]) -> str | None:
    """What fetches the very file, as far as that is known."""
    version = wanted.version_id or (offers[0].version_id if offers else None)
    if version:
        offer = next((offer for offer in offers if offer.version_id == version), None)
        return f"tsr dl -v {version}" + (f" --file {offer.file_id}" if offer and not offer.primary else "")
    if wanted.hash is None or not is_telling(wanted.hash):
        return None
    digits = wanted.hash.value[:_SHORT_AUTOV3] if wanted.hash.kind == "autov3" else wanted.hash.value
    return f"tsr dl -H {digits}" if len(digits) in _ASKED_FOR else None


def _difference(wanted: Wanted, entry: Entry, says: str) -> Difference:
    then = f"{wanted.called} ({wanted.hash.value[:12]})" if wanted.hash and wanted.name else wanted.called
    return Difference(what=wanted.what, then=then, now=entry.name, says=f"{says}.")


def _renamed(wanted: Wanted, entry: Entry) -> Difference | None:
    if wanted.name is None:
        return None
    return _difference(
        wanted, entry, f"{wanted.name} is called {entry.name} here: it has the same {_word(wanted.hash)}"
    )


def _of_page(wanted: Wanted, entry: Entry) -> Difference:
    says = f"{wanted.name} is called {entry.name} here: it is the same version on CivitAI, {wanted.version_id}"
    return _difference(wanted, entry, says)


def _by_name(wanted: Wanted, entry: Entry, has: bool | None, command: str | None) -> Difference | None:
    """What to say about a file whose hash does not tell that it is the right one."""
    if wanted.hash is None:
        return _difference(wanted, entry, f"The picture has no hash of {wanted.called}: {entry.name} has that name")
    if has is False:
        fetch = f"; {command} fetches the one of then" if command else ""
        return _difference(wanted, entry, f"{entry.name} is another file now: its {_word(wanted.hash)} differs{fetch}")
    if not is_telling(wanted.hash) or wanted.hash.kind not in _COMPARED_WITH:
        says = f"{entry.name} has the name that the picture tells; its hash there is of no kind that can be compared"
        return _difference(wanted, entry, says)
    says = f"{entry.name} is not hashed yet, so nobody knows whether it is the same file: tsr db scan"
    return _difference(wanted, entry, says)


def _word(hash: Hash | None) -> str:
    return _WORDS.get(hash.kind, "hash") if hash else "hash"
