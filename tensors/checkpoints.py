"""Checkpoints as an engine needs them: with their companion files, or with what is missing."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tensors.active import ActiveModel
from tensors.companions import Need, companions_of, fit, needs, unusable
from tensors.config import Config
from tensors.errors import LibraryError, MissingCompanions, ModelNotFound
from tensors.header import BrokenHeader, read_header
from tensors.identify import has_tae
from tensors.library import Library
from tensors.models import ModelFile
from tensors.shelf import Shelf, usable

if TYPE_CHECKING:
    from tensors.db.parts import Part
    from tensors.types.models import ModelEntry

log = logging.getLogger(__name__)

_KEPT = 256


@dataclass(frozen=True, slots=True)
class _Inside:
    """What a file's header says that an engine needs to know."""

    size: int
    mtime_ns: int
    has_tae: bool
    needs: tuple[Need, ...]
    unusable: str | None


class Checkpoints:
    """What a request can draw with, ready to be loaded. May be called from any thread."""

    def __init__(self, config: Config, library: Library, shelf: Shelf) -> None:
        self._config = config
        self._library = library
        self._shelf = shelf
        self._active = ActiveModel(config.data_dir)
        if config.origins["engine.model"] not in ("default", "file"):
            # Said for this run, which counts more than what was switched to in an earlier one.
            self._active.clear()
        self.instead_of_builtin: Callable[[], str | None] = lambda: None
        """Names a model to take where nobody has chosen one, and the one that ships cannot be drawn with."""
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], _Inside] = OrderedDict()

    def named(self, name: str) -> ModelEntry:
        """The checkpoint of that name. Raises what `Shelf.model` raises, and `ModelNotFound` for one that is broken."""
        return usable(self._shelf.model(name))

    def active(self) -> ModelEntry:
        """What a request means that names no model: what was switched to; else that of the settings, or what ships.

        Raises what `named` raises.
        """
        switched_to = self._active.get()
        if switched_to:
            try:
                return self.named(switched_to)
            except (ModelNotFound, LibraryError) as error:
                log.warning("the active model cannot be used, so it is what the settings say: %s", error.message)
        default = usable(self._shelf.default())
        if default.builtin and self._config["engine.model"] is None and (name := self.instead_of_builtin()):
            try:
                return self.named(name)
            except (ModelNotFound, LibraryError) as error:
                log.warning("%s cannot be used, though an engine has it: %s", name, error.message)
        return default

    def activate(self, model: ModelFile) -> None:
        """From now on this is the active one, also after a restart."""
        self._active.set(str(model.path))

    def equip(self, entry: ModelEntry) -> ModelFile:
        """The files to load. Raises `ModelNotFound` for one that no engine can use, and `MissingCompanions`."""
        path = Path(entry.path)
        inside = self._inside(entry)
        if inside.unusable:
            raise ModelNotFound(f"{entry.name} {inside.unusable}", details={"path": entry.path})
        own = self._own(entry)
        wanted = [need for need in inside.needs if need.option not in own]
        companions = self._companions(entry.name, wanted, path.parent) if wanted else ()
        tae = (("taesd", path),) if inside.has_tae else ()
        kind = "diffusion_model" if entry.kind == "diffusion_model" else "checkpoint"
        return ModelFile(entry.name, path, entry.family, kind, (*tae, *companions, *own.items()))

    def _companions(self, name: str, wanted: Sequence[Need], folder: Path) -> tuple[tuple[str, Path], ...]:
        try:
            return companions_of(name, wanted, self._parts(), folder=folder)
        except MissingCompanions:
            # They may have come just now.
            self._shelf.refresh()
            return companions_of(name, wanted, self._parts(), folder=folder)

    def missing(self, entry: ModelEntry) -> tuple[str, ...]:
        """What it cannot do without and the library does not have, in words."""
        try:
            inside = self._inside(entry)
        except ModelNotFound:
            return ()
        wanted = [need for need in inside.needs if not need.optional and need.option not in self._own(entry)]
        parts = self._parts() if wanted else []
        return tuple(need.what for need in wanted if fit(need, parts, folder=Path(entry.path).parent) is None)

    def _own(self, entry: ModelEntry) -> dict[str, Path]:
        """The companions that its owner named in the settings."""
        settings = self._config.models.get(entry.name)
        return dict(settings.companions) if settings else {}

    def _parts(self) -> list[Part]:
        from tensors.db.parts import candidates

        try:
            with self._library.open() as database:
                return candidates(database)
        except LibraryError:
            # Then nothing is found, and what is missing is said.
            return []

    def _inside(self, entry: ModelEntry) -> _Inside:
        try:
            status = os.stat(entry.path)
            key = (entry.path, f"{entry.kind} {entry.family} {entry.variant}")
            with self._lock:
                known = self._known.get(key)
            if known and (known.size, known.mtime_ns) == (status.st_size, status.st_mtime_ns):
                return known
            header = read_header(Path(entry.path))
        except BrokenHeader as error:
            raise ModelNotFound(f"{entry.name} cannot be used: it {error}") from None
        except OSError as error:
            raise ModelNotFound(f"{entry.name} cannot be read: {error.strerror}") from None
        found = _Inside(
            status.st_size,
            status.st_mtime_ns,
            has_tae(header),
            needs(header, entry.kind, entry.family, entry.variant),
            unusable(header, entry.family),
        )
        with self._lock:
            self._known[key] = found
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return found
