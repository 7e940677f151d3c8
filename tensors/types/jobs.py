"""Durable pieces of work, and what is heard of them."""

from __future__ import annotations

from tensors.types.base import answer
from tensors.types.download import DownloadReport
from tensors.types.gallery import Cleaning, Image
from tensors.types.generation import Settings
from tensors.types.library import CacheReport, LinkReport, ScanReport
from tensors.types.models import SwitchReport


@answer
class Progress:
    """How far a running job is."""

    phase: str
    """`queued`; of a picture `loading`, `encoding`, `sampling`, `decoding` or `saving`; of the library `listing`,
    `hashing`, `matching` or `fetching`; of a download `looking up` and `downloading`, then those of the library."""
    step: int = 0
    """Sampling step of the current picture."""
    steps: int = 0
    image: int = 0
    """The picture being drawn, from 1."""
    images: int = 0
    done: int = 0
    """Of library work: how much of `total` is done."""
    total: int = 0
    unit: str | None = None
    """What `done` and `total` count: `files`, `bytes` or `models`."""
    name: str | None = None
    """The file or folder that is being worked on."""
    seconds_left: float | None = None
    attempt: int = 1
    """2 and more: the engine died and the job is tried again."""


@answer
class ErrorInfo:
    """Why a job failed, as an error of `tensors.errors`."""

    code: str
    message: str
    hint: str | None = None


@answer
class Job:
    """One durable piece of work."""

    id: str
    kind: str
    """`generate`, `switch`, `scan`, `link`, `cache`, `download` or `cleanup`."""
    state: str
    """`queued`, `running`, `paused`, `succeeded`, `failed` or `cancelled`."""
    created: str
    finished: str | None = None
    settings: Settings | None = None
    progress: Progress | None = None
    images: tuple[str, ...] = ()
    """Ids of the pictures made so far."""
    error: ErrorInfo | None = None
    scan: ScanReport | None = None
    """What a scan found, once it has ended."""
    link: LinkReport | None = None
    cache: CacheReport | None = None
    download: DownloadReport | None = None
    switch: SwitchReport | None = None
    cleanup: Cleaning | None = None
    position: int | None = None
    """Of what waits for an engine: its place in the order that is likely now; 1 is next."""
    waits_for: str | None = None
    """What it waits for, in a sentence."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to this job."""
        return self.state in ("succeeded", "failed", "cancelled")


@answer
class JobEvent:
    """What a listener hears: each event is the whole present state, so the last one is enough to know all."""

    seq: int
    """Counts the events of this job from 1."""
    job: str
    state: str
    kind: str = "generate"
    """Of the job."""
    progress: Progress | None = None
    images: tuple[str, ...] = ()
    error: ErrorInfo | None = None

    @property
    def last(self) -> bool:
        """Whether no event follows."""
        return self.state in ("succeeded", "failed", "cancelled")


@answer
class Happening:
    """Something that happened on a server: to a job, or to a picture."""

    job: JobEvent | None = None
    change: str | None = None
    """Of a picture: `saved`, `imported`, `edited`, `deleted` or `restored`."""
    image: Image | None = None


@answer
class Generated:
    """The answer to a generate request that waited: the job and its pictures."""

    job: Job
    images: tuple[Image, ...] = ()
