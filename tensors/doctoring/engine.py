"""Engines: which sd-server there is, and whether it draws."""

from __future__ import annotations

import asyncio
import io
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tensors.config import Config
from tensors.doctoring.finding import error, ok, shell, skipped, warning
from tensors.engine_settings import BackendSettings, check_arguments
from tensors.engines.backend import Backend
from tensors.engines.binary import EngineBinary, find_engine
from tensors.engines.fleet import needs_engine
from tensors.engines.process import ProcessPlace
from tensors.engines.sd_server import SdServerClient
from tensors.errors import ConfigError, EngineError, EngineNotInstalled
from tensors.inputs import Inputs
from tensors.models import DEMO_MODEL, ModelFile, demo_dir
from tensors.types.doctor import Finding
from tensors.types.generation import Settings, UsedModel
from tensors.types.server import EngineStatus

START_SECONDS = 45
"""To load the demo model, and again for each step; a card's driver may compile at the first start."""
_ANSWER_SECONDS = 5
_RUNNING = ("loading", "ready", "busy")
_PICTURE = Settings(
    prompt="a red circle on a blue background",
    negative_prompt="",
    model=UsedModel(name=DEMO_MODEL, family=DEMO_MODEL),
    width=64,
    height=64,
    steps=4,
    cfg_scale=1,
    sampler="euler",
    scheduler="discrete",
    seed=1,
)


def find(config: Config) -> tuple[EngineBinary | None, Finding]:
    """The sd-server that is started on this machine, and what is to be said of it."""
    if not needs_engine(config):
        return None, skipped("engine", "the settings start no engine on this machine itself")
    try:
        check_arguments(config["engine.arguments"], "engine.arguments")
        binary = find_engine(config)
    except EngineNotInstalled as missing:
        return None, error("engine", missing.message, _without_path(config) or "tsr engine install")
    except ConfigError as wrong:
        return None, error("engine", wrong.message, "tsr config unset engine.arguments")
    accelerator = "" if binary.accelerator == "unknown" else f" for {binary.accelerator}"
    return binary, ok("engine", f"sd-server {binary.version}{accelerator}: {binary.path}")


def processes(config: Config) -> tuple[BackendSettings, ...]:
    """The backends that are processes of ours, those that differ only in their names once."""
    ours = [one for one in config.backends if one.kind == "process"] or [BackendSettings(name="engine")]
    return tuple({(one.arguments, tuple(one.environment.items())): one for one in reversed(ours)}.values())[::-1]


def is_running(backend: EngineStatus) -> bool:
    """Whether there is a model in it, or coming."""
    return backend.state in _RUNNING


def look_at_backends(check: str, backends: Sequence[EngineStatus]) -> list[Finding]:
    """What is to be said of backends that run or have failed; nothing of those that are stopped."""
    found = []
    for one in backends:
        if is_running(one):
            found.append(ok(check, f"{one.name} is {one.state}, with {one.model}"))
        elif one.state == "failed":
            found.append(error(check, f"{one.name} failed: {one.message}", shell("tsr", "logs", one.name)))
    return found


async def start(binary: EngineBinary, config: Config, settings: BackendSettings, *, seconds: float) -> Finding:
    """Start an engine beside all others, as the settings have it, let it draw a small picture, and end it.

    `seconds`: for the load, and for each step. Whatever interrupts this ends the engine first.
    """
    with tempfile.TemporaryDirectory(prefix="tsr-doctor-") as folder:
        place = ProcessPlace(
            binary,
            run_dir=Path(folder, "run"),
            name=settings.name,
            threads=config["engine.threads"],
            arguments=(*config["engine.arguments"], *settings.arguments),
            environment=settings.environment,
        )
        inputs = Inputs(Path(folder, "inputs"))
        backend = Backend(place, name=settings.name, inputs=inputs, start_timeout=seconds, step_timeout=seconds)
        try:
            return await _drawn(backend)
        except EngineError as failure:
            said = f"sd-server does not draw with the model that ships: {failure.message}"
            return error("engine.start", said, _mend(config))
        finally:
            await backend.stop()


async def _drawn(backend: Backend) -> Finding:
    began = time.monotonic()
    await backend.ensure(_demo_model())
    loaded = time.monotonic()
    pictures = await backend.generate(
        _PICTURE, seed=1, count=1, first=0, loras={}, report=lambda _progress: None, attempt=1
    )
    drawn = time.monotonic()
    if len(pictures) != 1 or _is_plain(pictures[0]):
        said = "sd-server starts, but draws a picture of one colour: the card computes wrongly"
        return error("engine.start", said, "tsr config set engine.arguments -- --vae-on-cpu")
    said = f"sd-server starts in {loaded - began:.1f} s and draws a small picture in {drawn - loaded:.1f} s"
    return ok("engine.start", said)


def _demo_model() -> ModelFile:
    path = demo_dir() / f"{DEMO_MODEL}.safetensors"
    # Its file has a tiny autoencoder in it, and no other.
    return ModelFile(DEMO_MODEL, path, DEMO_MODEL, companions=(("taesd", path),))


def _mend(config: Config) -> str:
    """What may help an engine that does not draw: without what the owner set, or another one."""
    if config["engine.arguments"]:
        return "tsr config unset engine.arguments"
    return _without_path(config) or "tsr engine install --source release --force"


def _without_path(config: Config) -> str | None:
    """How the engine that the settings name is named no more; None when they name none."""
    origin = config.origins["engine.path"]
    return {"default": None, "file": "tsr config unset engine.path"}.get(origin, f"unset {origin}")


def _is_plain(png: bytes) -> bool:
    """Whether a picture shows nothing: what is left of numbers that are none is black."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as picture:
        darkest, brightest = picture.convert("L").getextrema()
    return darkest == brightest


async def external(backend: BackendSettings) -> Finding:
    """Whether somebody else's engine answers."""
    assert backend.url
    client = SdServerClient(backend.url)
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            there = await client.capabilities()
    except (EngineError, TimeoutError) as failure:
        said = getattr(failure, "message", f"the engine does not answer within {_ANSWER_SECONDS} s")
        command = shell("curl", "-m", str(_ANSWER_SECONDS), f"{backend.url}/sdcpp/v1/capabilities")
        return error("backends", f"{backend.name} ({backend.url}): {said}", command)
    finally:
        await client.close()
    if not there.model_path:
        said = f"{backend.name} ({backend.url}) does not say which model it has, so it is not used"
        return warning("backends", said)
    return ok("backends", f"{backend.name} ({backend.url}) has {Path(there.model_path).name}")


def environment_of(backend: BackendSettings, ours: Mapping[str, str]) -> dict[str, str]:
    """The environment that a backend's engine gets."""
    return {**ours, **backend.environment}
