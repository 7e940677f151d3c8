"""Downloads as the settings have them: into which folders, from which sites, with which keys."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tensors.clock import now
from tensors.config import Config
from tensors.db.walk import Folder
from tensors.downloads.addresses import Guard
from tensors.downloads.asking import Asking
from tensors.downloads.places import folder_for
from tensors.downloads.plan import Planner
from tensors.downloads.refusals import refused
from tensors.downloads.site import CIVITAI, HUGGING_FACE, Site, Source
from tensors.downloads.targets import read_hash, read_target
from tensors.downloads.work import Downloading
from tensors.library import FOLDERS, Library, Report, Stop, kind_of
from tensors.types.download import DownloadPlan, DownloadReport, DownloadRequest

if TYPE_CHECKING:
    from tensors.db.database import Database


class Downloader:
    """Fetches files into a library."""

    def __init__(self, config: Config, library: Library) -> None:
        self._config = config
        self._library = library
        self._sites = {source: self._site(source) for source in (CIVITAI, HUGGING_FACE)}

    def plan(self, request: DownloadRequest) -> DownloadPlan:
        """See `tensors.service.Downloads.plan`."""
        with self._library.open() as database:
            return DownloadPlan(files=tuple(file.told for file in self._planner(database, request, None).plan(request)))

    def check(self, request: DownloadRequest) -> None:
        """Raise `OutsideFolders` for a folder that is not to be written to, `InvalidRequest` for a name of nothing."""
        if request.directory is not None:
            self._library.allowed(request.directory)
        if request.hash is not None:
            read_hash(request.hash)
        if request.target is not None:
            civitai, hugging_face = (self._sites[source].url for source in (CIVITAI, HUGGING_FACE))
            read_target(request.target, civitai_url=civitai, huggingface_url=hugging_face)

    def run(self, request: DownloadRequest, report: Report, stop: Stop) -> DownloadReport:
        """Fetch files and make them known. Raises `DownloadError`, `CatalogError`, `JobCancelled`; parts are kept."""
        configured = self._library.folders()
        with self._library.open() as database:
            planned = self._planner(database, request, stop).plan(request)
            work = Downloading(
                database=database,
                asking=self._asking,
                folder=lambda path: Folder(path, kind_of(path, configured)),
                report=report,
                stop=stop,
                now=now,
            )
            return work.run(planned)

    def _site(self, source: Source) -> Site:
        return Site(source=source, url=self._config[source.address].rstrip("/"), key=self._config[source.setting])

    def _asking(self, site: Site, what: str, page: str) -> Asking:
        return Asking(
            Guard(site.url, self._config["api.allowed_download_hosts"]),
            refused=partial(refused, site.source, what=what, page=page, key=site.key),
            key=site.key,
        )

    def _planner(self, database: Database, request: DownloadRequest, stop: Stop | None) -> Planner:
        directory = self._library.allowed(request.directory) if request.directory is not None else None
        return Planner(
            database,
            civitai=lambda: self._library.civitai(stop),
            hugging_face=lambda: self._library.hugging_face(stop),
            sites=self._sites,
            asking=self._asking,
            folder=lambda kind: directory or self._folder_for(kind),
            now=now,
            stop=stop or (lambda: False),
        )

    def _folder_for(self, kind: str | None) -> Path:
        """Where files of a kind go."""
        named = {of: self._config[setting] for setting, of in FOLDERS.items() if of}
        roots = self._config["paths.models"]
        return folder_for(kind, named=named, roots=roots, own=self._config.data_dir / "models")
