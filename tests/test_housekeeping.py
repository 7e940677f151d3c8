"""What a server does by itself: the gallery is cleaned up as the settings say, when there is something to clean up."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from gallery_samples import PNG, all_of, image

from tensors.caretaker import Caretaker
from tensors.config import Config, load_config
from tensors.errors import QueueFull
from tensors.gallery import Gallery
from tensors.housekeeping import keep_house
from tensors.types.gallery import Cleaning, CleanupRequest, ImageEdit

DAY = 86_400


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery(tmp_path / "gallery")


def aged(gallery: Gallery, seed: int, *, days: float) -> str:
    """A picture that was saved so long ago."""
    saved = gallery.save(image(seed=seed), PNG)
    moment = time.time() - days * DAY
    os.utime(saved.path, (moment, moment))
    # The index knows the files' times from when it last looked.
    gallery.reindex()
    return saved.id


def settings(**values: object) -> Config:
    return load_config().with_values(**{f"gallery__{name}": value for name, value in values.items()})


def clean(gallery: Gallery, request: CleanupRequest | None = None, **values: object) -> Cleaning:
    return Caretaker(settings(**values), gallery).clean(request or CleanupRequest())


def test_by_default_pictures_stay_and_the_trash_is_kept_for_a_month(gallery: Gallery) -> None:
    old, deleted, expired = (aged(gallery, seed, days=4000) for seed in (1, 2, 3))
    gallery.delete(deleted)
    gallery.delete(expired)
    long_ago = time.time() - 31 * DAY
    os.utime(gallery.directory / ".trash" / f"{expired}.json", (long_ago, long_ago))
    done = clean(gallery)
    assert (done.trashed, done.removed) == ((), (expired,))
    assert [one.id for one in all_of(gallery)] == [old]
    assert [one.id for one in gallery.trash(limit=9, cursor=None).items] == [deleted]
    assert clean(gallery, trash_days=0).removed == ()


def test_age_and_size_take_the_oldest_but_no_favourites(gallery: Gallery) -> None:
    old, favourite, new = aged(gallery, 1, days=90), aged(gallery, 2, days=91), aged(gallery, 3, days=1)
    gallery.edit(favourite, ImageEdit(favourite=True))
    would = clean(gallery, CleanupRequest(dry_run=True), max_age=30)
    assert (would.trashed, len(all_of(gallery))) == ((old,), 3)
    assert clean(gallery, max_age=30) == would
    assert {one.id for one in all_of(gallery)} == {favourite, new}
    assert clean(gallery, max_age=30, keep_favourites=False).trashed == (favourite,)
    assert clean(gallery, max_size=0, keep_favourites=False).size == 0
    assert all_of(gallery) == []


def test_emptying_the_trash_takes_nothing_else(gallery: Gallery) -> None:
    old, deleted = aged(gallery, 1, days=90), aged(gallery, 2, days=1)
    gallery.delete(deleted)
    assert clean(gallery, CleanupRequest(empty_trash=True), max_age=30, max_size=0).removed == (deleted,)
    assert [one.id for one in all_of(gallery)] == [old]


@dataclass
class Queue:
    """Does what is submitted, and says what happened; `refuse` so many times."""

    caretaker: Caretaker
    refuse: int = 0
    done: list[str] = field(default_factory=list)
    happened: asyncio.Event = field(default_factory=asyncio.Event)

    async def forget_old_jobs(self) -> None:
        self.done.append("forgot")
        self.happened.set()
        if self.done.count("forgot") == 1:
            raise OSError("no space left on device")

    async def submit_library(self, request: CleanupRequest) -> None:
        self.done.append("refused" if self.refuse else "cleaned")
        self.happened.set()
        if self.refuse:
            self.refuse -= 1
            raise QueueFull
        self.caretaker.clean(request)


async def until(queue: Queue, enough: Callable[[], bool], work: Awaitable[None]) -> None:
    keeping = asyncio.ensure_future(work)
    while not enough():
        queue.happened.clear()
        await asyncio.wait_for(queue.happened.wait(), 30)
    keeping.cancel()
    await asyncio.wait({keeping})
    assert keeping.cancelled()


async def test_a_server_cleans_up_when_there_is_something_and_goes_on_after_a_failure(
    gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = aged(gallery, 1, days=90), aged(gallery, 2, days=1)
    config = settings(max_age=30)
    queue = Queue(Caretaker(config, gallery), refuse=2)
    keeping = keep_house(config, queue, gallery, first=0, every=0.01)
    await until(queue, lambda: queue.done.count("forgot") >= 6, keeping)
    # With nothing to do there is no job: the list of jobs is for people.
    assert [one for one in queue.done if one != "forgot"] == ["refused", "refused", "cleaned"]
    assert [one.id for one in all_of(gallery)] == [new]
    assert [one.id for one in gallery.trash(limit=9, cursor=None).items] == [old]
    assert "old jobs cannot be forgotten: no space left on device" in caplog.text
    assert "the gallery cannot be cleaned up" in caplog.text
