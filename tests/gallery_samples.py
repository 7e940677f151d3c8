"""Pictures for tests of the gallery, and what is asked of it most."""

from __future__ import annotations

import base64
from dataclasses import replace

from tensors.gallery import Gallery
from tensors.types.gallery import Image
from tensors.types.generation import Settings, UsedModel

JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6j"
    "q62rZ4C8ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk"
    "pKSkpKSkpKT/wAARCAAIAAgDASIAAhEBAxEB/8QAFQABAQAAAAAAAAAAAAAAAAAAAAT/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/8QA"
    "FQEBAQAAAAAAAAAAAAAAAAAABAb/xAAUEQEAAAAAAAAAAAAAAAAAAAAA/9oADAMBAAIRAxEAPwCAANSP/9k="
)
"""8x8 pixels, red."""
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC")
WHEN = "2026-11-22T18:49:01.123Z"
STEM = "20261122-184901-123"
SETTINGS = Settings(
    prompt="a cat, 猫",
    negative_prompt="",
    model=UsedModel(name="shapes", family="shapes"),
    width=64,
    height=64,
    steps=1,
    cfg_scale=2.0,
    sampler="euler",
    scheduler="discrete",
    seed=0,
)


def image(job: str = "job", index: int = 0, *, created: str = WHEN, seed: int = 7) -> Image:
    return Image(
        id="",
        created=created,
        job=job,
        index=index,
        width=1,
        height=1,
        settings=replace(SETTINGS, seed=seed),
        engine="sd-server 1",
        tsr="0.1.0",
        path="",
    )


def names(gallery: Gallery) -> list[str]:
    """Its files, without what tsr keeps in folders of its own."""
    folder = gallery.directory
    return sorted(path.name for path in folder.iterdir() if path.name not in (".trash", ".thumbnails"))


def all_of(gallery: Gallery, limit: int = 500) -> list[Image]:
    """Every record, page by page."""
    found: list[Image] = []
    cursor = None
    while True:
        page = gallery.list(limit=limit, cursor=cursor)
        found.extend(page.items)
        assert len(page.items) == limit or page.next_cursor is None
        if page.next_cursor is None:
            return found
        assert cursor is None or page.next_cursor < cursor
        cursor = page.next_cursor
