"""An sd-server that tsr starts itself: its process, the model in it, and what it is doing."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import math
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tensors.engines import launcher
from tensors.engines.binary import EngineBinary
from tensors.engines.leftovers import EngineNote
from tensors.engines.output import PieceReader, Tracker, parse_bar
from tensors.engines.sd_server import Capabilities, SdServerClient, img_gen_body
from tensors.errors import EngineDied, EngineError, EngineStartFailed
from tensors.inputs import Inputs
from tensors.models import ModelFile
from tensors.types.generation import Settings
from tensors.types.jobs import Progress
from tensors.types.server import EngineStatus

Report = Callable[[Progress], None]
T = TypeVar("T")

log = logging.getLogger(__name__)

_KEPT_LINES = 200
_POLL_SECONDS = 0.5
"""How often a result is asked for when the engine's output gives no sign; it normally does."""


@dataclass
class _Running:
    """One life of the engine's process."""

    process: asyncio.subprocess.Process
    port_holder: socket.socket
    client: SdServerClient
    note: EngineNote
    model: ModelFile
    capabilities: Capabilities | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    reader: asyncio.Task[None] | None = None


def hold_port() -> socket.socket:
    """A free loopback port, bound for as long as the socket is open but not listened on.

    sd-server binds with SO_REUSEPORT, so it can share the port with this socket, and nobody else gets it: two engines
    on one port would both start and answer at random.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if hasattr(socket, "SO_REUSEPORT"):
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


class ProcessEngine:
    """One sd-server process at a time, with one model in it."""

    def __init__(
        self,
        binary: EngineBinary,
        *,
        run_dir: Path,
        inputs: Inputs,
        threads: int = 0,
        arguments: tuple[str, ...] = (),
        start_timeout: float = 600,
        step_timeout: float = 900,
    ) -> None:
        self.binary = binary
        self._run_dir = run_dir
        self._lora_dir = run_dir / f"loras-{os.getpid()}"
        self._inputs = inputs
        self._threads = threads
        self._arguments = arguments
        self._start_timeout = start_timeout
        self._step_timeout = step_timeout
        self._running: _Running | None = None
        self._model: ModelFile | None = None
        self._lines: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._listener: Callable[[str], None] | None = None
        self._changing = asyncio.Lock()
        self._busy = False
        self._failure: str | None = None
        self._died = asyncio.Event()

    @property
    def version(self) -> str:
        """Name and version, as pictures record it."""
        return f"sd-server {self.binary.version}"

    @property
    def model(self) -> ModelFile | None:
        """The model that was loaded last, also while the engine is stopped: the next request means it."""
        return self._model

    @property
    def capabilities(self) -> Capabilities | None:
        """What the running engine can do; None while none runs."""
        return self._running.capabilities if self._running else None

    def status(self) -> EngineStatus:
        """What it is doing now."""
        running = self._running
        if running is None or running.ended.is_set():
            state = "failed" if self._failure else "stopped"
        else:
            state = "loading" if running.capabilities is None else "busy" if self._busy else "ready"
        return EngineStatus(
            state=state,
            version=self.binary.version,
            model=running.model.name if running else None,
            family=running.model.family if running else None,
            pid=running.process.pid if running else None,
            message=self._failure,
        )

    async def ensure(self, model: ModelFile, report: Report | None = None) -> None:
        """Have this model loaded: does nothing when it is, else starts or restarts the engine.

        Raises `EngineStartFailed` with the engine's last words.
        """
        async with self._changing:
            running = self._running
            if running and running.model == model and running.capabilities and not running.ended.is_set():
                return
            await self._stop()
            self._failure = None
            try:
                await self._start(model, report)
            except EngineError as error:
                self._failure = error.message
                raise
            self._model = model

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
    ) -> list[bytes]:
        """Draw `count` pictures from `seed` on and return them as PNG files.

        When the caller is cancelled, the engine's process is ended: it has no other way to stop drawing.

        Raises:
            EngineDied: when the process ended, or made no progress for `step_timeout` seconds.
            EngineError: when it could not draw the picture.
        """
        running = self._running
        if running is None or running.capabilities is None:
            raise EngineDied("the engine is not running")
        self._link_loras(loras)
        body = await asyncio.to_thread(img_gen_body, settings, seed=seed, count=count, inputs=self._inputs)
        hires_steps = (settings.hires.steps or settings.steps) if settings.hires else 0
        tracker = Tracker(
            steps=settings.steps,
            hires_steps=hires_steps,
            first=first,
            count=count,
            images=settings.batch_size,
            attempt=attempt,
        )
        self._busy = True
        self._lines.clear()
        try:
            return await self._draw(running, body, tracker, report)
        except asyncio.CancelledError:
            await self._stop()
            raise
        except EngineDied as error:
            # Dead or deaf, nothing more comes from this process; the next try needs another.
            self._failure = error.message
            await self._stop()
            raise
        except EngineError as error:
            # Its answer does not say why, such as for want of memory; its output does.
            if said := self._error_lines():
                error.message += "; its last words:\n" + "\n".join(said)
            raise
        finally:
            self._busy = False

    async def stop(self) -> None:
        """End the process, if one runs."""
        async with self._changing:
            await self._stop()
        shutil.rmtree(self._lora_dir, ignore_errors=True)

    async def keep_running(self) -> None:
        """Start the engine again whenever it ends by itself while nobody draws; runs until cancelled."""
        pause, restarted = 1.0, -math.inf
        while True:
            await self._died.wait()
            self._died.clear()
            running = self._running
            if running is None or running.capabilities is None or self._busy:
                # What goes wrong while it loads or draws is the matter of whoever waits for that.
                continue
            log.warning("the engine ended by itself; starting it again. Its last words: %s", self.last_words())
            pause = min(pause * 2, 60.0) if time.monotonic() - restarted < 120 else 1.0
            try:
                await asyncio.sleep(pause)
                await self.ensure(running.model)
            except EngineError as error:
                log.warning("%s", error.message)
            restarted = time.monotonic()

    def last_words(self) -> str:
        """What it said last that tells why it ended: its error lines, or else its last lines."""
        return "\n".join(self._error_lines() or list(self._lines)[-5:]) or "nothing"

    def _error_lines(self) -> list[str]:
        return [line for line in self._lines if "[ERROR]" in line or "error:" in line.lower()][-8:]

    async def _draw(
        self, running: _Running, body: Mapping[str, object], tracker: Tracker, report: Report
    ) -> list[bytes]:
        completed = asyncio.Event()
        heard = finished = time.monotonic()

        def listen(piece: str) -> None:
            nonlocal heard, finished
            heard = time.monotonic()
            before = tracker.progress
            tracker.see(piece, heard)
            if tracker.completed and not completed.is_set():
                finished = heard
                completed.set()
            if tracker.progress != before:
                report(tracker.progress)

        report(tracker.progress)
        self._listener = listen
        try:
            job = await self._unless_dead(running, running.client.submit(body))
            while True:
                if not completed.is_set():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(completed.wait(), _POLL_SECONDS)
                else:
                    # The answer is there some milliseconds after the engine says 'completed'.
                    await asyncio.sleep(0.005 if time.monotonic() - finished < 1 else _POLL_SECONDS)
                result = await self._unless_dead(running, running.client.result(job))
                if result is not None:
                    return result
                if time.monotonic() - heard > self._step_timeout:
                    raise EngineDied(f"the engine made no progress for {self._step_timeout:g} s and was ended")
        finally:
            self._listener = None

    async def _unless_dead(self, running: _Running, call: Coroutine[Any, Any, T]) -> T:
        """The call's answer, or `EngineDied` as soon as the process ends or has been silent for too long."""
        answer = asyncio.ensure_future(call)
        death = asyncio.ensure_future(running.ended.wait())
        try:
            both = (answer, death)
            done, _ = await asyncio.wait(both, timeout=self._step_timeout, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise EngineDied(f"the engine gave no answer for {self._step_timeout:g} s and was ended")
            if answer.done() and not isinstance(answer.exception(), EngineDied):
                return answer.result()
            # A broken connection is how a death is heard first; its reason comes with the last of the output.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(running.ended.wait(), 2)
            if not running.ended.is_set():
                return answer.result()
            raise EngineDied(f"the engine ended while drawing; its last words:\n{self.last_words()}")
        finally:
            death.cancel()
            answer.cancel()

    def _link_loras(self, loras: Mapping[str, Path]) -> None:
        """Show the engine these LoRAs and no others: it lists its folder, recursively, at each request."""
        self._lora_dir.mkdir(parents=True, exist_ok=True)
        for name, path in loras.items():
            link = self._lora_dir / f"{name}.safetensors"
            if link.is_symlink() and link.readlink() == path:
                continue
            link.unlink(missing_ok=True)
            link.symlink_to(path)

    def _command(self, model: ModelFile, port: int) -> list[str]:
        command = [str(self.binary.path), "-m", str(model.path), *model.engine_arguments]
        command += ["--lora-model-dir", str(self._lora_dir), "--lora-apply-mode", "at_runtime"]
        command += ["-l", "127.0.0.1", "--listen-port", str(port)]
        if self._threads:
            command += ["-t", str(self._threads)]
        return [*command, *self._arguments]

    async def _start(self, model: ModelFile, report: Report | None) -> None:
        self._lora_dir.mkdir(parents=True, exist_ok=True)
        holder = hold_port()
        port = holder.getsockname()[1]
        self._lines.clear()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                launcher.__file__,
                str(os.getpid()),
                *self._command(model, port),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                # Ctrl-C in a terminal reaches the whole group: ending the engine is ours to do.
                start_new_session=True,
                env=self.binary.environment,
            )
        except BaseException:
            # Cancelled in this instant, or there is no such program.
            holder.close()
            raise
        note = EngineNote(self._run_dir, process.pid)
        running = _Running(process, holder, SdServerClient(f"http://127.0.0.1:{port}"), note, model)
        self._running = running
        listening = asyncio.Event()

        def listen(piece: str) -> None:
            bar = parse_bar(piece)
            if bar and report:
                report(Progress(phase="loading", step=bar.done, steps=bar.total))
            if "listening on" in piece:
                listening.set()

        self._listener = listen
        running.reader = asyncio.create_task(self._read(running))
        if report:
            report(Progress(phase="loading"))
        try:
            running.capabilities = await self._ready(running, listening)
        except BaseException:
            await self._stop()
            raise
        finally:
            self._listener = None

    async def _ready(self, running: _Running, listening: asyncio.Event) -> Capabilities:
        """Wait until the engine answers. An open port means a loaded model; older builds open it before they load."""
        deadline = time.monotonic() + self._start_timeout
        while time.monotonic() < deadline:
            waits = [asyncio.ensure_future(running.ended.wait()), asyncio.ensure_future(listening.wait())]
            await asyncio.wait(waits, timeout=_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if running.ended.is_set():
                name = running.model.name
                raise EngineStartFailed(
                    f"the engine ended while loading {name!r}; its last words:\n{self.last_words()}"
                )
            try:
                return await running.client.capabilities()
            except EngineError:
                listening.clear()
        raise EngineStartFailed(
            f"the engine did not load {running.model.name!r} within {self._start_timeout:g} s; "
            f"its last words:\n{self.last_words()}",
            hint="a larger model on a slower disk needs a larger engine.start_timeout",
        )

    async def _read(self, running: _Running) -> None:
        """Follow the process's output until it ends."""
        reader = PieceReader()
        assert running.process.stdout
        while data := await running.process.stdout.read(65536):
            for piece in reader.feed(data):
                if parse_bar(piece) is None:
                    self._lines.append(piece)
                if self._listener:
                    self._listener(piece)
        self._lines.extend(reader.feed(b"\n"))
        await running.process.wait()
        running.ended.set()
        running.note.remove()
        self._died.set()

    async def _stop(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        await asyncio.shield(self._end(running))

    async def _end(self, running: _Running) -> None:
        with contextlib.suppress(ProcessLookupError):
            running.process.terminate()
        try:
            await asyncio.wait_for(running.process.wait(), 1)
        except TimeoutError:
            # A driver can hang in the kernel's arms; it is not asked twice.
            running.process.kill()
            await running.process.wait()
        if running.reader:
            await running.reader
        await running.client.close()
        running.port_holder.close()
