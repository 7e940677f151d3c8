"""A world for the scheduler: backends that load, draw, fail, die and go away, in simulated time.

It carries out each plan and checks each of its actions against the laws that hold at any time. What may serve what is
written down here a second time, so that the scheduler is not its own judge.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Literal

from tensors.scheduler import Fail, Failure, Limits, Load, Plan, Request, Run, Slot, State, Unload, plan

ENGINE = ("loading", "ready", "busy", "stopping")
Fault = Literal["die", "leave", "come_back"]
HOME = ("loading", "ready", "busy")


@dataclass(frozen=True)
class History:
    """What happens in a world from outside. Faults name what happens to which backend when."""

    slots: tuple[Slot, ...]
    limits: Limits
    memory: Mapping[str, int]
    uses_known: bool
    load_fails: float
    requests: tuple[Request, ...]
    cancels: tuple[tuple[float, str], ...]
    faults: tuple[tuple[float, Fault, str], ...]
    seed: int


@dataclass
class World:
    """Backends, those who wait, and what is still to happen."""

    slots: dict[str, Slot]
    limits: Limits
    random: Random = field(default_factory=lambda: Random(0))
    memory: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    uses_known: bool = True
    broken: frozenset[str] = frozenset()
    load_fails: float = 0.0
    load_seconds: tuple[float, float] = (1.0, 20.0)
    draw_seconds: tuple[float, float] = (0.5, 30.0)
    shuffle: bool = True

    now: float = 0.0
    waiting: dict[str, Request] = field(default_factory=dict)
    drawing: dict[str, Request] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    started: list[Request] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    failures: dict[tuple[str, str], Failure] = field(default_factory=dict)
    plan: Plan = field(default_factory=lambda: Plan((), {}, None))
    on_run: Callable[[World, Request, Slot], None] = lambda world, request, slot: None
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _count: int = 0
    _lives: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, history: History, sizes: Mapping[str, int], broken: frozenset[str]) -> World:
        """The world in which this is going to happen."""
        world = cls(
            slots={slot.name: slot for slot in history.slots},
            limits=history.limits,
            random=Random(history.seed),
            memory=history.memory,
            sizes=sizes,
            uses_known=history.uses_known,
            broken=broken,
            load_fails=history.load_fails,
        )
        for request in history.requests:
            world.at(request.asked, partial(world.ask, request))
        for moment, name in history.cancels:
            world.at(moment, partial(world.cancel, name))
        for moment, fault, name in history.faults:
            world.at(moment, partial(getattr(world, fault), name))
        return world

    # What happens from outside.

    def at(self, moment: float, happen: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (moment, self._count, happen))

    def ask(self, request: Request) -> None:
        self.waiting[request.id] = request

    def cancel(self, name: str) -> None:
        """Only while it waits; ending a drawing engine is a death."""
        if self.waiting.pop(name, None):
            self.ended[name] = "cancelled"

    def die(self, name: str) -> None:
        """Its engine ends by itself. Somebody else's is away then."""
        slot = self.slots[name]
        if slot.state not in ENGINE:
            return
        self._requeue(slot)
        if slot.state == "loading" and slot.model:
            self._failed(slot, slot.model)
        self._change(name, "empty" if slot.can_load else "away")

    def leave(self, name: str) -> None:
        """It does not answer any more."""
        self._requeue(self.slots[name])
        self._change(name, "away")

    def come_back(self, name: str) -> None:
        if self.slots[name].state == "away":
            self._change(name, "empty" if self.slots[name].can_load else "ready")

    def run(self, until: float = float("inf")) -> None:
        """Let time pass until nothing is left to happen."""
        self._settle()
        for _ in range(20_000):
            wake = float("inf") if self.plan.wake is None else self.plan.wake
            moment = min(self._events[0][0] if self._events else float("inf"), wake)
            if moment == float("inf") or moment > until:
                return
            self.now = moment
            while self._events and self._events[0][0] <= moment:
                heapq.heappop(self._events)[2]()
            self._settle()
        raise AssertionError("it does not come to an end")

    # What a plan does.

    def _settle(self) -> None:
        for _ in range(100):
            self.plan = self._make_plan()
            self._check_answer(self.plan)
            if not self.plan.actions:
                self._check_not_stuck()
                return
            for action in self.plan.actions:
                match action:
                    case Run():
                        self._run(action)
                    case Load():
                        self._load(action)
                    case Unload():
                        self._unload(action)
                    case Fail():
                        self._fail(action)
        raise AssertionError(f"it plans without end: {self.plan}")

    def _make_plan(self) -> Plan:
        free = dict.fromkeys(self.memory, 0)
        for pool, total in self.memory.items():
            free[pool] = max(0, total - sum(self._takes(s) for s in self.slots.values() if s.pool == pool))
        self.limits = replace(self.limits, free=free)
        requests, slots, failures = list(self.waiting.values()), list(self.slots.values()), list(self.failures.values())
        made = plan(requests, slots, failures, self.limits, self.now)
        if self.shuffle:
            for things in (requests, slots, failures):
                self.random.shuffle(things)
            assert plan(requests, slots, failures, self.limits, self.now) == made, "the order of what goes in matters"
        return made

    def _takes(self, slot: Slot) -> int:
        """Memory as it is measured: a model on its way in has only half of it."""
        size = self.sizes.get(slot.model or "", 0) if slot.state in ENGINE else 0
        return size // 2 if slot.state == "loading" else size

    def _run(self, action: Run) -> None:
        slot, request = self.slots[action.slot], self.waiting.pop(action.request)
        assert slot.state == "ready"
        assert slot.model == request.model
        assert self.can_serve(slot, request)
        alike = [r for r in self.waiting.values() if (r.model, r.backend) == (request.model, request.backend)]
        assert all(request.order < other.order for other in alike), "one of the same sort was asked for earlier"
        self.on_run(self, request, slot)
        self.started.append(request)
        self.drawing[request.id] = request
        self._change(slot.name, "busy", model=slot.model, serving=request.id)
        self._later(slot.name, self.draw_seconds, lambda: self._drawn(slot.name, request))

    def _drawn(self, name: str, request: Request) -> None:
        del self.drawing[request.id]
        self.ended[request.id] = "drawn"
        self._change(name, "ready", model=request.model)

    def _load(self, action: Load) -> None:
        slot, model = self.slots[action.slot], action.model
        assert slot.can_load
        assert slot.state in ("empty", "ready")
        assert slot.model == model or slot.can_switch
        wanting = [r for r in self.waiting.values() if r.model == model and self.can_serve(slot, r)]
        homeless = [r for r in wanting if not self.homes(r)]
        assert homeless, "nobody needs it there"
        failure = self.failures.get((slot.name, model))
        assert failure is None or self.now >= failure.last + 4 ** (min(failure.times, 3) - 1), "too soon again"
        others = [s for s in self._own_in(slot.pool) if s is not slot]
        assert all(s.state in ("ready", "busy") for s in others), "another engine comes or goes in the same memory"
        if others:
            assert len(others) < self.limits.most_loaded.get(slot.pool, 99)
            sizes = [r.size for r in wanting if r.size is not None]
            free = self.limits.free.get(slot.pool)
            known = free is not None and sizes and (slot.state == "empty" or slot.uses is not None)
            assert not known or (free or 0) + (slot.uses or 0) >= 1.1 * sizes[0], "there is no room"
        self.loads.append(model)
        self._change(slot.name, "loading", model=model)
        self._later(slot.name, self.load_seconds, lambda: self._loaded(slot.name, model))

    def _loaded(self, name: str, model: str) -> None:
        if model in self.broken or self.random.random() < self.load_fails:
            self._failed(self.slots[name], model)
            self._change(name, "empty")
        else:
            self.failures.pop((name, model), None)
            self._change(name, "ready", model=model, loaded=self.now)

    def _failed(self, slot: Slot, model: str) -> None:
        known = self.failures.get((slot.name, model))
        times = known.times + 1 if known else 1
        self.failures[slot.name, model] = Failure(
            slot=slot.name, model=model, times=times, last=self.now, reason="bad header"
        )

    def _unload(self, action: Unload) -> None:
        slot = self.slots[action.slot]
        assert slot.state == "ready"
        assert slot.can_load
        losing = [r for r in self.waiting.values() if r.model == slot.model and self.can_serve(slot, r)]
        homeless = [r for r in self.waiting.values() if not self.homes(r)]
        if losing:
            assert min(r.order for r in homeless) < min(r.order for r in losing), "nobody older needs its memory"
        elif not homeless:
            assert self.limits.keep_alive is not None
            assert self.now >= slot.since + self.limits.keep_alive
        self._change(slot.name, "stopping", model=slot.model)
        self._later(slot.name, (0.1, 3.0), lambda: self._change(slot.name, "empty"))

    def _fail(self, action: Fail) -> None:
        request = self.waiting.pop(action.request)
        assert not self.homes(request)
        able = [slot for slot in self.slots.values() if self.can_serve(slot, request)]
        assert all(self._given_up(slot, request.model) for slot in able), "somebody could still serve it"
        assert not able or "tries" in action.reason or "did not answer" in action.reason
        self.ended[request.id] = action.reason

    def _given_up(self, slot: Slot, model: str) -> bool:
        failure = self.failures.get((slot.name, model))
        if slot.state == "away" and self.now >= slot.since + self.limits.max_away:
            return True
        if failure is None or failure.times < 3:
            return False
        return self.now < failure.last + min(60 * 2.0 ** (failure.times - 3), 600)

    # What holds at any time.

    def _check_answer(self, made: Plan) -> None:
        slots = [action.slot for action in made.actions if not isinstance(action, Fail)]
        requests = [action.request for action in made.actions if isinstance(action, Run | Fail)]
        assert len(slots) == len(set(slots)), "two actions for one backend"
        assert len(requests) == len(set(requests)), "two actions for one request"
        assert set(made.waits) == set(self.waiting) - set(requests), "somebody is forgotten"
        assert sorted(w.position for w in made.waits.values()) == list(range(1, len(made.waits) + 1))
        assert all(self.waiting[name].model in wait.reason for name, wait in made.waits.items())
        assert made.wake is None or made.wake > self.now

    def _check_not_stuck(self) -> None:
        if not self.waiting or any(slot.state in ("busy", "loading", "stopping") for slot in self.slots.values()):
            return
        assert self.plan.wake is not None, f"nothing would ever happen: {self.plan.waits}"
        reachable = [s for r in self.waiting.values() for s in self.slots.values() if self.can_serve(s, r)]
        assert self.failures or any(slot.state == "away" for slot in reachable), "it rests although it could go on"

    def can_serve(self, slot: Slot, request: Request) -> bool:
        """Whether it may ever, whatever it does now."""
        fits = slot.name == (request.backend or slot.name) and request.family in (slot.families or {request.family})
        return fits and ((slot.can_load and slot.can_switch) or slot.model == request.model)

    def homes(self, request: Request) -> list[Slot]:
        """Where its model is, or is on its way in."""
        return [
            s
            for s in self.slots.values()
            if s.state in HOME and s.model == request.model and self.can_serve(s, request)
        ]

    def _own_in(self, pool: str) -> list[Slot]:
        return [s for s in self.slots.values() if s.pool == pool and s.can_load and s.state in ENGINE]

    def _requeue(self, slot: Slot) -> None:
        request = self.drawing.pop(slot.serving or "", None)
        if request:
            self.waiting[request.id] = request

    def _change(
        self,
        name: str,
        state: State,
        *,
        model: str | None = None,
        serving: str | None = None,
        loaded: float | None = None,
    ) -> None:
        slot = self.slots[name]
        self._lives[name] = self._lives.get(name, 0) + 1
        fixed = slot.model if not (slot.can_switch and slot.can_load) else None
        self.slots[name] = replace(
            slot,
            state=state,
            model=model or fixed,
            serving=serving,
            since=self.now,
            loaded=loaded if loaded is not None else slot.loaded if model else None,
            uses=self.sizes.get(model or "") if self.uses_known else None,
        )

    def _later(self, name: str, seconds: tuple[float, float], happen: Callable[[], None]) -> None:
        """Unless something happens to this backend before."""
        life = self._lives[name]
        self.at(self.now + self.random.uniform(*seconds), lambda: happen() if self._lives[name] == life else None)
