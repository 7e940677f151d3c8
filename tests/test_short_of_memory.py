"""An engine that runs out of memory: what is tried, and what is remembered of it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from observe import engine_pid, last_event, small
from serving import Api, serving

from tensors.client import TsrClient


def tiled(api: Api) -> list[bool]:
    """Of each request that reached the engine, whether it asked for VAE tiling."""
    return [body.get("vae_tiling_params", {}).get("enabled", False) for body in api.sent()]


def offloaded(api: Api) -> list[bool]:
    """Of each start of the engine, whether its weights lie in main memory."""
    return ["--offload-to-cpu" in entry["argv"] for entry in api.engine.entries("start")]


def drawn(client: TsrClient, **changes: Any) -> None:
    assert last_event(client, client.generate(small(**changes))).state == "succeeded"


def test_tiles_are_tried_first_and_remembered_for_pictures_as_large(tmp_path: Path) -> None:
    with serving(tmp_path, FAKE_SD_OOM="tiling") as api, contextlib.closing(api.server.client()) as client:
        pid = engine_pid(client)
        drawn(client, width=256, height=256, batch_size=2)
        drawn(client, width=320, height=256)
        assert tiled(api) == [False, True, True]
        assert engine_pid(client) == pid, "tiles take no other start"
        drawn(client, width=64)
        assert tiled(api)[3:] == [False, True], "of a smaller one nothing is known"
        api.server.kill()
    with serving(tmp_path, FAKE_SD_OOM="tiling") as api, contextlib.closing(api.server.client()) as client:
        drawn(client, width=256, height=256)
        assert tiled(api)[5:] == [True], "nor forgotten by the next server"


def test_then_the_engine_is_started_with_its_weights_in_main_memory(tmp_path: Path) -> None:
    with serving(tmp_path, FAKE_SD_OOM="offload") as api, contextlib.closing(api.server.client()) as client:
        engine_pid(client)
        drawn(client)
        assert offloaded(api) == [False, True]
        drawn(client, seed=2)
        drawn(client, width=256, height=256)
        assert offloaded(api) == [False, True]
        api.server.kill()
    with serving(tmp_path, FAKE_SD_OOM="offload") as api, contextlib.closing(api.server.client()) as client:
        drawn(client)
        assert offloaded(api)[2:] == [True], "at once, by the next server"


def test_when_nothing_helps_the_job_fails_with_what_the_engine_said(tmp_path: Path) -> None:
    with serving(tmp_path, FAKE_SD_OOM="1") as api, contextlib.closing(api.server.client()) as client:
        failed = last_event(client, client.generate(small()))
        assert (failed.state, failed.error and failed.error.code) == ("failed", "engine_error")
        assert failed.error
        assert "insufficient memory" in failed.error.message
        assert failed.error.hint
        assert "smaller picture" in failed.error.hint
        assert offloaded(api) == [False, True]
        assert client.status().engine.state == "ready"
        waited = api.post(seed=2)
        assert (waited.status_code, waited.json()["error"]["code"]) == (502, "engine_error")
        assert offloaded(api) == [False, True, False, True], "nothing was learnt from a failure"
