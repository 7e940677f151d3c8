"""A backend over a process: its states, what it waits for, what ends its engine, and the engine's command line."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import pytest_asyncio
from backends import Heard, cancel, draw, model_file, process_backend, settings
from observe import EngineLog, is_gone

from tensors.engines.backend import Backend
from tensors.engines.place import Hear
from tensors.engines.process import ProcessLife, ProcessPlace
from tensors.errors import EngineDied, EngineError, EngineStartFailed
from tensors.models import ModelFile

SLOW = {"FAKE_SD_STEP_SECONDS": "0.05"}
NEVER_LOADS = {"FAKE_SD_HANG_LOAD": "1"}
MakeBackend = Callable[..., Backend]


@pytest_asyncio.fixture
async def backend_with(tmp_path: Path) -> AsyncIterator[MakeBackend]:
    """Makes backends, and stops them."""
    made: list[Backend] = []

    def make(**changes: str | type[ProcessPlace]) -> Backend:
        made.append(process_backend(tmp_path, **changes))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for backend in made:
        await backend.stop()


@pytest.fixture
def one(tmp_path: Path) -> ModelFile:
    return model_file(tmp_path, "one")


@pytest.fixture
def two(tmp_path: Path) -> ModelFile:
    return model_file(tmp_path, "two")


@pytest.fixture
def log(tmp_path: Path) -> EngineLog:
    return EngineLog(tmp_path / "engine.jsonl")


def running_pid(backend: Backend) -> int:
    pid = backend.status().pid
    assert pid is not None
    return pid


def argv(log: EngineLog) -> list[str]:
    """The last command line, with the program left out."""
    return [str(word) for word in log.entries("start")[-1]["argv"]]


async def test_each_change_of_state_is_told_with_its_time(backend_with: MakeBackend, one: ModelFile) -> None:
    backend, told = backend_with(), []
    backend.on_change = lambda: told.append(backend.status())
    loading = Heard()
    await backend.ensure(one, loading)
    assert {progress.phase for progress in loading.told} == {"loading"}
    assert len(await draw(backend, count=2)) == 2
    await backend.unload()
    assert [status.state for status in told] == ["loading", "ready", "busy", "ready", "stopped"]
    assert [status.model for status in told] == ["one", "one", "one", "one", None]
    assert [status.pid is not None for status in told] == [False, True, True, True, False]
    times = [str(status.since) for status in told]
    assert times == sorted(times)
    assert len(set(times)) > 1
    assert {(status.name, status.kind, status.version) for status in told} == {("process", "process", "1")}
    assert (backend.model, backend.capabilities) == (one, None)


async def test_the_command_line_has_the_model_its_companions_and_all_arguments(
    backend_with: MakeBackend, one: ModelFile, tmp_path: Path, log: EngineLog
) -> None:
    backend, vae = backend_with(), tmp_path / "ae.safetensors"
    await backend.ensure(one)
    whole = argv(log)
    assert whole[whole.index("-m") + 1] == str(one.path)
    assert whole[-1] == "--fa"
    part = replace(one, kind="diffusion_model", companions=(("vae", vae), ("clip_l", one.path)))
    await backend.ensure(part, arguments=("--vae-tiling",))
    said = argv(log)
    assert "-m" not in said
    assert said[said.index("--diffusion-model") + 1] == str(one.path)
    assert said[said.index("--vae") + 1] == str(vae)
    assert said[said.index("--clip_l") + 1] == str(one.path)
    assert said[-2:] == ["--fa", "--vae-tiling"]


async def test_the_same_model_is_loaded_again_only_with_other_arguments(
    backend_with: MakeBackend, one: ModelFile
) -> None:
    backend = backend_with()
    pids = []
    for arguments in ((), (), ("--vae-tiling",), ("--vae-tiling",), ()):
        await backend.ensure(one, arguments=arguments)
        pids.append(running_pid(backend))
    assert [pid == before for before, pid in pairwise(pids)] == [True, False, True, False]


async def test_loras_are_linked_under_their_names_and_keep_their_extensions(
    backend_with: MakeBackend, one: ModelFile, tmp_path: Path
) -> None:
    backend, other = backend_with(), backend_with(name="other")
    first, quantised, moved = (tmp_path / name for name in ("a.safetensors", "b.GGUF", "moved.safetensors"))
    assert await backend.place.lora_paths({"ink": first, "q": quantised}) == {"ink": "ink.safetensors", "q": "q.GGUF"}
    await backend.place.lora_paths({"ink": moved})
    await other.place.lora_paths({"ink": first})
    folder, others = (tmp_path / "run" / f"loras-{os.getpid()}-{name}" for name in ("process", "other"))
    assert {link.name: link.readlink() for link in folder.iterdir()} == {"ink.safetensors": moved, "q.GGUF": quantised}
    assert {link.name: link.readlink() for link in others.iterdir()} == {"ink.safetensors": first}
    await backend.stop()
    assert not folder.exists()
    assert others.exists()


async def test_the_engine_is_sent_the_paths_of_its_loras(
    backend_with: MakeBackend, one: ModelFile, log: EngineLog
) -> None:
    backend = backend_with()
    await backend.ensure(one)
    await draw(backend, settings("ink"), loras={"ink": one.path})
    assert log.entries("img_gen")[-1]["body"]["lora"] == [{"path": "ink.safetensors", "multiplier": 1}]


async def test_two_drawings_take_turns_and_each_hears_only_of_itself(backend_with: MakeBackend, one: ModelFile) -> None:
    backend, short, long = backend_with(), Heard(), Heard()
    await backend.ensure(one)
    a, b = await asyncio.gather(
        draw(backend, settings(steps=3), heard=short, seed=1), draw(backend, settings(steps=7), heard=long, seed=2)
    )
    assert a != b
    assert [max(one.step for one in heard.told) for heard in (short, long)] == [3, 7]


@pytest.mark.parametrize("what", ["switch", "unload"])
async def test_an_engine_that_draws_is_ended_for_nobody_else(
    backend_with: MakeBackend, one: ModelFile, two: ModelFile, what: str
) -> None:
    backend, heard = backend_with(**SLOW), Heard()
    await backend.ensure(one)
    drawing = asyncio.create_task(draw(backend, heard=heard))
    await heard.until("sampling", step=1)
    pid = running_pid(backend)
    waiting: Awaitable[None] = backend.ensure(two) if what == "switch" else backend.unload()
    await waiting
    assert drawing.done()
    assert len(drawing.result()) == 1
    assert is_gone(pid)
    assert (backend.status().state, backend.status().model) == (
        ("ready", "two") if what == "switch" else ("stopped", None)
    )


async def test_stopping_waits_for_no_drawing(backend_with: MakeBackend, one: ModelFile) -> None:
    backend, heard = backend_with(**SLOW), Heard()
    await backend.ensure(one)
    drawing = asyncio.create_task(draw(backend, settings(steps=100), heard=heard, count=8))
    await heard.until("sampling", step=1)
    pid = running_pid(backend)
    await backend.stop()
    assert is_gone(pid)
    with pytest.raises(EngineDied, match="ended while drawing") as died:
        await drawing
    assert died.value.hint == "tsr doctor looks for the cause"
    assert (backend.status().state, backend.status().message) == ("stopped", None)


async def test_cancelling_a_drawing_ends_the_engine(backend_with: MakeBackend, one: ModelFile) -> None:
    backend, heard = backend_with(**SLOW), Heard()
    await backend.ensure(one)
    drawing = asyncio.create_task(draw(backend, settings(steps=100), heard=heard))
    await heard.until("sampling", step=1)
    pid, states = running_pid(backend), []
    backend.on_change = lambda: states.append(backend.status().state)
    await cancel(drawing)
    assert is_gone(pid)
    # Never 'ready' in between: somebody would send the next request to a dying engine.
    assert states == ["stopped"]
    with pytest.raises(EngineDied, match="not running"):
        await draw(backend)
    await backend.ensure(one)
    assert len(await draw(backend)) == 1


async def test_cancelling_a_load_leaves_nothing(backend_with: MakeBackend, one: ModelFile) -> None:
    backend = backend_with(**NEVER_LOADS)
    loading = asyncio.create_task(backend.ensure(one))
    while backend.status().pid is None:
        await asyncio.sleep(0.01)
    pid = running_pid(backend)
    assert backend.status().state == "loading"
    await cancel(loading)
    assert is_gone(pid)
    assert (backend.status().state, backend.status().model) == ("stopped", None)


async def test_an_idle_death_is_told_with_the_last_words(backend_with: MakeBackend, one: ModelFile) -> None:
    backend = backend_with()
    await backend.ensure(one)
    pid = running_pid(backend)
    os.kill(pid, signal.SIGKILL)
    await asyncio.wait_for(backend.died.wait(), 20)
    status = backend.status()
    assert (status.state, status.pid) == ("failed", None)
    assert "listening on" in (status.message or "")
    await backend.ensure(one)
    assert (backend.status().state, backend.status().message) == ("ready", None)
    assert running_pid(backend) != pid


async def test_a_death_while_drawing_is_the_drawings_own_matter(backend_with: MakeBackend, one: ModelFile) -> None:
    backend = backend_with(FAKE_SD_DIE_AT_STEP="2")
    await backend.ensure(one)
    with pytest.raises(EngineDied, match="ROCm error: unspecified launch failure"):
        await draw(backend)
    assert not backend.died.is_set()
    status = backend.status()
    assert (status.state, status.model) == ("failed", None)
    assert "unspecified launch failure" in (status.message or "")


async def test_a_failed_drawing_leaves_the_engine_ready(backend_with: MakeBackend, one: ModelFile) -> None:
    backend = backend_with(FAKE_SD_OOM="1")
    await backend.ensure(one)
    with pytest.raises(EngineError) as failed:
        await draw(backend)
    assert "insufficient memory" in failed.value.message
    assert (backend.status().state, backend.status().message) == ("ready", None)


async def test_a_model_that_cannot_be_loaded_fails_with_its_reason(backend_with: MakeBackend, one: ModelFile) -> None:
    backend = backend_with(FAKE_SD_BAD_MODEL="1")
    with pytest.raises(EngineStartFailed, match="init model loader from file failed"):
        await backend.ensure(one)
    assert backend.status().state == "failed"
    assert "init model loader" in (backend.status().message or "")
    assert backend.model is None


async def test_a_place_without_room_for_its_files_says_so(
    backend_with: MakeBackend, one: ModelFile, tmp_path: Path
) -> None:
    (tmp_path / "run").write_text("in the way")
    backend = backend_with()
    with pytest.raises(EngineStartFailed, match=r"cannot be started: .*(Not a directory|File exists)"):
        await backend.ensure(one)
    assert backend.status().state == "failed"


class SlowToEnd(ProcessPlace):
    """The first of its lives ends only when it may."""

    lives: tuple[ProcessLife, ...] = ()
    asked_to_end: asyncio.Event
    may_end: asyncio.Event
    had_company = False

    async def start(self, model: ModelFile, hear: Hear, *, arguments: tuple[str, ...] = ()) -> ProcessLife:
        self.had_company |= any(not life.ended.is_set() for life in self.lives)
        life = await super().start(model, hear, arguments=arguments)
        if not self.lives:
            end = life.end
            self.asked_to_end, self.may_end = asyncio.Event(), asyncio.Event()

            async def slowly() -> None:
                self.asked_to_end.set()
                await self.may_end.wait()
                await end()

            life.end = slowly  # type: ignore[method-assign]
        self.lives += (life,)
        return life


@pytest.mark.parametrize("what", ["drawing", "switching"])
async def test_impatience_with_an_ending_makes_no_second_life_beside_it(
    backend_with: MakeBackend, one: ModelFile, two: ModelFile, what: str
) -> None:
    backend, heard = backend_with(place=SlowToEnd, **SLOW), Heard()
    place = backend.place
    assert isinstance(place, SlowToEnd)
    await backend.ensure(one)
    if what == "drawing":
        task: asyncio.Task[object] = asyncio.create_task(draw(backend, settings(steps=100), heard=heard))
        await heard.until("sampling", step=1)
        task.cancel()
    else:
        task = asyncio.create_task(backend.ensure(two))
    await place.asked_to_end.wait()
    await cancel(task)
    asyncio.get_running_loop().call_later(0.1, place.may_end.set)
    await backend.ensure(two)
    assert not place.had_company
    assert (len(place.lives), backend.status().state) == (2, "ready")


class CannotEnd(ProcessPlace):
    """Its lives end, and say that they could not be ended."""

    async def start(self, model: ModelFile, hear: Hear, *, arguments: tuple[str, ...] = ()) -> ProcessLife:
        life = await super().start(model, hear, arguments=arguments)
        end = life.end

        async def badly() -> None:
            await end()
            raise EngineError("no answer from the container engine")

        life.end = badly  # type: ignore[method-assign]
        return life


async def test_an_ending_that_fails_is_no_reason_to_load_nothing_any_more(
    backend_with: MakeBackend, one: ModelFile, two: ModelFile, caplog: pytest.LogCaptureFixture
) -> None:
    backend = backend_with(place=CannotEnd)
    await backend.ensure(one)
    await backend.ensure(two)
    assert "no answer from the container engine" in caplog.text
    assert (backend.status().state, backend.status().model) == ("ready", "two")
    await backend.unload()
    assert backend.status().state == "stopped"
