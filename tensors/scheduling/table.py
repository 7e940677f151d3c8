"""What is known while a plan is made: backends, groups of requests, and what is decided so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tensors.scheduling.serving import Failures, by_slot_and_model, can_serve
from tensors.scheduling.state import Action, Failure, Limits, Request, Slot


@dataclass(slots=True)
class Group:
    """Waiting requests that are alike: the same model, family and backend. In order."""

    requests: list[Request]
    slots: list[Slot]
    """Backends that may ever run them."""
    homes: list[Slot] = field(default_factory=list)
    """Those with the model in them, or on its way in: while there are any, it is loaded nowhere else."""
    started: int = 0
    """How many of them, from the first, have got a turn in this plan."""
    tried: bool = False
    reason: str = ""
    """Why it waits, when there is no home."""

    @property
    def first(self) -> Request:
        """The oldest one that has no turn yet."""
        return self.requests[self.started]

    @property
    def waiting(self) -> int:
        """How many have no turn yet."""
        return len(self.requests) - self.started


class Table:
    """What is known, and what is decided so far."""

    def __init__(
        self,
        requests: Iterable[Request],
        slots: Iterable[Slot],
        failures: Iterable[Failure],
        limits: Limits,
        now: float,
    ) -> None:
        self.limits, self.now = limits, now
        self.slots = sorted(slots, key=lambda slot: slot.name)
        self.failures: Failures = by_slot_and_model(failures)
        served = {slot.serving for slot in self.slots}
        self.requests = sorted((r for r in requests if r.id not in served), key=lambda request: request.order)
        self.sizes: dict[str, int] = {}
        """Bytes of memory that a model probably needs, where one of the requests for it knows."""
        for request in self.requests:
            if request.size is not None:
                self.sizes[request.model] = max(request.size, self.sizes.get(request.model, 0))
        self.group_of: dict[str, Group] = {}
        self.groups = self._grouped()
        self.at: dict[str, list[Group]] = {slot.name: [] for slot in self.slots}
        """The groups whose requests run on a backend as it is."""
        for group in self.groups:
            for slot in group.homes:
                self.at[slot.name].append(group)
        self.actions: list[Action] = []
        self.done: set[str] = set()
        """Requests that run or fail by this plan."""
        self.taken: dict[str, str] = {}
        """Backends that have their action, or are kept free for an older request: for which model."""
        self.held: dict[str, str] = {}
        """Pools in which somebody older waits for memory, so that no newer one takes it: for which model."""
        self.moving = {s.pool: s for s in self.slots if s.can_load and s.state in ("loading", "stopping")}
        """Pools in which an engine is on its way in or out: how much memory is free there is not known before it is."""
        self.wakes: list[float] = []

    def _grouped(self) -> list[Group]:
        groups: dict[tuple[str, str, str | None], Group] = {}
        for request in self.requests:
            key = (request.model, request.family, request.backend)
            group = groups.get(key)
            if group is None:
                able = [slot for slot in self.slots if can_serve(slot, request)]
                homes = [s for s in able if s.model == request.model and s.state in ("loading", "ready", "busy")]
                group = groups[key] = Group([], able, homes)
            group.requests.append(request)
            self.group_of[request.id] = group
        return list(groups.values())

    def comes_home(self, model: str, slot: Slot) -> None:
        """The model will be on this backend: whoever may run there waits for that and has it loaded nowhere else."""
        for group in self.groups:
            if not group.homes and group.requests[0].model == model and slot in group.slots:
                group.homes.append(slot)

    def wake_at(self, moment: float) -> None:
        """Plan again then, if it is still to come."""
        if moment > self.now:
            self.wakes.append(moment)

    def may_overtake(self, newer: Request, older: Request, slot: Slot) -> bool:
        """Whether the newer request may run on this backend, which has its model, before the older gets it.

        Two bounds: who was asked more than `max_wait` later never may; and nobody newer does once the older one has
        waited that long for a model that was there all the time.
        """
        since = self.now if slot.loaded is None else slot.loaded
        in_time = self.now < max(older.asked, since) + self.limits.max_wait
        return in_time and newer.asked <= older.asked + self.limits.max_wait

    def displaced(self, slot: Slot, older: Request) -> int | None:
        """How many waiting requests would lose this idle backend if `older` took it; None: it must not yet."""
        queues = [group for group in self.at[slot.name] if group.waiting]
        if not queues:
            return 0
        first = min((group.first for group in queues), key=lambda request: request.order)
        return None if self.may_overtake(first, older, slot) else sum(group.waiting for group in queues)
