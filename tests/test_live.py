"""Pausing, resuming and cancelling, in any order and at any moment."""

from __future__ import annotations

import asyncio
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from tensors.live import LiveJob
from tensors.orders import Outcome

Act = Literal["pause", "resume", "breathe", "cancel"]


@given(st.lists(st.sampled_from(["pause", "resume", "breathe", "cancel"]), max_size=12), st.booleans())
def test_whatever_is_done_to_it_it_works_only_while_it_may_and_ends(acts: list[Act], paused: bool) -> None:
    async def play() -> None:
        live = LiveJob("1", kind="download", paused=paused)
        finish = asyncio.Event()
        working = 0

        async def work() -> Outcome:
            nonlocal working
            working += 1
            assert working == 1, "twice at once"
            live.log.publish("running")
            try:
                await finish.wait()
                return Outcome(state="succeeded")
            finally:
                await asyncio.sleep(0)
                working -= 1

        task = live.start(work)
        held = paused
        for act in acts:
            if task.done():
                break
            match act:
                case "pause":
                    await live.pause()
                    held = True
                    assert (live.log.now.state, working) == ("paused", 0)
                case "resume":
                    live.resume()
                    held = False
                    assert live.log.now.state != "paused"
                case "cancel":
                    live.cancel()
                    await asyncio.wait({task})
                case "breathe":
                    await asyncio.sleep(0)
        if not live.cancelled:
            finish.set()
            for _ in range(10):
                await asyncio.sleep(0)
            assert task.done() is not held
            live.resume()
            assert (await task).state == "succeeded"
        assert task.cancelled() is live.cancelled
        assert working == 0

    asyncio.run(play())


def test_paused_in_the_very_moment_it_ends_it_has_ended() -> None:
    async def play() -> None:
        live = LiveJob("1", kind="download")

        async def work() -> Outcome:
            await asyncio.sleep(0)
            return Outcome(state="succeeded")

        task = live.start(work)
        task.add_done_callback(lambda done: live.log.publish(done.result().state))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.wait_for(live.pause(), 5)
        assert live.log.now.state in ("succeeded", "paused")
        live.resume()
        await task

    asyncio.run(play())
