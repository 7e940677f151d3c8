"""Progress events over a real socket: how soon, how complete, for how many, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from conftest import FAKE_ENGINE, Server
from observe import drawing, engine_pid, http_to, last_event, send, small, wait_for
from serving import Api, serving

from tensors.client import TsrClient
from tensors.types.jobs import Job, JobEvent

STEP_SECONDS = 0.02
LISTENERS = 200


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("server"), FAKE_SD_STEP_SECONDS=str(STEP_SECONDS)) as api:
        yield api


@pytest.fixture
def client(api: Api) -> Iterator[TsrClient]:
    with contextlib.closing(api.server.client()) as client:
        engine_pid(client)
        yield client


def seconds_to_first_event(server: Server) -> float:
    """From sending a request to the first event of its job, as a client without any library hears it."""
    with http_to(server) as connection:
        began = time.monotonic()
        send(connection, "/api/generate", prompt="a first event", wait=False, steps=2, width=64, height=64)
        job = json.load(connection.getresponse())["job"]["id"]
        connection.request("GET", f"/api/jobs/{job}/events")
        stream = connection.getresponse()
        assert stream.readline().startswith(b"id: ")
        seconds = time.monotonic() - began
        # Heard to its end, the job does not stand in the next one's way.
        assert b'"succeeded"' in stream.read()
        return seconds


def test_the_first_event_comes_within_a_fifth_of_a_second(api: Api, client: TsrClient) -> None:
    last_event(client, client.generate(small()))
    assert statistics.median(seconds_to_first_event(api.server) for _ in range(7)) <= 0.2


def test_a_listener_from_the_start_hears_every_step_of_every_picture(client: TsrClient) -> None:
    events = list(client.jobs.events(client.generate(small(steps=12, batch_size=3)).id))
    assert [event.seq for event in events] == list(range(events[0].seq, events[-1].seq + 1))
    told = [event.progress for event in events if event.progress and event.progress.phase == "sampling"]
    assert [(now.image, now.step) for now in told] == [(image, step) for image in (1, 2, 3) for step in range(1, 13)]
    assert {(now.steps, now.images, now.attempt) for now in told} == {(12, 3, 1)}
    assert events[-1].state == "succeeded"
    assert len(events[-1].images) == 3


def test_a_late_listener_gets_the_present_state_first(client: TsrClient) -> None:
    job = client.generate(small(steps=60))
    present = wait_for(client, job, lambda event: drawing(event, step=10))
    first, second, *_ = client.jobs.events(job.id)
    assert first.state == "running"
    assert first.progress
    assert present.progress
    assert first.progress.step >= present.progress.step
    assert (first.seq, second.seq) == (first.seq, first.seq + 1)
    assert first.seq >= present.seq


def test_a_listener_after_the_end_gets_the_end_and_the_stream_closes(api: Api, client: TsrClient) -> None:
    job = client.generate(small())
    end = last_event(client, job)
    with http_to(api.server) as connection:
        connection.request("GET", f"/api/jobs/{job.id}/events")
        body = connection.getresponse().read().decode()
    assert body == f"id: {end.seq}\nevent: job\ndata: {msgspec.json.encode(end).decode()}\n\n"
    assert (end.state, len(end.images), end.error) == ("succeeded", 1, None)


@dataclass
class Heard:
    """What one of many listeners heard."""

    frames: int
    last: JobEvent


async def listen(server: Server, job: Job) -> Heard:
    """Follow a job to its end, on a connection of one's own."""
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /api/jobs/{job.id}/events HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200 ")
    frames = [line for line in answer.split(b"\n") if line.startswith(b"data: ")]
    return Heard(len(frames), msgspec.json.decode(frames[-1][6:], type=JobEvent))


async def seconds_with(server: Server, listeners: int) -> tuple[float, list[Heard]]:
    """How long a job takes with so many listeners, and what they heard."""
    with contextlib.closing(server.client()) as client:
        began = time.monotonic()
        job = client.generate(small(steps=75))
    heard = await asyncio.gather(*(listen(server, job) for _ in range(listeners)))
    return time.monotonic() - began, heard


async def test_two_hundred_listeners_all_hear_the_end_and_hardly_slow_the_job(api: Api, client: TsrClient) -> None:
    alone, _ = await seconds_with(api.server, 1)
    crowded, heard = await seconds_with(api.server, LISTENERS)
    assert {each.last.state for each in heard} == {"succeeded"}
    assert len({each.last.seq for each in heard}) == 1
    assert statistics.median(each.frames for each in heard) > 10
    assert crowded <= 1.5 * alone + 0.5


FAST_HEART = """
import tensors.server.jobs
tensors.server.jobs._HEARTBEAT_SECONDS = 0.1
from tensors.cli import main
main()
"""


@pytest.fixture
def quiet_server(tmp_path: Path, fake_engine: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server whose engine stops at the second step, and whose heart beats ten times a second."""
    monkeypatch.setenv("FAKE_SD_HANG_AT_STEP", "2")
    assert fake_engine == FAKE_ENGINE
    command = [sys.executable, "-c", FAST_HEART, "serve", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield Server(process, json.loads(process.stdout.readline())["url"], tmp_path / "data")
        process.terminate()


def test_a_quiet_stream_has_heartbeats_that_no_client_takes_for_events(quiet_server: Server) -> None:
    with contextlib.closing(quiet_server.client()) as client, http_to(quiet_server) as connection:
        job = client.generate(small())
        wait_for(client, job, drawing)
        connection.request("GET", f"/api/jobs/{job.id}/events")
        stream = connection.getresponse()
        frame = [stream.readline() for _ in range(4)]
        assert [line.partition(b":")[0] for line in frame] == [b"id", b"event", b"data", b"\n"]
        assert [stream.readline() for _ in range(6)] == [b": still here\n", b"\n"] * 3
        # The client lets the heartbeats pass and hears the end.
        events = client.jobs.events(job.id)
        assert next(events).state == "running"
        with contextlib.closing(quiet_server.client()) as other:
            # Meanwhile it is sent nothing but heartbeats, as this stream is too.
            assert {stream.readline() for _ in range(8)} == {b": still here\n", b"\n"}
            other.jobs.cancel(job.id)
        assert [event.state for event in events] == ["cancelled"]
        assert b'"cancelled"' in stream.read()
