"""A backend: one configured place where an engine runs, the model in it, and what it is doing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tensors.clock import now
from tensors.engines.drawing import LOOK, POLL_SECONDS, Drawing, LastWords, Report
from tensors.engines.external import ExternalPlace, is_called
from tensors.engines.journal import Journal
from tensors.engines.out_of_memory import kernel_kills, killed_for_memory
from tensors.engines.output import Tracker, parse_bar
from tensors.engines.place import Hear, Life, Place
from tensors.engines.sd_server import Capabilities, img_gen_body
from tensors.errors import EngineDied, EngineError, EngineStartFailed
from tensors.inputs import Inputs
from tensors.models import ModelFile
from tensors.types.generation import Settings
from tensors.types.jobs import Progress
from tensors.types.server import EngineStatus

log = logging.getLogger(__name__)

_INHABITED = ("loading", "ready", "busy")
"""States in which there is a model in it, or coming."""


class Backend:
    """One place with at most one engine in it, which has one model and draws one request at a time.

    `families`: what it is meant for; empty for any. `on_change` is called after each change of state.
    """

    def __init__(
        self,
        place: Place,
        *,
        name: str,
        inputs: Inputs,
        families: tuple[str, ...] = (),
        start_timeout: float = 600,
        step_timeout: float = 900,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self.place = place
        self.name = name
        self.families = families
        self.on_change = on_change
        self.died = asyncio.Event()
        """Set when the engine ended by itself while it had nothing to do. Who hears of it clears it."""
        self._inputs = inputs
        self._start_timeout = start_timeout
        self._step_timeout = step_timeout
        self._state, self._since, self._failure = "stopped", now(), ""
        self._life: Life | None = None
        self._inside: ModelFile | None = None
        self._arguments: tuple[str, ...] = ()
        self._capabilities: Capabilities | None = None
        self._model: ModelFile | None = None
        self._words = LastWords()
        self.journal = Journal(name, now=now)
        self._listener: Hear | None = None
        self._changing = asyncio.Lock()
        self._turn = asyncio.Lock()
        self._drawing: asyncio.Task[list[bytes]] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._ending: asyncio.Future[None] | None = None
        self._exit_code: int | None = None
        self._kills: int | None = None

    @property
    def version(self) -> str:
        """Name and version of the engine, as pictures record it."""
        return f"sd-server {self.place.version}"

    @property
    def model(self) -> ModelFile | None:
        """The model that was loaded last, also while the engine is stopped: the next request means it."""
        return self._model

    @property
    def inside(self) -> ModelFile | None:
        """The model that is in it now, or being loaded."""
        return self._inside if self._state in _INHABITED else None

    @property
    def capabilities(self) -> Capabilities | None:
        """What the running engine can do; None while none runs."""
        return self._capabilities

    def status(self) -> EngineStatus:
        """What it is doing now."""
        life, inside = self._life, self.inside
        return EngineStatus(
            state=self._state,
            version=self.place.version,
            model=inside.name if inside else None,
            family=inside.family if inside else None,
            pid=life.pid if life and not life.ended.is_set() else None,
            message=self._failure or None,
            name=self.name,
            kind=self.place.kind,
            since=self._since,
        )

    async def ensure(self, model: ModelFile, report: Report | None = None, *, arguments: tuple[str, ...] = ()) -> None:
        """Have this model loaded: does nothing when it is, else starts the engine, or restarts it when it is idle.

        `arguments`: more options of sd-server; other ones mean another load.

        Raises `EngineStartFailed` with the engine's last words.
        """
        async with self._changing:
            if self._has(model, arguments):
                self._inside = self._model = model
                return
            there = self.inside
            if there and not self.place.can_switch:
                raise EngineStartFailed(
                    f"backend {self.name!r} has model {there.name!r} and cannot switch to {model.name!r}"
                )
            async with self._turn:
                await self._undrawn()
                self._inside, self._arguments = model, arguments
                self._become("loading")
                try:
                    await self._end()
                    await self._start(model, arguments, report)
                except EngineError as error:
                    self._become("failed", error.message)
                    raise
                finally:
                    if self._state == "loading":
                        self._settle()
            self._model = model

    async def connect(self) -> None:
        """Reach an engine that somebody else looks after, with the model it has; nothing happens when it is reached.

        Raises `EngineError` when it does not answer, or does not say its model.
        """
        assert isinstance(self.place, ExternalPlace)
        if self._life and not self._life.ended.is_set():
            return
        try:
            there = await self.place.model()
            if there is None:
                raise EngineError(f"the engine of backend {self.name!r} does not say which model it has")
        except EngineError as error:
            self._become("failed", error.message)
            raise
        await self.ensure(there)

    async def generate(
        self,
        settings: Settings,
        *,
        seed: int,
        count: int,
        first: int,
        loras: Mapping[str, Path],
        report: Report,
        attempt: int,
        more: Mapping[str, object] | None = None,
    ) -> list[bytes]:
        """Draw `count` pictures from `seed` on and return them as PNG files; waits while it draws something else.

        When the caller is cancelled, the engine is ended: it has no other way to stop drawing. Where that cannot be,
        the backend stays busy until the engine has finished, and this returns at once. `more`: for the request's body.

        Raises:
            EngineDied: when the engine ended, or made no progress for `step_timeout` seconds.
            EngineError: when it could not draw the picture.
            LoraNotFound: when the engine does not have one.
        """
        async with self._turn:
            await self._undrawn()
            life = self._life
            if life is None or self._capabilities is None:
                raise EngineDied("the engine is not running")
            paths = await self.place.lora_paths(loras)
            body = await asyncio.to_thread(
                img_gen_body, settings, seed=seed, count=count, inputs=self._inputs, loras=paths
            )
            body |= more or {}
            drawing = self._drawing_of(life, settings, count=count, first=first, report=report, attempt=attempt)
            self._drawing = task = asyncio.create_task(self._draw(life, drawing, body))
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                drawing.abandon()
                task.add_done_callback(_log_end)
                if self.place.can_cancel:
                    task.cancel()
                    await asyncio.wait({task})
                raise
            return task.result()

    async def unload(self) -> None:
        """End the engine, once it has nothing to do."""
        async with self._changing, self._turn:
            await self._undrawn()
            await self._end()
            self._become("stopped")

    async def stop(self) -> None:
        """End the engine now, whatever it does, where it does not go on without us; and leave the place."""
        async with self._changing:
            if not self.place.outlives:
                await self._end()
            elif self._watching:
                self._watching.cancel()
            self._become("stopped")
            await self._undrawn()
            await self.place.close()

    def words(self) -> list[str]:
        """The last lines that the engine said since it began to load or to draw."""
        return self._words.lines

    @property
    def was_killed(self) -> bool:
        """Whether the kernel has ended the engine for want of memory."""
        return killed_for_memory(self._exit_code, self._kills, kernel_kills())

    def _has(self, model: ModelFile, arguments: tuple[str, ...]) -> bool:
        if self._inside is None or self._life is None or self._life.ended.is_set() or self._capabilities is None:
            return False
        if not self.place.can_switch:
            # Only the name is known of the file there, and its options are somebody else's.
            return is_called(self._inside.name, model)
        return (self._inside, self._arguments) == (model, arguments)

    def _become(self, state: str, failure: str = "") -> None:
        if state != self._state:
            self._since = now()
        self._state, self._failure = state, failure
        if self.on_change:
            self.on_change()

    def _settle(self) -> None:
        """Go over to the state that an engine has when nobody loads or draws."""
        if self._life is None or self._capabilities is None:
            self._become("stopped")
        elif not self._life.ended.is_set():
            self._become("ready")
        else:
            said = f"ended by itself; its last words:\n{self._words}" if self.place.can_hear else "was lost"
            self._become("failed", f"the engine {said}")
            self.died.set()

    async def _undrawn(self) -> None:
        """Wait until the engine draws nothing, also nothing that nobody wants any more."""
        if self._drawing:
            await asyncio.wait({self._drawing})

    def _drawing_of(
        self, life: Life, settings: Settings, *, count: int, first: int, report: Report, attempt: int
    ) -> Drawing:
        hires_steps = (settings.hires.steps or settings.steps) if settings.hires else 0
        tracker = Tracker(
            steps=settings.steps,
            hires_steps=hires_steps,
            first=first,
            count=count,
            images=settings.batch_size,
            attempt=attempt,
        )
        patience = self._step_timeout
        if not self.place.can_hear:
            # So much for each step, and for encoding and decoding.
            patience *= (settings.steps + hires_steps) * count + 2
        return Drawing(life, tracker, report, words=self._words, can_hear=self.place.can_hear, patience=patience)

    async def _draw(self, life: Life, drawing: Drawing, body: Mapping[str, object]) -> list[bytes]:
        """Do a drawing, and what its end means for the engine."""
        self._words.forget()
        self._listener = drawing.hear
        self._become("busy")
        try:
            return await drawing.run(body)
        except asyncio.CancelledError:
            await self._end()
            raise
        except EngineDied as error:
            # Dead or deaf, nothing more comes from this life; the next try needs another.
            self._exit_code = life.exit_code
            if self._life is life:
                await self._end()
                self._become("failed", error.message)
            raise
        except EngineError as error:
            # Its answer does not say why, such as for want of memory; its output does.
            if said := self._words.errors:
                error.message += "; its last words:\n" + "\n".join(said)
            raise
        finally:
            self._listener = None
            if self._state == "busy":
                self._settle()

    async def _start(self, model: ModelFile, arguments: tuple[str, ...], report: Report | None) -> None:
        self._words.forget()
        self._exit_code, self._kills = None, kernel_kills()
        listening = asyncio.Event()

        def listen(piece: str) -> None:
            bar = parse_bar(piece)
            if bar and report:
                report(Progress(phase="loading", step=bar.done, steps=bar.total))
            if "listening on" in piece:
                listening.set()

        self._listener = listen
        if report:
            report(Progress(phase="loading"))
        try:
            self._life = await self.place.start(model, self._hear, arguments=arguments)
            self._capabilities = await self._ready(self._life, model, listening)
            self._watching = asyncio.create_task(self._watch(self._life))
        except BaseException:
            await self._end()
            raise
        finally:
            self._listener = None

    async def _ready(self, life: Life, model: ModelFile, listening: asyncio.Event) -> Capabilities:
        """Wait until the engine answers. An open port means a loaded model; older builds open it before they load."""
        deadline = time.monotonic() + self._start_timeout
        if not self.place.can_hear:
            listening.set()
        while time.monotonic() < deadline:
            waits = [asyncio.ensure_future(life.ended.wait()), asyncio.ensure_future(listening.wait())]
            try:
                await asyncio.wait(waits, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            if life.ended.is_set():
                self._exit_code = life.exit_code
                raise EngineStartFailed(
                    f"the engine ended while loading {model.name!r}; its last words:\n{self._words}", hint=LOOK
                )
            try:
                return await life.client.capabilities()
            except EngineError:
                listening.clear()
        raise EngineStartFailed(
            f"the engine did not load {model.name!r} within {self._start_timeout:g} s; its last words:\n{self._words}",
            hint="a larger model on a slower disk needs a larger engine.start_timeout",
        )

    async def _watch(self, life: Life) -> None:
        """Hear of a death while the engine has nothing to do."""
        await life.ended.wait()
        if self._life is life and self._state == "ready":
            self._settle()

    def _hear(self, piece: str) -> None:
        self._words.hear(piece)
        if parse_bar(piece) is None:
            self.journal.add(piece)
        if self._listener:
            self._listener(piece)

    async def _end(self) -> None:
        """End the life, and wait for the end of one before it, which somebody may have been too impatient to."""
        life, self._life, self._capabilities = self._life, None, None
        if self._watching:
            self._watching.cancel()
        if life:
            self._ending = asyncio.ensure_future(life.end())
        ending = self._ending
        if ending is None:
            return
        try:
            await asyncio.shield(ending)
        except EngineError as error:
            log.warning("the engine of backend %s could not be ended: %s", self.name, error.message)
        if self._ending is ending:
            self._ending = None


def _log_end(task: asyncio.Task[list[bytes]]) -> None:
    """Of a drawing that nobody waits for any more."""
    if not task.cancelled() and (error := task.exception()):
        log.info("a drawing that was cancelled ended: %s", error)
