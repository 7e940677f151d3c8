"""What runs where."""

from __future__ import annotations

from tensors.types.base import answer


@answer
class Health:
    """Whether the server answers."""

    status: str = "ok"


@answer
class Session:
    """How a browser stands with a server."""

    needed: bool
    """Whether the server wants an API key."""
    valid: bool
    """Whether it has one, or needs none."""


@answer
class Version:
    """Versions of what runs there."""

    tsr: str
    engine: str | None
    python: str
    api: int = 1


@answer
class EngineStatus:
    """The engine and the model in it."""

    state: str
    """`missing`, `stopped`, `loading`, `ready`, `busy` or `failed`."""
    version: str | None = None
    model: str | None = None
    family: str | None = None
    pid: int | None = None
    message: str | None = None
    """The engine's last words, when it failed."""
    name: str = ""
    """Of the backend it belongs to."""
    kind: str = "process"
    """Where it runs: `process`, `docker` or `external`."""
    since: str | None = None
    """When it got into this state: RFC 3339, UTC."""
    families: tuple[str, ...] = ()
    """It serves only these; none: any."""
    memory: int | None = None
    """Bytes of memory that its engine probably takes."""
    job: str | None = None
    """The job that it draws."""
    queued: int = 0
    """Jobs that wait for the model in it."""


@answer
class Status:
    """What runs where."""

    mode: str
    """`server`, or `local` when there is none."""
    url: str | None
    version: str
    engine: EngineStatus
    """The backend that has the active model; else the first one."""
    queued: int
    running: int
    images: int
    """Pictures in the gallery."""
    data_dir: str
    backends: tuple[EngineStatus, ...] = ()
    """All of them."""
    uptime_seconds: float | None = None
