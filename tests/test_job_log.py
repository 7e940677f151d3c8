"""The fan-out of a job's events: every listener sees them in order, from the present state to the last."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensors.events
from tensors.events import Event, JobLog
from tensors.types.jobs import ErrorInfo, JobEvent, Progress

FEW = 4
"""So many events are kept at least, where a test is about forgetting."""


class Listener:
    """Takes the next event only when it is told to."""

    def __init__(self, log: JobLog, *, batches: bool = False) -> None:
        self.heard: list[JobEvent] = []
        self.since = log.now
        self._may = asyncio.Semaphore(1)
        self.task = asyncio.create_task(self._listen_to_batches(log) if batches else self._listen(log))

    async def _listen(self, log: JobLog) -> None:
        async for event in log.follow():
            await self._hear([event])

    async def _listen_to_batches(self, log: JobLog) -> None:
        async for batch in log.follow_in_batches():
            await self._hear(batch)

    async def _hear(self, events: Sequence[Event]) -> None:
        assert events
        for event, document in events:
            assert msgspec.json.decode(document, type=JobEvent) == event
            self.heard.append(event)
        await self._may.acquire()

    def go_on(self, events: int = 1) -> None:
        for _ in range(events):
            self._may.release()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


# What happens, in which order: a step is published, a listener comes, or the n-th listener takes its next event.
HISTORIES = st.lists(st.one_of(st.just("publish"), st.just("listen"), st.integers(0, 5)), max_size=60)


async def play(history: list[str | int]) -> list[Listener]:
    """The listeners of a job that ended well after all that."""
    log, listeners, step = JobLog("job"), [], 0
    for action in history:
        if action == "publish":
            step += 1
            log.publish("running", Progress(phase="sampling", step=step))
        elif action == "listen":
            listeners.append(Listener(log, batches=len(listeners) % 2 == 1))
        elif isinstance(action, int) and action < len(listeners):
            listeners[action].go_on()
        await settle()
    log.publish("succeeded")
    for listener in listeners:
        listener.go_on(1000)
    done, pending = await asyncio.wait([Listener(log).task, *(listener.task for listener in listeners)], timeout=5)
    assert not pending
    for task in done:
        task.result()
    return listeners


@given(history=HISTORIES)
def test_every_listener_hears_everything_from_the_present_state_to_the_end(history: list[str | int]) -> None:
    for listener in asyncio.run(play(history)):
        first, last = listener.heard[0], listener.heard[-1]
        assert first == listener.since
        assert [event.seq for event in listener.heard] == list(range(first.seq, last.seq + 1))
        assert (last.state, last.last) == ("succeeded", True)


@given(history=HISTORIES)
def test_a_listener_too_far_behind_skips_events_but_not_the_last(history: list[str | int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensors.events, "_KEPT_EVENTS", FEW)
        for listener in asyncio.run(play(history)):
            seqs = [event.seq for event in listener.heard]
            assert seqs == sorted(set(seqs))
            assert listener.heard[-1].state == "succeeded"


async def test_a_long_job_is_not_remembered_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors.events, "_KEPT_EVENTS", FEW)
    log = JobLog("job")
    slow = Listener(log)
    await settle()
    for step in range(1000):
        log.publish("running", Progress(phase="sampling", step=step))
    log.publish("succeeded")
    slow.go_on(1000)
    await asyncio.wait_for(slow.task, 5)
    assert [event.seq for event in slow.heard][-3:] == [1000, 1001, 1002]
    assert len(slow.heard) <= 2 * FEW + 1
    gc.collect()
    assert sum(type(thing) is JobEvent and thing.job == "job" for thing in gc.get_objects()) <= 3 * FEW + 2


async def test_a_log_begins_queued_and_tells_what_went_wrong() -> None:
    log = JobLog("job")
    assert (log.now.state, log.now.progress, log.now.seq) == ("queued", Progress(phase="queued"), 1)
    error = ErrorInfo(code="engine_died", message="gone")
    log.publish("failed", error=error)
    assert [event async for event, _ in log.follow()] == [JobEvent(seq=2, job="job", state="failed", error=error)]


async def test_in_batches_all_since_the_last_look_comes_at_once() -> None:
    log = JobLog("job")
    batches = log.follow_in_batches()
    heard = [[event.seq for event, _ in await anext(batches)]]
    for step in range(3):
        log.publish("running", Progress(phase="sampling", step=step))
    heard.append([event.seq for event, _ in await anext(batches)])
    waiting = asyncio.ensure_future(anext(batches))
    await settle()
    assert not waiting.done()
    log.publish("succeeded")
    heard.append([event.seq for event, _ in await asyncio.wait_for(waiting, 5)])
    assert heard == [[1], [2, 3, 4], [5]]
    assert await anext(batches, None) is None


async def test_a_listener_in_batches_that_is_too_far_behind_skips_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors.events, "_KEPT_EVENTS", FEW)
    log = JobLog("job")
    batches = log.follow_in_batches()
    await anext(batches)
    for step in range(1000):
        log.publish("running", Progress(phase="sampling", step=step))
    seqs = [event.seq for event, _ in await anext(batches)]
    assert seqs == list(range(1002 - len(seqs), 1002))
    assert FEW <= len(seqs) <= 2 * FEW
