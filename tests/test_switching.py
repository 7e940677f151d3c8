"""Many clients, several models, one engine: everybody gets the model they named, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from conftest import Server, StartServer, running
from observe import EngineLog, drawing, engine_pid, eventually, is_gone, last_event, pixels, small, wait_for

from tensors.client import TsrClient
from tensors.errors import ModelNotFound, NotFound
from tensors.models import demo_dir
from tensors.types.generation import GenerateRequest
from tensors.types.jobs import Job
from tensors.types.models import SwitchRequest, UnloadRequest

DEMO = demo_dir() / "shapes.safetensors"
SLOW = {"FAKE_SD_STEP_SECONDS": "0.03"}


def other_model(target: Path) -> None:
    """The demo model with the signs of its last layer turned round: it draws something else."""
    data = bytearray(DEMO.read_bytes())
    length = int.from_bytes(data[:8], "little")
    begin, end = json.loads(data[8 : 8 + length])["model.diffusion_model.final_layer.linear.weight"]["data_offsets"]
    for high in range(8 + length + begin + 1, 8 + length + end, 2):
        data[high] ^= 0x80
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def broken_model(target: Path) -> None:
    """A whole safetensors file with the demo model's tensors under names that no engine knows."""
    data = DEMO.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].replace(b".final_layer.", b".flnai_layer.").replace(b".time_in.", b".tmie_in.")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data[:8] + header + data[8 + length :])


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "models" / "checkpoints"
    other_model(folder / "other.safetensors")
    return folder


@pytest.fixture
def log(tmp_path: Path) -> EngineLog:
    return EngineLog(tmp_path / "engine.jsonl")


@pytest.fixture
def start(start_server: StartServer, models: Path, log: EngineLog, fake_engine: Path) -> Callable[..., Server]:
    return lambda *arguments, **environment: start_server(*arguments, **log.environment, **environment)


@pytest.fixture
def client(start: Callable[..., Server]) -> Iterator[TsrClient]:
    with contextlib.closing(start(**SLOW).client()) as client:
        yield client


def switched(client: TsrClient, model: str) -> Job:
    job = client.models.switch(SwitchRequest(model=model))
    assert last_event(client, job).state == "succeeded"
    return client.jobs.get(job.id)


def a_process(client: TsrClient) -> int:
    """An engine's, whatever it does."""
    while (pid := client.status().engine.pid) is None:
        time.sleep(0.01)
    return pid


def loaded(log: EngineLog) -> list[str]:
    """The models that engines were started with, in order."""
    started = (entry["argv"] for entry in log.entries("start"))
    return [Path(argv[argv.index("-m") + 1]).stem for argv in started]


def test_a_switch_loads_and_is_kept_over_a_restart(start: Callable[..., Server], log: EngineLog) -> None:
    server = start()
    with contextlib.closing(server.client()) as client:
        assert (client.models.active().name, client.models.active().loaded) in [("shapes", ("engine",)), ("shapes", ())]
        report = switched(client, "OTHER").switch
        assert report is not None
        assert (report.model, report.backend) == ("other", "engine")
        active = client.models.active()
        assert (active.name, active.active, active.loaded) == ("other", True, ("engine",))
        assert {entry.name: entry.active for entry in client.models.list().items} == {"other": True, "shapes": False}
        assert client.status().engine.model == "other"
        job = client.jobs.get(client.generate(small()).id)
        assert job.settings is not None
        assert job.settings.model.name == "other", "what names no model gets the active one"
        last_event(client, job)
    server.kill()
    with contextlib.closing(start().client()) as client:
        engine_pid(client)
        assert client.status().engine.model == "other"
    assert loaded(log) == ["shapes", "other", "other"]


def test_over_http_a_switch_can_be_waited_for(start: Callable[..., Server]) -> None:
    server = start()
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http:
        waited = http.post("/api/models/switch", json={"model": "other", "wait": True})
        assert (waited.status_code, waited.json()["state"]) == (200, "succeeded")
        assert waited.json()["switch"] == {"model": "other", "backend": "engine"}
        assert http.get("/api/models/active").json()["loaded"] == ["engine"]
        queued = http.post("/api/models/switch", json={"model": "shapes"})
        assert (queued.status_code, queued.json()["kind"]) == (202, "switch")
        assert http.post("/api/models/switch", json={"model": "othre", "wait": True}).status_code == 404


def test_what_cannot_be_switched_to_is_refused_before_anything_is_ended(client: TsrClient) -> None:
    pid = engine_pid(client)
    with pytest.raises(ModelNotFound, match="did you mean 'other'"):
        client.models.switch(SwitchRequest(model="othre"))
    with pytest.raises(NotFound, match="there is no backend 'gpu'"):
        client.models.switch(SwitchRequest(model="other", backend="gpu"))
    assert (engine_pid(client), client.models.active().name) == (pid, "shapes")


def test_a_switch_kills_nobodys_picture(client: TsrClient, log: EngineLog) -> None:
    drawn = client.generate(small(model="shapes", seed=1, steps=100))
    wait_for(client, drawn, drawing)
    switch = client.models.switch(SwitchRequest(model="other"))
    eventually(lambda: client.jobs.get(switch.id).position == 1)
    assert "'other'" in (client.jobs.get(switch.id).waits_for or "")
    assert last_event(client, switch).state == "succeeded"
    assert client.jobs.get(drawn.id).state == "succeeded"
    assert log.seeds == [1]


def test_unload_frees_the_memory_and_the_next_request_loads_again(client: TsrClient, log: EngineLog) -> None:
    pid = engine_pid(client)
    (backend,) = client.models.unload(UnloadRequest()).items
    assert (backend.state, backend.model) == ("stopped", None)
    assert is_gone(pid)
    assert last_event(client, client.generate(small())).state == "succeeded"
    assert loaded(log) == ["shapes", "shapes"]


def test_ten_clients_and_two_models_while_engines_are_killed(client: TsrClient, log: EngineLog) -> None:
    engine_pid(client)
    jobs = [
        client.generate(small(model=("shapes", "other")[number % 2], seed=number, steps=6), idempotency_key=str(number))
        for number in range(20)
    ]
    for _ in range(3):
        drawn = client.status().images
        os.kill(a_process(client), signal.SIGKILL)
        eventually(lambda drawn=drawn: client.status().images > drawn)
    assert [last_event(client, job).state for job in jobs] == ["succeeded"] * 20
    for number, job in enumerate(jobs):
        (image,) = map(client.images.get, client.jobs.get(job.id).images)
        assert (image.settings.seed, image.settings.model.name) == (number, ("shapes", "other")[number % 2])
    assert len(loaded(log)) < 12, "twenty requests in turns, three deaths, and few swaps"


def test_kill_9_of_the_server_in_a_switch_loses_nothing(start: Callable[..., Server], log: EngineLog) -> None:
    server = start(FAKE_SD_LOAD_SECONDS="1")
    with contextlib.closing(server.client()) as client:
        switch = client.models.switch(SwitchRequest(model="other"))
        drawn = [client.generate(small(model=name, seed=seed)) for seed, name in enumerate(["other", "shapes"])]
        eventually(lambda: client.status().engine.state == "loading")
        pid = client.status().engine.pid
    server.kill()
    assert pid is None or eventually(lambda: is_gone(pid)) < 5
    with contextlib.closing(start().client()) as client:
        assert [last_event(client, job).state for job in (switch, *drawn)] == ["succeeded"] * 3
        assert client.models.active().name == "other"


def test_a_load_that_hangs_is_ended_and_others_are_served(start: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[engine]\nstart_timeout = 1\n")
    # The engine hangs with the first model, and an engine that does not is found by the second try of the other one.
    program = tmp_path / "sd-server"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *other*) export FAKE_SD_HANG_LOAD=1;; esac\nexec "{os.environ["TSR_ENGINE"]}" "$@"\n'
    )
    program.chmod(0o755)
    server = start(TSR_ENGINE=str(program), TSR_CONFIG=str(tmp_path / "config.toml"))
    with contextlib.closing(server.client()) as client:
        hanging = client.generate(small(model="other", seed=1))
        served = [client.generate(small(model="shapes", seed=seed)) for seed in (2, 3)]
        assert [last_event(client, job).state for job in served] == ["succeeded"] * 2
        failed = last_event(client, hanging)
        assert (failed.state, failed.error and failed.error.code) == ("failed", "engine_start_failed")
        assert "did not load 'other' within 1 s" in str(failed.error)


@pytest.mark.engine
def test_the_pixels_say_that_each_got_the_model_it_named(sd_server: Path, tmp_path: Path) -> None:
    models = tmp_path / "data" / "models" / "checkpoints"
    other_model(models / "other.safetensors")
    broken_model(models / "broken.safetensors")
    settings = {"TSR_ENGINE": str(sd_server), "TSR_CONFIG": str(tmp_path / "config.toml")}
    with running(tmp_path / "data", **settings) as server:

        def picture(model: str, seed: int) -> bytes:
            with contextlib.closing(server.client()) as client:
                request = GenerateRequest(prompt="a red circle", model=model, width=64, height=64, steps=2, seed=seed)
                end = last_event(client, client.generate(request))
                assert end.state == "succeeded", end.error
                return pixels(client.images.read(end.images[0]))

        seeds = range(3)
        expected = {(model, seed): picture(model, seed) for model in ("shapes", "other") for seed in seeds}
        assert len(set(expected.values())) == 6, "the models differ"
        with contextlib.closing(server.client()) as client:
            before = loads(client)
            with ThreadPoolExecutor(10) as clients:
                asked = [key for key in expected for _ in range(5)]
                bad = client.generate(GenerateRequest(prompt="x", model="broken", width=64, height=64))
                got = list(clients.map(lambda key: (key, picture(*key)), sorted(asked, key=lambda key: key[1])))
            assert all(found == expected[key] for key, found in got)
            failed = last_event(client, bad)
            assert (failed.state, failed.error and failed.error.code) == ("failed", "engine_start_failed")
            # Three tries of the broken one, and each of those costs a swap back.
            assert loads(client) - before <= 14, "thirty requests for two models in turns"
            switched(client, "other")
            assert switched(client, "shapes").switch is not None


def loads(client: TsrClient) -> int:
    """How many models engines have begun to load."""
    return sum("loading model from" in line.text for line in client.backends.logs(lines=2000))
