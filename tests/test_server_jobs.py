"""Jobs over HTTP: lists by state and page, events, cancelling."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving import Api, serving

from tensors.models import demo_dir
from tensors.types.generation import MAX_STEPS

LONG = {"steps": MAX_STEPS, "batch_size": 256}
"""More than any test waits for."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("server")) as api:
        yield api


def test_a_job_is_listed_under_its_state_and_no_other(api: Api) -> None:
    jobs = {
        "succeeded": api.generate()["job"]["id"],
        "failed": api.post(hires={"denoising_strength": 0}).json()["error"]["details"]["job"],
        "cancelled": api.start(**LONG),
    }
    assert api.cancel(jobs["cancelled"]).status_code == 200
    jobs["running"] = api.start(**LONG)
    api.until(jobs["running"], "running", "sampling")
    jobs["queued"] = api.start(**LONG)
    try:
        for state in jobs:
            items = api.get("/api/jobs", state=state, limit=500)["items"]
            assert {item["state"] for item in items} == {state}
            assert {item["id"] for item in items} & set(jobs.values()) == {jobs[state]}
        assert {item["id"] for item in api.get("/api/jobs", limit=500)["items"]} >= set(jobs.values())
        status = api.get("/api/status")
        assert (status["running"], status["queued"], status["engine"]["state"]) == (1, 1, "busy")
    finally:
        api.cancel(jobs["queued"])
        api.cancel(jobs["running"])


@pytest.mark.parametrize("limit", [1, 2, 5, 500])
def test_pages_together_are_the_whole_list_of_jobs_newest_first(api: Api, limit: int) -> None:
    made = [api.generate(steps=1)["job"]["id"] for _ in range(5)][::-1]
    pages = list(api.pages("/api/jobs", limit=limit))
    listed = [job["id"] for page in pages for job in page]
    assert listed[:5] == made
    assert len(set(listed)) == len(listed)
    assert listed == [job["id"] for job in api.get("/api/jobs", limit=500)["items"]]
    assert all(len(page) == limit for page in pages[:-1])


def test_pages_of_one_state_are_complete_too(api: Api) -> None:
    made = []
    for _ in range(3):
        made.append(api.generate(steps=1)["job"]["id"])
        assert api.cancel(api.start(**LONG)).json()["state"] == "cancelled"
    pages = list(api.pages("/api/jobs", limit=2, state="succeeded"))
    assert [job["id"] for page in pages for job in page][:3] == made[::-1]
    assert {job["state"] for page in pages for job in page} == {"succeeded"}


def test_hundreds_of_jobs_of_one_moment_are_all_listed_once(api: Api) -> None:
    """More than are read from the store at a time, and more than one of them in each of its clock's ticks."""
    jobs = [api.start(**LONG)]
    with ThreadPoolExecutor(8) as pool:
        try:
            jobs += pool.map(lambda seed: api.start(seed=seed), range(250))
            listed = Counter(job["id"] for page in api.pages("/api/jobs", limit=70) for job in page)
        finally:
            ends = list(pool.map(lambda job: api.cancel(job).json()["state"], jobs[::-1]))
    assert set(jobs) <= set(listed)
    assert set(listed.values()) == {1}
    assert set(ends) == {"cancelled"}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("state=done", "unknown state 'done'"),
        ("state=", "unknown state ''"),
        ("limit=0", "limit must be between 1 and 500, not 0"),
        ("limit=501", "limit must be between 1 and 500, not 501"),
        ("limit=x", "limit is not valid"),
        ("cursor=x", "'x' is not a cursor of this list"),
        ("cursor=", "'' is not a cursor of this list"),
        ("cursor=99999999999999999999.x", "'99999999999999999999.x' is not a cursor of this list"),
        ("cursor=-1.x", "'-1.x' is not a cursor of this list"),
    ],
)
def test_a_list_that_cannot_be_is_refused(api: Api, query: str, said: str) -> None:
    response = api.http.get(f"/api/jobs?{query}")
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")
    assert response.json()["error"]["message"].startswith(said)


@pytest.mark.parametrize("strange", ["nope", "..%2f..%2fstatus", "%2e%2e", "%00", "%ff", "a" * 5000, "x%2fcancel"])
@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("GET", "/events"), ("POST", "/cancel")])
def test_an_id_of_no_job_is_not_found(api: Api, method: str, tail: str, strange: str) -> None:
    response = api.http.request(method, f"/api/jobs/{strange}{tail}")
    assert response.status_code == 404, response.text
    error = response.json()["error"]
    assert (error["code"], error["hint"]) == ("job_not_found", "tsr jobs list")
    assert error["message"].startswith("job ")


@pytest.mark.parametrize("state", ["succeeded", "cancelled"])
def test_a_job_that_has_ended_cannot_be_cancelled(api: Api, state: str) -> None:
    job = api.generate()["job"]["id"] if state == "succeeded" else api.start(**LONG)
    if state == "cancelled":
        api.cancel(job)
    response = api.cancel(job)
    error = {"code": "job_finished", "message": f"job {job} has already {state}"}
    assert (response.status_code, response.json()["error"]) == (409, error)
    assert api.get(f"/api/jobs/{job}")["state"] == state


def test_events_are_frames_that_a_browser_reads_too(api: Api) -> None:
    job = api.start(steps=5)
    response = api.http.get(f"/api/jobs/{job}/events")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    frames = [frame.split("\n") for frame in response.text.split("\n\n") if frame]
    events = [json.loads(data.removeprefix("data: ")) for _, _, data in frames]
    assert [frame[:2] for frame in frames] == [[f"id: {event['seq']}", "event: job"] for event in events]
    phases = [event["progress"]["phase"] for event in events if event["progress"]]
    # Which of them are seen depends on when the listener came; their order does not.
    order = ["queued", "loading", "encoding", "sampling", "decoding", "saving"]
    assert phases == sorted(phases, key=order.index)
    assert events[-1]["state"] == "succeeded"
    # Whoever comes later hears how it ended.
    (late,) = api.events(job)
    assert (late["state"], late["images"]) == ("succeeded", events[-1]["images"])


def test_cancelling_a_running_job_answers_when_it_has_ended(api: Api) -> None:
    job = api.start(**LONG)
    api.until(job, "running")
    with ThreadPoolExecutor(1) as pool:
        listener = pool.submit(api.events, job)
        ended = api.cancel(job).json()
        assert (ended["id"], ended["state"], ended["images"]) == (job, "cancelled", [])
        assert listener.result(20)[-1]["state"] == "cancelled"
    assert api.generate()["job"]["state"] == "succeeded"


def test_whoever_waits_for_a_job_that_is_cancelled_is_told(api: Api) -> None:
    body = {"prompt": "a red circle on a blue background", **LONG}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(api.http.post, "/api/generate", json=body, headers={"Idempotency-Key": "waits"})
        job = api.http.post("/api/generate", json={**body, "wait": False}, headers={"Idempotency-Key": "waits"})
        job_id = job.json()["job"]["id"]
        assert api.cancel(job_id).status_code == 200
        response = waiting.result(20)
    error = {"code": "job_cancelled", "message": f"job {job_id} was cancelled"}
    assert (response.status_code, response.json()["error"]) == (409, error)


def test_the_model_of_one_request_is_not_that_of_the_next(tmp_path: Path) -> None:
    checkpoints = tmp_path / "data" / "models" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "other.safetensors").symlink_to(demo_dir() / "shapes.safetensors")
    with serving(tmp_path) as api:
        job = api.start(model="other", **LONG)
        api.until(job, "running", "sampling")
        api.cancel(job)
        assert api.generate()["images"][0]["settings"]["model"]["name"] == "shapes"
