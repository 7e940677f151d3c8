"""An sd-server in a container that somebody set up: adopted, given another model, followed, ended.

Another model is another environment, and a container's environment is fixed when it is made. So the container is made
anew under the same name, in steps of which each leaves something that `DockerPlace.heal` can put right.

The output is read by attaching, not from the container's log: the log gets whole lines, and a progress bar is none
until its last step. What was said before somebody attached is in the log alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import aiodocker
import aiohttp
from aiodocker.containers import DockerContainer
from aiodocker.stream import Stream

from tensors.engines.containers import (
    NEW,
    OLD,
    Container,
    asking_docker,
    base_name,
    endpoint,
    find_containers,
    ignoring,
    open_docker,
    read_container,
    successor,
    variables_in,
)
from tensors.engines.output import PieceReader
from tensors.engines.place import Hear
from tensors.engines.sd_server import SdServerClient
from tensors.errors import EngineDied, EngineError, EngineStartFailed, LoraNotFound
from tensors.models import ModelFile

T = TypeVar("T")

log = logging.getLogger(__name__)

STOP_SECONDS = 1
"""How long an engine may take to end when asked. It saves nothing, and as process 1 it does not even hear."""
_LAST_SECONDS = 2.0
"""How long the second sign of an end may come after the first: the end of the output, and Docker's word for it."""
_ANSWER_SECONDS = 5.0
_EARLIER_LINES = 200
_NOWHERE = "http://127.0.0.1:1"
"""Of an engine that ended before its address could be asked for."""
_BROKEN = (aiodocker.DockerError, aiohttp.ClientError, TimeoutError, OSError)


class ContainerLife:
    """One life of a container, from its start, or from when it was adopted, to its end."""

    def __init__(self, container: Container, handle: DockerContainer, output: Stream, hear: Hear) -> None:
        up = container.state == "running"
        address = container.address()
        if up and address is None:
            raise EngineStartFailed(
                f"the engine in container {container.name} cannot be reached: it has no published port and no address",
                hint='publish its port on loopback (ports: ["127.0.0.1:1234:1234"] in docker-compose.yml)',
            )
        self.client = SdServerClient(address if up and address else _NOWHERE)
        self.pid = container.pid
        self.exit_code: int | None = None
        self.ended = asyncio.Event()
        self._name = container.name
        self._handle = handle
        self._output = output
        self._hear = hear
        self._readers: dict[int, PieceReader] = {}
        self._following: asyncio.Task[None] | None = None

    def follow(self, earlier: bytes) -> None:
        """Begin to tell its output: first what it said before, then what it says."""
        self._following = asyncio.create_task(self._follow(earlier))

    async def end(self) -> None:
        """Stop the container. Its restart policy does not bring it back: Docker knows that it was asked for."""
        try:
            if not self.ended.is_set():
                with asking_docker(f"stop container {self._name}"), ignoring(404):
                    await self._handle.stop(t=STOP_SECONDS)
                await self.ended.wait()
        finally:
            await self.let_go()

    async def let_go(self) -> None:
        """Follow it no longer, and let it go on."""
        if self._following:
            self._following.cancel()
            await asyncio.wait([self._following])
        await self._output.close()
        await self.client.close()

    async def _follow(self, earlier: bytes) -> None:
        signs = [asyncio.create_task(self._read(earlier)), asyncio.create_task(self._wait())]
        try:
            await asyncio.wait(signs, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(signs, timeout=_LAST_SECONDS)
        finally:
            for sign in signs:
                sign.cancel()
            outcomes = await asyncio.gather(*signs, return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    log.warning("container %s is followed no longer: %s", self._name, outcome)
            self.ended.set()

    async def _read(self, earlier: bytes) -> None:
        self._take(1, earlier)
        while message := await self._output.read_out():
            self._take(message.stream, message.data)
        for stream in list(self._readers):
            self._take(stream, b"\n")

    def _take(self, stream: int, data: bytes) -> None:
        """Standard output and error come apart, and neither ends a line of the other."""
        for piece in self._readers.setdefault(stream, PieceReader()).feed(data):
            self._hear(piece)

    async def _wait(self) -> None:
        with ignoring(404):
            self.exit_code = (await self._handle.wait(condition="not-running")).get("StatusCode")


class DockerPlace:
    """The container with the label `tsr.backend=BACKEND`, and the models that its mounts show it."""

    kind = "docker"
    outlives = True
    can_switch = True
    can_cancel = True
    can_hear = True

    def __init__(self, backend: str, *, url: str | None = None) -> None:
        self._backend = backend
        self._url = url
        self._docker: aiodocker.Docker | None = None
        self._container: Container | None = None
        self._life: ContainerLife | None = None
        self._changing = asyncio.Lock()

    @property
    def version(self) -> str:
        """What the container's label `tsr.version` says; `unknown` before it was looked at, or without one."""
        return self._container.version if self._container else "unknown"

    async def start(self, model: ModelFile, hear: Hear, *, arguments: tuple[str, ...] = ()) -> ContainerLife:
        """Begin a life with this model: adopt what runs it already, start what is stopped, make anew what differs.

        Raises `EngineStartFailed`: no such container, a file that it does not see, Docker unreachable or unwilling.
        """
        # Not left half done for being cancelled: that is for crashes.
        return await _to_its_end(self._start(model, hear, arguments))

    async def _start(self, model: ModelFile, hear: Hear, arguments: tuple[str, ...]) -> ContainerLife:
        async with self._changing:
            if self._life:
                await self._life.let_go()
                self._life = None
            with asking_docker(f"start backend {self._backend}"):
                container = await self._heal()
                variables = container.variables_for(model, arguments)
                if not container.runs_with(variables):
                    container = await self._replace(container, variables)
                self._container, self._life = await self._begin(container, hear)
            return self._life

    async def heal(self) -> Container:
        """Put right what was left when a replacement was cut short, and return the container.

        Raises `EngineStartFailed` when there is none, or more than one.
        """
        async with self._changing:
            with asking_docker(f"look after backend {self._backend}"):
                return await self._heal()

    async def lora_paths(self, loras: Mapping[str, Path]) -> dict[str, str]:
        """Paths below the container's `LORA_DIR`.

        Raises `LoraNotFound` for one that lies elsewhere, `EngineDied` before the first start.
        """
        if self._container is None:
            raise EngineDied("the engine is not running")
        return {name: _lora_path(self._container, name, path) for name, path in loras.items()}

    async def close(self) -> None:
        """Let go of the container, which goes on, and close the session."""
        async with self._changing:
            if self._life:
                await self._life.let_go()
                self._life = None
            if self._docker:
                await self._docker.close()
                self._docker = None

    def _session(self) -> aiodocker.Docker:
        if self._docker is None:
            self._docker = open_docker(self._url)
        return self._docker

    def _handle(self, container: Container) -> DockerContainer:
        return self._session().containers.container(container.id)

    async def _heal(self) -> Container:
        found = await find_containers(self._session(), self._backend)
        names = sorted({base_name(container.name) for container in found})
        if not names:
            raise EngineStartFailed(
                f"no container has the label tsr.backend={self._backend}",
                hint="make it (docker compose up -d), and see 'docker ps -a --filter label=tsr.backend'",
            )
        if len(names) > 1:
            raise EngineStartFailed(
                f"several containers have the label tsr.backend={self._backend}: {', '.join(names)}",
                hint="give each backend a label of its own",
            )
        (name,) = names
        by_name = {container.name: container for container in found}
        if len(found) == 1 and name in by_name:
            return by_name[name]
        log.warning("container %s was being replaced when tsr ended; putting it right", name)
        # A whole one under its name; else the one that was in use; the new one only when that is gone.
        kept = by_name.get(name) or by_name.get(name + OLD) or by_name[name + NEW]
        for other in found:
            if other is not kept:
                with ignoring(404, 409):
                    await self._handle(other).delete(force=True)
        if kept.name != name:
            await self._handle(kept).rename(name)
        return await self._look(kept)

    async def _look(self, container: Container) -> Container:
        return read_container(await self._handle(container).show())

    async def _replace(self, old: Container, variables: Mapping[str, str]) -> Container:
        docker, old_handle = self._session(), self._handle(old)
        image = await docker.images.inspect(old.document["Image"])
        body = successor(old, variables_in(image["Config"].get("Env")), variables)
        body["Image"] = await self._image_of(old)
        new_handle = await docker.containers.create(body, name=old.name + NEW)
        joined = body["NetworkingConfig"]["EndpointsConfig"]
        for name, network in (old.document["NetworkSettings"].get("Networks") or {}).items():
            if name not in joined:
                other = await docker.networks.get(name)
                await other.connect({"Container": new_handle.id, "EndpointConfig": endpoint(old, network)})
        await self._stop(old)
        # One that Docker removes when it ends (`--rm`) may be gone by now.
        with ignoring(404, 409):
            await old_handle.rename(old.name + OLD)
        await new_handle.rename(old.name)
        with ignoring(404, 409):
            await old_handle.delete(force=True)
        return read_container(await new_handle.show())

    async def _image_of(self, container: Container) -> str:
        """Its image by name, as long as that still means the same one: a switch of models is no upgrade."""
        name: str = container.document["Config"]["Image"]
        image: str = container.document["Image"]
        with ignoring(404):
            if (await self._session().images.inspect(name))["Id"] == image:
                return name
        return image

    async def _stop(self, container: Container) -> None:
        handle = self._handle(container)
        if container.state == "paused":
            await handle.unpause()
        if container.state in ("running", "paused", "restarting"):
            with ignoring(404):
                await handle.stop(t=STOP_SECONDS)

    async def _begin(self, container: Container, hear: Hear) -> tuple[Container, ContainerLife]:
        handle = self._handle(container)
        adopted = container.state == "running" and await _usable(container)
        if not adopted:
            # Also what Docker is about to start again: it waits longer each time, and we do not.
            await self._stop(container)
        async with contextlib.AsyncExitStack() as undo:
            output = handle.attach(stdout=True, stderr=True)
            undo.push_async_callback(output.close)
            # Before the start: nothing that it says is lost.
            await output.__aenter__()
            if not adopted:
                await handle.start()
            container = await self._look(container)
            earlier = await _earlier_output(handle, container) if adopted else b""
            life = ContainerLife(container, handle, output, hear)
            undo.pop_all()
        life.follow(earlier)
        return container, life


async def _usable(container: Container) -> bool:
    """Whether a running engine can be used as it is. A failed health check is asked once more: it may be old."""
    if container.healthy is not False:
        return True
    address = container.address()
    if address is None:
        return False
    client = SdServerClient(address)
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await client.capabilities()
    except (EngineError, TimeoutError):
        return False
    finally:
        await client.close()
    return True


async def _earlier_output(handle: DockerContainer, container: Container) -> bytes:
    """The last that it said since it started; nothing where Docker keeps no log."""
    try:
        texts = await handle.log(
            stdout=True, stderr=True, since=_seconds(container.started_at), tail=str(_EARLIER_LINES)
        )
    except _BROKEN as error:
        log.warning("what container %s said before is not to be had: %s", container.name, error)
        return b""
    return "".join(texts).encode()


def _seconds(moment: str) -> str:
    """Docker's time as seconds since 1970 with all of its nine decimals, which is what its log wants."""
    whole, _, fraction = moment.removesuffix("Z").partition(".")
    return f"{int(datetime.fromisoformat(whole + '+00:00').timestamp())}.{fraction or '0'}"


def _lora_path(container: Container, name: str, path: Path) -> str:
    folder = container.environment.get("LORA_DIR")
    if not folder:
        raise LoraNotFound(
            f"LoRA {name!r} cannot be used: container {container.name} has no folder of LoRAs",
            hint="set LORA_DIR in its environment and mount a folder there",
        )
    for inside in container.inside(path):
        if inside.is_relative_to(folder):
            return str(inside.relative_to(folder))
    host = container.outside(PurePosixPath(folder))
    raise LoraNotFound(
        f"LoRA {name!r} is not in the folder of LoRAs of container {container.name}: {path}",
        hint=f"move it below {host}" if host else f"mount a folder of this machine at {folder} and move it there",
    )


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """The work's result; a caller who is cancelled waits until it is done."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
