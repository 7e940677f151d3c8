"""What a job was asked for and what came of it, as it is stored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import msgspec

from tensors.errors import JobFinished
from tensors.types.download import DownloadReport, DownloadRequest
from tensors.types.gallery import Cleaning, CleanupRequest
from tensors.types.generation import GenerateRequest, Settings
from tensors.types.jobs import ErrorInfo, Job
from tensors.types.library import CacheReport, CacheRequest, LinkReport, LinkRequest, ScanReport, ScanRequest
from tensors.types.models import SwitchReport, SwitchRequest

KINDS = ("generate", "switch", "scan", "link", "cache", "download", "cleanup")
"""Of jobs."""

LibraryRequest = ScanRequest | LinkRequest | CacheRequest | DownloadRequest | CleanupRequest
"""Work that needs no engine."""
AnyRequest = GenerateRequest | SwitchRequest | LibraryRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """A job's input: exactly one of the requests is there, and says which kind it is."""

    created: str
    fingerprint: str
    """SHA256 of the request, to tell a repeated one from another one under the same idempotency key."""
    settings: Settings | None = None
    scan: ScanRequest | None = None
    link: LinkRequest | None = None
    cache: CacheRequest | None = None
    download: DownloadRequest | None = None
    switch: SwitchRequest | None = None
    cleanup: CleanupRequest | None = None

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        if self.settings:
            return "generate"
        if self.switch:
            return "switch"
        if self.download:
            return "download"
        if self.cleanup:
            return "cleanup"
        return "scan" if self.scan else "link" if self.link else "cache"

    @property
    def needs_engine(self) -> bool:
        """Whether it waits for a turn on an engine."""
        return self.kind in ("generate", "switch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A job's output."""

    state: str
    images: tuple[str, ...] = ()
    error: ErrorInfo | None = None
    finished: str | None = None
    """By our clock: the store's own counts whole seconds."""
    scan: ScanReport | None = None
    link: LinkReport | None = None
    cache: CacheReport | None = None
    download: DownloadReport | None = None
    switch: SwitchReport | None = None
    cleanup: Cleaning | None = None


def order_switch(request: SwitchRequest, *, created: str) -> Ordered:
    """The order for loading a model."""
    return Ordered(created=created, fingerprint=fingerprint_of(request), switch=request)


def order_library(request: LibraryRequest, *, created: str) -> Ordered:
    """The order for work on the library."""
    fingerprint = fingerprint_of(request)
    match request:
        case ScanRequest():
            return Ordered(created=created, fingerprint=fingerprint, scan=request)
        case LinkRequest():
            return Ordered(created=created, fingerprint=fingerprint, link=request)
        case CacheRequest():
            return Ordered(created=created, fingerprint=fingerprint, cache=request)
        case DownloadRequest():
            return Ordered(created=created, fingerprint=fingerprint, download=request)
        case CleanupRequest():
            return Ordered(created=created, fingerprint=fingerprint, cleanup=request)


def fingerprint_of(request: AnyRequest) -> str:
    """What two requests share only when they are the same."""
    return hashlib.sha256(msgspec.json.encode(request)).hexdigest()


def already_ended(job: Job) -> JobFinished:
    """The error for whoever wants to stop a job that has ended."""
    return JobFinished(f"job {job.id} has already {job.state}")


def finished(job: Job, outcome: Outcome) -> Job:
    """A job with its outcome."""
    return replace(
        job,
        state=outcome.state,
        images=outcome.images,
        error=outcome.error,
        finished=outcome.finished,
        scan=outcome.scan,
        link=outcome.link,
        cache=outcome.cache,
        download=outcome.download,
        switch=outcome.switch,
        cleanup=outcome.cleanup,
    )
