"""Models and backends of this machine, without a server."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from tensors.config import Config
from tensors.errors import NeedsServer
from tensors.types.base import Page

if TYPE_CHECKING:
    from tensors.checkpoints import Checkpoints
    from tensors.library import Library
    from tensors.lineup import Lineup
    from tensors.shelf import Shelf
    from tensors.types.backends import LogLine
    from tensors.types.jobs import Job
    from tensors.types.models import LoraEntry, ModelEntry, Options, SwitchRequest, UnloadRequest
    from tensors.types.server import EngineStatus


class LocalModels:
    """`tensors.service.Models` on this machine's library."""

    def __init__(self, config: Config, library: Library) -> None:
        self._config = config
        self._library = library

    @cached_property
    def shelf(self) -> Shelf:
        """Checkpoints and LoRAs by name."""
        from tensors.shelf import Shelf

        return Shelf(self._library, self._config)

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """Checkpoints, ready for an engine."""
        from tensors.checkpoints import Checkpoints

        return Checkpoints(self._config, self._library, self.shelf)

    @cached_property
    def _lineup(self) -> Lineup:
        from tensors.lineup import Lineup

        return Lineup(self.shelf, self.checkpoints)

    def list(
        self, *, query: str | None = None, family: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page[ModelEntry]:
        return self._lineup.list(query=query, family=family, limit=limit, cursor=cursor)

    def get(self, model: str) -> ModelEntry:
        return self._lineup.get(model)

    def active(self) -> ModelEntry:
        return self._lineup.active()

    def switch(self, request: SwitchRequest, *, detach: bool = False) -> Job:
        self.checkpoints.equip(self.checkpoints.named(request.model))
        raise NeedsServer(
            "only a server keeps a model loaded", hint="tsr serve; without one: tsr config set engine.model NAME"
        )

    def unload(self, request: UnloadRequest) -> Page[EngineStatus]:
        raise NeedsServer("without a server no model stays loaded", hint="tsr serve")

    def options(self, model: str | None = None) -> Options:
        return self._lineup.options(model)

    def loras(
        self,
        *,
        query: str | None = None,
        family: str | None = None,
        fits: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[LoraEntry]:
        return self._lineup.loras(query=query, family=family, fits=fits, limit=limit, cursor=cursor)


class LocalBackends:
    """`tensors.service.Backends` as the settings have them; nothing runs between commands."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def list(self) -> Page[EngineStatus]:
        from tensors.engines.fleet import resting

        return Page(items=resting(self._config))

    def logs(self, backend: str | None = None, *, lines: int = 100, follow: bool = False) -> Iterator[LogLine]:
        raise NeedsServer("without a server no engine is running", hint="tsr serve")
