"""Pictures on disk: `{timestamp}_{seed}.png` and a JSON sidecar of the same name. The files are the truth.

The timestamp is the moment its job was asked for, so that a job that runs again after a crash finds what it had already
saved and adopts it. Two pictures of one seed and one moment get different names: files are created, never replaced.

Lists and searches use an index in SQLite (`gallery.db` beside the folder), which follows the files, whoever changes
them, and can be deleted at any time. Deleted pictures go to `.trash/`; `.thumbnails/` has what can be made again.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tensors.atomic import create_atomic, write_atomic
from tensors.errors import ImageNotFound, InvalidRequest
from tensors.pictures import index, records, search
from tensors.pictures.folder import Entry, Folder, locked
from tensors.pictures.names import candidates, is_name
from tensors.pictures.records import RECORD_KEY
from tensors.pictures.store import IndexDamaged, Store
from tensors.pictures.trash import Trash
from tensors.pictures.watch import Watch
from tensors.png import with_text
from tensors.types.base import Page
from tensors.types.gallery import Image, ImageEdit, ImageQuery, Imported

if TYPE_CHECKING:
    from tensors.pictures.cleanup import Policy
    from tensors.pictures.intake import Incoming
    from tensors.types.gallery import Cleaning, Garbage
    from tensors.types.recipe import Recipe

__all__ = ["RECORD_KEY", "Gallery"]

T = TypeVar("T")
MAX_LIMIT = 500


class Gallery:
    """One folder of pictures, for many threads; other processes may use the same."""

    def __init__(self, directory: Path, index: Path | None = None) -> None:
        """`index` is the index's file: beside the folder, and called after it, unless said otherwise."""
        self.directory = directory
        self._folder = Folder(directory)
        self._trash = Trash(self._folder)
        self._store = Store(index or directory.with_name(f"{directory.name}.db"))
        self._watch = Watch(self._folder, self._store)

    def close(self) -> None:
        """Let go of the index, until it is used again."""
        self._store.close()

    # Pictures come in.

    def save(self, image: Image, png: bytes) -> Image:
        """Store a picture of a job, with its id and path filled in; the same picture of the same job is stored once.

        Raises:
            NotPng: when the bytes are no PNG.
            OSError: when the disk refuses.
        """
        image = replace(image, tags=image.tags or image.settings.tags)
        with self._changing() as changed:
            for name in candidates(image.created, image.settings.seed):
                if self._is_taken(name):
                    owner = self._owner(name)
                    if owner and (owner.job, owner.index) == (image.job, image.index):
                        return owner
                    continue
                path = self.directory / f"{name}.png"
                named = replace(image, id=name, path=str(path))
                try:
                    create_atomic(path, with_text(png, records.texts(named)))
                except FileExistsError:
                    # Another program took the name this instant.
                    continue
                changed.add(name)
                write_atomic(self._folder.sidecar(name), records.encode(named))
                return named
        raise AssertionError("there is always another name")

    def saved(self, job: str, index: int, created: str, seed: int) -> Image | None:
        """The picture that this job had already saved under this index, if any."""
        for name in candidates(created, seed):
            if not self._is_taken(name):
                return None
            owner = self._owner(name)
            if owner and (owner.job, owner.index) == (job, index):
                return owner
        return None

    def import_file(
        self,
        source: Path | bytes,
        *,
        recipe: Recipe | None = None,
        created: str | None = None,
        tags: tuple[str, ...] = (),
    ) -> Imported:
        """Store a picture made elsewhere as it is. The same file is stored once.

        How it was made is what the file tells; of others' files `recipe`, where it is given. Their time is `created`
        (RFC 3339), or else the file's time of change, or now. `tags` are added. Raises `InvalidRequest` for what is no
        whole PNG, JPEG or WebP, and `OSError`.
        """
        from tensors.pictures import intake

        incoming = intake.read(source, recipe=recipe, created=created)
        image = replace(incoming.image, tags=tuple(dict.fromkeys((*incoming.image.tags, *tags))))
        with self._changing() as changed:
            self._indexed(lambda: self._watch.refresh(patient=False))
            if there := self._same_file(incoming):
                return Imported(image=there, new=False)
            for name in candidates(image.created, image.settings.seed):
                if self._is_taken(name):
                    continue
                path = self.directory / f"{name}{incoming.extension}"
                named = replace(image, id=name, path=str(path))
                # The record goes first: others' pictures do not carry it, and are not to be without it.
                write_atomic(self._folder.sidecar(name), records.encode(named))
                try:
                    create_atomic(path, incoming.data)
                except FileExistsError:
                    self._folder.sidecar(name).unlink()
                    continue
                changed.add(name)
                return Imported(image=named, new=True)
        raise AssertionError("there is always another name")

    # Pictures are found.

    def list(
        self, query: ImageQuery | None = None, *, deleted: bool = False, limit: int, cursor: str | None
    ) -> Page[Image]:
        """See `tensors.service.Images.list`."""
        if not deleted:
            return self.find(query or search.EVERYTHING, limit=limit, cursor=cursor)
        if query not in (None, search.EVERYTHING):
            raise InvalidRequest("what is in the trash cannot be searched")
        return self.trash(limit=limit, cursor=cursor)

    def find(self, query: ImageQuery, *, limit: int, cursor: str | None) -> Page[Image]:
        """Records of the pictures that fit, newest first. `cursor` is the id of the last one seen.

        Raises `InvalidRequest`, `LibraryError`.
        """
        _check_limit(limit)
        if cursor is not None and not is_name(cursor):
            raise InvalidRequest(f"{cursor!r} is not a cursor of this list")
        return self._indexed(lambda: self._page(query, limit, cursor))

    def _page(self, query: ImageQuery, limit: int, cursor: str | None) -> Page[Image]:
        self._watch.refresh()
        while True:
            with self._store.reading() as connection:
                ranks = search.ranks(connection, query, before=cursor, limit=limit + 1)
                entries = index.at(connection, ranks, self.directory)
            stale = [entry.image.id for entry in entries if not self._is_fresh(entry)]
            if not stale:
                items = tuple(entry.image for entry in entries[:limit])
                return Page(items=items, next_cursor=items[-1].id if len(entries) > limit else None)
            # They were edited or deleted in a way that the folder does not tell.
            self._watch.read(stale)

    def _is_fresh(self, entry: Entry) -> bool:
        return self._folder.stamp(entry.image.id) == entry.stamp and os.path.exists(entry.image.path)

    def count(self) -> int:
        """How many pictures there are. Raises `LibraryError`."""

        def counted() -> int:
            self._watch.refresh()
            with self._store.reading() as connection:
                return index.count(connection)

        return self._indexed(counted)

    def get(self, image_id: str) -> Image:
        """One record. Raises `ImageNotFound`."""
        record = self._folder.record(image_id) if is_name(image_id) else None
        if record is None:
            raise ImageNotFound(f"image {image_id!r} not found", hint="tsr images list")
        return record

    def path(self, image_id: str) -> Path:
        """The file of a picture. Raises `ImageNotFound`."""
        return Path(self.get(image_id).path)

    def thumbnail(self, image_id: str, size: int) -> Path:
        """A WebP of a picture, its longer side of `size` pixels (256 or 512); made when it is first asked for.

        Also of one in the trash: who wants it back has to see it.

        Raises `ImageNotFound`; `InvalidRequest` for another size and for a file that is no whole picture; `OSError`.
        """
        from tensors.pictures.thumbnails import Thumbnails

        try:
            deleted = self._trash.folder.picture(image_id) if is_name(image_id) else None
            return Thumbnails(self.directory).of(deleted or self.path(image_id), size)
        except FileNotFoundError:
            raise ImageNotFound(f"image {image_id!r} not found", hint="tsr images list") from None

    def export(self, query: ImageQuery | None = None, *, ids: tuple[str, ...] = ()) -> Iterator[bytes]:
        """See `tensors.service.Images.export`."""
        from tensors.pictures.export import zipped

        # The first is looked for before the first byte: afterwards nothing can be refused any more.
        pictures = iter([self.get(image_id) for image_id in ids]) if ids else self._every(query or search.EVERYTHING)
        first = next(pictures, None)
        if first is None:
            raise ImageNotFound("there is no picture to export", hint="tsr images list")
        return zipped(itertools.chain([first], pictures), self._folder)

    def _every(self, query: ImageQuery) -> Iterator[Image]:
        cursor = None
        while True:
            page = self.find(query, limit=MAX_LIMIT, cursor=cursor)
            yield from page.items
            if (cursor := page.next_cursor) is None:
                return

    def reindex(self) -> int:
        """Read all files again. Returns how many pictures there are. Raises `LibraryError`."""
        self._indexed(self._watch.look_anew)
        return self.count()

    # Pictures are changed, deleted and restored.

    def edit(self, image_id: str, edit: ImageEdit) -> Image:
        """Change what people say about a picture; the file itself stays. Raises `ImageNotFound`, `OSError`."""
        with self._changing() as changed:
            image = self.get(image_id)
            edited = replace(
                image,
                tags=image.tags if edit.tags is None else tuple(dict.fromkeys(edit.tags)),
                notes=image.notes if edit.notes is None else edit.notes,
                rating=image.rating if edit.rating is None else edit.rating or None,
                favourite=image.favourite if edit.favourite is None else edit.favourite,
            )
            changed.add(image_id)
            write_atomic(self._folder.sidecar(image_id), records.encode(edited))
            return edited

    def delete(self, image_id: str) -> None:
        """Move a picture to the trash. Its id stays its own. Raises `ImageNotFound`, `OSError`."""
        with self._changing() as changed:
            self._to_trash(image_id, changed)

    def restore(self, image_id: str) -> Image:
        """Take a picture out of the trash. It has another id when a file was given its own meanwhile.

        Raises `ImageNotFound`, `OSError`.
        """
        with self._changing() as changed:
            image = self._trash.get(image_id)
            others = (name for name in candidates(image.created, image.settings.seed) if not self._is_taken(name))
            name = next(others) if self._folder.holds(image_id) else image_id
            changed.add(name)
            self._trash.give_back(image_id, name)
            return self.get(name)

    def trash(self, *, limit: int, cursor: str | None) -> Page[Image]:
        """Records of what is in the trash, with the time of that; the last deleted first. Raises `InvalidRequest`."""
        _check_limit(limit)
        return self._trash.list(limit=limit, cursor=cursor)

    # What nobody does by hand.

    def cleanup(self, policy: Policy, *, dry_run: bool = False) -> Cleaning:
        """Remove what a policy does not keep, and say what that is. Raises `LibraryError`, `OSError`."""
        from tensors.pictures import cleanup
        from tensors.pictures.thumbnails import Thumbnails
        from tensors.types.gallery import Cleaning

        with self._changing() as changed:
            kept = frozenset(image.id for image in self._trash.records() if image.favourite)
            plan = cleanup.plan(self._rows(), self._trash.content(), policy, now=time.time_ns(), kept=kept)
            if not dry_run:
                for name in (*plan.trash, *plan.drop):
                    self._to_trash(name, changed)
                for name in (*plan.purge, *plan.drop):
                    self._trash.remove(name)
                    Thumbnails(self.directory).remove(name)
        removed = (*plan.purge, *plan.drop)
        gone = frozenset(removed)
        trashed = tuple(name for name in plan.trash if name not in gone)
        return Cleaning(trashed=trashed, removed=removed, freed=plan.freed, size=plan.size)

    def gc(
        self, inputs: Path | None = None, *, named: Collection[str] = (), age: float = 3600, dry_run: bool = False
    ) -> Garbage:
        """Remove files that belong to nothing, and say which. What is younger than `age` seconds stays.

        `inputs` is the folder of input pictures, if it is to be looked at; `named` those that jobs still need, as
        `sha256:...`. Raises `LibraryError`, `OSError`.
        """
        from tensors.pictures.garbage import Litter, report
        from tensors.pictures.thumbnails import Thumbnails

        with self._changing():
            litter = Litter(self._folder, self._trash.folder, Thumbnails(self.directory).path, inputs)
            found = litter.find({*named, *(self._inputs() if inputs else ())}, age=age)
            said = report(found)
            if not dry_run:
                for path in (path for paths in found.values() for path in paths):
                    path.unlink(missing_ok=True)
        return said

    def _inputs(self) -> Iterator[str]:
        """The inputs that pictures were made from, those in the trash included."""
        self._indexed(self._watch.look)
        with self._store.reading() as connection:
            yield from index.inputs(connection)
        for image in self._trash.records():
            yield from index.inputs_of(image)

    def _rows(self) -> Sequence[index.Row]:
        self._indexed(self._watch.look)
        with self._store.reading() as connection:
            return index.rows(connection)

    def _to_trash(self, image_id: str, changed: set[str]) -> None:
        from tensors.pictures.thumbnails import Thumbnails

        image = self.get(image_id)
        changed.add(image_id)
        self._trash.take(image)
        Thumbnails(self.directory).remove(image_id)

    @contextmanager
    def _changing(self) -> Iterator[set[str]]:
        """Change files as the only one; the block adds the names of the pictures that it changed."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with locked(self._trash.folder.path), self._watch.noting() as changed:
            yield changed

    def _is_taken(self, name: str) -> bool:
        return self._folder.holds(name) or self._trash.holds(name)

    def _owner(self, name: str) -> Image | None:
        """The record of what has a name already, if it is one of ours; a sidecar that a crash left out is made good."""
        path = self._folder.picture(name)
        if path is None:
            return None
        record = self._folder.beside(name, str(path))
        if record is None and (record := self._folder.inside(name, str(path))):
            write_atomic(self._folder.sidecar(name), records.encode(record))
        return record

    def _same_file(self, incoming: Incoming) -> Image | None:
        """A picture that is here already: imported before, or made here."""
        with self._store.reading() as connection:
            names = index.with_sha256(connection, incoming.image.sha256 or "")
        for name in itertools.chain(names, candidates(incoming.image.created, incoming.image.settings.seed)):
            path = self._folder.picture(name)
            if path and path.read_bytes() == incoming.data and (record := self._owner(name)):
                return record
            if not self._is_taken(name) and name not in names:
                return None
        return None

    def _indexed(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except IndexDamaged:
            # It was put aside: there is a new one now.
            return ask()


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit must be between 1 and {MAX_LIMIT}, not {limit}")
