"""What the routes work with."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from tensors import __version__
from tensors.config import Config
from tensors.downloads.downloader import Downloader
from tensors.gallery import Gallery
from tensors.jobs import JobQueue
from tensors.library import Library
from tensors.lookup import Lookup
from tensors.types.server import Status, Version
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
    url: str
    started: float = field(default_factory=time.monotonic)

    def status(self) -> Status:
        """What runs where."""
        return Status(
            mode="server",
            url=self.url,
            version=__version__,
            engine=self.worker.engine.status(),
            queued=self.queue.waiting,
            running=self.queue.running,
            images=self.gallery.count(),
            data_dir=str(self.config.data_dir),
            uptime_seconds=round(time.monotonic() - self.started, 1),
        )

    def version(self) -> Version:
        """Versions of what runs."""
        return Version(tsr=__version__, engine=self.worker.engine.version, python=sys.version.partition(" ")[0])


def _core(request: Request) -> ServerCore:
    core = request.app.state.core
    assert isinstance(core, ServerCore)
    return core


Core = Annotated[ServerCore, Depends(_core)]
