"""A real Docker engine with a real sd-server in each of two containers."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from docker.engine import Backend, Backends
from tensors.engines.containers import Container, base_name, discover
from tensors.engines.docker import ContainerLife, DockerPlace
from tensors.engines.output import parse_bar
from tensors.errors import EngineDied, EngineError, EngineStartFailed
from tensors.models import ModelFile

pytestmark = pytest.mark.docker

SECONDS = 60
DRAWING = {"prompt": "a red circle on a blue background", "width": 64, "height": 64, "seed": 7}


@dataclass
class Ear:
    """Hears what an engine says, and can be waited for."""

    pieces: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, piece: str) -> None:
        self.pieces.append(piece)
        self.news.set()

    def steps(self) -> list[int]:
        """The steps that its bars told, without those of loading."""
        bars = [parse_bar(piece) for piece in self.pieces]
        return [bar.done for bar in bars if bar and not bar.loading]

    async def until(self, text: str) -> None:
        """Wait until a piece has this in it."""
        async with asyncio.timeout(SECONDS):
            while not any(text in piece for piece in self.pieces):
                self.news.clear()
                await self.news.wait()


@dataclass
class Driver:
    """A place, driven as a backend drives it."""

    backends: Backends
    backend: Backend
    place: DockerPlace

    async def start(self, model: ModelFile, *arguments: str) -> tuple[ContainerLife, Ear]:
        """Begin a life and wait until it answers."""
        ear = Ear()
        life = await self.place.start(model, ear, arguments=arguments)
        await ready(life)
        return life, ear

    @property
    def document(self) -> dict[str, Any]:
        return self.backends.docker.inspect(self.backend.container)


async def ready(life: ContainerLife) -> str:
    """The model that it says is in it, as soon as it answers."""
    deadline = time.monotonic() + SECONDS
    while not life.ended.is_set():
        try:
            return (await life.client.capabilities()).model_path
        except EngineDied:
            assert time.monotonic() < deadline, "the engine does not answer"
            await asyncio.sleep(0.05)
    raise AssertionError("the engine ended")


async def ended(life: ContainerLife) -> None:
    await asyncio.wait_for(life.ended.wait(), SECONDS)


async def draw(life: ContainerLife, steps: int = 3, loras: tuple[str, ...] = ()) -> bytes:
    sample = {"sample_steps": steps, "sample_method": "euler", "guidance": {"txt_cfg": 1.0}}
    lora = [{"path": path, "multiplier": 1.0} for path in loras]
    job = await life.client.submit({**DRAWING, "sample_params": sample, "lora": lora})
    async with asyncio.timeout(SECONDS):
        while (result := await life.client.result(job)) is None:
            await asyncio.sleep(0.02)
    return result[0]


@pytest.fixture
async def pony(two_backends: Backends) -> AsyncIterator[Driver]:
    place = DockerPlace("pony", url=two_backends.docker.url)
    yield Driver(two_backends, two_backends.pony, place)
    await place.close()


@pytest.fixture
async def flux(two_backends: Backends) -> AsyncIterator[Driver]:
    place = DockerPlace("flux", url=two_backends.docker.url)
    yield Driver(two_backends, two_backends.flux, place)
    await place.close()


async def healthy(driver: Driver) -> Container:
    """Its container, as soon as Docker's health check has found it well."""
    async with asyncio.timeout(SECONDS):
        while True:
            (found,) = [one for one in await discover(driver.backends.docker.url) if one.backend == driver.backend.name]
            if found.healthy:
                return found
            await asyncio.sleep(0.1)


async def test_found_by_their_labels_with_family_model_and_health(pony: Driver, flux: Driver) -> None:
    first = await healthy(pony)
    assert (first.families, first.state, first.model) == (("pony", "illustrious"), "running", pony.backends.shapes.path)
    (other,) = [one for one in await discover(pony.backends.docker.url) if one.backend == "flux"]
    assert (other.families, other.state, other.healthy) == (("flux",), "created", None)


async def test_a_running_engine_with_the_model_is_adopted_and_goes_on(pony: Driver) -> None:
    before = pony.document
    life, ear = await pony.start(pony.backends.shapes)
    await ear.until("listening on")
    assert pony.place.version == "test"
    await draw(life)
    await pony.place.close()
    after = pony.document
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])
    assert after["State"]["Running"]
    assert life.pid == after["State"]["Pid"]


async def test_another_model_swaps_in_one_container_and_not_in_the_other(pony: Driver, flux: Driver) -> None:
    other, _ = await flux.start(flux.backends.shapes)
    life, _ = await pony.start(pony.backends.shapes)
    before, beside = pony.document, flux.document
    swapped, ear = await pony.start(pony.backends.second, "--vae-tiling")
    await ended(life)
    assert await ready(swapped) == "/models/second.safetensors"
    after = pony.document
    assert after["Id"] != before["Id"]
    assert {**after["Config"]["Labels"], "tsr.arguments": None} == {**before["Config"]["Labels"], "tsr.arguments": None}
    assert "SD_ARGS=--threads 2 --vae-tiling" in after["Config"]["Env"]
    assert set(before["Config"]["Env"]) - set(after["Config"]["Env"]) == {
        "MODEL=/models/shapes.safetensors", "TAESD=/models/shapes.safetensors", "SD_ARGS=--threads 2"
    }  # fmt: skip
    for part in ("HostConfig", "Image", "Mounts"):
        assert same(after[part]) == same(before[part]), part
    assert sorted(after["NetworkSettings"]["Networks"]) == ["tsr-test", "tsr-test-more"]
    assert "pony" in after["NetworkSettings"]["Networks"]["tsr-test"]["Aliases"]
    assert pony.backends.docker.names() == ["tsr-test-flux", "tsr-test-pony"]
    assert flux.document["State"]["StartedAt"] == beside["State"]["StartedAt"]
    assert await ready(other) == "/models/shapes.safetensors"
    await ear.until("--threads 2 --vae-tiling")
    back, _ = await pony.start(pony.backends.shapes)
    assert await ready(back) == "/models/shapes.safetensors"
    assert "SD_ARGS=--threads 2" in pony.document["Config"]["Env"]


def same(part: Any) -> Any:
    """A part of a description without what may differ: the order of mounts, and how one came to its volume."""
    if isinstance(part, dict):
        return {name: value for name, value in part.items() if name != "Binds"}
    return sorted((mount["Destination"], mount["Source"]) for mount in part) if isinstance(part, list) else part


async def test_each_step_is_heard_while_it_draws(pony: Driver, flux: Driver) -> None:
    """The log would show a bar's line when its last step ends it. With a terminal the output comes plain."""
    for driver in (pony, flux):
        life, ear = await driver.start(driver.backends.shapes)
        drawing = asyncio.create_task(draw(life, steps=100))
        await ear.until("| 10/100 ")
        assert not drawing.done()
        assert max(ear.steps()) < 90
        await drawing
        await ear.until("generate_image completed")
        assert ear.steps() == list(range(1, 101)), "each step once"


async def test_a_load_that_fails_is_heard_to_its_last_word(flux: Driver) -> None:
    broken = flux.backends.shapes.path.with_name("broken.safetensors")
    broken.write_bytes(b"no model")
    ear = Ear()
    life = await flux.place.start(replace(flux.backends.shapes, path=broken), ear)
    await ended(life)
    assert any("[ERROR]" in piece and "broken.safetensors" in piece for piece in ear.pieces), ear.pieces


async def test_stopped_from_outside_and_healed_by_the_next_start(pony: Driver) -> None:
    life, _ = await pony.start(pony.backends.shapes)
    await asyncio.to_thread(pony.backends.docker, "stop", "--time=1", pony.backend.container)
    await ended(life)
    again, _ = await pony.start(pony.backends.shapes)
    assert again.pid != life.pid
    await draw(again)


async def test_one_that_died_and_came_back_by_itself_is_adopted(pony: Driver) -> None:
    life, _ = await pony.start(pony.backends.shapes)
    before = pony.document["Id"]
    assert life.pid
    os.kill(life.pid, signal.SIGKILL)
    await ended(life)
    came_back = await healthy(pony)
    again, _ = await pony.start(pony.backends.shapes)
    after = pony.document
    assert (after["Id"], after["State"]["StartedAt"]) == (before, came_back.started_at)
    assert after["RestartCount"] == 1
    await draw(again)


async def test_removed_from_outside(pony: Driver) -> None:
    life, _ = await pony.start(pony.backends.shapes)
    await asyncio.to_thread(pony.backends.docker, "rm", "--force", pony.backend.container)
    await ended(life)
    await life.end()
    with pytest.raises(EngineStartFailed, match=r"no container has the label tsr\.backend=pony"):
        await pony.place.start(pony.backends.shapes, print)


async def test_a_drawing_is_cancelled_by_ending_it(pony: Driver, flux: Driver) -> None:
    for driver in (pony, flux):
        life, ear = await driver.start(driver.backends.shapes)
        drawing = asyncio.create_task(draw(life, steps=100))
        await ear.until("| 1/100 ")
        began = time.monotonic()
        await life.end()
        took = time.monotonic() - began
        assert life.ended.is_set()
        assert took < 5
        with pytest.raises((EngineError, RuntimeError)):
            await drawing
        assert not driver.document["State"]["Running"]
        again, _ = await driver.start(driver.backends.shapes)
        await draw(again)


async def test_a_lora_below_its_folder_changes_the_picture(pony: Driver) -> None:
    life, _ = await pony.start(pony.backends.shapes)
    paths = await pony.place.lora_paths({"outline": pony.backends.loras / "style" / "outline.safetensors"})
    assert paths == {"outline": "style/outline.safetensors"}
    assert await draw(life) != await draw(life, loras=(paths["outline"],))


@pytest.mark.parametrize(
    "left",
    [
        pytest.param(("create tsr-test-pony.tsr-new",), id="made"),
        pytest.param(("create tsr-test-pony.tsr-new", "stop"), id="stopped"),
        pytest.param(("create tsr-test-pony.tsr-new", "stop", "rename"), id="renamed"),
        pytest.param(("stop", "rename", "create tsr-test-pony"), id="in place"),
    ],
)
async def test_a_replacement_cut_short_is_put_right(pony: Driver, left: tuple[str, ...]) -> None:
    docker, name = pony.backends.docker, pony.backend.container
    for step in left:
        match step.split():
            case ["create", new]:
                docker("create", f"--name={new}", "--label=tsr.backend=pony", "--env=MODEL=/models/shapes.safetensors",
                       "--publish=127.0.0.1::1234", f"--volume={pony.backends.shapes.path.parent}:/models:ro",
                       "tsr-test/sd-server")  # fmt: skip
            case ["stop"]:
                docker("stop", "--time=1", name)
            case ["rename"]:
                docker("rename", name, f"{name}.tsr-old")
    assert [base_name(one.name) for one in await discover(docker.url) if one.backend == "pony"] == [name]
    life, _ = await pony.start(pony.backends.second)
    assert await ready(life) == "/models/second.safetensors"
    assert docker.names() == ["tsr-test-flux", "tsr-test-pony"]


async def test_a_file_that_no_mount_holds(pony: Driver, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.safetensors"
    with pytest.raises(EngineStartFailed, match=f"does not see {elsewhere}; it sees .*models as /models"):
        await pony.place.start(replace(pony.backends.shapes, path=elsewhere), print)
    assert pony.document["State"]["Running"]
