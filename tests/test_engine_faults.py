"""Engines that die, hang, fail or never load: the job is tried again or fails with a reason, the server stays."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Tsr
from observe import (
    PROMPT,
    drawing,
    engine_pid,
    eventually,
    gallery_images,
    is_gone,
    last_event,
    seeds_in,
    small,
)
from serving import Api, serving

from tensors.client import TsrClient
from tensors.types.jobs import Job, JobEvent

LAST_STEP = 11
"""The mortal engine dies at this step of a generation; ten are safe."""


@contextmanager
def faulty(root: Path, *, config: str = "", **environment: str) -> Iterator[Api]:
    """A server whose engine has the given faults, and one second's patience with it."""
    (root / "config.toml").write_text(config or "[engine]\nstep_timeout = 1\nstart_timeout = 1\n")
    with serving(root, **environment) as api:
        yield api
        api.server.kill()


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    faults = {"FAKE_SD_STEP_SECONDS": "0.1", "FAKE_SD_DIE_AT_STEP": str(LAST_STEP)}
    config = "[engine]\nstep_timeout = 1\n"
    with faulty(tmp_path_factory.mktemp("mortal"), config=config, **faults) as api:
        yield api


@pytest.fixture
def client(mortal: Api) -> Iterator[TsrClient]:
    with contextlib.closing(mortal.server.client()) as client:
        yield client


def attempts(events: list[JobEvent]) -> list[int]:
    """The attempts that were told, in order."""
    told = [event.progress.attempt for event in events if event.progress and event.progress.phase == "sampling"]
    return list(dict.fromkeys(told))


def strike(client: TsrClient, job: Job, number: signal.Signals, *, image: int = 1) -> tuple[int, list[JobEvent]]:
    """Send the engine a signal when it draws that picture; its pid, and all that happens to the job."""
    pid, heard, struck = engine_pid(client), [], False
    for event in client.jobs.events(job.id):
        heard.append(event)
        if not struck and drawing(event, image=image):
            os.kill(pid, number)
            struck = True
    assert struck
    return pid, heard


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_job_whose_engine_is_lost_is_tried_again(mortal: Api, client: TsrClient, number: signal.Signals) -> None:
    seed = 100 + number
    job = client.generate(small(seed=seed, steps=LAST_STEP - 1))
    pid, heard = strike(client, job, number)
    assert heard[-1].state == "succeeded"
    assert attempts(heard) == [1, 2]
    assert is_gone(pid)
    assert seeds_in(gallery_images(mortal.server.data_dir))[seed] == 1
    assert client.status().engine.state == "ready"


def test_a_lost_engine_costs_no_picture_that_was_saved(mortal: Api, client: TsrClient) -> None:
    job = client.generate(small(seed=200, steps=1, batch_size=20))
    _, heard = strike(client, job, signal.SIGKILL, image=10)
    assert heard[-1].state == "succeeded"
    assert len(heard[-1].images) == 20
    assert [seed for seed in mortal.engine.seeds if 200 <= seed < 220] == [200, 208, 208, 216]


def test_an_engine_that_dies_every_time_fails_the_job_with_its_last_words(mortal: Api, client: TsrClient) -> None:
    *before, last = client.jobs.events(client.generate(small(seed=300, steps=LAST_STEP)).id)
    assert (last.state, last.error and last.error.code) == ("failed", "engine_died")
    assert last.error
    assert "ROCm error: unspecified launch failure" in last.error.message
    assert "tried 3 times" in last.error.message
    assert attempts(before) == [1, 2, 3]
    assert mortal.engine.seeds.count(300) == 3
    assert client.status().engine.state == "failed"
    assert last_event(client, client.generate(small(seed=301))).state == "succeeded"


def test_an_engine_that_dies_while_idle_is_started_again(client: TsrClient) -> None:
    last_event(client, client.generate(small()))
    pid = engine_pid(client)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: client.status().engine.pid not in (pid, None) and client.status().engine.state == "ready")
    assert is_gone(pid)


def test_an_engine_that_hangs_at_a_step_is_ended_and_the_job_tried_again(tmp_path: Path) -> None:
    with faulty(tmp_path, FAKE_SD_HANG_AT_STEP="3") as api, contextlib.closing(api.server.client()) as client:
        *before, last = client.jobs.events(client.generate(small(seed=1, steps=3)).id)
        assert (last.state, last.error and last.error.code) == ("failed", "engine_died")
        assert last.error
        assert "made no progress for 1 s" in last.error.message
        assert "engine.step_timeout" in (last.error.hint or "")
        assert attempts(before) == [1, 2, 3]
        assert last_event(client, client.generate(small(seed=2, steps=2))).state == "succeeded"
        assert api.engine.seeds == [1, 1, 1, 2]


def test_a_generation_that_fails_is_not_tried_again_and_the_engine_stays(tmp_path: Path) -> None:
    """Its answer does not tell why, but its output does."""
    with faulty(tmp_path, FAKE_SD_FAIL="1") as api, contextlib.closing(api.server.client()) as client:
        pid = engine_pid(client)
        failed = last_event(client, client.generate(small(seed=1)))
        assert (failed.state, failed.error and failed.error.code) == ("failed", "engine_error")
        assert failed.error
        assert "generate_image returned no results" in failed.error.message
        assert "Diffusion model sampling failed" in failed.error.message
        assert api.engine.seeds == [1]
        assert (client.status().engine.state, client.status().engine.pid) == ("ready", pid)
        waited = api.post(seed=2)
        assert (waited.status_code, waited.json()["error"]["code"]) == (502, "engine_error")


def test_a_picture_that_is_cut_off_fails_the_job(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    cut = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + b"\0\0\0\0" + b"\0\0\x09\x99IDAT..."
    (tmp_path / "cut.png").write_bytes(cut)
    faults = {"FAKE_SD_PNG": str(tmp_path / "cut.png")}
    with faulty(tmp_path, **faults) as api, contextlib.closing(api.server.client()) as client:
        failed = last_event(client, client.generate(small()))
        assert (failed.state, failed.error and failed.error.code) == ("failed", "engine_error")
        assert failed.error
        assert "a picture that cannot be read" in failed.error.message
        assert gallery_images(api.server.data_dir) == []


def test_a_picture_that_is_none_fails_the_command(tsr: Tsr, fake_engine: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_bytes(b"<html>502 Bad Gateway</html>")
    done = tsr("generate", PROMPT, FAKE_SD_PNG=str(page))
    assert (done.returncode, done.stdout) == (5, "")
    assert "a picture that cannot be read" in done.stderr
    assert gallery_images(tmp_path / "data") == []


def test_a_model_that_never_loads_is_given_up_and_the_server_stays(tmp_path: Path) -> None:
    with faulty(tmp_path, FAKE_SD_HANG_LOAD="1") as api, contextlib.closing(api.server.client()) as client:
        pid = client.status().engine.pid
        eventually(lambda: client.status().engine.state == "failed")
        assert "did not load 'shapes' within 1 s" in (client.status().engine.message or "")
        assert pid is None or is_gone(pid)
        assert client.health().status == "ok"


def test_a_program_that_cannot_run_says_why_and_the_server_stays(tmp_path: Path) -> None:
    program = tmp_path / "sd-server"
    program.write_text("#!/bin/sh\nprintf 'error while loading shared libraries: libgomp.so.1' >&2\nexit 127\n")
    program.chmod(0o755)
    with faulty(tmp_path, TSR_ENGINE=str(program)) as api, contextlib.closing(api.server.client()) as client:
        eventually(lambda: client.status().engine.state == "failed")
        # Also the last line, which has no end.
        assert "error while loading shared libraries: libgomp.so.1" in (client.status().engine.message or "")
        assert client.health().status == "ok"


def test_an_engine_that_dies_while_loading_fails_the_job_with_its_last_words(tmp_path: Path) -> None:
    with faulty(tmp_path, FAKE_SD_BAD_MODEL="1") as api, contextlib.closing(api.server.client()) as client:
        failed = last_event(client, client.generate(small()))
        assert (failed.state, failed.error and failed.error.code) == ("failed", "engine_start_failed")
        assert failed.error
        assert "init model loader from file failed" in failed.error.message
        assert "could not be loaded on engine in 3 tries" in failed.error.message
        assert client.status().engine.state == "failed"
        # What is asked for meanwhile fails at once, with the reason that is known.
        assert "init model loader from file failed" in api.post().json()["error"]["message"]
        assert len(api.engine.entries("start")) == 3
        assert client.health().status == "ok"
