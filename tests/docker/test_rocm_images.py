"""The images and services of `rocm-docker/` in a real Docker engine, with a real sd-server for CPUs."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from docker_compose import compose_program
from shell import FOLDER, TABLE

from docker.engine import BASE_IMAGE, DockerEngine, make_models
from docker.test_real_docker import draw, ready
from tensors.engines.docker import DockerPlace
from tensors.models import ModelFile
from tensors.png import size

pytestmark = pytest.mark.docker

SECONDS = 60
PROJECT = "tsr-test-images"
TEST_SERVICES = """\
services:
  sd-pony:
    ports: !override ["127.0.0.1::1234"]
    environment: { TAESD: /models/shapes.safetensors }
  sd-illustrious:
    ports: !override ["127.0.0.1::1234"]
    environment: { TAESD: /models/second.safetensors }
"""
TEST_SETTINGS = """\
PONY_MODEL=/models/shapes.safetensors
ILLUSTRIOUS_MODEL=/models/second.safetensors
SD_ARGS=--threads 1
SD_HEALTH_INTERVAL=1s
SD_MEMORY=2g
"""


def run(docker: DockerEngine, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command that talks to this Docker engine; it may fail."""
    full = {**os.environ, "DOCKER_HOST": docker.url, **environment}
    return subprocess.run(command, env=full, capture_output=True, text=True, timeout=300, check=False)


def builder() -> dict[str, str]:
    """BuildKit where a client has it, which is what people build with; else the older builder."""
    for folder in ("", "/usr/bin"):
        path = f"{folder}:{os.environ['PATH']}".lstrip(":")
        program = shutil.which("docker", path=path)
        assert program
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        plugin = subprocess.run([program, "buildx", "version"], capture_output=True, check=False)
        if plugin.returncode == 0 or version.startswith("Docker version 20."):
            return {"PATH": path, "DOCKER_BUILDKIT": "1"}
    return {"DOCKER_BUILDKIT": "0"}


def expected(family: str) -> dict[str, str]:
    """Every default as the image has it, those that the family leaves open too."""
    keys = {key for section in TABLE.values() for key in section} - {"hires"}
    return {key: str(TABLE[family].get(key, "")) for key in keys}


@pytest.fixture(scope="module")
def images(docker_engine: DockerEngine, sd_server: Path) -> Iterator[str]:
    """Every family's image; what `build-all.sh` said."""
    done = run(
        docker_engine, FOLDER / "build-all.sh", "--engine", sd_server, "--engine-version", "test", "--base-image",
        BASE_IMAGE, "--packages", "", "--", "--network=host", **builder(),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    yield done.stdout
    docker_engine("image", "rm", "--force", *(f"sd-server:{family}" for family in TABLE))


def inspect_image(docker: DockerEngine, family: str) -> dict[str, Any]:
    (document,) = json.loads(docker("image", "inspect", f"sd-server:{family}"))
    return dict(document)


def environment_of(document: dict[str, Any]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in document["Config"]["Env"] if "=" in line)


def test_all_families_build_and_share_their_layers(docker_engine: DockerEngine, images: str) -> None:
    assert all(f"  sd-server:{family} " in images for family in TABLE)
    layers = [inspect_image(docker_engine, family)["RootFS"]["Layers"] for family in TABLE]
    # The last one holds a copy of the family's section.
    assert len({tuple(own[:-1]) for own in layers}) == 1


@pytest.mark.parametrize("family", TABLE)
def test_an_image_shows_its_defaults(docker_engine: DockerEngine, images: str, family: str) -> None:
    document = inspect_image(docker_engine, family)
    labels, environment = document["Config"]["Labels"], environment_of(document)
    wanted = expected(family)
    assert {key: labels[f"tsr.default.{key}"] for key in wanted} == wanted
    assert {key: environment[key.upper()] for key in wanted} == wanted
    assert (labels["tsr.families"], labels["tsr.port"], labels["tsr.version"]) == (family, "1234", "test")
    assert (environment["MODEL_FAMILY"], environment["LORA_DIR"]) == (family, "/loras")
    assert document["Config"]["User"] == "1000:1000"
    assert document["Config"]["Healthcheck"]["Test"] == ["CMD", "healthy.sh"]


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A build context with an engine that is none."""
    context = tmp_path / "context"
    shutil.copytree(FOLDER, context, ignore=shutil.ignore_patterns("engine", ".env"))
    (context / "engine").mkdir()
    (context / "engine" / "sd-server").touch()
    return context


def build(docker: DockerEngine, context: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = [word for argument in arguments for word in ("--build-arg", argument)]
    return run(
        docker, "docker", "build", "--network=host", "--file", context / "Dockerfile.sd-server", "--tag", "tsr-test/x",
        *("--build-arg", f"BASE_IMAGE={BASE_IMAGE}", "--build-arg", "PACKAGES="), *words, context, **builder(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["MODEL_FAMILY=ponny"], "MODEL_FAMILY: 'ponny' is no section of model-defaults.toml, which has: sd15 sd2 "),
        ([], "build-all.sh gives them: rocm-docker/build-all.sh sdxl"),
        (["ENGINE_URL=http://127.0.0.1:1/x.zip"], "both ENGINE_URL and engine/ in the build context: which one?"),
    ],
)
def test_a_build_that_makes_no_sense_says_why(
    docker_engine: DockerEngine, context: Path, arguments: list[str], said: str
) -> None:
    done = build(docker_engine, context, *arguments)
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


@pytest.fixture
def release(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """URL and SHA256 of an archive like upstream's, whose engine is none."""
    folder = tmp_path / "release"
    folder.mkdir()
    with zipfile.ZipFile(folder / "engine.zip", "w") as archive:
        archive.writestr("build/bin/sd-server", "#!/bin/bash\necho from the release\n")
        archive.writestr("build/bin/libstable-diffusion.so", "")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        sum = hashlib.sha256((folder / "engine.zip").read_bytes()).hexdigest()
        yield f"http://127.0.0.1:{server.server_port}/engine.zip", sum
        server.shutdown()


def test_a_release_is_checked_and_taken_with_its_libraries(
    docker_engine: DockerEngine, context: Path, release: tuple[str, str]
) -> None:
    url, sum = release
    (context / "engine" / "sd-server").unlink()
    defaults = [f"{key.upper()}={value}" for key, value in expected("flux").items()]
    wanted = [f"ENGINE_URL={url}", "MODEL_FAMILY=flux", *defaults]
    done = build(docker_engine, context, *wanted, f"ENGINE_SHA256={'0' * 64}")
    assert done.returncode != 0
    assert f"engine: {url} has the SHA256 {sum}, not {'0' * 64}" in done.stdout + done.stderr
    done = build(docker_engine, context, *wanted, f"ENGINE_SHA256={sum}")
    assert done.returncode == 0, done.stderr
    said = docker_engine("run", "--rm", "--entrypoint=bash", "tsr-test/x", "-c", "sd-server; ls /opt/sd-server")
    assert said.split("\n") == ["from the release", "defaults", "libstable-diffusion.so", "sd-server"]


@dataclass(frozen=True)
class Folders:
    """What containers see at `/models` and `/loras`."""

    root: Path
    shapes: ModelFile
    second: ModelFile

    @property
    def mounts(self) -> list[str]:
        return [f"--volume={self.root / name}:/{name}:ro" for name in ("models", "loras")]


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    shapes, second = make_models(tmp_path)
    (tmp_path / "output").mkdir()
    return Folders(tmp_path, shapes, second)


def test_a_missing_model_is_told_with_those_that_are_there(
    docker_engine: DockerEngine, images: str, folders: Folders
) -> None:
    secret = folders.root / "models" / "secret.gguf"
    secret.touch(mode=0o600)
    listed = "/models holds:\n/models/second.safetensors\n/models/secret.gguf\n/models/shapes.safetensors\n"
    for model, said in [
        ("", "neither MODEL nor DIFFUSION_MODEL names a file"),
        ("/models/ponny.gguf", "MODEL=/models/ponny.gguf: there is no such file"),
        ("/models/secret.gguf", "MODEL=/models/secret.gguf: user 1000:1000 may not read it"),
    ]:
        command = ("docker", "run", "--rm", *folders.mounts, f"--env=MODEL={model}", "sd-server:pony")
        done = run(docker_engine, *command)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"sd-server cannot start: {said}\n{listed}"


def until_healthy(docker: DockerEngine, container: str) -> dict[str, Any]:
    """What Docker says of it once its health check has found it well."""
    deadline = time.monotonic() + SECONDS
    while True:
        document = docker.inspect(container)
        state = document["State"]
        if state["Running"] and state["Health"]["Status"] == "healthy":
            return document
        assert time.monotonic() < deadline, docker("logs", container)
        time.sleep(0.1)


def defaults_of(document: dict[str, Any]) -> dict[str, Any]:
    """The engine's own answer to what it fills in."""
    (binding,) = document["NetworkSettings"]["Ports"]["1234/tcp"]
    answer = httpx.get(f"http://127.0.0.1:{binding['HostPort']}/sdcpp/v1/capabilities", trust_env=False)
    return dict(answer.raise_for_status().json()["defaults"])


@pytest.fixture
def container(docker_engine: DockerEngine) -> Iterator[str]:
    """A name for a container, which is gone afterwards."""
    yield "tsr-test-images-one"
    docker_engine("rm", "--force", "tsr-test-images-one")


def test_environment_and_arguments_win_over_the_family(
    docker_engine: DockerEngine, images: str, folders: Folders, container: str
) -> None:
    docker_engine(
        *("run", "--detach", f"--name={container}", "--read-only", "--tmpfs=/tmp", "--publish=127.0.0.1::1234"),
        *("--health-interval=1s", *folders.mounts, "--env=MODEL=/models/shapes.safetensors"),
        *(
            "--env=TAESD=/models/shapes.safetensors",
            "--env=STEPS=3",
            "--env=CLIP_SKIP=",
            "--env=SCHEDULER=karras",
            "--env=NEGATIVE_PROMPT=a 'b'",
        ),
        *("sd-server:pony", "--threads", "1", "--prompt", "a red  circle", "--width", "128"),
    )
    defaults = defaults_of(until_healthy(docker_engine, container))
    sampling = defaults["sample_params"]
    assert (sampling["sample_steps"], sampling["sample_method"], sampling["scheduler"]) == (3, "euler_a", "karras")
    # Empty, so the engine's own.
    assert defaults["clip_skip"] == -1
    assert (defaults["prompt"], defaults["negative_prompt"]) == ("a red  circle", "a 'b'")
    assert (defaults["width"], defaults["height"]) == (128, 1024)
    first = docker_engine("logs", container).splitlines()[0]
    assert first.startswith("Starting: sd-server --listen-ip 0.0.0.0 ")
    assert first.endswith(r" --negative-prompt a\ \'b\' --threads 1 --prompt a\ red\ \ circle --width 128")


def test_the_engine_knows_every_option_of_the_entrypoint(docker_engine: DockerEngine, images: str) -> None:
    options = set(re.findall(r":(--[a-z0-9_-]+)", (FOLDER / "entrypoint.sh").read_text()))
    assert len(options) == 17
    done = run(docker_engine, "docker", "run", "--rm", "--entrypoint=sd-server", "sd-server:pony", "--help")
    assert options <= set(re.findall(r"--[a-z0-9_-]+", done.stdout))


@pytest.mark.parametrize("init", [(), ("--init",)], ids=["as process 1", "with init"])
def test_a_container_ends_when_it_is_asked_to(
    docker_engine: DockerEngine, images: str, folders: Folders, container: str, init: tuple[str, ...]
) -> None:
    docker_engine(
        *("run", "--detach", f"--name={container}", *init, "--health-interval=1s", *folders.mounts),
        *("--env=MODEL=/models/shapes.safetensors", "--env=TAESD=/models/shapes.safetensors", "sd-server:pony"),
    )
    until_healthy(docker_engine, container)
    docker_engine("stop", "--time=60", container)
    # Not 137, which would be SIGKILL after a minute.
    assert docker_engine.inspect(container)["State"]["ExitCode"] == 128 + signal.SIGTERM


def test_an_engine_that_dies_takes_its_container_with_it(
    docker_engine: DockerEngine, images: str, folders: Folders, container: str
) -> None:
    (folders.root / "models" / "broken.gguf").write_bytes(b"GGUF")
    docker_engine(
        *("run", "--detach", f"--name={container}", *folders.mounts, "--env=MODEL=/models/broken.gguf"),
        "sd-server:pony",
    )
    assert docker_engine("wait", container) == "1"


@pytest.fixture
def services(docker_engine: DockerEngine, images: str, folders: Folders) -> Iterator[Services]:
    """The services, with the override for CPUs and ports of their own."""
    for file in FOLDER.glob("docker-compose*.yml"):
        shutil.copy(file, folders.root)
    (folders.root / "docker-compose.test.yml").write_text(TEST_SERVICES)
    (folders.root / ".env").write_text(TEST_SETTINGS)
    services = Services(docker_engine, folders)
    yield services
    services("down", "--timeout", "1")


@dataclass(frozen=True)
class Services:
    """Compose in a folder of its own."""

    docker: DockerEngine
    folders: Folders

    def __call__(self, *arguments: str) -> str:
        files = [f"--file={self.folders.root / f'docker-compose{name}.yml'}" for name in ("", ".cpu", ".test")]
        done = run(self.docker, compose_program(), f"--project-name={PROJECT}", *files, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def container(self, service: str) -> str:
        """The id of a service's container, as Compose knows it."""
        return self("ps", "--all", "--quiet", "--no-trunc", service).strip()

    def up(self) -> None:
        self("up", "--detach", "--wait", "sd-pony", "sd-illustrious")


async def test_two_services_come_up_healthy_confined_and_draw(services: Services) -> None:
    services.up()
    docker, pictures = services.docker, []
    for family, model in (("pony", services.folders.shapes), ("illustrious", services.folders.second)):
        before = docker.inspect(services.container(f"sd-{family}"))
        assert before["State"]["Health"]["Status"] == "healthy"
        assert before["HostConfig"]["ReadonlyRootfs"]
        assert not before["HostConfig"]["Privileged"]
        said = docker("exec", before["Id"], "bash", "-c", "id -u; id -g; touch /opt/x 2>&1 || touch /tmp/x && echo tmp")
        assert said.split("\n") == ["1000", "1000", "touch: cannot touch '/opt/x': Read-only file system", "tmp"]
        place = DockerPlace(family, url=docker.url)
        try:
            life = await place.start(model, print)
            await ready(life)
            pictures.append(await draw(life))
        finally:
            await place.close()
        # Adopted as it is.
        assert docker.inspect(services.container(f"sd-{family}"))["Id"] == before["Id"]
    assert [size(picture) for picture in pictures] == [(64, 64), (64, 64)]


async def test_compose_knows_a_container_to_which_tsr_gave_another_model(services: Services) -> None:
    services.up()
    before = services.container("sd-pony")
    place = DockerPlace("pony", url=services.docker.url)
    try:
        life = await place.start(services.folders.second, print)
        assert await ready(life) == "/models/second.safetensors"
    finally:
        await place.close()
    after = services.container("sd-pony")
    assert after != before
    services.up()
    document = services.docker.inspect(services.container("sd-pony"))
    assert document["Id"] == after
    assert environment_of(document)["MODEL"] == "/models/second.safetensors"
    assert document["HostConfig"]["ReadonlyRootfs"]
    services("stop", "--timeout", "1")
    assert not services.docker.inspect(after)["State"]["Running"]


def test_a_killed_container_comes_back(services: Services) -> None:
    services.up()
    container = services.container("sd-pony")
    before = services.docker.inspect(container)["State"]
    # What an abort in a driver or the kernel's want of memory does.
    os.kill(before["Pid"], signal.SIGKILL)
    deadline = time.monotonic() + SECONDS
    while services.docker.inspect(container)["State"]["StartedAt"] == before["StartedAt"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    after = until_healthy(services.docker, container)
    assert after["RestartCount"] == 1
    assert defaults_of(after)["sample_params"]["sample_steps"] == TABLE["pony"]["steps"]
