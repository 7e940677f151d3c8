"""`tsr doctor` on engines: whether one starts and draws, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import FAKE_ENGINE
from fake_civitai import FakeCivitai, answering
from observe import EngineLog, is_gone
from PIL import Image

from tensors.config import Config, load_config
from tensors.doctoring import engine
from tensors.engine_settings import BackendSettings
from tensors.engines.binary import EngineBinary
from tensors.types.doctor import Finding

NOBODY = "http://127.0.0.1:1"
"""Where nothing listens."""


def told(findings: Iterable[Finding]) -> list[tuple[str, str | None]]:
    """State and command of each finding."""
    return [(finding.state, finding.command) for finding in findings]


def with_(**values: Any) -> Config:
    return load_config().with_values(**values)


BINARY = EngineBinary(name="one", version="1", source="release", path=FAKE_ENGINE, accelerator="cpu")


async def start(config: Config | None = None, **environment: str) -> Finding:
    settings = BackendSettings(name="one", environment=environment)
    return await engine.start(BINARY, config or load_config(), settings, seconds=20)


@pytest.fixture
def own_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's temporary files are made."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


async def test_an_engine_starts_draws_and_is_gone(own_tmp: Path, tmp_path: Path) -> None:
    log = EngineLog(tmp_path / "log")
    found = await start(with_(engine__arguments=("--fa",), engine__threads=3), **log.environment)
    assert found.state == "ok", found.message
    (begun,) = log.entries("start")
    assert {"--fa", "3"} <= set(begun["argv"])
    assert len(log.entries("img_gen")) == 1
    assert is_gone(begun["pid"])
    assert not list(own_tmp.iterdir())
    assert not load_config().data_dir.exists()


@pytest.mark.engine
async def test_the_real_engine_draws_a_picture_with_the_demo_model(sd_server: Path) -> None:
    real = EngineBinary(name="real", version="1", source="build", path=sd_server, accelerator="cpu")
    found = await engine.start(real, load_config(), BackendSettings(name="engine"), seconds=60)
    assert found.state == "ok", found.message


async def test_an_engine_that_does_not_load_is_told_with_its_last_words(own_tmp: Path) -> None:
    found = await start(FAKE_SD_BAD_MODEL="1")
    assert (found.state, found.command) == ("error", "tsr engine install --source release --force")
    assert "[ERROR]" in found.message
    assert not list(own_tmp.iterdir())


async def test_an_engine_that_cannot_draw() -> None:
    assert (await start(FAKE_SD_FAIL="1")).state == "error"


async def test_a_picture_of_nothing_is_no_picture(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "black").save(tmp_path / "black.png")
    found = await start(FAKE_SD_PNG=str(tmp_path / "black.png"))
    assert found.state == "error"
    assert "one colour" in found.message


async def test_what_its_owner_set_is_suspected_first(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"FAKE_SD_BAD_MODEL": "1"}
    found = await start(with_(engine__arguments=("--odd",)), **broken)
    assert found.command == "tsr config unset engine.arguments"
    monkeypatch.setenv("TSR_ENGINE", str(FAKE_ENGINE))
    assert (await start(**broken)).command == "unset TSR_ENGINE"
    monkeypatch.setenv("TSR_ENGINE", "/nowhere/sd-server")
    assert engine.find(load_config())[1].command == "unset TSR_ENGINE"


async def test_a_start_that_is_given_up_leaves_nothing(own_tmp: Path, tmp_path: Path) -> None:
    log = EngineLog(tmp_path / "log")
    task = asyncio.create_task(start(FAKE_SD_HANG_LOAD="1", **log.environment))
    while not log.entries("start"):
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert is_gone(log.entries("start")[0]["pid"])
    assert not list(own_tmp.iterdir())


def test_without_an_engine_the_command_gets_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    none, found = engine.find(load_config())
    assert (none, found.state, found.command) == (None, "error", "tsr engine install")
    assert engine.find(with_(engine__docker="local"))[1].state == "skipped"


def test_reserved_arguments_are_found(fake_engine: Path) -> None:
    _, found = engine.find(with_(engine__arguments=("--listen-port", "9")))
    assert (found.state, found.command) == ("error", "tsr config unset engine.arguments")


def test_processes_that_differ_in_their_names_only_are_tried_once() -> None:
    one, two = BackendSettings(name="a"), BackendSettings(name="b")
    other = BackendSettings(name="c", environment={"HIP_VISIBLE_DEVICES": "1"})
    elsewhere = BackendSettings(name="d", url=NOBODY)
    assert engine.processes(replace(load_config(), backends=(one, two, other, elsewhere))) == (one, other)
    assert [backend.name for backend in engine.processes(load_config())] == ["engine"]


@pytest.fixture
def somebodys_engine() -> Iterator[FakeCivitai]:
    """A server that answers what it is told to."""
    made = FakeCivitai()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (b'{"model": {"path": "/m/dream.safetensors"}}', "ok"),
        (b'{"model": {}}', "warning"),
        (b"<html>", "error"),
    ],
)
async def test_somebody_elses_engine_is_asked(somebodys_engine: FakeCivitai, answer: bytes, state: str) -> None:
    somebodys_engine.order(answering(200, answer))
    found = await engine.external(BackendSettings(name="studio", url=somebodys_engine.url))
    assert found.state == state, found.message
    assert "studio" in found.message


async def test_somebody_elses_engine_that_is_away() -> None:
    found = await engine.external(BackendSettings(name="studio", url=NOBODY))
    assert (found.state, found.command) == ("error", f"curl -m 5 {NOBODY}/sdcpp/v1/capabilities")
