"""Looking at a running server from outside: its events, what reached its engine, which processes live."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from conftest import Server, running
from PIL import Image as Pillow

from tensors.client import TsrClient
from tensors.gallery import Gallery
from tensors.types.gallery import Image
from tensors.types.generation import GenerateRequest
from tensors.types.jobs import Job, JobEvent

PROMPT = "a red circle on a blue background"


def small(**changes: Any) -> GenerateRequest:
    """A request for a small picture of few steps."""
    return GenerateRequest(**{"prompt": PROMPT, "width": 64, "height": 64, "steps": 4, **changes})


def wait_for(client: TsrClient, job: Job, seen: Callable[[JobEvent], bool]) -> JobEvent:
    """The first event of a job for which `seen` holds; the job must not end before."""
    with contextlib.closing(client.jobs.events(job.id)) as events:  # type: ignore[type-var]
        for event in events:
            if seen(event):
                return event
            assert not event.last, f"the job ended before that: {event}"
    raise AssertionError("the stream of events ended before the job did")


def drawing(event: JobEvent, *, image: int = 1, step: int = 1) -> bool:
    """Whether a job is at least that far."""
    now = event.progress
    return now is not None and now.phase == "sampling" and (now.image, now.step) >= (image, step)


def last_event(client: TsrClient, job: Job) -> JobEvent:
    """How a job ends."""
    *_, last = client.jobs.events(job.id)
    assert last.last, last
    return last


def eventually(holds: Callable[[], bool], *, within: float = 20) -> float:
    """Wait for what no event tells; how long it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within, f"not so within {within} s"
        time.sleep(0.02)
    return time.monotonic() - began


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that only waits for its parent's look has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def engine_pid(client: TsrClient) -> int:
    """The engine's process, once the model is in it."""
    eventually(lambda: client.status().engine.state in ("ready", "busy"))
    pid = client.status().engine.pid
    assert pid is not None
    return pid


@contextlib.contextmanager
def cut_short(data_dir: Path, **environment: str) -> Iterator[Server]:
    """A server that is killed at the end of the block: stopping in good order takes a second, and has its own test."""
    with running(data_dir, **environment) as server:
        yield server
        server.kill()


@dataclass(frozen=True)
class EngineLog:
    """The fake engine's log of requests, over all its lives."""

    path: Path

    @property
    def environment(self) -> dict[str, str]:
        """What makes the engine write it."""
        return {"FAKE_SD_REQUEST_LOG": str(self.path)}

    def entries(self, event: str) -> list[dict[str, Any]]:
        """Its lines of one kind."""
        if not self.path.exists():
            return []
        lines = [json.loads(line) for line in self.path.read_text("utf-8").splitlines()]
        return [line for line in lines if line["event"] == event]

    @property
    def seeds(self) -> list[int]:
        """The seed of each request for pictures, in order."""
        return [line["body"]["seed"] for line in self.entries("img_gen")]


def gallery_images(data_dir: Path) -> list[Image]:
    """Every picture of a data directory's gallery; each file must be a whole PNG of the size in its record."""
    images = Gallery(data_dir / "gallery").list(limit=500, cursor=None).items
    for image in images:
        with Pillow.open(image.path) as picture:
            picture.load()
            assert picture.size == (image.width, image.height)
    return list(images)


def seeds_in(images: list[Image]) -> Counter[int]:
    """How often each seed was drawn."""
    return Counter(image.settings.seed for image in images)


def pixels(path: Path | bytes) -> bytes:
    """The colours of a picture, without what its file says besides."""
    with Pillow.open(io.BytesIO(path) if isinstance(path, bytes) else path) as picture:
        return picture.convert("RGB").tobytes()


@contextlib.contextmanager
def http_to(server: Server) -> Iterator[http.client.HTTPConnection]:
    """A plain connection, for what the client would hide."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    try:
        yield connection
    finally:
        connection.close()


def send(connection: http.client.HTTPConnection, path: str, **body: Any) -> None:
    """Post a JSON document, and do not wait for the answer."""
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
