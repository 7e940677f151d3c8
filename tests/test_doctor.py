"""`tsr doctor`: its checks side by side, of this machine and through a server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import StartServer
from fake_civitai import FakeCivitai
from observe import EngineLog, eventually, is_gone

from tensors import __version__
from tensors.client import TsrClient
from tensors.config import load_config
from tensors.doctor import Check, Patient, checks, doctor, examine, in_thread
from tensors.doctoring.finding import ok
from tensors.engine_settings import BackendSettings
from tensors.errors import Conflict, EngineNotInstalled
from tensors.remote_doctor import connection
from tensors.types.doctor import Finding
from tensors.types.server import EngineStatus

NOBODY = "http://127.0.0.1:1"
"""Where nothing listens."""


def check(name: str, look: Callable[[], Any], seconds: float = 20) -> Check:
    return Check(name, seconds, look)


async def all_of(*to_do: Check) -> list[Finding]:
    async with aclosing(examine(to_do)) as findings:
        return [finding async for finding in findings]


async def test_checks_run_side_by_side_and_are_told_in_their_order() -> None:
    second_done = asyncio.Event()

    async def first() -> list[Finding]:
        await second_done.wait()
        return [ok("first", "a"), ok("first", "b")]

    async def second() -> list[Finding]:
        second_done.set()
        return [ok("second", "c")]

    found = await all_of(check("first", first), check("second", second))
    assert [finding.message for finding in found] == ["a", "b", "c"]


async def test_one_broken_check_hides_no_other() -> None:
    async def hangs() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    async def fails(error: BaseException) -> list[Finding]:
        raise error

    async def fine() -> list[Finding]:
        return [ok("fine", "fine")]

    broken = [
        check("hangs", hangs, 0.05),
        check("files", lambda: fails(PermissionError(13, "Permission denied", "/x"))),
        check("ours", lambda: fails(EngineNotInstalled("there is none"))),
        check("slow", lambda: fails(TimeoutError())),
    ]
    found = await all_of(*broken, check("fine", fine))
    assert [(finding.check, finding.state) for finding in found] == [
        ("hangs", "warning"), ("files", "error"), ("ours", "error"), ("slow", "error"), ("fine", "ok")
    ]  # fmt: skip
    assert "0.05 s" in found[0].message
    assert "/x: Permission denied" in found[1].message
    findings = examine([check("defect", lambda: fails(KeyError("defect"))), check("fine", fine)])
    assert (await anext(findings)).check == "fine"
    with pytest.raises(KeyError, match="defect"):
        await anext(findings)


async def test_who_stops_reading_stops_the_checks() -> None:
    stopped = asyncio.Event()

    async def fine() -> list[Finding]:
        return [ok("fine", "fine")]

    async def long() -> list[Finding]:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return []

    findings = examine([check("fine", fine), check("long", long)])
    assert (await anext(findings)).check == "fine"
    await findings.aclose()
    assert stopped.is_set()


def test_what_waits_for_ever_keeps_nobody_from_ending() -> None:
    release, asked_for = threading.Event(), threading.Event()

    def waits() -> list[Finding]:
        asked_for.set()
        release.wait()
        return []

    found = asyncio.run(all_of(check("share", lambda: in_thread(waits), 0.05)))
    assert [(finding.check, finding.state) for finding in found] == [("share", "warning")]
    assert asked_for.is_set()
    (left,) = [thread for thread in threading.enumerate() if thread.name == "doctor"]
    assert left.daemon
    # What it says now is heard by nobody, and that is no error.
    release.set()
    left.join(20)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def own_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's temporary files are made."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


ORDER = ["docker", "docker.compose", "gpu", "memory", "engine", "engine.start", "ports", "disk", "folders", "settings",
         "databases", "civitai", "civitai.key", "clock"]  # fmt: skip


@pytest.fixture
def quiet(civitai: FakeCivitai, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without Docker, whose CivitAI is the fake one."""
    monkeypatch.setenv("TSR_CIVITAI_URL", civitai.url)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    monkeypatch.setenv("TSR_PORT", str(free_port()))


def processes() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_a_machine_is_looked_at_from_head_to_toe(quiet: None, fake_engine: Path) -> None:
    before = processes()
    found = list(doctor(load_config()))
    assert [name for name in dict.fromkeys(finding.check for finding in found) if not name.startswith("gpu.")] == ORDER
    assert [finding for finding in found if finding.state == "error"] == []
    assert {"engine.start": "ok", "engine": "ok"}.items() <= {one.check: one.state for one in found}.items()
    assert processes() == before
    assert not load_config().data_dir.exists()


def test_a_look_that_is_broken_off_ends_its_engine(
    quiet: None, fake_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_tmp: Path
) -> None:
    log = EngineLog(tmp_path / "log")
    for name, value in {**log.environment, "FAKE_SD_HANG_LOAD": "1"}.items():
        monkeypatch.setenv(name, value)
    findings = doctor(load_config())
    heard = []
    for finding in findings:
        heard.append(finding.check)
        if finding.check == "engine":
            break
    findings.close()
    assert "engine.start" not in heard
    assert all(is_gone(entry["pid"]) for entry in log.entries("start"))
    assert not list(own_tmp.iterdir())


async def of_backends(*backends: EngineStatus, **settings: Any) -> list[Finding]:
    config = replace(load_config(), **settings)
    patient = Patient(config, backends, "http://127.0.0.1:8080")
    wanted = {"engine.start", "backends", "memory"}
    return [found async for found in examine([one for one in checks(patient) if one.name in wanted])]


async def test_a_server_whose_engine_is_loaded_starts_no_other(
    fake_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EngineLog(tmp_path / "log")
    monkeypatch.setenv("FAKE_SD_REQUEST_LOG", str(log.path))
    held = EngineStatus(state="busy", name="gpu0", model="pony", kind="process")
    memory, busy = await of_backends(held)
    assert "loaded: pony (gpu0)" in memory.message
    assert (busy.state, busy.message) == ("ok", "gpu0 is busy, with pony")
    assert log.entries("start") == []
    failed = replace(held, state="failed", model=None, message="it ended")
    _, said, started = await of_backends(failed)
    assert (said.state, said.command) == ("error", "tsr logs gpu0")
    assert started.state == "ok"
    assert len(log.entries("start")) == 1


async def test_containers_and_engines_of_others_are_told_of(fake_engine: Path) -> None:
    held = EngineStatus(state="failed", name="pony", kind="docker", message="it ended")
    found = await of_backends(held, backends=(BackendSettings(name="studio", url=NOBODY),))
    assert [(one.check, one.state) for one in found if one.check != "memory"] == [("backends", "error")] * 2


# Through a server


@pytest.mark.parametrize(
    ("version", "ahead", "state", "command"),
    [
        (__version__, 0.4, "ok", None),
        (__version__, None, "ok", None),
        ("99.0.0", 0.0, "warning", "pipx upgrade tensors"),
        ("99.0.0", -400.0, "error", "sudo timedatectl set-ntp true"),
        (__version__, 301.0, "error", "sudo timedatectl set-ntp true"),
    ],
)
def test_the_way_to_a_server_is_judged(version: str, ahead: float | None, state: str, command: str | None) -> None:
    found = connection("http://junkpile:8080", version, ahead)
    assert (found.check, found.state, found.command) == ("connection", state, command)


def looking(client: TsrClient) -> Generator[Finding, None, None]:
    """The findings of a look, once the one before has ended."""
    begun = []

    def begins() -> bool:
        with contextlib.suppress(Conflict):
            begun.append(client.doctor())
        return bool(begun)

    eventually(begins)
    return begun[0]


def test_one_look_at_a_time_and_none_that_nobody_waits_for(
    quiet: None, fake_engine: Path, start_server: StartServer, tmp_path: Path
) -> None:
    log = EngineLog(tmp_path / "log")
    # Nothing is loaded, so the look starts an engine, which never gets ready.
    (tmp_path / "config.toml").write_text("[engine]\nkeep_alive = 0\n")
    server = start_server(FAKE_SD_HANG_LOAD="1", **log.environment)
    client = server.client()
    findings = client.doctor()
    assert [next(findings).check for _ in range(2)] == ["connection", "docker"]
    with pytest.raises(Conflict, match="looked at already"):
        client.doctor()
    eventually(lambda: len(log.entries("start")) == 1)
    findings.close()
    eventually(lambda: is_gone(log.entries("start")[0]["pid"]))

    findings = looking(client)
    eventually(lambda: len(log.entries("start")) == 2)
    assert server.stop() == 0
    assert is_gone(log.entries("start")[1]["pid"])
    # It says so itself: what was left out may not be well.
    *_, last = findings
    assert (last.state, last.check) == ("error", "connection")
    client.close()
