"""`tsr doctor` as people and programs see it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import psutil
import pytest
from commands import Commands
from conftest import FAKE_ENGINE, Server, running
from fake_tensors import FakeTensors
from library_samples import NASTY, NASTY_SHOWN
from observe import EngineLog, eventually, is_gone

from tensors.errors import Conflict
from tensors.types.doctor import Finding

OK = Finding(check="docker", state="ok", message="Docker 27.1 answers")
SKIPPED = Finding(check="gpu", state="skipped", message="there is no card")
WARNING = Finding(check="docker.containers", state="warning", message="it is paused", command="docker unpause pony")
ERROR = Finding(check="engine.start", state="error", message="it failed:\nlast words", command="tsr logs gpu0")


@pytest.fixture
def tsr(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


def answer(fake: FakeTensors, *findings: Finding) -> None:
    """What the machine is found to be like."""

    def told() -> Iterator[Finding]:
        yield from findings

    fake.answers["doctor"] = told()


def test_each_finding_is_a_line_with_what_mends_it_below(fake: FakeTensors, tsr: Commands) -> None:
    answer(fake, OK, SKIPPED, WARNING, ERROR)
    done = tsr("doctor")
    assert done.out.splitlines() == [
        "ok       docker             Docker 27.1 answers",
        "skipped  gpu                there is no card",
        "warning  docker.containers  it is paused",
        "                            mend: docker unpause pony",
        "error    engine.start       it failed:",
        "                            last words",
        "                            mend: tsr logs gpu0",
        "1 ok, 1 warning, 1 error",
    ]
    assert (done.code, done.err) == (1, "")


@pytest.mark.parametrize(
    ("findings", "code", "last"),
    [
        ((), 0, "0 ok, 0 warnings, 0 errors"),
        ((OK, SKIPPED), 0, "1 ok, 0 warnings, 0 errors"),
        ((OK, WARNING, WARNING), 0, "1 ok, 2 warnings, 0 errors"),
        ((ERROR, ERROR), 1, "0 ok, 0 warnings, 2 errors"),
    ],
)
def test_only_errors_count_for_the_exit_code(
    findings: tuple[Finding, ...], code: int, last: str, fake: FakeTensors, tsr: Commands
) -> None:
    answer(fake, *findings)
    done = tsr("doctor")
    assert (done.code, done.out.splitlines()[-1]) == (code, last)
    answer(fake, *findings)
    assert tsr("doctor", "--json").code == code


def test_json_is_one_document(fake: FakeTensors, tsr: Commands) -> None:
    answer(fake, OK, WARNING, ERROR)
    done = tsr("doctor", "--json")
    assert (done.code, done.err) == (1, "")
    document = json.loads(done.out)
    assert (document["warnings"], document["errors"]) == (1, 1)
    assert document["findings"][0] == {
        "check": "docker",
        "state": "ok",
        "message": "Docker 27.1 answers",
        "command": None,
    }
    assert [finding["state"] for finding in document["findings"]] == ["ok", "warning", "error"]


def test_what_others_wrote_does_nothing_to_the_terminal(fake: FakeTensors, tsr: Commands) -> None:
    answer(fake, Finding(check="engine.start", state="error", message=NASTY, command=NASTY))
    lines = tsr("doctor").out.splitlines()
    assert lines[0].endswith(NASTY_SHOWN) or "\x1b" not in lines[0]
    assert not any(char in text for text in lines for char in "\x1b\x07\x00")


def test_states_have_colours_on_a_terminal(fake: FakeTensors, tsr: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click.utils, "should_strip_ansi", lambda *_: False)
    answer(fake, OK, ERROR)
    lines = tsr("doctor").out.splitlines()
    assert lines[0].startswith("\x1b[32mok     \x1b[0m  docker")
    assert lines[1].startswith("\x1b[31merror  \x1b[0m  ")


def test_a_refusal_is_an_error_as_everywhere(fake: FakeTensors, tsr: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: FakeTensors) -> None:
        raise Conflict("this server is being looked at already", hint="try again in a minute")

    monkeypatch.setattr(FakeTensors, "doctor", refuse)
    done = tsr("doctor")
    assert (done.code, done.out) == (1, "")
    assert "looked at already" in done.err
    assert "try again in a minute" in done.err


QUIET = {"TSR_CIVITAI_URL": "http://127.0.0.1:1", "DOCKER_HOST": "unix:///nowhere/docker.sock", "TSR_PORT": "0"}
"""A machine without Docker, that is not online."""


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("server")
    settings = {"TSR_ENGINE": str(FAKE_ENGINE), "TSR_CONFIG": str(root / "config.toml"), **QUIET}
    with running(root / "data", **settings) as server:
        yield server


def checks(lines: list[str]) -> list[str]:
    """What was looked at, in its order."""
    return list(dict.fromkeys(line[9:26].strip() for line in lines if not line.startswith(" ")))


def test_with_remote_the_server_tells_of_itself_in_the_same_words(
    quiet: None, server: Server, fake_engine: Path, tsr: Commands
) -> None:
    here, there = tsr("doctor", "--remote", "local"), tsr("doctor", "--remote", server.url)
    assert (here.code, here.err, there.code, there.err) == (0, "", 0, "")
    first, *rest = there.out.splitlines()
    assert re.fullmatch(rf"ok {{7}}connection {{9}}{server.url} answers, with tsr \S+ as here", first)
    assert checks(rest[:-1]) == checks(here.out.splitlines()[:-1])
    assert f"ok       ports              the server answers at {server.url}" in rest


def test_a_server_that_is_away_is_no_finding(tsr: Commands) -> None:
    done = tsr("doctor", "--remote", "http://127.0.0.1:1")
    assert (done.code, done.out) == (6, "")
    assert "cannot be reached" in done.err


def test_ctrl_c_leaves_no_engine_and_no_files(quiet: None, tmp_path: Path) -> None:
    log = EngineLog(tmp_path / "log")
    (tmp_path / "tmp").mkdir()
    environment = {"TSR_ENGINE": str(FAKE_ENGINE), "FAKE_SD_HANG_LOAD": "1", "TMPDIR": str(tmp_path / "tmp")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tensors", "doctor"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment, **log.environment},
    )
    eventually(lambda: bool(log.entries("start")) or process.poll() is not None)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, out + err
    assert "interrupted" in err
    assert "Traceback" not in err
    assert children
    assert not any(child.is_running() for child in children)
    assert is_gone(log.entries("start")[0]["pid"])
    assert not list((tmp_path / "tmp").iterdir())
