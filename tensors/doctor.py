"""`tsr doctor`: everything that tsr needs on a machine, looked at side by side and told in one order.

Each check has a time limit of its own, and none hides another. What they look at is in `tensors.doctoring`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from tensors.config import SETTINGS, Config
from tensors.doctoring import builds, databases, disk, docker, engine, folders, gfx, gpu, ports, sites
from tensors.doctoring.finding import error, warning
from tensors.doctoring.machine import Machine
from tensors.engines.binary import EngineBinary
from tensors.engines.memory import memory_of
from tensors.errors import TsrError
from tensors.library import FOLDERS, Library
from tensors.types.doctor import Finding
from tensors.types.server import EngineStatus

T = TypeVar("T")

QUICK, SLOW, SLOWEST = 15.0, 30.0, 120.0
"""Seconds that a check may take: of this machine's files; that asks others, or reads much; that starts engines."""

_ENDING: set[asyncio.Task[list[Finding]]] = set()
"""Checks that nobody waits for any more, and that may have an engine to end."""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at."""

    config: Config
    backends: Sequence[EngineStatus] = ()
    """As they are now, where a server has them."""
    served: str | None = None
    """URL of the server that has this data directory."""
    machine: Machine = field(default_factory=Machine)


@dataclass(frozen=True, slots=True)
class Check:
    """A part of the examination."""

    name: str
    seconds: float
    look: Callable[[], Awaitable[Iterable[Finding]]]


def doctor(config: Config) -> Generator[Finding, None, None]:
    """Look at this machine without a server. Whatever ends this early ends the engine that it has started."""
    with asyncio.Runner() as runner:
        findings = examine(checks(Patient(config)))
        try:
            while (finding := runner.run(_next(findings))) is not None:
                yield finding
        finally:
            runner.run(findings.aclose())


async def _next(findings: AsyncIterator[Finding]) -> Finding | None:
    return await anext(findings, None)


async def examine(to_do: Sequence[Check], *, stop: asyncio.Event | None = None) -> AsyncGenerator[Finding, None]:
    """Do all checks at once, and tell what each one found as soon as those before it have ended.

    `stop`, when it is set, breaks it off. A defect of a check is raised when the others have been told.
    """
    tasks = [asyncio.create_task(_done(check)) for check in to_do]
    stopped = asyncio.create_task((stop or asyncio.Event()).wait())
    defects = []
    try:
        for task in tasks:
            await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                yield error("connection", "the server stops: not everything was looked at", "tsr doctor")
                return
            if defect := task.exception():
                defects.append(defect)
                continue
            for finding in task.result():
                yield finding
    finally:
        stopped.cancel()
        # Who reads may be gone for good, and then waiting is not allowed here: the tasks end by themselves.
        for task in tasks:
            task.cancel()
            _ENDING.add(task)
            task.add_done_callback(_ENDING.discard)
        await asyncio.wait(tasks)
    if defects:
        raise defects[0]


async def _done(check: Check) -> list[Finding]:
    try:
        async with asyncio.timeout(check.seconds) as limit:
            return list(await check.look())
    except TimeoutError:
        if limit.expired():
            return [warning(check.name, f"no outcome within {check.seconds:g} s")]
        return [error(check.name, "a part of this machine does not answer")]
    except TsrError as failure:
        return [error(check.name, failure.message)]
    except OSError as failure:
        where = f"{failure.filename}: " if failure.filename else ""
        return [error(check.name, f"this could not be looked at: {where}{failure.strerror or failure}")]


async def in_thread(function: Callable[[], T]) -> T:
    """What a function returns that may wait for ever, on a share that is gone for example.

    Its thread keeps nobody from ending, which those of `asyncio.to_thread` do.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(outcome: Callable[[], None]) -> None:
        if not future.done():
            outcome()

    def run() -> None:
        outcome: Callable[[], None]
        try:
            outcome = partial(future.set_result, function())
        except BaseException as failure:
            # Raised where it is waited for.
            outcome = partial(future.set_exception, failure)
        with contextlib.suppress(RuntimeError):
            # The loop may be closed by now: nobody waits.
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, daemon=True, name="doctor").start()
    return await future


def checks(patient: Patient) -> list[Check]:
    """All checks of a machine, in the order in which they are told."""
    return _Examination(patient).checks()


class _Examination:
    """The checks of one patient, with what several of them need."""

    def __init__(self, patient: Patient) -> None:
        self._config, self._machine, self._patient = patient.config, patient.machine, patient
        self._finding: asyncio.Task[tuple[EngineBinary | None, Finding]] | None = None

    def checks(self) -> list[Check]:
        return [
            Check("docker", SLOW, partial(docker.look, self._config, self._machine)),
            Check("docker.compose", QUICK, self._compose),
            Check("gpu", SLOW, self._gpu),
            Check("gpu.target", SLOW, self._target),
            Check("memory", QUICK, self._memory),
            Check("engine", QUICK, self._engine),
            Check("engine.start", SLOWEST, self._start),
            Check("backends", QUICK, self._external),
            Check("ports", QUICK, self._ports),
            Check("disk", QUICK, self._disk),
            Check("folders", QUICK, self._folders),
            Check("settings", QUICK, self._settings),
            Check("databases", SLOW, self._databases),
            Check("civitai", SLOW, self._civitai),
        ]

    async def _binary(self) -> tuple[EngineBinary | None, Finding]:
        """The engine of this machine; looked for once, as it may be asked for its version."""
        if self._finding is None:
            self._finding = asyncio.create_task(in_thread(partial(engine.find, self._config)))
        return await asyncio.shield(self._finding)

    async def _compose(self) -> list[Finding]:
        wanted = bool(self._config["engine.docker"] or any(one.container for one in self._config.backends))
        return [await in_thread(partial(docker.look_at_compose, wanted))]

    async def _gpu(self) -> list[Finding]:
        binary, _ = await self._binary()
        return await in_thread(lambda: list(self._look_at_cards(binary.accelerator if binary else None)))

    def _look_at_cards(self, accelerator: str | None) -> Iterator[Finding]:
        cards = gpu.cards_of(self._machine)
        yield from gpu.look_at_cards(cards, accelerator)
        if accelerator == "unknown":
            # Then what there is should be usable.
            accelerator = gpu.best_of(cards)
        if accelerator in ("rocm", "cuda", "vulkan"):
            yield from gpu.look_at_devices(self._machine, cards, accelerator)

    async def _target(self) -> list[Finding]:
        binary, _ = await self._binary()
        if binary is None or binary.accelerator not in ("rocm", "unknown"):
            return []
        return await in_thread(partial(self._judge, binary))

    def _judge(self, binary: EngineBinary) -> list[Finding]:
        cards = gpu.cards_of(self._machine).amd
        if not cards:
            return []
        build = builds.build_of(binary.path, self._machine.root)
        found = []
        for backend in engine.processes(self._config):
            environment = engine.environment_of(backend, self._machine.environment)
            override = environment.get(gfx.OVERRIDE)
            found += [gfx.judge(card, override, build) for card in gpu.visible(cards, environment)]
        return list(dict.fromkeys(found))

    async def _memory(self) -> list[Finding]:
        binary, _ = await self._binary()
        accelerator = binary.accelerator if binary else "unknown"
        if accelerator == "unknown":
            # Then, and for containers, what the system shows of its cards is right.
            cards = await in_thread(partial(gpu.cards_of, self._machine))
            accelerator = gpu.best_of(cards) or "cpu"
        memory = await in_thread(partial(memory_of, accelerator, self._machine.root))
        held = tuple(f"{one.model} ({one.name})" for one in self._patient.backends if one.model)
        return [gpu.look_at_memory(memory, accelerator, held)]

    async def _engine(self) -> list[Finding]:
        return [(await self._binary())[1]]

    async def _start(self) -> list[Finding]:
        binary, _ = await self._binary()
        ours = [backend for backend in self._patient.backends if backend.kind == "process"]
        found = engine.look_at_backends("engine.start", ours)
        if binary is None or any(map(engine.is_running, ours)):
            # One that runs is proof enough, and needs its memory.
            return found
        # One after the other: they may share a card.
        for backend in engine.processes(self._config):
            found.append(await engine.start(binary, self._config, backend, seconds=engine.START_SECONDS))
        return found

    async def _external(self) -> list[Finding]:
        containers = [backend for backend in self._patient.backends if backend.kind == "docker"]
        theirs = [backend for backend in self._config.backends if backend.url]
        found = engine.look_at_backends("backends", containers)
        return [*found, *await asyncio.gather(*map(engine.external, theirs))]

    async def _ports(self) -> list[Finding]:
        from tensors.discovery import find_running

        def look() -> list[Finding]:
            config, running = self._config, find_running(self._config.run_dir)
            served = self._patient.served or (running.url if running else None)
            server = ports.look_at_server(config["server.host"], config["server.port"], served)
            bind = ports.look_at_bind(config["server.host"], bool(config["server.api_keys"]))
            return [server, *bind, *ports.look_at_loopback()]

        return await in_thread(look)

    async def _disk(self) -> list[Finding]:
        config = self._config
        models = [("models", folder.path) for folder in Library(config).folders()]
        kept = [("data", config.data_dir), ("gallery", config.gallery_dir), ("engines", config.engine_dir)]
        return await in_thread(lambda: list(disk.look([*kept, *models])))

    async def _folders(self) -> list[Finding]:
        return await in_thread(lambda: list(folders.look(_wanted(self._config), self._machine)))

    async def _settings(self) -> list[Finding]:
        config = self._config
        secrets = [one.key for one in SETTINGS if one.secret and config[one.key] and config.origins[one.key] == "file"]
        secrets += [f"the key of {remote.name}" for remote in config.remotes.values() if remote.api_key]
        return await in_thread(lambda: list(folders.look_at_secrets(config.file, secrets)))

    async def _databases(self) -> list[Finding]:
        kept = databases.kept_in(self._config.data_dir, self._config.gallery_index)
        return await in_thread(lambda: list(databases.look(kept)))

    async def _civitai(self) -> list[Finding]:
        config = self._config
        return await in_thread(partial(sites.look, config["api.civitai_url"], config["api.civitai_key"]))


def _wanted(config: Config) -> list[folders.Wanted]:
    """The folders of the settings. Downloads go to the first one of each kind."""
    first = {config[setting][0] for setting in FOLDERS if config[setting]}
    models = [
        folders.Wanted(folder.path, "models", optional=folder.optional, written=folder.path in first)
        for folder in Library(config).folders()
    ]
    own = [(config.data_dir, "data"), (config.gallery_dir, "gallery"), (config.engine_dir, "engines")]
    return [*models, *(folders.Wanted(path, name, optional=True, written=True) for path, name in own)]
