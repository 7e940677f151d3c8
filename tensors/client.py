"""A tsr server over HTTP, as if it were here."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import httpx_sse
import msgspec

from tensors import __version__
from tensors.decoding import NOT_THAT_JSON
from tensors.errors import ServerUnreachable, TsrError, from_wire
from tensors.png import SIGNATURE
from tensors.types.base import Deleted, Page
from tensors.types.catalog import Found, Model, ModelDetails
from tensors.types.download import DownloadPlan, DownloadRequest
from tensors.types.files import File, FileDetails, Triggers
from tensors.types.gallery import Image
from tensors.types.generation import GenerateRequest
from tensors.types.jobs import Generated, Job, JobEvent
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

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_LONG = httpx.Timeout(330.0, connect=5.0)
"""For what makes the server ask CivitAI, which may take several tries."""
_EVENT_SILENCE = 45.0
"""Three heartbeats of the server."""
_RECONNECTS = 5


class _Http:
    """One connection pool, and every failure as an error of ours."""

    def __init__(self, url: str, api_key: str | None, transport: httpx.BaseTransport | None) -> None:
        headers = {b"User-Agent": f"tsr/{__version__}".encode()}
        if api_key:
            # As bytes: of a text httpx takes ASCII only, and a key may be any words.
            headers[b"Authorization"] = f"Bearer {api_key}".encode()
        self.url = url
        # The proxy settings of a laptop are not for the box in the corner.
        self.session = httpx.Client(
            base_url=url, headers=headers, timeout=_TIMEOUT, transport=transport, trust_env=False
        )

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self.session.request(method, path, **options)
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
        if response.is_error:
            raise _error_of(response)
        return response

    def get(self, path: str, kind: type[T], **options: Any) -> T:
        return self.decode(self.call("GET", path, **options).content, kind)

    def post(self, path: str, kind: type[T], body: object) -> T:
        headers = {"Content-Type": "application/json"}
        content = msgspec.json.encode(body)
        return self.decode(self.call("POST", path, content=content, headers=headers, timeout=_LONG).content, kind)

    def delete(self, path: str, kind: type[T]) -> T:
        return self.decode(self.call("DELETE", path).content, kind)

    def decode(self, content: bytes | str, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=kind)
        except NOT_THAT_JSON as error:
            raise self.not_tsr(str(error)) from error

    def not_tsr(self, why: str) -> TsrError:
        return TsrError(f"{self.url} answered with something else than tsr does: {why}")

    def unreachable(self, error: httpx.HTTPError) -> ServerUnreachable:
        said = str(error) or type(error).__name__
        return ServerUnreachable(f"{self.url} cannot be reached: {said}", hint="is `tsr serve` running there?")


def _error_of(response: httpx.Response) -> TsrError:
    try:
        document = response.json()
    except (ValueError, RecursionError):
        document = None
    return from_wire(document, status=response.status_code)


def _given(**parameters: object) -> Mapping[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


class RemoteJobs:
    """`tensors.service.Jobs` on a server."""

    def __init__(self, http: _Http) -> None:
        self._http = http

    def list(
        self, *, kind: str | None = None, state: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> Page[Job]:
        wanted = _given(kind=kind, state=state, limit=limit, cursor=cursor)
        return self._http.get("/api/jobs", Page[Job], params=wanted)

    def get(self, job_id: str) -> Job:
        return self._http.get(f"/api/jobs/{_part(job_id)}", Job)

    def cancel(self, job_id: str) -> Job:
        return self._post(job_id, "cancel")

    def pause(self, job_id: str) -> Job:
        return self._post(job_id, "pause")

    def resume(self, job_id: str) -> Job:
        return self._post(job_id, "resume")

    def _post(self, job_id: str, what: str) -> Job:
        return self._http.decode(self._http.call("POST", f"/api/jobs/{_part(job_id)}/{what}").content, Job)

    def events(self, job_id: str) -> Iterator[JobEvent]:
        self.get(job_id)
        return self._events(job_id)

    def _events(self, job_id: str) -> Iterator[JobEvent]:
        """Each event tells the whole state, so a broken stream is simply opened again."""
        failures = 0
        while True:
            try:
                for event in self._stream(job_id):
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

    def _stream(self, job_id: str) -> Iterator[JobEvent]:
        timeout = httpx.Timeout(_EVENT_SILENCE, connect=5.0)
        path = f"/api/jobs/{_part(job_id)}/events"
        with httpx_sse.connect_sse(self._http.session, "GET", path, timeout=timeout) as source:
            if source.response.is_error:
                source.response.read()
                raise _error_of(source.response)
            for message in source.iter_sse():
                # A heartbeat, which is a comment, comes out of the library as an event without data.
                if message.data:
                    yield self._http.decode(message.data, JobEvent)


class RemoteImages:
    """`tensors.service.Images` on a server."""

    def __init__(self, http: _Http) -> None:
        self._http = http

    def list(self, *, limit: int = 20, cursor: str | None = None) -> Page[Image]:
        return self._http.get("/api/images", Page[Image], params=_given(limit=limit, cursor=cursor))

    def get(self, image_id: str) -> Image:
        return self._http.get(f"/api/images/{_part(image_id)}/meta", Image)

    def read(self, image_id: str) -> bytes:
        png = self._http.call("GET", f"/api/images/{_part(image_id)}").content
        if not png.startswith(SIGNATURE):
            raise self._http.not_tsr("that is no PNG")
        return png

    def delete(self, image_id: str) -> Deleted:
        return self._http.delete(f"/api/images/{_part(image_id)}", Deleted)


class RemoteDb:
    """`tensors.service.Db` on a server."""

    def __init__(self, http: _Http, directory: Path | None) -> None:
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
        wanted = _given(query=query, kind=kind, family=family, state=state, limit=limit, cursor=cursor)
        return self._http.get("/api/db/files", Page[File], params=wanted)

    def file(self, file: str) -> FileDetails:
        return self._http.get(f"/api/db/files/{_part(file)}", FileDetails)

    def info(self, path: str) -> FileDetails:
        return self._http.get("/api/db/info", FileDetails, params={"path": self._path(path)})

    def triggers(self, file: str) -> Triggers:
        return self._http.get(f"/api/db/triggers/{_part(file)}", Triggers)

    def edit(self, file: str, change: FileEdit) -> FileDetails:
        return self._http.post(f"/api/db/files/{_part(file)}/edit", FileDetails, change)

    def forget(self, file: str) -> Forgotten:
        return self._http.delete(f"/api/db/files/{_part(file)}", Forgotten)

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
        wanted = _given(
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
        return self._http.decode(self._http.call("POST", "/api/db/check", timeout=_LONG).content, LibraryCheck)

    def _path(self, path: str) -> str:
        """A path for the server: of a server on this machine, people name paths from where they are."""
        return str(self._directory / Path(path).expanduser()) if self._directory else path


class RemoteCatalog:
    """`tensors.service.Catalog`, asked by a server."""

    def __init__(self, http: _Http) -> None:
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
        wanted = _given(
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
        return self._http.get("/api/catalog/search", Page[Found], params=wanted, timeout=_LONG)

    def model(self, model_id: int) -> ModelDetails:
        return self._http.get(f"/api/catalog/models/{model_id}", ModelDetails, timeout=_LONG)


class RemoteDownloads:
    """`tensors.service.Downloads`, to a server."""

    def __init__(self, http: _Http, directory: Path | None) -> None:
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


def _part(value: str) -> str:
    """An id as one part of a path, whatever is in it: `../` must reach the server as an id that does not exist."""
    from urllib.parse import quote

    return quote(value, safe="", errors="surrogatepass").replace(".", "%2E")


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
        self._http = _Http(url, api_key, transport)
        self.jobs = RemoteJobs(self._http)
        self.images = RemoteImages(self._http)
        self.db = RemoteDb(self._http, directory)
        self.catalog = RemoteCatalog(self._http)
        self.downloads = RemoteDownloads(self._http, directory)

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

    def health(self) -> Health:
        return self._http.get("/api/health", Health)

    def status(self) -> Status:
        return self._http.get("/api/status", Status)

    def version(self) -> Version:
        return self._http.get("/api/version", Version)

    def close(self) -> None:
        self._http.session.close()
