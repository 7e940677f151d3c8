"""`deploy.sh` with a real Docker engine, a real sd-server for CPUs and a real tsr behind a real sshd.

The host's systemd is a stand-in that starts what the unit says, as its user; the rest is what a GPU box would have.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import Tsr
from docker_compose import compose_program
from sshd import NAME, SecondHost, second_host

from docker.engine import BASE_IMAGE, DockerEngine
from tensors.models import demo_dir

pytestmark = pytest.mark.docker

# The model that ships is of no family that has a container, and tsr decodes it with itself.
CONFIG = """\
[paths]
checkpoints = ["{folder}/models/checkpoints"]
[engine.backends.pony]
container = "pony"
families = ["shapes"]
[engine]
model = "{folder}/models/checkpoints/little.safetensors"
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of models that Docker, its containers and the host's user see under one name."""
    with tempfile.TemporaryDirectory(prefix="tsr-deploy-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "models" / "checkpoints").mkdir(parents=True)
        shutil.copy(demo_dir() / "shapes.safetensors", folder / "models" / "checkpoints" / "little.safetensors")
        yield folder


@pytest.fixture
def host(docker_engine: DockerEngine, folder: Path, tmp_path: Path) -> Iterator[SecondHost]:
    with second_host(tmp_path / "host", docker_socket=Path(urlsplit(docker_engine.url).path)) as host:
        plugin = host.path("/usr/local/lib/docker/cli-plugins/docker-compose")
        plugin.parent.mkdir(parents=True)
        shutil.copy(compose_program(), plugin)
        host.run("chgrp", "docker", "/run/docker.sock")
        host.write("/etc/tsr/config.toml", CONFIG.format(folder=folder))
        yield host
        for container in docker_engine.names():
            docker_engine("rm", "--force", "--volumes", container)
        docker_engine("network", "prune", "--force")
        for line in docker_engine("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "sd-server").split():
            docker_engine("image", "rm", "--force", line)


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def started(docker: DockerEngine) -> dict[str, tuple[str, str]]:
    """Every container, which one it is and since when it runs."""
    found = {name: docker.inspect(name) for name in docker.names()}
    return {name: (document["Id"], document["State"]["StartedAt"]) for name, document in found.items()}


def deployed(host: SecondHost, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    done = host.deploy(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def test_one_command_ends_in_a_picture_and_a_second_one_changes_nothing(
    host: SecondHost, docker_engine: DockerEngine, sd_server: Path, folder: Path, tsr: Tsr, tmp_path: Path
) -> None:
    settings = {
        "MODELS_DIR": f"{folder}/models",
        "LORAS_DIR": f"{folder}/loras",
        "OUTPUT_DIR": f"{folder}/output",
        "PONY_MODEL": "/models/checkpoints/little.safetensors",
        "SD_ARGS": "--taesd /models/checkpoints/little.safetensors --threads 2",
        "SD_MEMORY": "2g",
        "SD_HEALTH_INTERVAL": "1s",
    }
    arguments = [
        *("--backend", "cpu", "--families", "pony", "--engine", sd_server, "--port", free_port(), "--wait", "120"),
        *(word for name, value in settings.items() for word in ("--set", f"{name}={value}")),
    ]
    build = ("--", "--base-image", BASE_IMAGE, "--packages", "", "--", "--network=host")
    command, environment = host.command(*arguments, NAME, *build)
    first = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280, check=False
    )
    assert first.returncode == 0, first.stderr
    remote = tomllib.loads(first.stdout)["remotes"][NAME]
    (tmp_path / "config.toml").write_text(first.stdout)
    pictures = tsr.json("images", "list", "--remote", NAME)
    assert isinstance(pictures, dict)
    assert [picture["tags"] for picture in pictures["items"]] == [["deploy"]]
    drawn = tsr("generate", "a red circle", "--remote", NAME, "-o", str(tmp_path / "own.png"))
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "own.png").read_bytes().startswith(b"\x89PNG")
    refused = tsr("images", "list", "--remote", remote["url"], "--json")
    assert json.loads(refused.stdout or refused.stderr)["error"]["code"] == "unauthorized"

    before = started(docker_engine)
    pid = host.path("/run/units/tsr-server.service").read_text()
    (name,) = before
    document = docker_engine.inspect(name)
    assert document["HostConfig"]["ReadonlyRootfs"]
    assert document["Config"]["User"] == ":".join(host.run("id", flag, "tsr").stdout.strip() for flag in ("-u", "-g"))
    second = deployed(host, *arguments)
    assert "Nothing was changed: release " in second.stderr
    assert second.stdout == first.stdout
    assert started(docker_engine) == before
    assert host.path("/run/units/tsr-server.service").read_text() == pid
