"""Backends as the scheduler sees them: what each has and does, and since when."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tensors.engines.backend import Backend
from tensors.scheduler import Slot, State

_STATES: Mapping[str, State] = {"loading": "loading", "ready": "ready", "busy": "busy"}


@dataclass(frozen=True, slots=True)
class Member:
    """A backend in a pool."""

    backend: Backend
    memory: str = ""
    """Backends with the same one share a memory, say one GPU."""
    pause: Callable[[], float] = field(default=lambda: 5.0)
    """Seconds between two tries to reach an engine of somebody else."""

    @property
    def name(self) -> str:
        """Its backend's."""
        return self.backend.name

    @property
    def is_ours(self) -> bool:
        """Whether engines are started and ended there by us."""
        return self.backend.place.kind != "external"


@dataclass(frozen=True, slots=True)
class _Seen:
    """A state as it was when it began."""

    state: State
    model: str | None
    since: float
    loaded: float | None


class Slots:
    """All backends of a pool, with what the pool does with them."""

    def __init__(self, members: Sequence[Member], clock: Callable[[], float]) -> None:
        """`clock`: seconds."""
        self.members = {member.name: member for member in members}
        self.serving: dict[str, str] = {}
        """The id of the request that holds a backend, by its name."""
        self.moving: dict[str, tuple[State, str]] = {}
        """What is on its way in (`loading`) or out (`stopping`), by the backend's name."""
        self.uses: dict[str, int | None] = {}
        """Bytes of memory that an engine probably takes, by the backend's name."""
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def __iter__(self) -> Iterator[Slot]:
        return map(self.of, self.members.values())

    def loaded_at(self, name: str) -> float | None:
        """When the model in a backend got ready, as far as anybody has looked since."""
        seen = self._seen.get(name)
        return seen.loaded if seen else None

    def of(self, member: Member) -> Slot:
        """One backend as it is now."""
        backend, name = member.backend, member.name
        status = backend.status()
        inside = backend.inside
        state: State = _STATES.get(status.state, "empty" if member.is_ours else "away")
        model = inside.name if inside else None
        if name in self.serving:
            state = "busy"
        elif name in self.moving:
            state, model = self.moving[name]
        seen = self._seen.get(name)
        if seen is None or (seen.state, seen.model) != (state, model):
            now = self._clock()
            is_new = seen is None or seen.model != model or seen.state in ("loading", "empty", "away")
            since_load = now if seen is None or is_new else seen.loaded
            seen = self._seen[name] = _Seen(state, model, now, since_load if state in ("ready", "busy") else None)
        return Slot(
            name=name,
            state=state,
            model=model,
            families=frozenset(backend.families),
            can_load=member.is_ours,
            can_switch=backend.place.can_switch,
            since=seen.since,
            loaded=seen.loaded,
            serving=self.serving.get(name),
            uses=self.uses.get(name),
            pool=member.memory,
        )
