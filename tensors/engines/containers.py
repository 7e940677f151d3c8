"""Containers that carry an engine: how they are found, what they say of themselves, which files they see.

A container is one of tsr's when it has the label `tsr.backend`. Its environment names what it runs, as the entrypoint
of `rocm-docker/` reads it; an empty variable is none. Docker Engine API 1.41 (Docker 20.10) and later.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import aiodocker
import aiohttp

from tensors.errors import EngineStartFailed
from tensors.models import ModelFile

BACKEND_LABEL = "tsr.backend"
FAMILIES_LABEL = "tsr.families"
PORT_LABEL = "tsr.port"
VERSION_LABEL = "tsr.version"
ARGUMENTS_LABEL = "tsr.arguments"
"""What `SD_ARGS` was before tsr added to it; written by tsr."""
NEW, OLD = ".tsr-new", ".tsr-old"
"""Endings of a container's name while another takes its place."""
ARGUMENTS = "SD_ARGS"
FILE_VARIABLES = ("MODEL", "DIFFUSION_MODEL", "VAE", "CLIP_L", "CLIP_G", "T5XXL", "LLM", "TAESD")
_DEFAULT_PORT = "1234"
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=120)
_UNREACHABLE = 900
"""The status that aiodocker gives a connection that failed."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of the host that a container sees at `target`."""

    target: PurePosixPath
    source: Path | None
    """None for what is not on the host's disk, such as a tmpfs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container with an engine, as Docker described it at one moment."""

    id: str
    name: str
    backend: str
    families: tuple[str, ...]
    """Families it is bound to; none means any."""
    state: str
    """`created`, `running`, `paused`, `restarting`, `exited` or `dead`."""
    healthy: bool | None
    """What its health check says; None while it says nothing, or without one."""
    started_at: str
    pid: int | None
    """Of its main process, as its host counts."""
    version: str
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...]
    document: Mapping[str, Any]
    """All that `GET /containers/{id}/json` said."""

    @property
    def model(self) -> Path | None:
        """The model file it names, as the host knows it; None when it names none, or one that no mount holds."""
        named = self.environment.get("DIFFUSION_MODEL") or self.environment.get("MODEL")
        return self.outside(PurePosixPath(named)) if named else None

    def inside(self, path: Path) -> list[PurePosixPath]:
        """Where it sees a file of the host; nowhere, or in several places. The closest mount comes first."""
        # Links are followed here: inside, they would lead to other places.
        real = path.resolve()
        holding = [
            (len(mount.source.parts), mount, mount.target / real.relative_to(mount.source))
            for mount in self.mounts
            if mount.source and real.is_relative_to(mount.source)
        ]
        holding.sort(key=lambda found: -found[0])
        # What is mounted over a folder hides it.
        return [target for _, mount, target in holding if self._mount_of(target) is mount]

    def outside(self, path: PurePosixPath) -> Path | None:
        """Where the host has a path of the container; None when no mount holds it."""
        mount = self._mount_of(path)
        return mount.source / path.relative_to(mount.target) if mount and mount.source else None

    def _mount_of(self, path: PurePosixPath) -> Mount | None:
        holding = [mount for mount in self.mounts if path.is_relative_to(mount.target)]
        return max(holding, key=lambda mount: len(mount.target.parts), default=None)

    def address(self) -> str | None:
        """URL of its engine from here: the published port, else its own address; None without either.

        Raises `EngineStartFailed` when its port label is not a port.
        """
        label = self._labels.get(PORT_LABEL, _DEFAULT_PORT)
        if not (label.isascii() and label.isdigit() and 0 < int(label) < 65536):
            raise EngineStartFailed(f"container {self.name} has the label {PORT_LABEL}={label!r}, which is not a port")
        settings = self.document.get("NetworkSettings") or {}
        published = (settings.get("Ports") or {}).get(f"{int(label)}/tcp") or []
        for binding in sorted(published, key=lambda one: ":" in one.get("HostIp", "")):
            return f"http://{_reachable(binding.get('HostIp', ''))}:{binding['HostPort']}"
        if self.document["HostConfig"].get("NetworkMode") == "host":
            return f"http://127.0.0.1:{int(label)}"
        for network in (settings.get("Networks") or {}).values():
            if address := network.get("IPAddress") or network.get("GlobalIPv6Address"):
                return f"http://{_bracketed(address)}:{int(label)}"
        return None

    def variables_for(self, model: ModelFile, arguments: tuple[str, ...]) -> dict[str, str]:
        """The environment with which it runs this model, every variable that matters; empty ones are to be unset.

        Raises `EngineStartFailed` for a file that it does not see.
        """
        wanted = dict.fromkeys(FILE_VARIABLES, "")
        wanted["DIFFUSION_MODEL" if model.kind == "diffusion_model" else "MODEL"] = self._seen(model.path)
        more = []
        for option, path in model.companions:
            if option.upper() in wanted:
                wanted[option.upper()] = self._seen(path)
            else:
                more += [f"--{option}", self._seen(path)]
        more += arguments
        for word in more:
            if not word or word.split() != [word]:
                raise EngineStartFailed(f"{word!r} cannot be an argument of a container's engine: it has a space in it")
        wanted[ARGUMENTS] = " ".join([*self.own_arguments.split(), *more])
        return wanted

    @property
    def own_arguments(self) -> str:
        """The arguments that its owner gave it."""
        return self._labels.get(ARGUMENTS_LABEL, self.environment.get(ARGUMENTS, ""))

    def runs_with(self, variables: Mapping[str, str]) -> bool:
        """Whether these variables are its own already."""
        mine = {name: self.environment.get(name, "") for name in variables}
        mine[ARGUMENTS] = " ".join(mine[ARGUMENTS].split())
        return mine == variables

    def _seen(self, path: Path) -> str:
        targets = self.inside(path)
        if not targets:
            held = [f"{mount.source} as {mount.target}" for mount in self.mounts if mount.source]
            raise EngineStartFailed(
                f"container {self.name} does not see {path}; it sees {', '.join(held) or 'no folder of this machine'}",
                hint="move the file there, or mount its folder too (volumes in docker-compose.yml)",
            )
        return str(targets[0])

    @property
    def _labels(self) -> Mapping[str, str]:
        return self.document["Config"].get("Labels") or {}


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _reachable(host: str) -> str:
    """An address that a port is published on, as one to connect to."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host) or _bracketed(host)


def variables_in(lines: list[str] | None) -> dict[str, str]:
    """`NAME=value` lines, as Docker has an environment. A name without a value is one that is taken away."""
    pairs = (line.partition("=") for line in lines or [])
    return {name: value for name, equals, value in pairs if equals}


def read_container(document: Mapping[str, Any]) -> Container:
    """A container from what Docker says of it."""
    config, state = document["Config"], document["State"]
    labels: Mapping[str, str] = config.get("Labels") or {}
    families = (family.strip() for family in labels.get(FAMILIES_LABEL, "").split(","))
    running = state["Status"] == "running"
    health = (state.get("Health") or {}).get("Status") if running else None
    return Container(
        id=document["Id"],
        name=document["Name"].removeprefix("/"),
        backend=labels.get(BACKEND_LABEL, ""),
        families=tuple(family for family in families if family),
        state=state["Status"],
        healthy={"healthy": True, "unhealthy": False}.get(health or ""),
        started_at=state.get("StartedAt") or "",
        pid=state.get("Pid") or None,
        version=labels.get(VERSION_LABEL) or "unknown",
        environment=variables_in(config.get("Env")),
        mounts=tuple(_mount(mount) for mount in document.get("Mounts") or []),
        document=document,
    )


def _mount(mount: Mapping[str, Any]) -> Mount:
    source = mount.get("Source")
    return Mount(PurePosixPath(mount["Destination"]), Path(source).resolve() if source else None)


def successor(
    container: Container, image_environment: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, Any]:
    """What to ask Docker for, to get this container once more with other variables.

    What came from the image stays the image's: only what the owner or tsr set is set again.
    """
    config, host = dict(container.document["Config"]), dict(container.document["HostConfig"])
    own = {name: value for name, value in container.environment.items() if image_environment.get(name) != value}
    own |= variables
    # An empty variable of ours hides one of the image; without one there it is not needed.
    kept = {name: value for name, value in own.items() if value or name not in variables or name in image_environment}
    config["Env"] = [f"{name}={value}" for name, value in kept.items()]
    config["Labels"] = {**(config.get("Labels") or {}), ARGUMENTS_LABEL: container.own_arguments}
    if container.id.startswith(config.get("Hostname") or "-"):
        # Nobody chose that name: it is the beginning of the old one's id.
        del config["Hostname"]
    host["Binds"] = [*(host.get("Binds") or []), *_unnamed_volumes(container)]
    networks = container.document["NetworkSettings"].get("Networks") or {}
    first = dict(list(networks.items())[:1])
    endpoints = {name: endpoint(container, network) for name, network in first.items()}
    return {**config, "HostConfig": host, "NetworkingConfig": {"EndpointsConfig": endpoints}}


def _unnamed_volumes(container: Container) -> list[str]:
    """Volumes that Docker made for the old container alone, so that the new one goes on with what is in them."""
    host = container.document["HostConfig"]
    named = {bind.split(":")[1] for bind in host.get("Binds") or []}
    named |= {mount["Target"] for mount in host.get("Mounts") or []}
    return [
        f"{mount['Name']}:{mount['Destination']}"
        for mount in container.document.get("Mounts") or []
        if mount.get("Type") == "volume" and mount["Destination"] not in named
    ]


def endpoint(container: Container, network: Mapping[str, Any]) -> dict[str, Any]:
    """How a container joins a network, without what Docker adds by itself: addresses, and its id as an alias."""
    aliases = [alias for alias in network.get("Aliases") or [] if not container.id.startswith(alias)]
    chosen = {key: network.get(key) for key in ("IPAMConfig", "Links", "DriverOpts")}
    return {**{key: value for key, value in chosen.items() if value}, **({"Aliases": aliases} if aliases else {})}


def open_docker(url: str | None = None) -> aiodocker.Docker:
    """A session with the Docker engine at `url`, `DOCKER_HOST`, or where Docker's own client would look.

    Raises `EngineStartFailed`. It is to be closed.
    """
    try:
        return aiodocker.Docker(url or os.environ.get("DOCKER_HOST") or None, timeout=_TIMEOUT)
    except (AssertionError, ValueError, aiodocker.DockerError) as error:
        # Without a socket in any of the usual places an assertion of aiodocker's fails.
        reason = f": {error}" if str(error) else ""
        raise EngineStartFailed(f"no Docker engine found{reason}", hint=_START_IT) from error


_START_IT = "start Docker (sudo systemctl start docker), or say with DOCKER_HOST where it is"
_MAY_NOT = "let this user talk to Docker (sudo usermod -aG docker $USER) and log in again"


@contextlib.contextmanager
def asking_docker(what: str) -> Iterator[None]:
    """What Docker refuses, and a Docker that does not answer, become `EngineStartFailed`; `what` was to be done."""
    try:
        yield
    except aiodocker.DockerError as error:
        if error.status != _UNREACHABLE:
            raise EngineStartFailed(f"Docker could not {what}: {error.message}") from error
        cause = getattr(error.__context__, "os_error", None)
        if isinstance(cause, PermissionError):
            raise EngineStartFailed("Docker's socket may not be used by this user", hint=_MAY_NOT) from error
        raise EngineStartFailed(f"Docker does not answer: {cause or error.message}", hint=_START_IT) from error
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, LookupError) as error:
        said = str(error) or type(error).__name__
        raise EngineStartFailed(f"Docker did not answer while it was to {what}: {said}", hint=_START_IT) from error


async def find_containers(docker: aiodocker.Docker, backend: str | None = None) -> list[Container]:
    """Every container of a backend, or of all of them, sorted by name; those half replaced too."""
    label = BACKEND_LABEL if backend is None else f"{BACKEND_LABEL}={backend}"
    found = []
    for listed in await docker.containers.list(all="true", filters=json.dumps({"label": [label]})):
        with ignoring(404):
            found.append(read_container(await listed.show()))
    return sorted(found, key=lambda container: container.name)


@contextlib.contextmanager
def ignoring(*statuses: int) -> Iterator[None]:
    """Let these answers of Docker's pass, such as 404 for what is gone already."""
    try:
        yield
    except aiodocker.DockerError as error:
        if error.status not in statuses:
            raise


async def discover(url: str | None = None) -> list[Container]:
    """The containers that tsr can use, one for each backend unless two share a name.

    Raises `EngineStartFailed` when Docker cannot be asked.
    """
    docker = open_docker(url)
    try:
        with asking_docker("list its containers"):
            found = await find_containers(docker)
    finally:
        await docker.close()
    # A half replaced one counts once: the one that `DockerPlace.heal` would keep.
    return list({base_name(container.name): container for container in sorted(found, key=_rank)}.values())


def _rank(container: Container) -> int:
    return 2 if base_name(container.name) == container.name else container.name.endswith(OLD)


def base_name(name: str) -> str:
    """A container's name without what its replacement adds to it."""
    return name.removesuffix(NEW).removesuffix(OLD)
