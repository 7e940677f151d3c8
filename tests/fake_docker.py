"""A stand-in for the Docker Engine API 1.41 on a unix socket, whose containers are processes of the fake sd-server.

It knows what tsr asks for: list, inspect, create, start, stop, unpause, rename, remove, wait, attach, logs; images and
networks. A container sees the host's files through its binds only. Faults are methods and attributes of `FakeDocker`.

Simpler than the real one: `stop` kills at once; a published port is on loopback; health is what the test says; a
restart policy (`always`, `unless-stopped`) starts a dead container once more, at once, while `restarts` is true.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from aiohttp import web

SD_SERVER = Path(__file__).parent / "fake_sd_server.py"
IMAGE = "sd-server:test"
Json = dict[str, Any]


class Refused(Exception):
    """An answer with a status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class FakeContainer:
    """One container; `document` is what inspecting it says."""

    document: Json
    removed_at_end: bool = False
    process: asyncio.subprocess.Process | None = None
    watch: asyncio.Task[None] | None = None
    log: list[tuple[float, int, bytes]] = field(default_factory=list)
    attached: list[web.Request] = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    stop_wanted: bool = False
    tied: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.document["Name"]).removeprefix("/")

    @property
    def state(self) -> Json:
        return self.document["State"]  # type: ignore[no-any-return]

    @property
    def tty(self) -> bool:
        return bool(self.document["Config"].get("Tty"))


def frame(stream: int, data: bytes) -> bytes:
    """A piece of output as Docker sends it where there is no terminal."""
    return struct.pack(">BxxxL", stream, len(data)) + data


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() % 10**9:09d}Z"


class FakeDocker:
    """The engine and what is in it. Use it as an async context manager."""

    def __init__(self, socket_path: Path) -> None:
        self.url = f"unix://{socket_path}"
        self.containers: dict[str, FakeContainer] = {}
        self.images: dict[str, Json] = {
            "sha256:1": {"Id": "sha256:1", "Config": {"Env": ["LORA_DIR=/loras", "VAE=/baked.vae", "FAMILY=sdxl"]}}
        }
        self.tags = {IMAGE: "sha256:1"}
        self.networks = {"bridge", "house", "other"}
        self.changes: list[str] = []
        """What was asked for that changes something, as verb and the container's name at that time."""
        self.asked: list[Json] = []
        """The body of each creation."""
        self.refusals: dict[str, tuple[int, str]] = {}
        """Status and message by verb."""
        self.changes_left: int | None = None
        """After so many more changes every connection drops, as if whoever asks had died then."""
        self.restarts = True
        self._path = socket_path
        self._made = 0
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> FakeDocker:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self._path)).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restarts = False
        for container in list(self.containers.values()):
            await self._kill(container)
        await self.shut()

    async def shut(self) -> None:
        """The engine is gone, with its socket and every connection; containers go on."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    # What a test does behind tsr's back.

    def named(self, name: str) -> FakeContainer:
        return next(container for container in self.containers.values() if container.name == name)

    @property
    def names(self) -> list[str]:
        return sorted(container.name for container in self.containers.values())

    def add(self, name: str, body: Json) -> FakeContainer:
        """Make a container, as `docker create` does."""
        self._made += 1
        identifier = f"{self._made:012x}" + "f" * 52
        image = self.images[self.tags.get(body["Image"], body["Image"])]
        baked = dict(line.split("=", 1) for line in image["Config"]["Env"])
        given = dict(line.split("=", 1) for line in body.get("Env") or [])
        config = {key: value for key, value in body.items() if key not in ("HostConfig", "NetworkingConfig")}
        config["Env"] = [
            f"{key}={value}" for key, value in (given | {k: v for k, v in baked.items() if k not in given}).items()
        ]
        config = {"Hostname": identifier[:12], "Tty": False, **config}
        host = {"NetworkMode": "house", "Binds": None, **(body.get("HostConfig") or {})}
        binds = [bind.split(":") for bind in host["Binds"] or []]
        mounts = [
            {"Type": "bind", "Source": source, "Destination": target}
            if source.startswith("/")
            else {"Type": "volume", "Name": source, "Source": f"/volumes/{source}", "Destination": target}
            for source, target, *_ in binds
        ]
        taken = {mount["Destination"] for mount in mounts}
        if len(taken) < len(mounts):
            raise Refused(400, "Duplicate mount point")
        for target in config.get("Volumes") or {}:
            if target not in taken:
                volume = f"anonymous{self._made}"
                mounts.append({"Type": "volume", "Name": volume, "Source": f"/volumes/{volume}", "Destination": target})
        document = {
            "Id": identifier, "Name": f"/{name}", "Image": image["Id"], "Config": config, "HostConfig": host,
            "Mounts": mounts, "RestartCount": 0,
            "State": {"Status": "created", "Running": False, "Pid": 0, "StartedAt": "0001-01-01T00:00:00Z"},
            "NetworkSettings": {"Ports": {}, "Networks": {}},
        }  # fmt: skip
        container = FakeContainer(document, removed_at_end=bool(host.get("AutoRemove")))
        container.stopped.set()
        endpoints = (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
        for network, wanted in (endpoints or {host["NetworkMode"]: {}}).items():
            self._join(container, network, wanted)
        self.containers[identifier] = container
        return container

    async def run(self, name: str, body: Json) -> FakeContainer:
        """Make a container and start it."""
        container = self.add(name, body)
        await self._launch(container)
        return container

    async def kill(self, name: str) -> None:
        """Its process dies by itself; the restart policy has its way."""
        container = self.named(name)
        assert container.process
        assert container.watch
        container.process.kill()
        await container.watch

    async def stop(self, name: str) -> None:
        """As `docker stop` does."""
        await self._kill(self.named(name))

    def say(self, name: str, data: bytes, stream: int = 1, *, whole: bool = True) -> None:
        """The container says this; not `whole`: in frames of one byte each."""
        for part in [data] if whole else [bytes([byte]) for byte in data]:
            self._output(self.named(name), stream, part)

    def drop_streams(self, name: str) -> None:
        """Whoever follows the container loses the connection; the container goes on."""
        container = self.named(name)
        for task in container.tied:
            task.cancel()
        self._detach(container)

    # The API.

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.changes_left == 0:
            return self._drop(request)
        path = re.sub(r"^/v[\d.]+", "", request.path)
        try:
            return await self._route(request, request.method, path)
        except Refused as refused:
            # Without a charset, as Docker sends it: clients look.
            body = json.dumps({"message": str(refused)}).encode()
            return web.Response(body=body, headers={"Content-Type": "application/json"}, status=refused.status)
        except ConnectionResetError:
            return self._drop(request)

    def _drop(self, request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.abort()
        return web.Response()

    async def _route(self, request: web.Request, method: str, path: str) -> web.StreamResponse:
        query = request.query
        match [method, *path.strip("/").split("/")]:
            case ["GET", "version"]:
                return web.json_response({"ApiVersion": "1.41", "Version": "20.10.0"})
            case ["GET", "containers", "json"]:
                return web.json_response(self._list(json.loads(query["filters"])))
            case ["GET", "containers", name, "json"]:
                return web.json_response(self._find(name).document)
            case ["GET", "images", *name, "json"]:
                return web.json_response(self._image("/".join(name)))
            case ["GET", "networks", name]:
                return web.json_response({"Id": name, "Name": name})
            case ["GET", "containers", name, "logs"]:
                return self._logs(self._find(name), float(query["since"]), int(query["tail"]))
            case ["POST", "containers", name, "attach"]:
                return await self._attach(request, self._find(name))
            case ["POST", "containers", name, "wait"]:
                return await self._wait(request, self._find(name))
            case ["POST", "networks", network, "connect"]:
                body = await request.json()
                return await self._change("connect", self._find(body["Container"]), network, body["EndpointConfig"])
            case ["POST", "containers", "create"]:
                return await self._create(query["name"], await request.json())
            case ["POST", "containers", name, verb]:
                return await self._change(verb, self._find(name), query.get("name", ""))
            case ["DELETE", "containers", name]:
                return await self._change("delete", self._find(name))
        raise Refused(404, f"page not found: {method} {path}")

    def _find(self, name: str) -> FakeContainer:
        for container in self.containers.values():
            if name in (container.name, container.document["Id"]):
                return container
        raise Refused(404, f"No such container: {name}")

    def _list(self, filters: Json) -> list[Json]:
        def fits(container: FakeContainer, wanted: str) -> bool:
            label, equals, value = wanted.partition("=")
            labels = container.document["Config"].get("Labels") or {}
            return label in labels and (not equals or labels[label] == value)

        return [
            {"Id": identifier}
            for identifier, container in self.containers.items()
            if all(fits(container, wanted) for wanted in filters["label"])
        ]

    def _image(self, name: str) -> Json:
        identifier = self.tags.get(name, name)
        if identifier not in self.images:
            raise Refused(404, f"No such image: {name}")
        return self.images[identifier]

    async def _create(self, name: str, body: Json) -> web.Response:
        self._changing("create", name)
        if name in self.names:
            raise Refused(409, f'Conflict. The container name "/{name}" is already in use')
        self.asked.append(body)
        container = self.add(name, body)
        self._changed()
        return web.json_response({"Id": container.document["Id"]}, status=201)

    async def _change(
        self, verb: str, container: FakeContainer, name: str = "", wanted: Json | None = None
    ) -> web.Response:
        self._changing(verb, container.name)
        match verb:
            case "connect":
                self._join(container, name, wanted or {})
            case "start":
                if not container.state["Running"]:
                    await self._launch(container)
            case "stop":
                await self._kill(container)
            case "unpause":
                container.state["Status"] = "running"
            case "rename":
                if name in self.names:
                    raise Refused(409, f'Conflict. The container name "/{name}" is already in use')
                container.document["Name"] = f"/{name}"
            case "delete":
                await self._kill(container)
                del self.containers[container.document["Id"]]
            case _:
                raise Refused(404, f"page not found: {verb}")
        self._changed()
        return web.Response(status=204)

    def _changing(self, verb: str, name: str) -> None:
        self.changes.append(f"{verb} {name}")
        if verb in self.refusals:
            raise Refused(*self.refusals[verb])

    def _changed(self) -> None:
        if self.changes_left is not None:
            self.changes_left -= 1
            if self.changes_left == 0:
                raise ConnectionResetError

    def _join(self, container: FakeContainer, network: str, wanted: Json) -> None:
        if network not in self.networks:
            raise Refused(404, f"network {network} not found")
        aliases = [*(wanted.get("Aliases") or []), container.document["Id"][:12]]
        joined = {**wanted, "Aliases": aliases, "NetworkID": network, "IPAddress": ""}
        container.document["NetworkSettings"]["Networks"][network] = joined

    # Processes.

    def _inside(self, container: FakeContainer, path: str) -> str:
        for mount in container.document["Mounts"]:
            with contextlib.suppress(ValueError):
                return str(Path(mount["Source"]) / PurePosixPath(path).relative_to(mount["Destination"]))
        return f"/nowhere{path}"

    async def _launch(self, container: FakeContainer) -> None:
        environment = dict(line.split("=", 1) for line in container.document["Config"]["Env"])
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        model = environment.get("MODEL") or environment.get("DIFFUSION_MODEL") or "/none"
        words = ["-m", self._inside(container, model), "--listen-port", str(port)]
        container.process = await asyncio.create_subprocess_exec(
            sys.executable, SD_SERVER, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        container.stop_wanted = False
        container.stopped = asyncio.Event()
        pid = container.process.pid
        container.document["State"] = {"Status": "running", "Running": True, "Pid": pid, "StartedAt": now()}
        label = (container.document["Config"].get("Labels") or {}).get("tsr.port", "1234")
        container.document["NetworkSettings"]["Ports"] = {
            f"{label}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]
        }
        container.watch = asyncio.create_task(self._watch(container, container.process, container.stopped))

    async def _watch(
        self, container: FakeContainer, process: asyncio.subprocess.Process, stopped: asyncio.Event
    ) -> None:
        async def pump(stream: int, pipe: asyncio.StreamReader | None) -> None:
            while pipe and (data := await pipe.read(4096)):
                self._output(container, stream, data)

        await asyncio.gather(pump(1, process.stdout), pump(2, process.stderr))
        code = await process.wait()
        container.document["State"] = {
            **container.state,
            "Status": "exited",
            "Running": False,
            "Pid": 0,
            "ExitCode": code,
        }
        container.document["NetworkSettings"]["Ports"] = {}
        stopped.set()
        self._detach(container)
        if container.removed_at_end:
            self.containers.pop(container.document["Id"], None)
        policy = (container.document["HostConfig"].get("RestartPolicy") or {}).get("Name")
        if policy in ("always", "unless-stopped") and self.restarts and not container.stop_wanted:
            container.document["RestartCount"] += 1
            await self._launch(container)

    async def _kill(self, container: FakeContainer) -> None:
        container.stop_wanted = True
        if container.process and container.process.returncode is None:
            container.process.kill()
        if container.watch:
            await container.watch

    # Output.

    def _output(self, container: FakeContainer, stream: int, data: bytes) -> None:
        container.log.append((time.time(), stream, data))
        for request in container.attached:
            if request.transport:
                request.transport.write(data if container.tty else frame(stream, data))

    def _detach(self, container: FakeContainer) -> None:
        for request in container.attached:
            if request.transport:
                request.transport.close()
        container.attached.clear()

    async def _attach(self, request: web.Request, container: FakeContainer) -> web.StreamResponse:
        assert request.query["stream"] == request.query["stdout"] == request.query["stderr"] == "1"
        response = web.StreamResponse(status=101, headers={"Connection": "Upgrade", "Upgrade": "tcp"})
        await response.prepare(request)
        container.attached.append(request)
        gone = asyncio.get_running_loop().create_future()
        with contextlib.suppress(asyncio.CancelledError):
            await gone
        return response

    async def _wait(self, request: web.Request, container: FakeContainer) -> web.StreamResponse:
        assert request.query["condition"] == "not-running"
        task = asyncio.current_task()
        assert task
        container.tied.append(task)  # type: ignore[arg-type]
        await container.stopped.wait()
        return web.json_response({"StatusCode": container.state.get("ExitCode", 0)})

    def _logs(self, container: FakeContainer, since: float, tail: int) -> web.Response:
        if container.document["HostConfig"].get("LogConfig", {}).get("Type") == "none":
            raise Refused(501, "configured logging driver does not support reading")
        said = [(stream, data) for moment, stream, data in container.log if moment >= since][-tail:]
        return web.Response(body=b"".join(data if container.tty else frame(stream, data) for stream, data in said))
