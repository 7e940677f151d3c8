"""Downloads to this machine, with jobs of this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensors.local_db import LocalDb
    from tensors.types.download import DownloadPlan, DownloadRequest
    from tensors.types.jobs import Job


class LocalDownloads:
    """`tensors.service.Downloads` into this machine's library."""

    def __init__(self, db: LocalDb) -> None:
        self._db = db

    def plan(self, request: DownloadRequest) -> DownloadPlan:
        return self._db.plan_download(request)

    def start(self, request: DownloadRequest, *, detach: bool = False) -> Job:
        self._db.check_download(request)
        return self._db.start(request, detach)
