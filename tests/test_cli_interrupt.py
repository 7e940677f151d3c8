"""Ctrl-C: it cancels what this command asked for, says so, and leaves nothing running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from conftest import FAKE_ENGINE
from observe import PROMPT, EngineLog, eventually, is_gone
from serving import Api, serving

from tensors.cli._app import App
from tensors.cli._follow import submit
from tensors.errors import JobCancelled
from tensors.types.generation import MAX_STEPS, GenerateRequest
from tensors.types.jobs import Job

SLOW = {"FAKE_SD_STEP_SECONDS": "0.2"}
LONG = ("generate", PROMPT, "--size", "64x64", "--steps", str(MAX_STEPS))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("server"), **SLOW) as api:
        yield api


class Command:
    """A command that somebody will interrupt."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tensors", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def until(self, moment: Callable[[], bool]) -> None:
        """Wait for a moment in its life."""
        eventually(lambda: moment() or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.communicate()

    def interrupt(self) -> tuple[int, str, str]:
        """Ctrl-C; exit code, output and words."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@pytest.fixture
def start() -> Iterator[Callable[..., Command]]:
    """Starts commands; none of them outlives the test."""
    started: list[Command] = []

    def make(*arguments: str, **environment: str) -> Command:
        started.append(Command(*arguments, **environment))
        return started[-1]

    yield make
    for command in started:
        if command.process.poll() is None:
            command.process.kill()
            command.process.communicate()


@pytest.mark.parametrize(
    ("moment", "more", "as_json"),
    [("img_gen", {}, False), ("img_gen", {}, True), ("start", {"FAKE_SD_HANG_LOAD": "1"}, False)],
    ids=["drawing", "drawing-json", "loading"],
)
def test_here_it_cancels_and_ends_the_engine(
    start: Callable[..., Command], tmp_path: Path, moment: str, more: dict[str, str], as_json: bool
) -> None:
    log = EngineLog(tmp_path / "engine.jsonl")
    command = start(
        *LONG, *(["--json"] if as_json else []), TSR_ENGINE=str(FAKE_ENGINE), **SLOW, **log.environment, **more
    )
    command.until(lambda: bool(log.entries(moment)))
    code, out, err = command.interrupt()
    assert code == 130
    if as_json:
        assert json.loads(out)["error"]["code"] == "job_cancelled"
        assert err.strip() == ""
    else:
        assert out == ""
        assert "cancelling ...\n" in err
        assert err.rstrip().endswith("cancelled")
        assert "Traceback" not in err
    (started,) = log.entries("start")
    assert is_gone(started["pid"])
    data = Path(os.environ["TSR_DATA_DIR"])
    assert list(data.rglob("*.png")) == []
    assert list((data / "run").iterdir()) == []


def test_there_it_cancels_the_job_and_ends_the_engine(api: Api, start: Callable[..., Command]) -> None:
    before = len(api.engine.entries("img_gen"))
    command = start(*LONG, "--remote", api.server.url)
    command.until(lambda: len(api.engine.entries("img_gen")) > before)
    drawing = api.engine.entries("img_gen")[-1]["pid"]
    code, out, err = command.interrupt()
    assert (code, out) == (130, "")
    assert "cancelling ...\n" in err
    job = api.get("/api/jobs", limit=1)["items"][0]
    assert err.rstrip().endswith(f"job {job['id']} cancelled")
    assert (job["state"], job["images"]) == ("cancelled", [])
    assert is_gone(drawing)
    assert api.get("/api/health") == {"status": "ok"}


def test_there_it_cancels_a_job_that_still_waits(api: Api, start: Callable[..., Command]) -> None:
    first = api.start(steps=MAX_STEPS)
    api.until(first, "running")
    command = start(*LONG, "--remote", api.server.url, "--json")
    command.until(lambda: api.get("/api/status")["queued"] == 1)
    # Perhaps the command has not heard yet that it has a job.
    code, out, _ = command.interrupt()
    assert code == 130
    assert json.loads(out)["error"]["code"] == "job_cancelled"
    states = {job["id"]: job["state"] for job in api.get("/api/jobs", limit=2)["items"]}
    assert states.pop(first) == "running"
    assert list(states.values()) == ["cancelled"]
    assert api.cancel(first).status_code == 200


def test_watching_is_ended_and_the_job_goes_on(api: Api, start: Callable[..., Command]) -> None:
    job = api.start(steps=MAX_STEPS)
    command = start("jobs", "watch", job, "--json", "--remote", api.server.url)
    assert command.process.stdout
    assert json.loads(command.process.stdout.readline())["job"] == job
    code, _, err = command.interrupt()
    assert code == 130
    assert "Traceback" not in err
    assert api.get(f"/api/jobs/{job}")["state"] in ("queued", "running")
    assert api.cancel(job).json()["state"] == "cancelled"


class Interrupted:
    """`Tensors` whose user presses Ctrl-C while a request is on its way; the server accepts it all the same."""

    def __init__(self, times: int) -> None:
        self.jobs = self
        self.cancelled: list[str] = []
        self._times = times

    def generate(self, request: GenerateRequest, **_: Any) -> Job:
        for _ in range(self._times):
            signal.raise_signal(signal.SIGINT)
        return Job(id="1f", kind="generate", state="queued", created="2026-11-22T18:49:01.123Z")

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)


def test_a_job_that_was_just_accepted_is_cancelled_too(capsys: pytest.CaptureFixture[str]) -> None:
    tensors: Any = Interrupted(times=1)
    with pytest.raises(JobCancelled, match="job 1f cancelled"):
        submit(App(), tensors, GenerateRequest(prompt="x"))
    assert tensors.cancelled == ["1f"]
    assert capsys.readouterr().err == "cancelling ...\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait_for_the_server() -> None:
    with pytest.raises(KeyboardInterrupt):
        submit(App(), cast(Any, Interrupted(times=2)), GenerateRequest(prompt="x"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
