"""Models and backends of a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import httpx

from tensors.session import Session, given, part
from tensors.types.backends import LogLine
from tensors.types.base import Page
from tensors.types.jobs import Job
from tensors.types.models import LoraEntry, ModelEntry, Options, SwitchRequest, UnloadRequest
from tensors.types.server import EngineStatus


class RemoteModels:
    """`tensors.service.Models` on a server."""

    def __init__(self, http: Session) -> None:
        self._http = http

    def list(
        self, *, query: str | None = None, family: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page[ModelEntry]:
        wanted = given(query=query, family=family, limit=limit, cursor=cursor)
        return self._http.get("/api/models", Page[ModelEntry], params=wanted)

    def get(self, model: str) -> ModelEntry:
        return self._http.get(f"/api/models/{part(model)}", ModelEntry)

    def active(self) -> ModelEntry:
        return self._http.get("/api/models/active", ModelEntry)

    def switch(self, request: SwitchRequest, *, detach: bool = False) -> Job:
        return self._http.post("/api/models/switch", Job, request)

    def unload(self, request: UnloadRequest) -> Page[EngineStatus]:
        return self._http.post("/api/models/unload", Page[EngineStatus], request)

    def options(self, model: str | None = None) -> Options:
        return self._http.get("/api/models/options", Options, params=given(model=model))

    def loras(
        self,
        *,
        query: str | None = None,
        family: str | None = None,
        fits: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[LoraEntry]:
        wanted = given(query=query, family=family, fits=fits, limit=limit, cursor=cursor)
        return self._http.get("/api/loras", Page[LoraEntry], params=wanted)


class RemoteBackends:
    """`tensors.service.Backends` on a server."""

    def __init__(self, http: Session) -> None:
        self._http = http

    def list(self) -> Page[EngineStatus]:
        return self._http.get("/api/backends", Page[EngineStatus])

    def logs(self, backend: str | None = None, *, lines: int = 100, follow: bool = False) -> Iterator[LogLine]:
        wanted = given(backend=backend, lines=lines, follow=follow)
        # An engine may say nothing for hours.
        stream = self._http.events("/api/backends/logs", LogLine, silence=None if follow else 30.0, params=wanted)
        with ExitStack() as stack:
            try:
                told = stack.enter_context(stream)
            except httpx.HTTPError as error:
                raise self._http.unreachable(error) from error
            return self._told(stack.pop_all(), told)

    def _told(self, stream: ExitStack, lines: Iterator[LogLine]) -> Iterator[LogLine]:
        with stream:
            try:
                yield from lines
            except httpx.HTTPError as error:
                raise self._http.unreachable(error) from error
