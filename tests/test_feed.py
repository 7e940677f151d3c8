"""The stream of everything: nobody misses what happens after the present state, and nobody holds up the others."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from gallery_samples import image

from tensors import feed as module
from tensors.events import JobLog
from tensors.feed import Feed
from tensors.types.jobs import Happening, JobEvent, Progress


async def heard(feed: Feed, count: int) -> list[bytes]:
    """What a listener hears until it has heard so much."""
    found: list[bytes] = []
    async for batch in feed.follow(list, heartbeat=30):
        found.extend(data for _, data in batch or ())
        if len(found) >= count:
            break
    return found


async def test_the_present_comes_first_and_then_all_that_happens() -> None:
    feed = Feed()
    feed.tell("job", b"before")
    following = feed.follow(lambda: [("job", b"present")], heartbeat=30)
    assert await anext(following) == [("job", b"present")]
    feed.tell("job", b"one")
    feed.tell("image", b"two")
    assert await anext(following) == [("job", b"one"), ("image", b"two")]
    waiting = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0)
    feed.tell("job", b"three")
    assert await waiting == [("job", b"three")]


async def test_many_listeners_hear_the_same_in_the_same_order() -> None:
    feed = Feed()
    listeners = [asyncio.create_task(heard(feed, 500)) for _ in range(50)]
    await asyncio.sleep(0)
    for number in range(500):
        feed.tell("job", b"%d" % number)
        if number % 7 == 0:
            await asyncio.sleep(0)
    assert await asyncio.gather(*listeners) == [[b"%d" % number for number in range(500)]] * 50


async def test_quiet_times_have_a_heartbeat_and_a_closed_feed_ends() -> None:
    feed = Feed()
    following = feed.follow(list, heartbeat=0.01)
    assert [await anext(following), await anext(following), await anext(following)] == [[], None, None]
    feed.close()
    assert [batch async for batch in following if batch] == []


async def test_who_falls_too_far_behind_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT", 10)
    feed = Feed()
    slow, quick = (feed.follow(list, heartbeat=30) for _ in range(2))
    assert [await anext(slow), await anext(quick)] == [[], []]
    for number in range(100):
        feed.tell("job", b"%d" % number)
        assert await anext(quick) == [("job", b"%d" % number)]
    assert len(feed._entries) <= 20
    assert [batch async for batch in slow] == []


async def test_nothing_is_kept_for_nobody() -> None:
    feed = Feed()
    for _ in range(3):
        feed.tell("job", b"nobody hears this")
    assert feed._entries == []
    following = feed.follow(list, heartbeat=30)
    assert await anext(following) == []
    feed.tell("job", b"one")
    assert await anext(following) == [("job", b"one")]
    await following.aclose()
    feed.tell("job", b"nobody any more")
    assert feed._entries == []
    again = feed.follow(list, heartbeat=30)
    assert await anext(again) == []
    feed.tell("job", b"two")
    assert await anext(again) == [("job", b"two")]


async def test_a_job_and_its_pictures_are_heard_of() -> None:
    feed = Feed()
    following = feed.follow(list, heartbeat=30)
    await anext(following)
    log = JobLog("j1", kind="switch")
    log.tell(feed)
    log.publish("running", Progress(phase="loading"))
    log.add_image(image())
    log.add_image(image())
    batch = await anext(following)
    assert batch
    assert [name for name, _ in batch] == ["job", "job", "image"]
    events = [msgspec.json.decode(data, type=JobEvent) for name, data in batch if name == "job"]
    assert [(event.job, event.kind, event.state) for event in events] == [
        ("j1", "switch", "queued"),
        ("j1", "switch", "running"),
    ]
    assert msgspec.json.decode(batch[2][1], type=Happening) == Happening(change="saved", image=image())
