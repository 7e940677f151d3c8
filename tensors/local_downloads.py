"""Downloads to this machine, with jobs of this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensors.config import Config
from tensors.downloads.downloader import Downloader

if TYPE_CHECKING:
    from tensors.local_db import LocalDb
    from tensors.types.download import DownloadPlan, DownloadRequest
    from tensors.types.jobs import Job


class LocalDownloads:
    """`tensors.service.Downloads` into this machine's library."""

    def __init__(self, config: Config, db: LocalDb) -> None:
        self._db = db
        self._downloader = Downloader(config, db)

    def plan(self, request: DownloadRequest) -> DownloadPlan:
        return self._downloader.plan(request)

    def start(self, request: DownloadRequest, *, detach: bool = False) -> Job:
        self._downloader.check(request)
        return self._db.start(request, detach)
