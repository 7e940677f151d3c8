"""What tsr can do: the list of all operations, grouped by noun.

`tensors.local.LocalTensors` does them, `tensors.client.TsrClient` asks a server; `tensors.connect.connect` chooses. The
HTTP routes and the command line are thin faces over this. To add an operation, see CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from tensors.types.base import Deleted, Page
from tensors.types.gallery import Image
from tensors.types.generation import GenerateRequest
from tensors.types.jobs import Job, JobEvent
from tensors.types.server import Health, Status, Version


class Jobs(Protocol):
    """Durable pieces of work."""

    def list(self, *, state: str | None = None, limit: int = 20, cursor: str | None = None) -> Page[Job]:
        """Jobs, newest first.

        Raises:
            InvalidRequest: for an unknown state or cursor, or a limit outside 1..500.
        """

    def get(self, job_id: str) -> Job:
        """One job, as it is now. Raises `JobNotFound`."""

    def cancel(self, job_id: str) -> Job:
        """Stop a job, queued or running, and return it once it has ended.

        Raises:
            JobNotFound: when there is no such job.
            JobFinished: when it had ended before.
        """

    def events(self, job_id: str) -> Iterator[JobEvent]:
        """What happens to a job from its present state until it has ended. Raises `JobNotFound` at once."""


class Images(Protocol):
    """Pictures in the gallery."""

    def list(self, *, limit: int = 20, cursor: str | None = None) -> Page[Image]:
        """Pictures, newest first. Raises `InvalidRequest` for a limit outside 1..500."""

    def get(self, image_id: str) -> Image:
        """One picture's record. Raises `ImageNotFound`."""

    def read(self, image_id: str) -> bytes:
        """The PNG file. Raises `ImageNotFound`."""

    def delete(self, image_id: str) -> Deleted:
        """Delete the file and its record. Raises `ImageNotFound`."""


class Tensors(Protocol):
    """Everything, by noun."""

    @property
    def jobs(self) -> Jobs: ...

    @property
    def images(self) -> Images: ...

    def generate(self, request: GenerateRequest, *, idempotency_key: str | None = None, detach: bool = False) -> Job:
        """Check a request and queue it; `jobs.events` follows it.

        A second request with the same idempotency key is the first one's job. `detach` says that nobody will wait here,
        which only a server can promise.

        Raises:
            InvalidRequest: when a value is not possible.
            ModelNotFound, LoraNotFound: with suggestions.
            IdempotencyConflict: when the key was used for a different request.
            QueueFull: when too many jobs wait.
            NeedsServer: for `detach` without a server.
        """

    def health(self) -> Health:
        """Whether it answers."""

    def status(self) -> Status:
        """What runs where."""

    def version(self) -> Version:
        """Versions of tsr and its engine."""

    def close(self) -> None:
        """Let go of connections and processes."""
