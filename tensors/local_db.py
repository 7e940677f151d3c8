"""The library of this machine, with jobs of this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensors.config import Config
from tensors.library import Library

if TYPE_CHECKING:
    from tensors.local import LocalTensors
    from tensors.orders import LibraryRequest
    from tensors.types.jobs import Job
    from tensors.types.library import CacheRequest, LinkRequest, ScanRequest


class LocalDb(Library):
    """`tensors.service.Db` on this machine's library."""

    def __init__(self, config: Config, tensors: LocalTensors) -> None:
        super().__init__(config)
        self._tensors = tensors

    def scan(self, request: ScanRequest, *, detach: bool = False) -> Job:
        self.check_scan(request)
        return self.start(request, detach)

    def link(self, request: LinkRequest, *, detach: bool = False) -> Job:
        return self.start(request, detach)

    def cache(self, request: CacheRequest, *, detach: bool = False) -> Job:
        return self.start(request, detach)

    def start(self, request: LibraryRequest, detach: bool) -> Job:
        """Do it in a thread of this process."""
        from tensors.clock import now
        from tensors.errors import NeedsServer
        from tensors.orders import order_library

        if detach:
            raise NeedsServer("--detach needs a server that goes on working", hint="tsr serve")
        return self._tensors.jobs.start(order_library(request, created=now()))
