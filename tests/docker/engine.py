"""A private Docker engine for tests, and containers with a real sd-server in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensors.models import ModelFile, demo_dir

HERE = Path(__file__).parent
SCRIPT = HERE.parents[1] / "tools" / "docker_engine.sh"
BASE_IMAGE = "local/debian:bookworm"
IMAGE = "tsr-test/sd-server"


@dataclass(frozen=True)
class DockerEngine:
    """A running Docker engine and its command line."""

    url: str
    """For `DOCKER_HOST`."""

    def __call__(self, *arguments: str | Path) -> str:
        """Run one `docker` command and return what it printed; a failure fails the test and shows what was said."""
        environment = {**os.environ, "DOCKER_HOST": self.url, "DOCKER_BUILDKIT": "0"}
        done = subprocess.run(
            ["docker", *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"docker {arguments}: {done.stderr}{done.stdout}"
        return done.stdout.strip()

    def inspect(self, container: str) -> dict[str, Any]:
        """What Docker says of a container."""
        (document,) = json.loads(self("container", "inspect", container))
        return dict(document)

    def names(self) -> list[str]:
        """Every container, running or not."""
        return sorted(self("ps", "-a", "--format", "{{.Names}}").split())


@contextmanager
def running_engine() -> Iterator[DockerEngine]:
    """A Docker engine for as long as the block lasts, or until this process ends in whatever way."""
    process = subprocess.Popen(
        [SCRIPT, "run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C is for the tests; it goes when they let go of its standard input.
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        url = process.stdout.readline().strip()
        assert url, f"no Docker engine: {SCRIPT.name} ended with {process.wait(60)} and says above why"
        yield DockerEngine(url)
    finally:
        process.stdin.close()
        # Removing its data takes as long as the disk is busy.
        process.wait(300)
        process.stdout.close()


def build_image(docker: DockerEngine, sd_server: Path, folder: Path) -> str:
    """The image of `Dockerfile` with this engine in it."""
    for file in (HERE / "Dockerfile", HERE / "entrypoint.sh", HERE / "healthy.sh"):
        shutil.copy(file, folder)
    shutil.copy(sd_server, folder / "sd-server")
    docker("build", "--quiet", "--network=host", "--build-arg", f"BASE_IMAGE={BASE_IMAGE}", "--tag", IMAGE, folder)
    return IMAGE


@dataclass(frozen=True)
class Backend:
    """A container with an engine."""

    name: str
    """Its label's."""
    families: str
    container: str


@dataclass(frozen=True)
class Backends:
    """Containers that share folders of models and LoRAs, and what lies there."""

    docker: DockerEngine
    pony: Backend
    """Bound to `pony` and `illustrious`, with `shapes` in it; Docker starts it again when it dies."""
    flux: Backend
    """Bound to `flux`, made and never started."""
    shapes: ModelFile
    second: ModelFile
    """The demo model under another name, for a swap."""
    loras: Path


def make_models(root: Path) -> tuple[ModelFile, ModelFile]:
    """Two models that the containers see at `/models`, and a LoRA at `/loras`."""
    models = root / "models"
    models.mkdir()
    made = []
    for name in ("shapes", "second"):
        path = Path(shutil.copy(demo_dir() / "shapes.safetensors", models / f"{name}.safetensors"))
        made.append(ModelFile(name, path, "pony", companions=(("taesd", path),)))
    (root / "loras" / "style").mkdir(parents=True)
    shutil.copy(demo_dir() / "loras" / "shapes-outline.safetensors", root / "loras" / "style" / "outline.safetensors")
    return made[0], made[1]


@contextmanager
def running_backends(docker: DockerEngine, image: str, root: Path) -> Iterator[Backends]:
    """Two containers as a compose file would make them, removed with whatever took their place."""
    shapes, second = make_models(root)
    pony = Backend("pony", "pony,illustrious", "tsr-test-pony")
    flux = Backend("flux", "flux", "tsr-test-flux")
    networks = ("tsr-test", "tsr-test-more")
    for network in networks:
        docker("network", "create", network)
    try:
        docker(
            *("create", *_options(pony, root), "--restart=unless-stopped", "--publish=127.0.0.1::1234"),
            *("--volume=/cache", image),
        )
        docker("network", "connect", networks[1], pony.container)
        docker("start", pony.container)
        # No published port: it is reached by its own address. An init hands signals on.
        docker("create", *_options(flux, root), "--init", "--tty", image)
        yield Backends(docker, pony, flux, shapes, second, root / "loras")
    finally:
        for container in docker.names():
            docker("rm", "--force", "--volumes", container)
        docker("network", "rm", *networks)


def _options(backend: Backend, root: Path) -> list[str]:
    labels = {
        "tsr.backend": backend.name,
        "tsr.families": backend.families,
        "com.docker.compose.project": "tsr-test",
        "com.docker.compose.service": backend.name,
    }
    model = "/models/shapes.safetensors"
    environment = {"MODEL": model, "TAESD": model, "SD_ARGS": "--threads 2"}
    return [
        *(f"--name={backend.container}", "--network=tsr-test", f"--network-alias={backend.name}"),
        *(f"--label={name}={value}" for name, value in labels.items()),
        *(f"--env={name}={value}" for name, value in environment.items()),
        *(f"--volume={root / folder}:/{folder}:ro" for folder in ("models", "loras")),
    ]
