"""Checkpoints and LoRAs as people are shown them: which one is active, where they are loaded, what they lack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from tensors.checkpoints import Checkpoints
from tensors.errors import LibraryError, ModelNotFound
from tensors.families import defaults_for
from tensors.fitting import fits as fits_family
from tensors.samplers import SAMPLERS, SCHEDULERS, UPSCALERS
from tensors.shelf import Shelf
from tensors.types.base import Page
from tensors.types.models import LoraEntry, ModelEntry, Options

if TYPE_CHECKING:
    from tensors.engines.sd_server import Capabilities

Holders = Callable[[str], tuple[str, ...]]
"""The backends that have a model, by its name."""


class Lineup:
    """What `tensors.service.Models` tells; loading is the pool's. May be called from any thread."""

    def __init__(self, shelf: Shelf, checkpoints: Checkpoints, holders: Holders = lambda _model: ()) -> None:
        self._shelf = shelf
        self._checkpoints = checkpoints
        self._holders = holders

    def list(
        self, *, query: str | None = None, family: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page[ModelEntry]:
        """See `tensors.service.Models.list`."""
        page = self._shelf.models(query=query, family=family, limit=limit, cursor=cursor)
        active = self._active()
        return replace(page, items=tuple(self._told(entry, active) for entry in page.items))

    def get(self, name: str) -> ModelEntry:
        """See `tensors.service.Models.get`."""
        return self._told(self._shelf.model(name), self._active())

    def active(self) -> ModelEntry:
        """See `tensors.service.Models.active`."""
        entry = self._checkpoints.active()
        return self._told(entry, entry)

    def loras(
        self,
        *,
        query: str | None = None,
        family: str | None = None,
        fits: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[LoraEntry]:
        """See `tensors.service.Models.loras`."""
        model = self._shelf.model(fits) if fits else self._active()
        only = model.family if fits and model else None
        page = self._shelf.loras(query=query, family=family, fits=only, limit=limit, cursor=cursor)
        return replace(page, items=tuple(_fitted(entry, model) for entry in page.items))

    def options(
        self, model: str | None, capabilities: Callable[[str], Capabilities | None] = lambda _m: None
    ) -> Options:
        """See `tensors.service.Models.options`. `capabilities`: of an engine that has the model, by its name."""
        entry = self._shelf.model(model) if model else self._checkpoints.active()
        known = capabilities(entry.name)
        return Options(
            model=entry.name,
            family=entry.family,
            defaults=defaults_for(entry.family),
            samplers=tuple(known.samplers if known and known.samplers else SAMPLERS),
            schedulers=tuple(known.schedulers if known and known.schedulers else SCHEDULERS),
            upscalers=tuple(known.upscalers if known and known.upscalers else UPSCALERS),
        )

    def _active(self) -> ModelEntry | None:
        try:
            return self._checkpoints.active()
        except (ModelNotFound, LibraryError):
            # What the settings name is not there: then none is.
            return None

    def _told(self, entry: ModelEntry, active: ModelEntry | None) -> ModelEntry:
        return replace(
            entry,
            active=active is not None and entry.path == active.path,
            loaded=self._holders(entry.name),
            needs=() if entry.problem else self._checkpoints.missing(entry),
        )


def _fitted(lora: LoraEntry, model: ModelEntry | None) -> LoraEntry:
    if model is None:
        return lora
    return replace(
        lora, fits=fits_family(lora.family, model.family, lora_variant=lora.variant, checkpoint_variant=model.variant)
    )
