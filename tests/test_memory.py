"""The server's own memory, its engine's apart: small when idle, and the same after many pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psutil
import pytest
from observe import engine_pid, last_event, small
from serving import Api, serving

from tensors.client import TsrClient

MB = 1_000_000
IDLE = 150 * MB
GROWTH = 3 * MB
EARLY, LATE = 50, 200
"""Pictures after which memory is looked at: by the first, what is loaded once is loaded."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("server"), FAKE_SD_STEP_SECONDS="0.0005") as api:
        yield api


def resident(api: Api) -> int:
    """Bytes of the server's process alone."""
    return psutil.Process(api.server.process.pid).memory_info().rss


def draw(api: Api, client: TsrClient, number: int) -> None:
    """One picture, in the ways that clients have: waited for, followed, taken home."""
    if number % 5:
        api.generate(seed=number, steps=30, return_base64=number % 2 == 0)
        return
    end = last_event(client, client.generate(small(seed=number, steps=30)))
    client.images.read(end.images[0])
    client.images.list(limit=20)


def test_an_idle_server_is_small(api: Api) -> None:
    with contextlib.closing(api.server.client()) as client:
        engine_pid(client)
    assert resident(api) <= IDLE


def test_memory_does_not_grow_with_the_number_of_pictures(api: Api) -> None:
    with contextlib.closing(api.server.client()) as client:
        for number in range(EARLY):
            draw(api, client, number)
        early = resident(api)
        for number in range(EARLY, LATE):
            draw(api, client, number)
        late = resident(api)
        assert client.status().images >= LATE
    assert late - early <= GROWTH, f"from {early / MB:.1f} to {late / MB:.1f} MB"
    assert late <= IDLE
