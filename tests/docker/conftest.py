"""One Docker engine for all tests here, and two backends in it for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from docker.engine import Backends, DockerEngine, build_image, running_backends, running_engine


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these tests out unless they are asked for by name: `-m docker`."""
    if "docker" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("docker")]
    if left_out:
        items[:] = [item for item in items if not item.get_closest_marker("docker")]
        config.hook.pytest_deselected(items=left_out)


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Say so."""
    return (
        [] if "docker" in config.option.markexpr else ["tests of a real Docker engine are left out (make test-docker)"]
    )


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    """A private Docker engine, gone after the tests however they end."""
    with running_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def engine_image(docker_engine: DockerEngine, sd_server: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with the real sd-server for CPUs."""
    return build_image(docker_engine, sd_server, tmp_path_factory.mktemp("image"))


@pytest.fixture
def two_backends(docker_engine: DockerEngine, engine_image: str, tmp_path: Path) -> Iterator[Backends]:
    """`pony`, which runs, and `flux`, which was never started."""
    with running_backends(docker_engine, engine_image, tmp_path) as backends:
        yield backends
