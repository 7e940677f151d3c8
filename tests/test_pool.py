"""The pool over real processes of the fake engine: turns, swaps, what is lost and what comes back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from backends import Heard, cancel, draw, model_file, process_backend
from observe import EngineLog, is_gone
from test_external import Elsewhere

from tensors.engines.backend import Backend
from tensors.engines.external import ExternalPlace
from tensors.engines.pool import Pool
from tensors.engines.slots import Member
from tensors.errors import Conflict, EngineStartFailed, NotFound
from tensors.inputs import Inputs
from tensors.models import ModelFile
from tensors.scheduler import Limits

MakePool = Callable[..., Pool]


@pytest_asyncio.fixture
async def pool_of(tmp_path: Path) -> AsyncIterator[MakePool]:
    """Makes pools of backends of the fake engine, and stops them."""
    made: list[Pool] = []

    def make(*backends: Backend, **limits: Any) -> Pool:
        members = [Member(backend) for backend in backends or (process_backend(tmp_path),)]
        pool = Pool(members, limits=Limits(**{"keep_alive": None, "max_wait": 60.0, **limits}))
        pool.start()
        pool.open()
        made.append(pool)
        return pool

    yield make
    for pool in made:
        await pool.stop()


@pytest.fixture
def one(tmp_path: Path) -> ModelFile:
    return model_file(tmp_path, "one")


@pytest.fixture
def two(tmp_path: Path) -> ModelFile:
    return model_file(tmp_path, "two")


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what no event tells."""
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


async def hold(pool: Pool, job: str, model: ModelFile, stack: AsyncExitStack) -> Backend:
    async with asyncio.timeout(20):
        return await stack.enter_async_context(pool.turn(job, model))


async def test_each_gets_the_model_it_named_with_few_swaps(
    pool_of: MakePool, one: ModelFile, two: ModelFile, tmp_path: Path
) -> None:
    pool, drawn = pool_of(), Counter[str]()

    async def client(number: int) -> None:
        for round_ in range(4):
            model = (one, two)[(number + round_) % 2]
            async with pool.turn(f"{number}-{round_}", model) as backend:
                assert backend.inside == model
                await draw(backend)
                assert backend.inside == model
                drawn[model.name] += 1

    async with asyncio.timeout(60):
        await asyncio.gather(*map(client, range(10)))
    assert drawn == {"one": 20, "two": 20}
    starts = len(EngineLog(tmp_path / "engine.jsonl").entries("start"))
    assert 2 <= starts <= 10, "forty requests in turns, and not forty swaps"


async def test_nobody_is_overtaken_who_may_not_wait(pool_of: MakePool, one: ModelFile, two: ModelFile) -> None:
    pool = pool_of(max_wait=0.0)
    order: list[str] = []

    async def ask(job: str, model: ModelFile) -> None:
        async with pool.turn(job, model) as backend:
            order.append(job)
            await draw(backend)

    async with AsyncExitStack() as stack:
        await hold(pool, "first", one, stack)
        asked = []
        for job, model in (("a", two), ("b", one), ("c", two), ("d", one)):
            asked.append(asyncio.create_task(ask(job, model)))
            await asyncio.sleep(0.005)
        assert len(pool) == 4
        waits = pool.waits()
        assert [waits[job].position for job in "abcd"] == [1, 2, 3, 4]
        assert "'two'" in waits["a"].reason
    async with asyncio.timeout(30):
        await asyncio.gather(*asked)
    assert order == list("abcd")


async def test_who_is_cancelled_while_waiting_holds_up_nobody(pool_of: MakePool, one: ModelFile) -> None:
    pool = pool_of()
    async with AsyncExitStack() as stack:
        await hold(pool, "first", one, stack)
        impatient = asyncio.create_task(hold(pool, "second", one, stack))
        patient = asyncio.create_task(hold(pool, "third", one, stack))
        await until(lambda: len(pool) == 2)
        await cancel(impatient)
        assert len(pool) == 1
        await cancel(patient)
    async with AsyncExitStack() as stack:
        await hold(pool, "fourth", one, stack)


async def test_a_load_that_nobody_waits_for_any_more_is_ended(
    pool_of: MakePool, one: ModelFile, tmp_path: Path
) -> None:
    backend = process_backend(tmp_path, FAKE_SD_HANG_LOAD="1")
    pool = pool_of(backend)
    async with AsyncExitStack() as stack:
        waiting = asyncio.create_task(hold(pool, "1", one, stack))
        await until(lambda: backend.status().pid is not None)
        pid = backend.status().pid
        assert pid is not None
        await cancel(waiting)
        await until(lambda: is_gone(pid) and backend.status().state == "stopped")


async def test_an_engine_that_dies_idle_comes_back_with_its_model(pool_of: MakePool, one: ModelFile) -> None:
    pool = pool_of()
    (member,) = pool.members.values()
    async with AsyncExitStack() as stack:
        await hold(pool, "1", one, stack)
    pid = member.backend.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: member.backend.status().pid not in (pid, None) and member.backend.status().state == "ready")
    assert pool.holders("one") == ("process",)


async def test_an_idle_engine_is_ended_after_a_while(pool_of: MakePool, one: ModelFile) -> None:
    pool = pool_of(keep_alive=0.2)
    (member,) = pool.members.values()
    async with AsyncExitStack() as stack:
        await hold(pool, "1", one, stack)
        await asyncio.sleep(0.3)
        assert member.backend.status().state == "ready", "not while somebody has it"
    await until(lambda: member.backend.status().state == "stopped")
    async with AsyncExitStack() as stack:
        await hold(pool, "2", one, stack)


async def test_what_is_in_use_is_not_unloaded_and_what_is_idle_is(pool_of: MakePool, one: ModelFile) -> None:
    pool = pool_of()
    (member,) = pool.members.values()
    async with AsyncExitStack() as stack:
        await hold(pool, "1", one, stack)
        assert pool.idle() == ()
        with pytest.raises(Conflict, match="'process' is in use"):
            await pool.unload(["process"])
    assert pool.idle() == ("process",)
    await pool.unload(pool.idle())
    assert member.backend.status().state == "stopped"
    with pytest.raises(NotFound, match="there is no backend 'gpu'"):
        await pool.unload(["gpu"])


async def test_families_go_to_the_backends_that_are_meant_for_them(pool_of: MakePool, tmp_path: Path) -> None:
    backends = [process_backend(tmp_path / name, name=name) for name in ("for-sdxl", "for-flux")]
    for backend in backends:
        backend.families = (backend.name.removeprefix("for-"),)
    pool = pool_of(*backends)
    files = [model_file(tmp_path, family) for family in ("sdxl", "flux", "wan")]
    models = [ModelFile(file.name, file.path, file.name) for file in files]
    async with AsyncExitStack() as stack:
        held = [await hold(pool, model.name, model, stack) for model in models[:2]]
        assert [backend.name for backend in held] == ["for-sdxl", "for-flux"]
        with pytest.raises(EngineStartFailed, match=r"for-flux takes only flux.*for-sdxl takes only sdxl"):
            await hold(pool, "wan", models[2], stack)


async def test_who_insists_on_a_backend_gets_that_one(pool_of: MakePool, one: ModelFile, tmp_path: Path) -> None:
    pool = pool_of(*(process_backend(tmp_path / name, name=name) for name in ("a", "b")))
    async with asyncio.timeout(20):
        async with pool.turn("1", one, backend="b") as backend:
            assert backend.name == "b"
        async with pool.turn("2", one) as backend:
            assert backend.name == "b", "it has the model"
        with pytest.raises(EngineStartFailed, match="there is no backend 'c'"):
            async with pool.turn("3", one, backend="c"):
                raise AssertionError("there is none")


async def test_the_one_who_is_next_hears_of_the_load(pool_of: MakePool, one: ModelFile, tmp_path: Path) -> None:
    pool = pool_of(process_backend(tmp_path, FAKE_SD_LOAD_SECONDS="0.2"))
    heard = [Heard(), Heard()]

    async def ask(number: int) -> None:
        async with pool.turn(str(number), one, report=heard[number]):
            return

    async with asyncio.timeout(20):
        await asyncio.gather(ask(0), ask(1))
    assert {progress.phase for progress in heard[0].told} == {"loading"}
    assert heard[0].told[-1].step == heard[0].told[-1].steps > 0
    assert heard[1].told == []


async def test_where_no_engine_is_ours_its_model_is_known(pool_of: MakePool, one: ModelFile, tmp_path: Path) -> None:
    engine = Elsewhere(tmp_path)
    try:
        place = ExternalPlace(engine.url, watch_seconds=0.05)
        there = Backend(place, name="there", inputs=Inputs(tmp_path / "inputs"), start_timeout=20, step_timeout=20)
        pool = pool_of(there)
        assert pool.elsewhere() is None
        await engine.start("-m", one.path)
        await until(lambda: pool.elsewhere() == "one")
    finally:
        await engine.leave()


async def test_somebody_elses_engine_is_used_while_it_answers(
    pool_of: MakePool, one: ModelFile, two: ModelFile, tmp_path: Path
) -> None:
    engine = Elsewhere(tmp_path)
    try:
        await engine.start("-m", one.path)
        place = ExternalPlace(engine.url, watch_seconds=0.05)
        there = Backend(place, name="there", inputs=Inputs(tmp_path / "inputs"), start_timeout=20, step_timeout=20)
        pool = pool_of(there, process_backend(tmp_path / "ours", name="ours"))
        await until(lambda: pool.holders("one") == ("there",))
        async with AsyncExitStack() as stack:
            assert (await hold(pool, "1", one, stack)).name == "there"
            assert (await hold(pool, "2", two, stack)).name == "ours"
            with pytest.raises(Conflict, match="somebody else's server"):
                await pool.unload(["there"])
        assert pool.elsewhere() is None
        await engine.kill()
        await until(lambda: pool.holders("one") == ())
        async with AsyncExitStack() as stack:
            assert (await hold(pool, "3", one, stack)).name == "ours"
    finally:
        await engine.leave()
