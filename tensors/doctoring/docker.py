"""Docker: whether it answers, has Compose, and how the containers with engines are."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

from tensors.config import Config
from tensors.doctoring import ports
from tensors.doctoring.finding import error, ok, shell, skipped, warning
from tensors.doctoring.machine import Machine
from tensors.engines.containers import Container, asking_docker, discover, open_docker
from tensors.errors import EngineStartFailed
from tensors.types.doctor import Finding

OLDEST_API = (1, 41)
"""Of Docker 20.10."""
OLDEST_COMPOSE = (2, 24, 4)
"""What the files in `rocm-docker/` need."""
_COMPOSE_SECONDS = 10
_SOCKET = "var/run/docker.sock"
_LOCAL = "unix://"
_STOPPED = ("created", "exited", "dead")
_ENDED_IF_ASKED = (0, 137, 143)
"""Exit codes of a container that somebody stopped: by itself, SIGKILL, SIGTERM."""


async def look(config: Config, machine: Machine) -> list[Finding]:
    """All about Docker. Where the settings do not use it, its absence is no fault."""
    named = {one.container for one in config.backends if one.container}
    address = config["engine.docker"]
    url = None if address in (None, "local") else address
    wanted = bool(named or address)
    socket = _socket(url or machine.environment.get("DOCKER_HOST") or "", machine)
    if socket and (closed := _closed(socket, machine)):
        return [closed if wanted else _unused(closed)]
    try:
        version, api = await _versions(url)
        containers = await discover(url)
    except EngineStartFailed as failure:
        if not wanted:
            return [skipped("docker", f"not used by the settings, and not there: {failure.message}")]
        return [error("docker", failure.message, "sudo systemctl start docker")]
    if api < OLDEST_API:
        said = f"Docker {version} is older than 20.10, which is needed"
        return [error("docker", said, "sudo apt install --only-upgrade docker-ce docker.io")]
    found = [ok("docker", f"Docker {version} answers")]
    found += look_at_containers(containers, named, is_found=bool(address))
    if socket:
        found += [finding for one in containers for finding in look_at_wiring(one, machine)]
        found += [finding for one in containers for finding in look_at_ports(one)]
    return found


def _socket(url: str, machine: Machine) -> Path | None:
    """The socket of a Docker on this machine; None of one elsewhere, and where none is."""
    path = Path(url.removeprefix(_LOCAL)) if url.startswith(_LOCAL) else machine.root / _SOCKET
    return path if (not url or url.startswith(_LOCAL)) and path.exists() else None


def _closed(socket: Path, machine: Machine) -> Finding | None:
    if machine.may(socket, os.R_OK | os.W_OK):
        return None
    group = machine.group_of(socket)
    said = f"{machine.user} may not use Docker's socket, {machine.shown(socket)}"
    if machine.user in machine.members_of(group):
        return error("docker", f"{said}: the group {group} is new, and holds from the next login", f"newgrp {group}")
    command = shell("sudo", "usermod", "-aG", group, machine.user)
    return error("docker", f"{said}, which is for {group}; log in again afterwards", command)


def _unused(finding: Finding) -> Finding:
    return skipped("docker", f"not used by the settings; {finding.message}")


async def _versions(url: str | None) -> tuple[str, tuple[int, ...]]:
    """Of Docker and of its API. Raises `EngineStartFailed`."""
    docker = open_docker(url)
    try:
        with asking_docker("tell its version"):
            told = await docker.version()
    finally:
        await docker.close()
    return str(told.get("Version", "unknown")), _numbers(str(told.get("ApiVersion", "")))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def look_at_containers(containers: Collection[Container], named: Collection[str], is_found: bool) -> Iterator[Finding]:
    """How containers with engines are. `named`: backends of the settings; `is_found`: tsr looks for others too."""
    there = {container.backend for container in containers}
    for backend in sorted(set(named) - there):
        said = f"no container has the label tsr.backend={backend}"
        yield error("docker.containers", said, "docker compose up -d")
    for container in containers:
        if is_found or container.backend in named:
            yield _state(container)
    unused = sorted(there - set(named))
    if unused and not is_found:
        said = f"there are containers for tsr that the settings do not use: {', '.join(unused)}"
        yield warning("docker.containers", said, "tsr config set engine.docker local")
    if is_found and not there:
        said = "no container has the label tsr.backend, so there is nothing to draw with in Docker"
        yield warning("docker.containers", said, "docker compose up -d")


def _state(container: Container) -> Finding:
    name, state = f"container {container.name} ({container.backend})", container.document["State"]
    logs = shell("docker", "logs", "--tail", "50", container.name)
    match container.state:
        case "running" if container.healthy is False:
            return error("docker.containers", f"{name} runs, but its engine does not answer", logs)
        case "running":
            health = (state.get("Health") or {}).get("Status")
            said = "loads its model" if health == "starting" else "is healthy" if container.healthy else "runs"
            return ok("docker.containers", f"{name} {said}")
        case "restarting":
            return error("docker.containers", f"{name} ends again and again", logs)
        case "paused":
            return warning("docker.containers", f"{name} is paused", shell("docker", "unpause", container.name))
        case "exited" | "dead" if state.get("ExitCode", 0) not in _ENDED_IF_ASKED:
            return error("docker.containers", f"{name} ended with exit code {state['ExitCode']}", logs)
    return ok("docker.containers", f"{name} is stopped, and started when it is needed")


def look_at_wiring(container: Container, machine: Machine) -> Iterator[Finding]:
    """Whether a container on this machine gets to the cards that it is given: they belong to groups."""
    host = container.document["HostConfig"]
    given = [str(device.get("PathOnHost", "")) for device in host.get("Devices") or []]
    groups = [str(group) for group in host.get("GroupAdd") or []]
    user, _, group = str(container.document["Config"].get("User") or "").partition(":")
    if user in ("", "0", "root") or not all(name.isdecimal() for name in groups):
        # What a name means is written down inside.
        return
    mine = {*groups, group}
    for node in _nodes(given, machine):
        status = node.stat()
        if str(status.st_gid) not in mine and not status.st_mode & stat.S_IWOTH:
            variable = "RENDER_GID" if node.name == "kfd" or node.name.startswith("render") else "VIDEO_GID"
            said = f"container {container.name} may not use {machine.shown(node)}: it is not in group {status.st_gid}"
            command = f"echo {variable}={status.st_gid} >> .env && docker compose up -d {_service(container)}".rstrip()
            yield error("docker.containers", said, command)


def look_at_ports(container: Container) -> Iterator[Finding]:
    """Whether a container on this machine that is stopped could be started: what it publishes must be free."""
    if container.state not in _STOPPED:
        return
    published = container.document["HostConfig"].get("PortBindings") or {}
    for binding in [one for bindings in published.values() for one in bindings or []]:
        host, port = binding.get("HostIp", ""), binding.get("HostPort", "")
        yield from ports.look_at_published(f"container {container.name}", host, port)


def _nodes(given: Collection[str], machine: Machine) -> list[Path]:
    """The nodes that engines compute on, of the devices that a container is given."""
    places = [machine.root / path.lstrip("/") for path in given]
    nodes = {
        node for place in places for node in (place.glob("renderD*") if place.is_dir() else [place]) if node.exists()
    }
    return sorted(node for node in nodes if node.name == "kfd" or node.name.startswith("renderD"))


def _service(container: Container) -> str:
    labels = container.document["Config"].get("Labels") or {}
    return str(labels.get("com.docker.compose.service", ""))


def look_at_compose(wanted: bool) -> Finding:
    """Whether Docker's client has Compose, new enough for the files in `rocm-docker/`. Takes up to 10 s."""
    # tsr itself does without: it is for making the containers.
    missing = warning if wanted else _skipping
    if shutil.which("docker") is None:
        return missing("docker.compose", "there is no program `docker` here", "sudo apt install docker-cli")
    try:
        done = subprocess.run(
            ["docker", "compose", "version", "--short"],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_COMPOSE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        return missing("docker.compose", f"`docker compose` does not answer: {failure}", "docker compose version")
    version = _numbers(done.stdout)
    install = "sudo apt install docker-compose-plugin"
    if done.returncode or not version:
        return missing("docker.compose", "Docker's client has no Compose", install)
    if version < OLDEST_COMPOSE:
        return missing("docker.compose", f"Compose {done.stdout.strip()} is older than 2.24.4", install)
    return ok("docker.compose", f"Compose {done.stdout.strip()}")


def _skipping(check: str, message: str, _command: str) -> Finding:
    return skipped(check, f"not used by the settings; {message}")
