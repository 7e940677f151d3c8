"""A tsr server over HTTP, as if it were here."""

from __future__ import annotations

import secrets
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec

from tensors.errors import ServerUnreachable
from tensors.remote_images import RemoteImages
from tensors.remote_models import RemoteBackends, RemoteModels
from tensors.session import LONG, Session, given, part
from tensors.types.base import Page
from tensors.types.catalog import Found, Model, ModelDetails
from tensors.types.doctor import Finding
from tensors.types.download import DownloadPlan, DownloadRequest
from tensors.types.files import File, FileDetails, Triggers
from tensors.types.generation import GenerateRequest
from tensors.types.jobs import Generated, Happening, Job, JobEvent
from tensors.types.library import (
    CacheRequest,
    Duplicates,
    FileEdit,
    Forgotten,
    LibraryCheck,
    LibraryStats,
    LinkRequest,
    ScanRequest,
    Update,
)
from tensors.types.server import Health, Status, Version

T = TypeVar("T")

_RECONNECTS = 5


class RemoteJobs:
    """`tensors.service.Jobs` on a server."""

    def __init__(self, http: Session) -> None:
        self._http = http

    def list(
        self, *, kind: str | None = None, state: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> Page[Job]:
        wanted = given(kind=kind, state=state, limit=limit, cursor=cursor)
        return self._http.get("/api/jobs", Page[Job], params=wanted)

    def get(self, job_id: str) -> Job:
        return self._http.get(f"/api/jobs/{part(job_id)}", Job)

    def cancel(self, job_id: str) -> Job:
        return self._post(job_id, "cancel")

    def pause(self, job_id: str) -> Job:
        return self._post(job_id, "pause")

    def resume(self, job_id: str) -> Job:
        return self._post(job_id, "resume")

    def _post(self, job_id: str, what: str) -> Job:
        return self._http.decode(self._http.call("POST", f"/api/jobs/{part(job_id)}/{what}").content, Job)

    def events(self, job_id: str) -> Iterator[JobEvent]:
        self.get(job_id)
        return self._events(job_id)

    def _events(self, job_id: str) -> Iterator[JobEvent]:
        """Each event tells the whole state, so a broken stream is simply opened again."""
        failures = 0
        while True:
            try:
                with self._http.events(f"/api/jobs/{part(job_id)}/events", JobEvent) as events:
                    for event in events:
                        failures = 0
                        yield event
                        if event.last:
                            return
            except httpx.HTTPError as error:
                if failures == _RECONNECTS:
                    raise self._http.unreachable(error) from error
            failures += 1
            if failures > _RECONNECTS:
                raise ServerUnreachable(
                    f"{self._http.url} stopped telling about job {job_id}", hint=f"tsr jobs watch {job_id}"
                )
            time.sleep(min(0.25 * 2**failures, 5.0))


class RemoteDb:
    """`tensors.service.Db` on a server."""

    def __init__(self, http: Session, directory: Path | None) -> None:
        self._http = http
        self._directory = directory

    def scan(self, request: ScanRequest, *, detach: bool = False) -> Job:
        directories = tuple(map(self._path, request.directories))
        return self._http.post("/api/db/scan", Job, replace(request, directories=directories))

    def link(self, request: LinkRequest, *, detach: bool = False) -> Job:
        return self._http.post("/api/db/link", Job, request)

    def cache(self, request: CacheRequest, *, detach: bool = False) -> Job:
        return self._http.post("/api/db/cache", Job, request)

    def files(
        self,
        *,
        query: str | None = None,
        kind: str | None = None,
        family: str | None = None,
        state: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[File]:
        wanted = given(query=query, kind=kind, family=family, state=state, limit=limit, cursor=cursor)
        return self._http.get("/api/db/files", Page[File], params=wanted)

    def file(self, file: str) -> FileDetails:
        return self._http.get(f"/api/db/files/{part(file)}", FileDetails)

    def info(self, path: str) -> FileDetails:
        return self._http.get("/api/db/info", FileDetails, params={"path": self._path(path)})

    def triggers(self, file: str) -> Triggers:
        return self._http.get(f"/api/db/triggers/{part(file)}", Triggers)

    def edit(self, file: str, change: FileEdit) -> FileDetails:
        return self._http.post(f"/api/db/files/{part(file)}/edit", FileDetails, change)

    def forget(self, file: str) -> Forgotten:
        return self._http.delete(f"/api/db/files/{part(file)}", Forgotten)

    def models(
        self,
        *,
        query: str | None = None,
        type: str | None = None,
        base_model: str | None = None,
        tag: str | None = None,
        creator: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[Model]:
        wanted = given(
            query=query, type=type, base_model=base_model, tag=tag, creator=creator, limit=limit, cursor=cursor
        )
        return self._http.get("/api/db/models", Page[Model], params=wanted)

    def model(self, model_id: int) -> ModelDetails:
        return self._http.get(f"/api/db/models/{model_id}", ModelDetails)

    def forget_model(self, model_id: int) -> Forgotten:
        return self._http.delete(f"/api/db/models/{model_id}", Forgotten)

    def duplicates(self) -> Page[Duplicates]:
        return self._http.get("/api/db/duplicates", Page[Duplicates])

    def updates(self) -> Page[Update]:
        return self._http.get("/api/db/updates", Page[Update])

    def stats(self) -> LibraryStats:
        return self._http.get("/api/db/stats", LibraryStats)

    def check(self) -> LibraryCheck:
        return self._http.decode(self._http.call("POST", "/api/db/check", timeout=LONG).content, LibraryCheck)

    def _path(self, path: str) -> str:
        """A path for the server: of a server on this machine, people name paths from where they are."""
        return str(self._directory / Path(path).expanduser()) if self._directory else path


class RemoteCatalog:
    """`tensors.service.Catalog`, asked by a server."""

    def __init__(self, http: Session) -> None:
        self._http = http

    def search(
        self,
        query: str,
        *,
        provider: str = "civitai",
        type: str | None = None,
        base_model: str | None = None,
        tag: str | None = None,
        creator: str | None = None,
        sort: str | None = None,
        period: str | None = None,
        nsfw: bool | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[Found]:
        wanted = given(
            query=query,
            provider=provider,
            type=type,
            base_model=base_model,
            tag=tag,
            creator=creator,
            sort=sort,
            period=period,
            nsfw=None if nsfw is None else str(nsfw).lower(),
            limit=limit,
            cursor=cursor,
        )
        return self._http.get("/api/catalog/search", Page[Found], params=wanted, timeout=LONG)

    def model(self, model_id: int) -> ModelDetails:
        return self._http.get(f"/api/catalog/models/{model_id}", ModelDetails, timeout=LONG)


class RemoteDownloads:
    """`tensors.service.Downloads`, to a server."""

    def __init__(self, http: Session, directory: Path | None) -> None:
        self._http = http
        self._directory = directory

    def plan(self, request: DownloadRequest) -> DownloadPlan:
        return self._http.post("/api/download/plan", DownloadPlan, self._there(request))

    def start(self, request: DownloadRequest, *, detach: bool = False) -> Job:
        return self._http.post("/api/download", Job, self._there(request))

    def _there(self, request: DownloadRequest) -> DownloadRequest:
        """With the path that a server on this machine takes: people name folders from where they are."""
        if request.directory is None or self._directory is None:
            return request
        return replace(request, directory=str(self._directory / Path(request.directory).expanduser()))


class TsrClient:
    """`tensors.service.Tensors` on a server."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        transport: httpx.BaseTransport | None = None,
        directory: Path | None = None,
    ) -> None:
        """`directory`: of a server on this machine, where paths start that people name."""
        self._http = Session(url, api_key, transport)
        self.jobs = RemoteJobs(self._http)
        self.images = RemoteImages(self._http)
        self.db = RemoteDb(self._http, directory)
        self.catalog = RemoteCatalog(self._http)
        self.downloads = RemoteDownloads(self._http, directory)
        self.models = RemoteModels(self._http)
        self.backends = RemoteBackends(self._http)

    def generate(self, request: GenerateRequest, *, idempotency_key: str | None = None, detach: bool = False) -> Job:
        # With a key of its own a request can be sent again after a broken connection and is still one job.
        headers = {"Idempotency-Key": (idempotency_key or secrets.token_hex(16)).encode()}
        body = msgspec.json.encode({**msgspec.to_builtins(request), "wait": False})
        headers["Content-Type"] = b"application/json"
        try:
            response = self._http.call("POST", "/api/generate", content=body, headers=headers)
        except ServerUnreachable as error:
            if isinstance(error.__cause__, httpx.ConnectError):
                raise
            response = self._http.call("POST", "/api/generate", content=body, headers=headers)
        return self._http.decode(response.content, Generated).job

    def events(self) -> Iterator[Happening]:
        self.health()
        return self._events()

    def _events(self) -> Iterator[Happening]:
        try:
            with self._http.listening("/api/events") as messages:
                for message in messages:
                    if message.event == "job":
                        yield Happening(job=self._http.decode(message.data, JobEvent))
                    elif message.event == "image":
                        yield self._http.decode(message.data, Happening)
        except httpx.HTTPError as error:
            raise self._http.unreachable(error) from error

    def health(self) -> Health:
        return self._http.get("/api/health", Health)

    def status(self) -> Status:
        return self._http.get("/api/status", Status)

    def version(self) -> Version:
        return self._http.get("/api/version", Version)

    def doctor(self) -> Generator[Finding, None, None]:
        from tensors.remote_doctor import doctor

        return doctor(self._http)

    def close(self) -> None:
        self._http.session.close()
