"""The backends, and whose turn it is on them: carries out what `tensors.scheduler` decides."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from tensors.engines.backend import Backend
from tensors.engines.drawing import Report
from tensors.engines.sd_server import Capabilities
from tensors.engines.slots import Member, Slots
from tensors.errors import Conflict, EngineError, EngineStartFailed, NotFound
from tensors.models import ModelFile
from tensors.scheduler import Fail, Failure, Limits, Load, Plan, Request, Run, State, Unload, Wait, plan
from tensors.types.jobs import Progress
from tensors.types.server import EngineStatus

log = logging.getLogger(__name__)

Free = Callable[[], Mapping[str, int | None]]
"""Bytes of memory that are free now, by the memory's name; None where nobody knows. May block for a moment."""

_UNSTABLE_SECONDS = 120.0
"""An engine that ends by itself so soon after it was loaded counts as one that could not be loaded."""
_ROOM_SECONDS = 10.0
"""How long memory may take to be free after an engine has ended."""
_ROOM_STEP = 0.5


@dataclass(eq=False, slots=True)
class _Waiting:
    """Somebody who waits for a turn."""

    request: Request
    model: ModelFile
    report: Report | None
    turn: asyncio.Future[Backend]


class Pool:
    """All backends. For one event loop."""

    def __init__(
        self,
        members: Sequence[Member],
        *,
        limits: Limits,
        free: Free = dict,
        most: Mapping[str, int] | None = None,
        arguments: Callable[[ModelFile, Backend], tuple[str, ...]] = lambda _model, _backend: (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`arguments`: more options for a model on a backend. `clock`: seconds."""
        self._slots = Slots(members, clock)
        self.members = self._slots.members
        self.limits = limits
        self._free = free
        self._arguments = arguments
        self._clock = clock
        # Times of day become times of this clock in one way, so that their order stays.
        self._day = time.time() - clock()
        self._waiting: dict[str, _Waiting] = {}
        self._moves: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[tuple[str, str], Failure] = {}
        self._changed = asyncio.Event()
        self._open = False
        self._tasks: list[asyncio.Task[None]] = []
        self._wishes: set[asyncio.Task[None]] = set()
        self._latest = Plan((), {}, None)

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to look after the backends; turns begin with `open`."""
        for member in self.members.values():
            member.backend.on_change = self._changed.set
            watch = self._watch(member) if member.is_ours else self._keep_connected(member)
            self._tasks.append(asyncio.create_task(watch))
        self._tasks.append(asyncio.create_task(self._run()))

    def open(self) -> None:
        """Let the first ones in."""
        self._open = True
        self._changed.set()

    async def stop(self) -> None:
        """End the engines that are ours, whatever they do."""
        tasks = [*self._tasks, *self._wishes, *self._moves.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(member.backend.stop() for member in self.members.values()))

    def waits(self) -> Mapping[str, Wait]:
        """Why each of those waits who are waiting, and who is likely to be next, by id."""
        return self._plan_now({}).waits

    def holders(self, model: str) -> tuple[str, ...]:
        """The backends that have a model now."""
        return tuple(slot.name for slot in self._slots if slot.model == model and slot.state in ("ready", "busy"))

    def elsewhere(self) -> str | None:
        """The model that the first engine has, where none is a process of ours: others do not see our own files."""
        if any(member.backend.place.kind == "process" for member in self.members.values()):
            return None
        return next((slot.model for slot in self._slots if slot.model), None)

    @asynccontextmanager
    async def turn(
        self,
        job: str,
        model: ModelFile,
        *,
        asked: float | None = None,
        size: int | None = None,
        backend: str | None = None,
        report: Report | None = None,
    ) -> AsyncIterator[Backend]:
        """Wait for a backend that has this model, and hold it.

        `asked`: seconds since 1970; now, when left out. `size`: bytes of memory it probably takes. `backend`: the one
        it must be. `report` hears of the load.

        Raises `EngineStartFailed` when no backend could load it, `EngineError` when none may ever.
        """
        moment = self._clock() if asked is None else asked - self._day
        request = Request(id=job, model=model.name, family=model.family, asked=moment, size=size, backend=backend)
        waiting = _Waiting(request, model, report, asyncio.get_running_loop().create_future())
        self._waiting[job] = waiting
        self._changed.set()
        try:
            held = await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled() and waiting.turn.exception() is None:
                # It was let in and cancelled in the same instant.
                self._leave(waiting.turn.result())
            raise
        finally:
            self._waiting.pop(job, None)
            self._changed.set()
            self._stop_unwanted(model.name)
        try:
            yield held
        finally:
            self._leave(held)

    async def prepare(self, backend: Backend, model: ModelFile, arguments: tuple[str, ...], report: Report) -> None:
        """Have the model of a turn loaded, which it may not be any more, or with other options.

        Raises `EngineStartFailed`.
        """
        known = self._arguments(model, backend)
        more = tuple(argument for argument in arguments if argument not in known)
        await backend.ensure(model, report, arguments=(*known, *more))

    def wish(self, model: ModelFile, *, size: int | None = None) -> None:
        """Have a model loaded when nothing else is to be done, for whoever comes next."""
        task = asyncio.create_task(self._wish(model, size))
        self._wishes.add(task)
        task.add_done_callback(self._wishes.discard)

    def idle(self) -> tuple[str, ...]:
        """The backends of ours that have a model and nothing to do."""
        return tuple(slot.name for slot in self._slots if slot.state == "ready" and slot.can_load)

    async def unload(self, names: Collection[str]) -> None:
        """End the engines of these backends. Raises `NotFound`, and `Conflict` for one that is in use."""
        for name in names:
            member = self.member(name)
            if not member.is_ours:
                raise Conflict(f"backend {name!r} is somebody else's server: it is not for us to end")
            if self._slots.of(member).state in ("busy", "loading"):
                raise Conflict(f"backend {name!r} is in use", hint="tsr jobs list --state running, tsr jobs cancel ID")
        for name in names:
            if name not in self._moves:
                self._unload(self.member(name))
        await asyncio.gather(*(self._moves[name] for name in names if name in self._moves))

    def forgive(self, model: str) -> None:
        """Forget that a model could not be loaded: somebody wants to try again now."""
        self._failures = {key: failure for key, failure in self._failures.items() if key[1] != model}

    def capabilities(self, model: str) -> Capabilities | None:
        """What an engine can do: one that has the model, if there is one; None while none runs."""
        members = sorted(self.members.values(), key=lambda member: member.name not in self.holders(model))
        return next((found for member in members if (found := member.backend.capabilities)), None)

    def statuses(self) -> tuple[EngineStatus, ...]:
        """All backends as they are now."""
        return tuple(map(self._status, self.members.values()))

    def _status(self, member: Member) -> EngineStatus:
        slot, status = self._slots.of(member), member.backend.status()
        # Whose report is heard is a job; others are wishes of our own.
        jobs = [one.request for one in self._waiting.values() if one.report]
        queued = sum(1 for request in jobs if slot.model and request.model == slot.model)
        return replace(
            status,
            families=member.backend.families,
            memory=self._slots.uses.get(member.name) if status.model else None,
            job=slot.serving,
            queued=queued,
        )

    def member(self, name: str) -> Member:
        """The backend of that name. Raises `NotFound`."""
        if name not in self.members:
            raise NotFound(f"there is no backend {name!r}", hint=f"backends: {', '.join(self.members)}")
        return self.members[name]

    # Deciding

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            wake = await self._decide() if self._open else None
            timeout = None if wake is None else max(wake - self._clock(), 0.01)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), timeout)

    async def _decide(self) -> float | None:
        """Do what is to be done now. Returns when to look again though nothing happens."""
        while True:
            free = await asyncio.to_thread(self._free) if self._is_load_near() else {}
            self._latest = self._plan_now(free)
            if not self._latest.actions:
                return self._latest.wake
            for action in self._latest.actions:
                match action:
                    case Run(request, slot):
                        self._begin(self._waiting.pop(request), self.members[slot])
                    case Load(slot, model, why):
                        log.info("loading %s on %s: %s", model, slot, why)
                        self._load(self.members[slot], self._file_of(model))
                    case Unload(slot, why):
                        log.info("ending the engine of %s: %s", slot, why)
                        self._unload(self.members[slot])
                    case Fail(request, reason):
                        self._refuse(self._waiting.pop(request), reason)

    def _plan_now(self, free: Mapping[str, int | None]) -> Plan:
        limits = Limits(
            max_wait=self.limits.max_wait,
            keep_alive=self.limits.keep_alive,
            max_away=self.limits.max_away,
            free=free,
            most_loaded=self.limits.most_loaded,
        )
        requests = [waiting.request for waiting in self._waiting.values()]
        return plan(requests, self._slots, self._failures.values(), limits, self._clock())

    def _is_load_near(self) -> bool:
        """Whether somebody waits for a model that no backend has: only then is the memory of interest."""
        loaded = {slot.model for slot in self._slots}
        return any(waiting.request.model not in loaded for waiting in self._waiting.values())

    def _file_of(self, model: str) -> ModelFile:
        """The file of a model that somebody waits for."""
        return next(waiting.model for waiting in self._waiting.values() if waiting.request.model == model)

    # Doing

    def _begin(self, waiting: _Waiting, member: Member) -> None:
        if waiting.turn.done():
            # Cancelled in this instant.
            return
        self._slots.serving[member.name] = waiting.request.id
        waiting.turn.set_result(member.backend)

    def _leave(self, backend: Backend) -> None:
        self._slots.serving.pop(backend.name, None)
        self._changed.set()

    def _refuse(self, waiting: _Waiting, reason: str) -> None:
        if not waiting.turn.done():
            waiting.turn.set_exception(EngineStartFailed(reason, hint="tsr ps"))

    def _move(self, member: Member, state: State, model: str, work: Coroutine[Any, Any, None]) -> None:
        self._slots.moving[member.name] = (state, model)
        self._moves[member.name] = asyncio.create_task(work)

    def _moved(self, member: Member) -> None:
        self._slots.moving.pop(member.name, None)
        self._moves.pop(member.name, None)
        self._changed.set()

    def _load(self, member: Member, model: ModelFile) -> None:
        sizes = [waiting.request.size for waiting in self._waiting.values() if waiting.request.model == model.name]
        self._move(member, "loading", model.name, self._loading(member, model, next(iter(sizes), None)))

    async def _loading(self, member: Member, model: ModelFile, size: int | None) -> None:
        backend, key = member.backend, (member.name, model.name)
        try:
            if backend.inside and backend.inside != model:
                await backend.unload()
                await self._wait_for_room(member.memory, size)
            await backend.ensure(model, self._teller(model.name), arguments=self._arguments(model, backend))
        except EngineError as error:
            log.warning("%s could not be loaded on %s: %s", model.name, member.name, error.message)
            self._failed(key, error.message)
        else:
            self._failures.pop(key, None)
            self._slots.uses[member.name] = size
        finally:
            self._moved(member)

    def _failed(self, key: tuple[str, str], reason: str) -> None:
        before = self._failures.get(key)
        times = before.times + 1 if before else 1
        self._failures[key] = Failure(slot=key[0], model=key[1], times=times, last=self._clock(), reason=reason)

    def _teller(self, model: str) -> Report:
        def tell(progress: Progress) -> None:
            """The one who is next hears of the load; the others wait for more than that."""
            waiting = [one for one in self._waiting.values() if one.request.model == model and one.report]
            first = min(waiting, key=lambda one: one.request.order, default=None)
            if first and first.report:
                first.report(progress)

        return tell

    async def _wait_for_room(self, memory: str, size: int | None) -> None:
        """Wait until what an engine had is really free: a driver may take its time."""
        ends, before = self._clock() + _ROOM_SECONDS, -1
        while size and self._clock() < ends:
            free = (await asyncio.to_thread(self._free)).get(memory)
            if free is None or free >= size or free <= before:
                return
            before = free
            await asyncio.sleep(_ROOM_STEP)

    def _stop_unwanted(self, model: str) -> None:
        """End the load of a model that nobody waits for any more."""
        if any(waiting.request.model == model for waiting in self._waiting.values()):
            return
        for name, moving in self._slots.moving.items():
            if moving == ("loading", model):
                self._moves[name].cancel()

    def _unload(self, member: Member) -> None:
        model = member.backend.inside
        self._move(member, "stopping", model.name if model else "", self._unloading(member))

    async def _unloading(self, member: Member) -> None:
        try:
            await member.backend.unload()
        except EngineError as error:
            log.warning("the engine of %s could not be ended: %s", member.name, error.message)
        finally:
            self._moved(member)

    async def _wish(self, model: ModelFile, size: int | None) -> None:
        try:
            async with self.turn(f"load {model.name}", model, size=size):
                """It is there."""
        except EngineError as error:
            # The reason is in the backend's status, and the first job tries again.
            log.warning("%s", error.message)

    # Looking after them

    async def _watch(self, member: Member) -> None:
        """Have the engine back when it ends by itself while nobody draws."""
        backend = member.backend
        while True:
            await backend.died.wait()
            backend.died.clear()
            model, loaded = backend.model, self._slots.loaded_at(member.name)
            if model is None or backend.status().state != "failed":
                # What goes wrong while it loads or draws is the matter of whoever waits for that.
                continue
            log.warning("backend %s: %s", member.name, backend.status().message)
            if loaded is not None and self._clock() - loaded < _UNSTABLE_SECONDS:
                self._failed((member.name, model.name), backend.status().message or "it ended by itself")
            if f"load {model.name}" not in self._waiting:
                self.wish(model, size=self._slots.uses.get(member.name))

    async def _keep_connected(self, member: Member) -> None:
        """Reach an engine of somebody else, and again whenever it was lost."""
        backend = member.backend
        while True:
            try:
                await backend.connect()
            except EngineError as error:
                log.info("backend %s: %s", member.name, error.message)
                await asyncio.sleep(member.pause())
                continue
            await backend.died.wait()
            backend.died.clear()
