"""What the scheduler is told and what it answers. All times are seconds of one clock; only differences count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

State = Literal["empty", "loading", "ready", "busy", "stopping", "away"]
"""Of a backend: no engine; a model on its way in; idle with a model; drawing; on its way out; does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One waiting job. Before another it goes by (asked, id)."""

    id: str
    model: str
    """Which model file it wants: equal keys mean the same file. Reasons show it, so let it be readable."""
    family: str
    asked: float
    size: int | None = None
    """Bytes of memory that an engine with this model probably takes; None where nobody knows."""
    backend: str | None = None
    """The one backend it insists on."""

    @property
    def order(self) -> tuple[float, str]:
        """Whose turn comes first where nothing speaks for another order."""
        return self.asked, self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One backend as it is now."""

    name: str
    state: State
    model: str | None = None
    """What is in it, or on its way in or out. One that cannot switch has its only model here in every state."""
    families: frozenset[str] = frozenset()
    """It serves only these; empty: any."""
    can_load: bool = True
    """Whether tsr starts and stops engines here. Not so for somebody else's server: it is never loaded nor unloaded."""
    can_switch: bool = True
    """Whether another model can be put into it. Means nothing without `can_load`."""
    since: float = 0.0
    """When it got into this state; for `ready`, since when it is idle."""
    loaded: float | None = None
    """When the model in it got ready. None where nobody knows: then a run of its requests is not cut by time."""
    serving: str | None = None
    """The id of the request that it draws."""
    uses: int | None = None
    """Bytes of memory that ending its engine would give back; None where nobody knows."""
    pool: str = ""
    """Backends with the same one share one memory, say one GPU."""

    @property
    def changeable(self) -> bool:
        """Whether it can have any model."""
        return self.can_load and self.can_switch

    @property
    def gone(self) -> bool:
        """Whether nothing can be done with it until it comes back by itself."""
        return self.state == "away" or (self.state == "empty" and not self.can_load)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Loads of one model on one backend that failed one after the other. A load that succeeds makes it void."""

    slot: str
    model: str
    times: int
    last: float
    """When the last one failed."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the owner of the machine allows."""

    max_wait: float = 60.0
    """How long, in seconds, a request may be overtaken by newer ones for a model that is loaded. 0: never."""
    keep_alive: float | None = 300.0
    """After how many idle seconds an engine is ended. 0: at once when nobody wants it; None: never."""
    max_away: float = 300.0
    """How long, in seconds, requests wait for a backend that does not answer, before they fail."""
    free: Mapping[str, int | None] = field(default_factory=lambda: MappingProxyType({}))
    """Bytes of memory that are free now, by pool; None or nothing where nobody knows."""
    most_loaded: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """How many engines of ours a pool may have at once, at least 1; nothing: as many as fit."""


@dataclass(frozen=True, slots=True)
class Run:
    """Let this request draw on this backend, which is ready with its model."""

    request: str
    slot: str


@dataclass(frozen=True, slots=True)
class Load:
    """Put this model into this backend, which is empty, or idle with another: then end that engine first."""

    slot: str
    model: str
    why: str


@dataclass(frozen=True, slots=True)
class Unload:
    """End the idle engine of this backend."""

    slot: str
    why: str


@dataclass(frozen=True, slots=True)
class Fail:
    """End this request with this reason; waiting longer would not help it."""

    request: str
    reason: str


Action = Run | Load | Unload | Fail


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a request still waits, in a sentence, and its place in the order that is likely now; 1 is next."""

    position: int
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done now; at most one thing for each backend and each request."""

    actions: tuple[Action, ...]
    waits: Mapping[str, Wait]
    """By request id: everybody for whom there is neither a `Run` nor a `Fail`."""
    wake: float | None
    """When to plan again though nothing happens before; always later than now."""
