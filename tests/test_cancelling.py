"""Cancelling jobs: waiting ones, running ones, ended ones, all at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from observe import drawing, engine_pid, eventually, http_to, is_gone, last_event, send, small, wait_for
from serving import Api, serving

from tensors.client import TsrClient
from tensors.errors import JobFinished, JobNotFound
from tensors.types.generation import GenerateRequest
from tensors.types.jobs import Job

LOAD_SECONDS = 0.4


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    slow = {"FAKE_SD_STEP_SECONDS": "0.05", "FAKE_SD_LOAD_SECONDS": str(LOAD_SECONDS)}
    with serving(tmp_path_factory.mktemp("server"), **slow) as api:
        yield api


@pytest.fixture
def client(api: Api) -> Iterator[TsrClient]:
    with contextlib.closing(api.server.client()) as client:
        yield client


def long(seed: int) -> GenerateRequest:
    """More than any test waits for."""
    return small(seed=seed, steps=100, batch_size=8)


def start(client: TsrClient, seed: int) -> Job:
    """A job that draws."""
    job = client.generate(long(seed))
    wait_for(client, job, drawing)
    return job


def test_a_waiting_job_is_never_drawn_and_the_running_one_goes_on(api: Api, client: TsrClient) -> None:
    running, waiting = start(client, 1), client.generate(small(seed=2))
    assert client.jobs.cancel(waiting.id).state == "cancelled"
    assert [event.state for event in client.jobs.events(waiting.id)] == ["cancelled"]
    assert client.jobs.get(running.id).state == "running"
    client.jobs.cancel(running.id)
    assert last_event(client, client.generate(small(seed=3))).state == "succeeded"
    assert [seed for seed in api.engine.seeds if seed in (1, 2, 3)] == [1, 3]


def test_cancelling_a_running_job_frees_the_engine_for_the_next(client: TsrClient) -> None:
    running, engine = start(client, 10), engine_pid(client)
    waiting = client.generate(small(seed=11))
    began = time.monotonic()
    cancelled = client.jobs.cancel(running.id)
    assert (cancelled.state, cancelled.images, cancelled.error) == ("cancelled", (), None)
    assert is_gone(engine)
    wait_for(client, waiting, drawing)
    assert time.monotonic() - began < 3
    assert last_event(client, waiting).state == "succeeded"


def test_pictures_made_before_the_cancelling_stay(client: TsrClient) -> None:
    job = client.generate(small(seed=20, steps=1, batch_size=256))
    wait_for(client, job, lambda event: drawing(event, image=10))
    cancelled = client.jobs.cancel(job.id)
    assert [client.images.get(image).settings.seed for image in cancelled.images] == list(range(20, 28))


def test_a_job_can_be_cancelled_while_its_engine_loads(api: Api, client: TsrClient) -> None:
    client.jobs.cancel(start(client, 30).id)
    loading = client.generate(small(seed=31))
    wait_for(client, loading, lambda event: event.state == "running")
    assert client.jobs.cancel(loading.id).state == "cancelled"
    assert last_event(client, client.generate(small(seed=32))).state == "succeeded"
    assert 31 not in api.engine.seeds


def test_many_cancelling_one_job_at_once_agree_and_leave_one_engine(api: Api, client: TsrClient) -> None:
    job, server = start(client, 40), psutil.Process(api.server.process.pid)

    def cancel(_: int) -> str:
        try:
            return client.jobs.cancel(job.id).state
        except JobFinished:
            return "finished"

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(cancel, range(8)))
    assert "cancelled" in answers
    assert answers <= {"cancelled", "finished"}
    assert last_event(client, client.generate(small(seed=41))).state == "succeeded"
    eventually(lambda: len([child for child in server.children(recursive=True) if not is_gone(child.pid)]) == 1)


@pytest.mark.parametrize("how", ["succeeded", "cancelled"])
def test_an_ended_job_cannot_be_cancelled(api: Api, client: TsrClient, how: str) -> None:
    if how == "succeeded":
        job = client.generate(small(seed=50))
        last_event(client, job)
    else:
        job = start(client, 51)
        client.jobs.cancel(job.id)
    with pytest.raises(JobFinished, match=f"has already {how}"):
        client.jobs.cancel(job.id)
    with http_to(api.server) as connection:
        send(connection, f"/api/jobs/{job.id}/cancel")
        assert connection.getresponse().status == 409
    assert client.jobs.get(job.id).state == how


def test_an_unknown_job_cannot_be_cancelled(client: TsrClient) -> None:
    with pytest.raises(JobNotFound):
        client.jobs.cancel("0123456789abcdef")
