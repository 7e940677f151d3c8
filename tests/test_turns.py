"""The line before the engine: one at a time, in order, nobody lost, whatever comes and goes in between."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensors.turns import Place, Turns

Action = Literal["arrive", "cancel", "leave", "open", "wait"]
ACTIONS = st.tuples(st.sampled_from(["arrive", "arrive", "cancel", "leave", "open", "wait"]), st.integers(0, 20))


async def settle() -> None:
    """Let everything that can happen now happen."""
    for _ in range(10):
        await asyncio.sleep(0)


class Visitors:
    """Those who came to a line, and what became of them."""

    def __init__(self, at_once: int = 1) -> None:
        self.turns = Turns(at_once=at_once)
        self.at_once = at_once
        self.opened = False
        self.inside: list[Place] = []
        self.entered: list[Place] = []
        self.cancelled: set[Place] = set()
        self.tasks: dict[Place, asyncio.Task[None]] = {}
        self._gates: dict[Place, asyncio.Event] = {}

    def arrive(self, number: int) -> None:
        """Come with a place of one's own; the number, not the moment of coming, says before whom."""
        place = (f"2026-01-01T00:00:{number:02}.000Z", f"job{len(self.tasks)}")
        self._gates[place] = asyncio.Event()
        self.tasks[place] = asyncio.create_task(self._visit(place))

    async def _visit(self, place: Place) -> None:
        async with self.turns.turn(place):
            assert self.opened, "somebody was let in before it opened"
            self.inside.append(place)
            self.entered.append(place)
            assert len(self.inside) <= self.at_once, "too many at once"
            try:
                await self._gates[place].wait()
            finally:
                self.inside.remove(place)

    def waiting(self) -> list[Place]:
        """Those who came, were not let in and did not go away, the first one first."""
        return sorted(place for place in self.tasks if place not in self.entered and place not in self.cancelled)

    def do(self, action: Action, number: int) -> None:
        match action:
            case "arrive":
                self.arrive(number)
            case "open":
                self.opened = True
                self.turns.open()
            case "leave":
                for place in self.inside:
                    self._gates[place].set()
            case "cancel":
                unfinished = sorted(place for place, task in self.tasks.items() if not task.done())
                if unfinished:
                    place = unfinished[number % len(unfinished)]
                    self.cancelled.add(place)
                    self.tasks[place].cancel()

    async def drain(self) -> None:
        """Open, and let one after the other go until nobody is left."""
        self.do("open", 0)
        await settle()
        for _ in range(len(self.tasks) + 1):
            self.do("leave", 0)
            await settle()


@given(history=st.lists(ACTIONS, max_size=60), at_once=st.integers(1, 3))
def test_whatever_happens_never_too_many_and_nobody_is_lost(history: list[tuple[Action, int]], at_once: int) -> None:
    async def run() -> None:
        visitors = Visitors(at_once)
        for action, number in history:
            if action == "wait":
                await settle()
            visitors.do(action, number)
        await visitors.drain()
        assert all(task.done() for task in visitors.tasks.values()), "somebody waits for ever"
        for place, task in visitors.tasks.items():
            if not task.cancelled():
                task.result()
            if place not in visitors.cancelled:
                assert visitors.entered.count(place) == 1
        assert len(visitors.turns) == 0
        # And the line is not stuck: the next one is let in.
        visitors.arrive(0)
        await settle()
        assert len(visitors.inside) == 1
        await visitors.drain()

    asyncio.run(run())


@given(history=st.lists(ACTIONS, max_size=60))
def test_the_first_of_all_who_wait_is_next(history: list[tuple[Action, int]]) -> None:
    async def run() -> None:
        visitors = Visitors()
        for action, number in [*history, ("open", 0), *[("leave", 0)] * 60]:
            visitors.do(action, number)  # type: ignore[arg-type]
            stayed = [place for place in visitors.inside if action != "leave" and place not in visitors.cancelled]
            next_one = visitors.waiting()[:1] if visitors.opened else []
            await settle()
            assert visitors.inside == (stayed or next_one)
            assert len(visitors.turns) == len(visitors.waiting())
        assert visitors.waiting() == []

    asyncio.run(run())


async def test_as_many_as_there_may_be_go_at_once() -> None:
    visitors = Visitors(2)
    for number in range(3):
        visitors.arrive(number)
    visitors.do("open", 0)
    await settle()
    assert len(visitors.inside) == 2
    await visitors.drain()
    assert len(visitors.entered) == 3


async def test_one_who_is_cancelled_the_instant_his_turn_comes_passes_it_on() -> None:
    turns, entered = Turns(), []

    async def visit(place: Place) -> None:
        async with turns.turn(place):
            entered.append(place)

    first, second = (asyncio.create_task(visit(("", name))) for name in "ab")
    await settle()
    turns.open()
    first.cancel()
    await asyncio.wait([first, second], timeout=5)
    assert first.cancelled()
    assert entered == [("", "b")]


async def test_one_who_fails_inside_passes_the_turn_on() -> None:
    turns = Turns()
    turns.open()
    with pytest.raises(ValueError, match="inside"):
        async with turns.turn(("", "a")):
            raise ValueError("inside")
    async with asyncio.timeout(5), turns.turn(("", "b")):
        pass
