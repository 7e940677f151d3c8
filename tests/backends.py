"""What tests of backends share: models, settings, what a drawing tells, and waiting for a state."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from conftest import FAKE_ENGINE
from observe import PROMPT, EngineLog

from tensors.engines.backend import Backend
from tensors.engines.binary import EngineBinary
from tensors.engines.process import ProcessPlace
from tensors.inputs import Inputs
from tensors.models import ModelFile, demo_dir
from tensors.types.generation import Settings, UsedLora, UsedModel
from tensors.types.jobs import Progress

SETTINGS = Settings(
    prompt=PROMPT,
    negative_prompt="",
    model=UsedModel(name="one", family="shapes"),
    width=64,
    height=64,
    steps=4,
    cfg_scale=1,
    sampler="euler",
    scheduler="discrete",
    seed=1,
)


def settings(*loras: str, **changes: Any) -> Settings:
    """Settings of a small picture, with LoRAs."""
    return replace(SETTINGS, loras=tuple(UsedLora(name=name, weight=1) for name in loras), **changes)


def model_file(folder: Path, name: str) -> ModelFile:
    """The demo model under a name of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    if not path.exists():
        shutil.copy(demo_dir() / "shapes.safetensors", path)
    return ModelFile(name, path, "shapes")


def process_backend(
    root: Path, *, name: str = "process", place: type[ProcessPlace] = ProcessPlace, **faults: str
) -> Backend:
    """A backend over a process of the fake engine, which writes its log below `root`."""
    binary = EngineBinary(name="configured", version="1", source="configured", path=FAKE_ENGINE)
    environment = {**EngineLog(root / "engine.jsonl").environment, **faults}
    where = place(binary, run_dir=root / "run", name=name, arguments=("--fa",), environment=environment)
    return Backend(where, name=name, inputs=Inputs(root / "inputs"), start_timeout=20, step_timeout=20)


class Heard:
    """What a drawing tells about itself."""

    def __init__(self) -> None:
        self.told: list[Progress] = []
        self._news = asyncio.Event()

    def __call__(self, progress: Progress) -> None:
        self.told.append(progress)
        self._news.set()

    async def until(self, phase: str, *, step: int = 0) -> None:
        """Wait until a phase is told, and so many steps of it."""
        while not any(one.phase == phase and one.step >= step for one in self.told):
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 20)


async def draw(
    backend: Backend,
    drawn: Settings = SETTINGS,
    *,
    heard: Heard | None = None,
    seed: int = 1,
    count: int = 1,
    loras: Mapping[str, Path] | None = None,
) -> list[bytes]:
    """Have pictures drawn."""
    return await backend.generate(
        replace(drawn, seed=seed, batch_size=count),
        seed=seed,
        count=count,
        first=0,
        loras=loras or {},
        report=heard or Heard(),
        attempt=1,
    )


async def until(backend: Backend, state: str) -> None:
    """Wait until a backend is in a state."""
    changed = asyncio.Event()
    backend.on_change = changed.set
    while backend.status().state != state:
        changed.clear()
        await asyncio.wait_for(changed.wait(), 20)


async def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for that."""
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
