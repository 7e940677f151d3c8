"""kill -9 of the server, in the middle of everything: accepted jobs are finished, each picture once, in their order."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import FAKE_ENGINE, Server, StartServer, Tsr, running
from observe import (
    EngineLog,
    cut_short,
    drawing,
    engine_pid,
    eventually,
    gallery_images,
    is_gone,
    last_event,
    seeds_in,
    small,
    wait_for,
)

from tensors.errors import IdempotencyConflict
from tensors.types.gallery import Image
from tensors.types.jobs import Job, JobEvent

BATCH = 20
"""Pictures of the job in whose middle the server is killed: three calls of the engine, 8 + 8 + 4."""


@dataclass(frozen=True)
class Killed:
    """What a server left that was killed while it drew."""

    data_dir: Path
    done: Job
    stopped: Job
    """Cancelled while it was drawn."""
    running: Job
    waiting: tuple[Job, ...]
    cancelled: Job
    """Cancelled while it waited."""
    engine_outlived: float
    """Seconds that the engine lived longer than its server."""

    def copy(self, target: Path) -> Path:
        """A data directory to try a restart on."""
        shutil.copytree(self.data_dir, target)
        return target


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """kill -9 in the middle of a batch's second call, with three jobs waiting and two cancelled."""
    root = tmp_path_factory.mktemp("killed")
    environment = {
        "TSR_ENGINE": str(FAKE_ENGINE),
        "TSR_CONFIG": str(root / "config.toml"),
        "FAKE_SD_STEP_SECONDS": "0.03",
    }
    with running(root / "data", **environment) as server, contextlib.closing(server.client()) as client:
        done = client.generate(small(seed=1), idempotency_key="done")
        last_event(client, done)
        stopped = client.generate(small(seed=2, steps=100))
        wait_for(client, stopped, drawing)
        client.jobs.cancel(stopped.id)
        batch = client.generate(small(seed=100, batch_size=BATCH), idempotency_key="running")
        waiting = tuple(client.generate(small(seed=seed), idempotency_key=f"{seed}") for seed in (203, 202, 201))
        cancelled = client.jobs.cancel(client.generate(small(seed=204)).id)
        engine = engine_pid(client)
        wait_for(client, batch, lambda event: drawing(event, image=9))
        server.kill()
        outlived = eventually(lambda: is_gone(engine))
    return Killed(root / "data", done, stopped, batch, waiting, cancelled, outlived)


@dataclass(frozen=True)
class Restarted:
    """A second server on what the killed one left, when all its jobs have ended."""

    server: Server
    log: EngineLog
    new: Job
    """Asked for as soon as the second server answered."""


@pytest.fixture(scope="module")
def restarted(killed: Killed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarted]:
    root = tmp_path_factory.mktemp("restarted")
    data_dir, log = killed.copy(root / "data"), EngineLog(root / "requests.jsonl")
    (data_dir / "gallery" / ".20260101-000000-000_5.png.0badf00d.tmp").write_bytes(b"\x89PNG half a")
    (data_dir / "gallery" / ".20260101-000000-000_5.json.0badf00d.tmp").write_bytes(b'{"id": ')
    environment = {"TSR_ENGINE": str(FAKE_ENGINE), "TSR_CONFIG": str(root / "config.toml"), **log.environment}
    with running(data_dir, **environment) as server, contextlib.closing(server.client()) as client:
        new = client.generate(small(seed=300))
        last_event(client, new)
        yield Restarted(server, log, new)


def test_the_engine_dies_with_its_killed_server(killed: Killed) -> None:
    assert killed.engine_outlived < 2


def test_unfinished_jobs_are_finished_unasked_in_their_order_and_before_new_ones(restarted: Restarted) -> None:
    # The first call's eight pictures were saved before the kill: they are adopted, not drawn again.
    assert restarted.log.seeds == [108, 116, 203, 202, 201, 300]


def test_every_picture_is_there_exactly_once(restarted: Restarted, killed: Killed) -> None:
    images = gallery_images(restarted.server.data_dir)
    assert seeds_in(images) == Counter([1, *range(100, 100 + BATCH), 201, 202, 203, 300])
    batch = {image.index: image.settings.seed for image in images if image.job == killed.running.id}
    assert batch == {index: 100 + index for index in range(BATCH)}


def test_jobs_say_after_the_restart_what_became_of_them(restarted: Restarted, killed: Killed) -> None:
    with contextlib.closing(restarted.server.client()) as client:
        page = client.jobs.list(limit=50)
        oldest_first = (killed.done, killed.stopped, killed.running, *killed.waiting, killed.cancelled, restarted.new)
        assert [job.id for job in page.items] == [job.id for job in reversed(oldest_first)]
        states = ["succeeded", "cancelled", *["succeeded"] * 4, "cancelled", "succeeded"]
        assert [job.state for job in page.items] == states
        batch = client.jobs.get(killed.running.id)
        assert batch.images == tuple(image.id for image in _of_job(restarted.server.data_dir, killed.running))
        # Whoever asks for its events late gets the end.
        assert [event.state for event in client.jobs.events(killed.running.id)] == ["succeeded"]


def test_half_written_files_are_no_pictures(restarted: Restarted) -> None:
    with contextlib.closing(restarted.server.client()) as client:
        assert client.status().images == 1 + BATCH + 3 + 1
        assert len(client.images.list(limit=500).items) == 1 + BATCH + 3 + 1


def test_an_idempotency_key_survives_a_restart(restarted: Restarted, killed: Killed) -> None:
    with contextlib.closing(restarted.server.client()) as client:
        assert client.generate(small(seed=1), idempotency_key="done").id == killed.done.id
        assert client.generate(small(seed=202), idempotency_key="202").id == killed.waiting[1].id
        with pytest.raises(IdempotencyConflict):
            client.generate(small(seed=1, steps=5), idempotency_key="done")
    assert restarted.log.seeds.count(202) == 1


def test_a_picture_without_its_sidecar_is_adopted_not_drawn_again(
    killed: Killed, tmp_path: Path, fake_engine: Path
) -> None:
    """kill -9 between the PNG and its sidecar: the record is read back from inside the PNG."""
    data_dir, log = killed.copy(tmp_path / "copy"), EngineLog(tmp_path / "requests.jsonl")
    first_call = _of_job(data_dir, killed.running)
    assert [image.index for image in first_call] == list(range(8))
    for image in first_call[:3]:
        Path(image.path).with_suffix(".json").unlink()
    with cut_short(data_dir, **log.environment) as server, contextlib.closing(server.client()) as client:
        last_event(client, killed.running)
    assert log.seeds[:2] == [108, 116]
    adopted = {image.id: image for image in gallery_images(data_dir)}
    assert all(adopted[image.id] == image for image in first_call)
    assert seeds_in(list(adopted.values()))[100] == 1


def test_pictures_of_a_call_that_was_half_saved_are_not_saved_twice(
    killed: Killed, tmp_path: Path, fake_engine: Path
) -> None:
    """kill -9 between two pictures of one call: it is drawn again, and those that were saved stay as they are."""
    data_dir, log = killed.copy(tmp_path / "copy"), EngineLog(tmp_path / "requests.jsonl")
    saved, lost = _of_job(data_dir, killed.running)[:5], _of_job(data_dir, killed.running)[5:]
    written = [Path(image.path).stat().st_mtime_ns for image in saved]
    for image in lost:
        Path(image.path).with_suffix(".json").unlink()
        Path(image.path).unlink()
    with cut_short(data_dir, **log.environment) as server, contextlib.closing(server.client()) as client:
        assert last_event(client, killed.running).state == "succeeded"
    assert log.seeds[:3] == [100, 108, 116]
    assert [image.settings.seed for image in _of_job(data_dir, killed.running)] == list(range(100, 100 + BATCH))
    assert [Path(image.path).stat().st_mtime_ns for image in saved] == written


def test_jobs_can_be_seen_and_cancelled_while_no_server_runs(
    killed: Killed, tmp_path: Path, tsr: Tsr, fake_engine: Path
) -> None:
    data_dir, log = killed.copy(tmp_path / "copy"), EngineLog(tmp_path / "requests.jsonl")
    tsr.environment["TSR_DATA_DIR"] = str(data_dir)
    listed = {job["id"]: job["state"] for job in tsr.json("jobs", "list")["items"]}  # type: ignore[index]
    unfinished = (killed.running, *killed.waiting)
    assert listed == {
        killed.done.id: "succeeded",
        killed.stopped.id: "cancelled",
        killed.cancelled.id: "cancelled",
        **{job.id: "queued" for job in unfinished},
    }
    first, second, third = killed.waiting
    assert tsr.json("jobs", "cancel", second.id)[0]["state"] == "cancelled"  # type: ignore[index]
    assert tsr.json("jobs", "show", second.id)["state"] == "cancelled"  # type: ignore[index,call-overload]
    again = tsr("jobs", "cancel", second.id)
    assert (again.returncode, "has already cancelled" in again.stderr) == (1, True)
    with cut_short(data_dir, **log.environment) as server, contextlib.closing(server.client()) as client:
        assert last_event(client, third).state == "succeeded"
        assert client.jobs.get(second.id).state == "cancelled"
        assert client.jobs.get(killed.cancelled.id).state == "cancelled"
    assert log.seeds == [108, 116, first.settings.seed, third.settings.seed]  # type: ignore[union-attr]


def test_the_command_line_works_on_what_a_killed_server_left(
    killed: Killed, tmp_path: Path, tsr: Tsr, fake_engine: Path
) -> None:
    data_dir = killed.copy(tmp_path / "copy")
    assert (data_dir / "run" / "server.json").exists(), "the killed server's address should still lie there"
    tsr.environment["TSR_DATA_DIR"] = str(data_dir)
    assert tsr.json("status")["mode"] == "local"  # type: ignore[index,call-overload]
    tsr("generate", "a green star on a white background", "--seed", "5", check=True)
    assert seeds_in(gallery_images(data_dir))[5] == 1


def test_a_job_that_took_the_server_down_too_often_is_given_up(
    killed: Killed, tmp_path: Path, fake_engine: Path
) -> None:
    """As if the running job had killed fifty servers: it fails, and the next ones do not wait for it."""
    data_dir, log = killed.copy(tmp_path / "copy"), EngineLog(tmp_path / "requests.jsonl")
    with contextlib.closing(sqlite3.connect(data_dir / "jobs.db")) as store, store:
        store.execute("UPDATE workflow_status SET recovery_attempts = 60 WHERE workflow_uuid = ?", [killed.running.id])
    with cut_short(data_dir, **log.environment) as server, contextlib.closing(server.client()) as client:
        given_up = last_event(client, killed.running)
        assert given_up.state == "failed"
        assert given_up.error
        assert "given up" in given_up.error.message
        assert last_event(client, killed.waiting[-1]).state == "succeeded"
        assert client.jobs.get(killed.running.id).state == "failed"
    assert log.seeds == [203, 202, 201]


def test_finished_jobs_are_forgotten_after_keep_days_and_their_pictures_stay(
    killed: Killed, tmp_path: Path, fake_engine: Path
) -> None:
    data_dir = killed.copy(tmp_path / "copy")
    (tmp_path / "config.toml").write_text("[jobs]\nkeep_days = 0\n")
    with cut_short(data_dir) as server, contextlib.closing(server.client()) as client:
        eventually(lambda: killed.done.id not in {job.id for job in client.jobs.list(limit=50).items})
        assert last_event(client, killed.waiting[-1]).state == "succeeded"
        left = {job.id for job in client.jobs.list(limit=50).items}
    assert left == {job.id for job in (killed.running, *killed.waiting)}
    assert seeds_in(gallery_images(data_dir))[1] == 1


def test_kill_9_at_random_moments_loses_and_repeats_nothing(start_server: StartServer, fake_engine: Path) -> None:
    chance = random.Random(20260801)
    server = start_server(FAKE_SD_STEP_SECONDS="0.02")
    with contextlib.closing(server.client()) as client:
        job = client.generate(small(seed=500, steps=3, batch_size=BATCH))
    for _ in range(4):
        _kill_after(server, job, events=chance.randrange(25))
        server = start_server(FAKE_SD_STEP_SECONDS="0.02")
    with contextlib.closing(server.client()) as client:
        assert last_event(client, job).state == "succeeded"
        assert len(client.jobs.get(job.id).images) == BATCH
    server.kill()
    images = gallery_images(server.data_dir)
    assert sorted((image.index, image.settings.seed) for image in images) == [(i, 500 + i) for i in range(BATCH)]
    assert {image.job for image in images} == {job.id}


def _kill_after(server: Server, job: Job, *, events: int) -> None:
    with contextlib.closing(server.client()) as client:
        stream = client.jobs.events(job.id)
        heard: list[JobEvent] = []
        while len(heard) < events and not (heard and heard[-1].last):
            heard.append(next(stream))
        server.kill()


def _of_job(data_dir: Path, job: Job) -> list[Image]:
    images = [image for image in gallery_images(data_dir) if image.job == job.id]
    return sorted(images, key=lambda image: image.index)
