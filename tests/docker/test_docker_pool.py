"""`tsr serve` over containers: found by their labels, routed by family, swapped, healed, and left running."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Server, running
from observe import eventually, last_event

from docker.engine import Backends
from tensors.client import TsrClient
from tensors.types.generation import GenerateRequest
from tensors.types.jobs import JobEvent
from tensors.types.library import FileEdit
from tensors.types.models import SwitchRequest

pytestmark = pytest.mark.docker


@pytest.fixture
def settings(two_backends: Backends, tmp_path: Path) -> Path:
    """Docker's containers are the backends, and the folder they see has the models."""
    lines = [
        "[paths]",
        f"checkpoints = [{json.dumps(str(two_backends.shapes.path.parent))}]",
        f"loras = [{json.dumps(str(two_backends.loras))}]",
        "[engine]",
        f"docker = {json.dumps(two_backends.docker.url)}",
        # Its path: the containers do not see the one that ships.
        f"model = {json.dumps(str(two_backends.shapes.path))}",
        # The model that ships is of no family that the labels name; `lumina` is one that needs no other files.
        *("[engine.backends.pony]", 'container = "pony"', 'families = ["shapes"]'),
        *("[engine.backends.flux]", 'container = "flux"', 'families = ["lumina"]'),
    ]
    file = tmp_path / "config.toml"
    file.write_text("\n".join(lines))
    return file


@pytest.fixture
def server(settings: Path, tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path / "data", TSR_CONFIG=str(settings)) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[TsrClient]:
    with contextlib.closing(server.client()) as client:
        assert len(client.models.list().items) == 2
        client.db.edit("second", FileEdit(family="lumina"))
        yield client


def drawn(client: TsrClient, model: str, *, prompt: str = "a red circle", steps: int = 4) -> list[JobEvent]:
    """What is told of a picture, to its end."""
    request = GenerateRequest(prompt=prompt, model=model, width=64, height=64, steps=steps, seed=7, force=True)
    events = list(client.jobs.events(client.generate(request).id))
    assert events[-1].state == "succeeded", events[-1].error
    return events


def where(client: TsrClient) -> dict[str, str | None]:
    """The model on each backend."""
    return {backend.name: backend.model for backend in client.backends.list().items}


def test_each_family_goes_to_its_container_and_its_steps_are_heard(client: TsrClient) -> None:
    backends = {backend.name: backend for backend in client.backends.list().items}
    assert {name: (backend.kind, backend.families) for name, backend in backends.items()} == {
        "pony": ("docker", ("shapes",)),
        "flux": ("docker", ("lumina",)),
    }
    for model, backend in (("shapes", "pony"), ("second", "flux")):
        events = drawn(client, model, steps=30)
        steps = [event.progress.step for event in events if event.progress and event.progress.phase == "sampling"]
        assert len(set(steps)) > 5
        assert where(client)[backend] == model
    assert where(client) == {"pony": "shapes", "flux": "second"}


def test_without_a_table_for_it_a_container_is_known_by_its_labels(two_backends: Backends, tmp_path: Path) -> None:
    settings = {"TSR_DOCKER": two_backends.docker.url, "TSR_CONFIG": str(tmp_path / "none.toml")}
    with running(tmp_path / "data", **settings) as server, contextlib.closing(server.client()) as client:
        found = {backend.name: (backend.kind, set(backend.families)) for backend in client.backends.list().items}
        assert found == {"pony": ("docker", {"pony", "illustrious"}), "flux": ("docker", {"flux"})}
        failed = last_event(client, client.generate(GenerateRequest(prompt="x", width=64, height=64)))
        assert "no backend can run 'shapes' (shapes)" in str(failed.error)


def test_a_container_gets_another_model_of_its_family(client: TsrClient, two_backends: Backends) -> None:
    shutil.copy(two_backends.shapes.path, two_backends.shapes.path.with_name("third.safetensors"))
    drawn(client, "shapes", prompt="a red circle <lora:outline:1>")
    switch = client.models.switch(SwitchRequest(model="third"))
    assert last_event(client, switch).state == "succeeded"
    assert where(client)["pony"] == "third"
    environment = two_backends.docker.inspect(two_backends.pony.container)["Config"]["Env"]
    assert "MODEL=/models/third.safetensors" in environment
    drawn(client, "shapes")
    assert where(client)["pony"] == "shapes"


def test_a_container_that_is_stopped_from_outside_is_started_again(client: TsrClient, two_backends: Backends) -> None:
    drawn(client, "shapes")
    two_backends.docker("stop", "--time", "1", two_backends.pony.container)
    drawn(client, "shapes")
    assert two_backends.docker.inspect(two_backends.pony.container)["State"]["Running"]


def test_when_tsr_stops_the_containers_go_on_and_the_next_one_adopts_them(
    server: Server, client: TsrClient, two_backends: Backends, settings: Path, tmp_path: Path
) -> None:
    drawn(client, "shapes")
    started = two_backends.docker.inspect(two_backends.pony.container)["State"]["StartedAt"]
    assert server.stop() == 0
    with running(tmp_path / "data", TSR_CONFIG=str(settings)) as again, contextlib.closing(again.client()) as next_one:
        drawn(next_one, "shapes")
        eventually(lambda: where(next_one)["pony"] == "shapes")
    state = two_backends.docker.inspect(two_backends.pony.container)["State"]
    assert (state["Running"], state["StartedAt"]) == (True, started)
