"""Stopping and starting a server in good order, two of them at once, clients that stay or go away meanwhile."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conftest import Server, StartServer, Tsr
from observe import (
    drawing,
    engine_pid,
    eventually,
    gallery_images,
    http_to,
    is_gone,
    last_event,
    seeds_in,
    send,
    small,
    wait_for,
)

SLOW = {"FAKE_SD_STEP_SECONDS": "0.05"}


def test_sigterm_stops_quickly_and_the_job_goes_on_at_the_next_start(
    start_server: StartServer, fake_engine: Path
) -> None:
    server = start_server(**SLOW)
    with contextlib.closing(server.client()) as client:
        job = client.generate(small(seed=1, steps=40))
        wait_for(client, job, lambda event: drawing(event, step=2))
        engine = engine_pid(client)
    with http_to(server) as listener, http_to(server) as waiter:
        listener.request("GET", f"/api/jobs/{job.id}/events")
        stream = listener.getresponse()
        assert b'"running"' in stream.read1()
        send(waiter, "/api/generate", prompt="waits", wait=True, seed=2, width=64, height=64)
        with contextlib.closing(server.client()) as client:
            eventually(lambda: client.status().queued == 1)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 5
        # The listener's stream ends without a last event; who waited for pictures hears that they will come.
        assert b'"succeeded"' not in stream.read()
        answer = waiter.getresponse()
        assert answer.status == 503
        assert json.load(answer)["error"]["code"] == "unreachable"
    assert eventually(lambda: is_gone(engine)) < 2
    assert not (server.data_dir / "run" / "server.json").exists()

    again = start_server()
    with contextlib.closing(again.client()) as client:
        assert last_event(client, job).state == "succeeded"
        eventually(lambda: client.status().images == 2)
    again.kill()
    assert seeds_in(gallery_images(again.data_dir)) == {1: 1, 2: 1}


def test_a_second_server_on_the_same_data_is_refused(fake_server: Server, fake_engine: Path, tsr: Tsr) -> None:
    second = tsr("serve", "--port", "0", TSR_DATA_DIR=str(fake_server.data_dir))
    assert second.returncode == 1
    assert second.stdout == ""
    assert f"a server is running on this data directory at {fake_server.url}" in second.stderr
    with contextlib.closing(fake_server.client()) as client:
        assert client.health().status == "ok"


def test_a_client_that_goes_away_does_not_lose_its_job(fake_server: Server) -> None:
    with http_to(fake_server) as connection, contextlib.closing(fake_server.client()) as client:
        send(connection, "/api/generate", prompt="left alone", wait=True, seed=77, steps=100, batch_size=8)
        eventually(lambda: client.jobs.list(state="running").items != ())
        job = client.jobs.list(state="running").items[0]
        assert job.settings
        assert job.settings.seed == 77
        # Not a polite goodbye but a reset.
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        assert last_event(client, job).state == "succeeded"
        assert len(client.jobs.get(job.id).images) == 8


def test_who_follows_a_job_hears_its_end_across_kill_9(start_server: StartServer, fake_engine: Path) -> None:
    server = start_server(**SLOW)
    with ThreadPoolExecutor(1) as pool, contextlib.closing(server.client()) as client:
        job = client.generate(small(steps=25))
        following = pool.submit(last_event, client, job)
        with contextlib.closing(server.client()) as other:
            wait_for(other, job, lambda event: drawing(event, step=2))
        server.kill()
        again = start_server("--port", server.url.rpartition(":")[2], **SLOW)
        assert following.result(60).state == "succeeded"
    again.kill()


def test_the_queue_takes_so_many_and_no_more_however_they_come(
    start_server: StartServer, fake_engine: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.toml").write_text("[server]\nmax_queue = 3\n")
    server = start_server(FAKE_SD_STEP_SECONDS="1")

    def ask(seed: int) -> tuple[int, str]:
        with http_to(server) as connection:
            send(connection, "/api/generate", prompt="many", wait=False, seed=seed)
            answer = connection.getresponse()
            document = json.load(answer)
            return answer.status, document["job"]["id"] if answer.status == 202 else document["error"]["code"]

    with ThreadPoolExecutor(12) as pool, contextlib.closing(server.client()) as client:
        running = client.generate(small(steps=100))
        wait_for(client, running, drawing)
        answers = list(pool.map(ask, range(12)))
        accepted = [job for status, job in answers if status == 202]
        assert len(accepted) == 3
        assert {answer for answer in answers if answer[0] != 202} == {(429, "queue_full")}
        assert ask(50) == (429, "queue_full")
        client.jobs.cancel(accepted[0])
        assert ask(51)[0] == 202
        assert ask(52) == (429, "queue_full")
    server.kill()
