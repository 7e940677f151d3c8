"""The Docker backend against a fake Docker Engine on a unix socket, whose containers run the fake sd-server."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiodocker.docker
import aiohttp
import pytest
from fake_docker import IMAGE, FakeContainer, FakeDocker

from tensors.engines.containers import Container, asking_docker, discover
from tensors.engines.docker import ContainerLife, DockerPlace
from tensors.errors import EngineDied, EngineStartFailed, LoraNotFound
from tensors.models import ModelFile, demo_dir

SECONDS = 20
REPLACING = ("create", "connect", "stop", "rename", "rename", "delete")
"""What changes while a container is made anew; then it is started."""


@dataclass
class Ear:
    pieces: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, piece: str) -> None:
        self.pieces.append(piece)
        self.news.set()

    async def until(self, text: str) -> None:
        async with asyncio.timeout(SECONDS):
            while not any(text in piece for piece in self.pieces):
                self.news.clear()
                await self.news.wait()


@dataclass(frozen=True)
class Host:
    """A folder of models that containers see at `/models`, and one of LoRAs at `/loras`."""

    root: Path

    def model(self, name: str, **changes: Any) -> ModelFile:
        path = self.root / "models" / f"{name}.safetensors"
        if not path.exists():
            shutil.copy(demo_dir() / "shapes.safetensors", path)
        return ModelFile(**{"name": name, "path": path, "family": "pony", **changes})

    def body(self, **changes: Any) -> dict[str, Any]:
        """What `docker create` is told."""
        binds = [f"{self.root / 'models'}:/models:ro", f"{self.root / 'loras'}:/loras:ro", "kept:/kept"]
        host = {"Binds": binds, "RestartPolicy": {"Name": "unless-stopped"}, **changes.pop("host", {})}
        labels = {"tsr.backend": "pony", "com.docker.compose.service": "sd-pony", **changes.pop("labels", {})}
        environment = ["MODEL=/models/a.safetensors", "VAE=", "HIP=1", *changes.pop("env", [])]
        networks = {"house": {"Aliases": ["sd-pony"], "IPAMConfig": {"IPv4Address": "10.0.0.9"}}, "other": {}}
        return {
            "Image": IMAGE, "Env": environment, "Labels": labels, "HostConfig": host, "Volumes": {"/cache": {}},
            "NetworkingConfig": {"EndpointsConfig": networks}, **changes,
        }  # fmt: skip


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for folder in ("models", "loras", "elsewhere"):
        (tmp_path / folder).mkdir()
    host = Host(tmp_path)
    host.model("a")
    host.model("b")
    return host


@pytest.fixture
async def docker() -> AsyncIterator[FakeDocker]:
    # The path of a socket has little room.
    with tempfile.TemporaryDirectory(prefix="tsr-") as folder:
        async with FakeDocker(Path(folder) / "docker.sock") as docker:
            yield docker


@pytest.fixture
async def place(docker: FakeDocker) -> AsyncIterator[DockerPlace]:
    place = DockerPlace("pony", url=docker.url)
    yield place
    docker.changes_left = None
    await place.close()


async def ready(life: ContainerLife) -> str:
    """Name of the model that it says is in it, as soon as it answers."""
    async with asyncio.timeout(SECONDS):
        while True:
            assert not life.ended.is_set(), "the engine ended"
            try:
                return Path((await life.client.capabilities()).model_path).stem
            except EngineDied:
                await asyncio.sleep(0.01)


async def ended(life: ContainerLife) -> None:
    await asyncio.wait_for(life.ended.wait(), SECONDS)


def environment(container: FakeContainer) -> dict[str, str]:
    return dict(line.split("=", 1) for line in container.document["Config"]["Env"])


async def test_a_running_engine_is_adopted_with_what_it_said_before(
    docker: FakeDocker, place: DockerPlace, host: Host
) -> None:
    container = await docker.run("sd-pony", host.body(env=["SD_ARGS= --threads  2"]))
    docker.say("sd-pony", b"[INFO ] said before\n")
    ear = Ear()
    life = await place.start(host.model("a"), ear)
    await ear.until("said before")
    assert (await ready(life), life.pid, docker.changes) == ("a", container.state["Pid"], [])
    await place.close()
    assert container.state["Running"]
    assert docker.changes == []


async def test_what_the_container_said_in_an_earlier_life_is_not_told(
    docker: FakeDocker, place: DockerPlace, host: Host
) -> None:
    await docker.run("sd-pony", host.body())
    docker.say("sd-pony", b"[ERROR] of the life before\n")
    await docker.kill("sd-pony")
    docker.say("sd-pony", b"[INFO ] of this life\n")
    ear = Ear()
    await place.start(host.model("a"), ear)
    await ear.until("of this life")
    assert not any("life before" in piece for piece in ear.pieces)


@pytest.mark.parametrize("state", ["created", "exited"])
async def test_a_stopped_one_is_started_and_heard_from_its_first_word(
    docker: FakeDocker, place: DockerPlace, host: Host, state: str
) -> None:
    docker.add("sd-pony", host.body()).state["Status"] = state
    ear = Ear()
    life = await place.start(host.model("a"), ear)
    assert await ready(life) == "a"
    await ear.until("listening on")
    assert "loading model" in ear.pieces[0]
    assert docker.changes == ["start sd-pony"]


async def test_a_paused_one_goes_on_with_a_new_life(docker: FakeDocker, place: DockerPlace, host: Host) -> None:
    (await docker.run("sd-pony", host.body())).state["Status"] = "paused"
    assert await ready(await place.start(host.model("a"), Ear())) == "a"
    assert docker.changes == ["unpause sd-pony", "stop sd-pony", "start sd-pony"]


async def test_one_that_docker_would_start_later_is_started_now(
    docker: FakeDocker, place: DockerPlace, host: Host
) -> None:
    docker.add("sd-pony", host.body()).state["Status"] = "restarting"
    assert await ready(await place.start(host.model("a"), Ear())) == "a"
    assert docker.changes == ["stop sd-pony", "start sd-pony"]


async def test_an_unhealthy_one_is_adopted_when_it_answers_after_all(
    docker: FakeDocker, place: DockerPlace, host: Host
) -> None:
    container = await docker.run("sd-pony", host.body())
    await ready(await place.start(host.model("a"), Ear()))
    container.state["Health"] = {"Status": "unhealthy"}
    await place.start(host.model("a"), Ear())
    assert docker.changes == []


async def test_an_unhealthy_one_that_does_not_answer_is_started_anew(
    docker: FakeDocker, place: DockerPlace, host: Host
) -> None:
    container = await docker.run("sd-pony", host.body())
    container.state["Health"] = {"Status": "unhealthy"}
    container.document["NetworkSettings"]["Ports"]["1234/tcp"][0]["HostPort"] = "1"
    assert await ready(await place.start(host.model("a"), Ear())) == "a"
    assert docker.changes == ["stop sd-pony", "start sd-pony"]


async def test_another_model_makes_the_same_container_anew(docker: FakeDocker, place: DockerPlace, host: Host) -> None:
    before = (await docker.run("sd-pony", host.body(env=["SD_ARGS=--threads  2"]))).document
    vae = host.model("v").path
    model = host.model("b", kind="diffusion_model", companions=(("vae", vae), ("clip_vision", vae)))
    life = await place.start(model, Ear(), arguments=("--vae-tiling",))
    assert await ready(life) == "b"
    assert [change.split()[0] for change in docker.changes] == [*REPLACING, "start"]
    assert docker.names == ["sd-pony"]
    after = docker.named("sd-pony")
    assert environment(after) == {
        "DIFFUSION_MODEL": "/models/b.safetensors",
        "VAE": "/models/v.safetensors",
        "SD_ARGS": "--threads 2 --clip_vision /models/v.safetensors --vae-tiling",
        "HIP": "1", "LORA_DIR": "/loras", "FAMILY": "sdxl",
    }  # fmt: skip
    (asked,) = docker.asked
    assert "HIP=1" in asked["Env"]
    assert not {"LORA_DIR=/loras", "FAMILY=sdxl"} & {*asked["Env"]}, "these are the image's"
    config, old = after.document["Config"], before["Config"]
    assert config["Labels"] == {**old["Labels"], "tsr.arguments": "--threads  2"}
    assert (config["Image"], config["Volumes"]) == (IMAGE, old["Volumes"])
    assert config["Hostname"] == after.document["Id"][:12] != old["Hostname"]
    assert sorted(mount["Source"] for mount in after.document["Mounts"]) == sorted(
        mount["Source"] for mount in before["Mounts"]
    )
    networks, old_networks = (one["NetworkSettings"]["Networks"] for one in (after.document, before))
    assert networks["house"]["IPAMConfig"] == old_networks["house"]["IPAMConfig"]
    assert networks["house"]["Aliases"] == ["sd-pony", after.document["Id"][:12]]
    assert sorted(networks) == ["house", "other"]


async def test_there_and_back_leaves_the_owners_environment(docker: FakeDocker, place: DockerPlace, host: Host) -> None:
    first = await docker.run("sd-pony", host.body(env=["SD_ARGS=--threads 2", "TAESD=/models/t.safetensors"]))
    a, b = host.model("a", companions=(("taesd", host.model("t").path),)), host.model("b")
    await place.start(b, Ear(), arguments=("--vae-tiling",))
    life = await place.start(a, Ear())
    assert await ready(life) == "a"
    assert environment(docker.named("sd-pony")) == environment(first)


async def test_a_rebuilt_image_is_not_taken_for_a_switch(docker: FakeDocker, place: DockerPlace, host: Host) -> None:
    await docker.run("sd-pony", host.body())
    docker.images["sha256:2"] = {"Id": "sha256:2", "Config": {"Env": ["NEWER=1"]}}
    docker.tags[IMAGE] = "sha256:2"
    await place.start(host.model("b"), Ear())
    assert docker.named("sd-pony").document["Image"] == "sha256:1"


async def test_one_that_docker_removes_when_it_ends_can_be_replaced(
    docker: FakeDocker, place: DockerPlace, host: Host
) -> None:
    await docker.run("sd-pony", host.body(host={"AutoRemove": True, "RestartPolicy": {}}))
    assert await ready(await place.start(host.model("b"), Ear())) == "b"
    assert docker.names == ["sd-pony"]


@pytest.mark.parametrize(
    ("instant", "policy"),
    [
        *((instant, {}) for instant in range(1, len(REPLACING) + 2)),
        # One that is removed at its end needs no renaming and no removal.
        *((instant, {"AutoRemove": True, "RestartPolicy": {}}) for instant in range(1, len(REPLACING))),
    ],
)
async def test_tsr_dies_at_any_instant_of_a_replacement(
    docker: FakeDocker, place: DockerPlace, host: Host, instant: int, policy: dict[str, Any]
) -> None:
    await docker.run("sd-pony", host.body(host=policy))
    docker.changes_left = instant
    with pytest.raises(EngineStartFailed, match="Docker does not answer"):
        await place.start(host.model("b"), Ear())
    docker.changes_left = None
    other = DockerPlace("pony", url=docker.url)
    healed = await other.heal()
    assert (docker.names, healed.name) == (["sd-pony"], "sd-pony")
    # The old one, as long as it is there and the new one has not taken its name.
    kept = instant <= (2 if policy else 4)
    assert healed.model == host.model("a" if kept else "b").path
    assert await ready(await other.start(host.model("b"), Ear())) == "b"
    await other.close()
    assert docker.names == ["sd-pony"]


@pytest.mark.parametrize("second", [1, 2])
@pytest.mark.parametrize("first", range(1, len(REPLACING)))
async def test_tsr_dies_once_more_while_it_heals(
    docker: FakeDocker, place: DockerPlace, host: Host, first: int, second: int
) -> None:
    await docker.run("sd-pony", host.body())
    for left in (first, second):
        docker.changes_left = left
        with pytest.raises(EngineStartFailed, match="Docker does not answer"):
            await place.start(host.model("b"), Ear())
        assert [one.backend for one in await _found(docker)] == ["pony"]
    docker.changes_left = None
    assert await ready(await place.start(host.model("b"), Ear())) == "b"
    assert docker.names == ["sd-pony"]


async def _found(docker: FakeDocker) -> list[Container]:
    left, docker.changes_left = docker.changes_left, None
    try:
        return await discover(docker.url)
    finally:
        docker.changes_left = left


async def test_a_start_that_is_cancelled_ends_what_it_began(docker: FakeDocker, place: DockerPlace, host: Host) -> None:
    await docker.run("sd-pony", host.body())
    start = asyncio.create_task(place.start(host.model("b"), Ear()))
    async with asyncio.timeout(SECONDS):
        while "create sd-pony.tsr-new" not in docker.changes:
            await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert docker.names == ["sd-pony"]
    assert environment(docker.named("sd-pony"))["MODEL"] == "/models/b.safetensors"


@pytest.mark.parametrize("tty", [False, True], ids=["frames", "terminal"])
async def test_output_is_cut_into_lines_and_bars_however_it_comes(
    docker: FakeDocker, place: DockerPlace, host: Host, tty: bool
) -> None:
    docker.add("sd-pony", host.body(Tty=tty))
    ear = Ear()
    await place.start(host.model("a"), ear)
    await ear.until("listening on")
    ear.pieces.clear()
    docker.say(
        "sd-pony", "\r  |=>  | 1/3 - 2.0it/s\x1b[K\r  |==> | 2/3 - 2.0it/s\x1b[K[INFO ] für\n".encode(), whole=False
    )
    await ear.until("für")
    assert ear.pieces == ["|=>  | 1/3 - 2.0it/s", "|==> | 2/3 - 2.0it/s", "[INFO ] für"]


async def test_an_error_does_not_tear_a_line_of_the_other_stream(
    docker: FakeDocker, place: DockerPlace, host: Host
) -> None:
    docker.add("sd-pony", host.body())
    ear = Ear()
    await place.start(host.model("a"), ear)
    await ear.until("listening on")
    docker.say("sd-pony", b"[INFO ] one ")
    docker.say("sd-pony", b"[ERROR] two\n", stream=2)
    docker.say("sd-pony", b"line\n")
    await ear.until("[INFO ] one line")
    assert "[ERROR] two" in ear.pieces


async def test_without_a_log_only_the_past_is_missing(docker: FakeDocker, place: DockerPlace, host: Host) -> None:
    await docker.run("sd-pony", host.body(host={"LogConfig": {"Type": "none"}}))
    docker.say("sd-pony", b"before\n")
    ear = Ear()
    await place.start(host.model("a"), ear)
    docker.say("sd-pony", b"after\n")
    await ear.until("after")
    assert "before" not in ear.pieces


async def test_a_life_ends_with_the_container_and_its_last_words_are_heard(
    docker: FakeDocker, place: DockerPlace, host: Host
) -> None:
    await docker.run("sd-pony", host.body())
    ear = Ear()
    life = await place.start(host.model("a"), ear)
    docker.say("sd-pony", b"[ERROR] last words without an end")
    await docker.stop("sd-pony")
    await ended(life)
    assert ear.pieces[-1] == "[ERROR] last words without an end"
    await life.end()
    assert docker.changes == []
    again = await place.start(host.model("a"), ear)
    assert await ready(again) == "a"
    assert docker.changes == ["start sd-pony"]


async def test_one_that_died_and_came_back_is_a_new_life_to_adopt(
    docker: FakeDocker, place: DockerPlace, host: Host
) -> None:
    container = await docker.run("sd-pony", host.body())
    life = await place.start(host.model("a"), Ear())
    await docker.kill("sd-pony")
    await ended(life)
    await life.end()
    assert container.state["Running"], "ending a life that is over must not end the next"
    again = await place.start(host.model("a"), Ear())
    assert (await ready(again), docker.changes) == ("a", [])


async def test_one_that_is_removed_ends_and_cannot_be_started(
    docker: FakeDocker, place: DockerPlace, host: Host
) -> None:
    await docker.run("sd-pony", host.body(host={"AutoRemove": True, "RestartPolicy": {}}))
    life = await place.start(host.model("a"), Ear())
    await docker.stop("sd-pony")
    await ended(life)
    with pytest.raises(EngineStartFailed, match=r"no container has the label tsr\.backend=pony"):
        await place.start(host.model("a"), Ear())


async def test_ending_stops_it_for_good(docker: FakeDocker, place: DockerPlace, host: Host) -> None:
    container = await docker.run("sd-pony", host.body())
    life = await place.start(host.model("a"), Ear())
    await life.end()
    await life.end()
    assert life.ended.is_set()
    assert not container.state["Running"]
    assert docker.changes == ["stop sd-pony"]


async def test_when_only_the_connection_is_lost_the_next_start_adopts(
    docker: FakeDocker, place: DockerPlace, host: Host
) -> None:
    await docker.run("sd-pony", host.body())
    life = await place.start(host.model("a"), Ear())
    docker.drop_streams("sd-pony")
    await ended(life)
    again = await place.start(host.model("a"), Ear())
    assert (await ready(again), docker.changes) == ("a", [])


async def test_a_model_that_does_not_load_is_heard_to_say_so(
    docker: FakeDocker, place: DockerPlace, host: Host
) -> None:
    docker.add("sd-pony", host.body(host={"Binds": [f"{host.root / 'models'}:/models"], "RestartPolicy": {}}))
    broken = host.model("a").path
    broken.write_bytes(b"no model")
    ear = Ear()
    life = await place.start(host.model("a"), ear)
    await ended(life)
    assert any(piece.startswith("[ERROR]") for piece in ear.pieces)


async def test_a_file_that_no_mount_holds_changes_nothing(docker: FakeDocker, place: DockerPlace, host: Host) -> None:
    await docker.run("sd-pony", host.body())
    path = host.root / "elsewhere" / "c.safetensors"
    with pytest.raises(EngineStartFailed) as caught:
        await place.start(host.model("a", path=path), Ear())
    assert caught.value.message == (
        f"container sd-pony does not see {path}; it sees {host.root}/models as /models, {host.root}/loras as /loras, "
        "/volumes/kept as /kept, /volumes/anonymous1 as /cache"
    )
    assert docker.changes == []


async def test_an_argument_with_a_space_is_refused(docker: FakeDocker, place: DockerPlace, host: Host) -> None:
    await docker.run("sd-pony", host.body())
    with pytest.raises(EngineStartFailed, match="it has a space in it"):
        await place.start(host.model("a"), Ear(), arguments=("--rng", "cuda cpu"))


async def test_two_containers_of_one_backend_are_refused(docker: FakeDocker, place: DockerPlace, host: Host) -> None:
    docker.add("sd-pony-1", host.body())
    docker.add("sd-pony-2", host.body())
    with pytest.raises(EngineStartFailed, match=r"several containers .*: sd-pony-1, sd-pony-2"):
        await place.start(host.model("a"), Ear())


@pytest.mark.parametrize("verb", ["create", "stop", "rename", "start"])
async def test_what_docker_refuses_is_told_in_its_words_and_put_right_later(
    docker: FakeDocker, place: DockerPlace, host: Host, verb: str
) -> None:
    await docker.run("sd-pony", host.body())
    docker.refusals[verb] = (500, "driver failed: port is already allocated")
    with pytest.raises(EngineStartFailed, match=r"Docker could not start backend pony: driver failed: port is"):
        await place.start(host.model("b"), Ear())
    docker.refusals.clear()
    assert await ready(await place.start(host.model("b"), Ear())) == "b"
    assert docker.names == ["sd-pony"]


async def test_docker_is_found_by_its_environment_variable(
    docker: FakeDocker, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker.add("sd-pony", host.body())
    monkeypatch.setenv("DOCKER_HOST", docker.url)
    # As for Docker's own client, the variable goes before a context that was chosen some day.
    chosen = Path.home() / ".docker" / "config.json"
    chosen.parent.mkdir(parents=True)
    chosen.write_text('{"currentContext": "elsewhere"}')
    assert [one.name for one in await discover()] == ["sd-pony"]


@pytest.mark.parametrize("address", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1", "rubbish", None])
async def test_without_docker_it_says_what_to_do(
    host: Host, monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    monkeypatch.setattr(aiodocker.docker, "_sock_search_paths", [])
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    place = DockerPlace("pony", url=address)
    with pytest.raises(EngineStartFailed, match=r"Docker does not answer|no Docker engine found") as caught:
        await place.start(host.model("a"), Ear())
    assert "systemctl start docker" in (caught.value.hint or "")
    await place.close()


async def test_docker_goes_away_while_an_engine_runs(docker: FakeDocker, place: DockerPlace, host: Host) -> None:
    await docker.run("sd-pony", host.body())
    life = await place.start(host.model("a"), Ear())
    await docker.shut()
    await ended(life)
    await life.end()
    with pytest.raises(EngineStartFailed, match="Docker does not answer"):
        await place.start(host.model("a"), Ear())


def test_a_socket_that_may_not_be_used_is_told_apart() -> None:
    """Built by hand: to root every socket is open."""
    key = aiohttp.client_reqrep.ConnectionKey("localhost", 80, False, True, None, None, None)
    refused = aiodocker.DockerError(900, "Cannot connect to Docker Engine")
    refused.__context__ = aiohttp.client_exceptions.UnixClientConnectorError(
        "/run/docker.sock", key, PermissionError(13, "denied")
    )
    with pytest.raises(EngineStartFailed, match="may not be used by this user") as caught, asking_docker("do it"):
        raise refused
    assert "usermod -aG docker" in (caught.value.hint or "")


async def test_loras_are_named_by_their_path_below_the_containers_folder(
    docker: FakeDocker, place: DockerPlace, host: Host
) -> None:
    await docker.run("sd-pony", host.body())
    lora = host.root / "loras" / "style" / "ink.safetensors"
    with pytest.raises(EngineDied):
        await place.lora_paths({"ink": lora})
    await place.start(host.model("a"), Ear())
    assert await place.lora_paths({"ink": lora}) == {"ink": "style/ink.safetensors"}
    with pytest.raises(LoraNotFound, match="'oil' is not in the folder of LoRAs of container sd-pony") as caught:
        await place.lora_paths({"oil": host.root / "models" / "oil.safetensors"})
    assert caught.value.hint == f"move it below {host.root}/loras"


async def test_discover_tells_what_each_container_is(docker: FakeDocker, host: Host) -> None:
    labels = {"tsr.families": "pony, illustrious", "tsr.version": "1.2"}
    (await docker.run("sd-pony", host.body(labels=labels))).state["Health"] = {"Status": "healthy"}
    docker.add("sd-flux", host.body(labels={"tsr.backend": "flux"}, Env=["DIFFUSION_MODEL=/elsewhere/f.gguf"]))
    docker.add("sd-pony.tsr-new", host.body())
    docker.add("sd-sdxl.tsr-old", host.body(labels={"tsr.backend": "sdxl"}))
    docker.add("database", {"Image": IMAGE, "Labels": {"other": "1"}})
    found = {one.backend: one for one in await discover(docker.url)}
    assert sorted(found) == ["flux", "pony", "sdxl"]
    pony, flux = found["pony"], found["flux"]
    assert (pony.families, pony.state, pony.healthy, pony.version) == (("pony", "illustrious"), "running", True, "1.2")
    assert pony.model == host.model("a").path
    assert (flux.families, flux.state, flux.healthy, flux.model) == ((), "created", None, None)
    assert flux.version == "unknown"
