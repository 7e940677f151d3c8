"""What the routes work with."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from tensors import __version__
from tensors.config import Config
from tensors.downloads.downloader import Downloader
from tensors.gallery import Gallery
from tensors.jobs import JobQueue
from tensors.library import Library
from tensors.lineup import Lineup
from tensors.lookup import Lookup
from tensors.remaking.remaker import Remaker
from tensors.server.shown import Shown
from tensors.types.server import EngineStatus, Status, Version
from tensors.worker import Worker


@dataclass(frozen=True, slots=True)
class ServerCore:
    """The parts of a running server."""

    config: Config
    worker: Worker
    queue: JobQueue
    gallery: Gallery
    library: Library
    downloader: Downloader
    lookup: Lookup
    lineup: Lineup
    remaker: Remaker
    shown: Shown
    url: str
    keys: Sequence[str] = ()
    """API keys that clients may use; none: nobody needs one."""
    started: float = field(default_factory=time.monotonic)
    examining: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the machine is looked at."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server is about to stop."""

    def status(self) -> Status:
        """What runs where."""
        return Status(
            mode="server",
            url=self.url,
            version=__version__,
            engine=self._engine(),
            backends=self.worker.pool.statuses(),
            queued=self.queue.waiting,
            running=self.queue.running,
            images=self.gallery.count(),
            data_dir=str(self.config.data_dir),
            uptime_seconds=round(time.monotonic() - self.started, 1),
        )

    def close_listeners(self) -> None:
        """End every stream of events; the server is about to stop."""
        self.stopping.set()
        self.queue.close_listeners()
        for member in self.worker.pool.members.values():
            member.backend.journal.close()

    def version(self) -> Version:
        """Versions of what runs."""
        engine = next((member.backend.version for member in self.worker.pool.members.values()), None)
        return Version(tsr=__version__, engine=engine, python=sys.version.partition(" ")[0])

    def _engine(self) -> EngineStatus:
        statuses = self.worker.pool.statuses()
        held = (status for status in statuses if status.model)
        return next(held, statuses[0] if statuses else EngineStatus(state="missing"))


def _core(request: Request) -> ServerCore:
    core = request.app.state.core
    assert isinstance(core, ServerCore)
    return core


Core = Annotated[ServerCore, Depends(_core)]
