"""`tsr doctor` on Docker: a fake Docker Engine, its containers, and Compose."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_docker import FakeContainer, FakeDocker
from shell import put_program

from tensors.config import Config, load_config
from tensors.doctoring import docker
from tensors.doctoring.machine import Machine
from tensors.engine_settings import BackendSettings
from tensors.engines.containers import read_container
from tensors.types.doctor import Finding


def told(findings: Iterable[Finding]) -> list[tuple[str, str | None]]:
    """State and command of each finding."""
    return [(finding.state, finding.command) for finding in findings]


def with_(**values: Any) -> Config:
    return load_config().with_values(**values)


@pytest.fixture
async def fake_docker() -> AsyncIterator[FakeDocker]:
    # The path of a socket has little room.
    with tempfile.TemporaryDirectory(prefix="tsr-") as folder:
        async with FakeDocker(Path(folder) / "docker.sock") as made:
            yield made


def container(
    made: FakeDocker, name: str, *, status: str = "running", health: str = "", **changes: Any
) -> FakeContainer:
    """A container of tsr's in a state."""
    labels = {"tsr.backend": name, "com.docker.compose.service": f"sd-{name}"}
    config = {"Image": "sd-server:test", "Env": [], "Labels": labels, "HostConfig": {}, **changes.pop("config", {})}
    found = made.add(name, config)
    found.state.update({"Status": status, "Health": {"Status": health}, "ExitCode": changes.pop("exit_code", 0)})
    return found


async def look_at(made: FakeDocker, **backends: str) -> list[Finding]:
    named = tuple(BackendSettings(name=name, container=label) for name, label in backends.items())
    return await docker.look(replace(with_(engine__docker=made.url), backends=named), Machine(environment={}))


async def test_docker_answers_with_its_version(fake_docker: FakeDocker) -> None:
    container(fake_docker, "pony", health="healthy")
    answers, pony = await look_at(fake_docker)
    assert (answers.state, answers.message) == ("ok", "Docker 20.10.0 answers")
    assert (pony.check, pony.state) == ("docker.containers", "ok")


LOGS = "docker logs --tail 50 pony"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"health": "healthy"}, ("ok", None)),
        ({"health": "starting"}, ("ok", None)),
        ({"health": ""}, ("ok", None)),
        ({"health": "unhealthy"}, ("error", LOGS)),
        ({"status": "restarting"}, ("error", LOGS)),
        ({"status": "paused"}, ("warning", "docker unpause pony")),
        ({"status": "created"}, ("ok", None)),
        ({"status": "exited", "exit_code": 143}, ("ok", None)),
        ({"status": "exited", "exit_code": 1}, ("error", LOGS)),
        ({"status": "dead", "exit_code": 139}, ("error", LOGS)),
    ],
    ids=str,
)
async def test_a_containers_state_is_told(
    fake_docker: FakeDocker, state: dict[str, Any], expected: tuple[str, str | None]
) -> None:
    container(fake_docker, "pony", **state)
    assert told(await look_at(fake_docker))[1:] == [expected]


async def test_a_container_that_the_settings_name_and_nobody_made(fake_docker: FakeDocker) -> None:
    container(fake_docker, "pony")
    missing, there = (await look_at(fake_docker, one="flux", two="pony"))[1:]
    assert (missing.state, missing.command) == ("error", "docker compose up -d")
    assert "tsr.backend=flux" in missing.message
    assert there.state == "ok"


async def test_containers_that_no_setting_uses(fake_docker: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    container(fake_docker, "pony", health="unhealthy")
    monkeypatch.setenv("DOCKER_HOST", fake_docker.url)
    found = await docker.look(load_config(), Machine())
    assert told(found) == [("ok", None), ("warning", "tsr config set engine.docker local")]


async def test_docker_without_a_container_for_tsr(fake_docker: FakeDocker) -> None:
    assert told(await look_at(fake_docker))[1:] == [("warning", "docker compose up -d")]


@pytest.mark.parametrize("wanted", [True, False])
async def test_docker_that_is_not_there(wanted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    config = with_(engine__docker="local") if wanted else load_config()
    expected = ("error", "sudo systemctl start docker") if wanted else ("skipped", None)
    assert told(await docker.look(config, Machine())) == [expected]


@pytest.mark.parametrize(
    ("members", "wanted", "expected"),
    [
        ([], True, ("error", "sudo usermod -aG docker ann")),
        (["ann"], True, ("error", "newgrp docker")),
        ([], False, ("skipped", None)),
    ],
)
async def test_a_socket_that_this_user_may_not_use(
    members: list[str], wanted: bool, expected: tuple[str, str | None], tmp_path: Path
) -> None:
    (tmp_path / "var/run").mkdir(parents=True)
    (tmp_path / "var/run/docker.sock").touch()
    machine = Machine(tmp_path, {}, lambda _path, _mode: False, "ann", lambda _gid: "docker", lambda _group: members)
    config = with_(engine__docker="local") if wanted else load_config()
    (found,) = await docker.look(config, machine)
    assert (found.state, found.command) == expected
    assert "/var/run/docker.sock" in found.message
    assert str(tmp_path) not in found.message


async def test_a_docker_that_is_too_old(fake_docker: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "OLDEST_API", (1, 42))
    (found,) = await look_at(fake_docker)
    assert found.state == "error"
    assert "20.10.0 is older" in found.message


@pytest.mark.parametrize(
    ("user", "groups", "closed"),
    [
        ("1000:1000", [], True),
        ("1000", ["44"], True),
        ("1000:1000", ["44", "OWN"], False),
        ("1000:OWN", [], False),
        # Root may anyway; what a name means is written down inside.
        ("", [], False),
        ("0:0", [], False),
        ("1000", ["render"], False),
    ],
)
async def test_a_containers_groups_are_those_of_its_cards(
    user: str, groups: list[str], closed: bool, fake_docker: FakeDocker, tmp_path: Path
) -> None:
    for node in ("kfd", "dri/renderD128", "dri/card0"):
        (tmp_path / "dev" / node).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "dev" / node).touch(0o660)
    own = str((tmp_path / "dev/kfd").stat().st_gid)
    host = {
        "Devices": [{"PathOnHost": "/dev/kfd"}, {"PathOnHost": "/dev/dri"}, {"PathOnHost": "/dev/gone"}],
        "GroupAdd": [group.replace("OWN", own) for group in groups],
    }
    made = container(fake_docker, "pony", config={"HostConfig": host, "User": user.replace("OWN", own)})
    found = list(docker.look_at_wiring(read_container(made.document), Machine(tmp_path)))
    command = f"echo RENDER_GID={own} >> .env && docker compose up -d sd-pony"
    assert told(found) == ([("error", command)] * 2 if closed else [])


@pytest.mark.parametrize(
    ("status", "port", "taken"),
    [("exited", "HELD", True), ("created", "HELD", True), ("running", "HELD", False), ("exited", "FREE", False),
     ("exited", "", False), ("exited", "1-2", False)],
)  # fmt: skip
async def test_a_stopped_containers_port_must_be_free(
    status: str, port: str, taken: bool, fake_docker: FakeDocker
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        with socket.create_server(("127.0.0.1", 0)) as released:
            free = released.getsockname()[1]
        number = port.replace("HELD", str(held.getsockname()[1])).replace("FREE", str(free))
        bindings = {"1234/tcp": [{"HostIp": "127.0.0.1", "HostPort": number}], "99/tcp": None}
        container(fake_docker, "pony", status=status, config={"HostConfig": {"PortBindings": bindings}})
        found = await look_at(fake_docker)
    ports = [finding.command for finding in found if finding.check == "ports"]
    assert ports == ([f"sudo ss -ltnp 'sport = :{number}'"] if taken else [])


@pytest.mark.parametrize(
    ("program", "state"),
    [
        ("echo 2.24.4", "ok"),
        ("echo v5.0.0-desktop.1", "ok"),
        ("echo 2.9.11", "warning"),
        ("echo \"docker: 'compose' is not a docker command.\" >&2; exit 1", "warning"),
        ("echo", "warning"),
        (None, "warning"),
    ],
)
def test_compose_is_there_and_new_enough(
    program: str | None, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if program:
        put_program(tmp_path / "bin", "docker", f'[ "$*" = "compose version --short" ] || exit 9\n{program}\n')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin" if program else str(tmp_path))
    found = docker.look_at_compose(True)
    assert found.state == state, found.message
    assert (found.command is None) == (state == "ok")
    assert docker.look_at_compose(False).state == ("ok" if state == "ok" else "skipped")
