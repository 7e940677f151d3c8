"""axe finds nothing in any view, in both themes, on both screens."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from conftest import Server
from fake_civitai import fake_civitai
from playwright.sync_api import expect
from serving import serving

from browser.accessibility import violations
from browser.visit import RED_ON_BLUE, OpenVisit, Visit
from tensors.models import demo_dir

GROWN_UP, THROWN_AWAY = "a grown up", "thrown away"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With pictures of which one is mature, one in the trash, and one that could not be drawn."""
    root = tmp_path_factory.mktemp("server")
    shutil.copytree(demo_dir(), root / "data" / "models", ignore=shutil.ignore_patterns("*.md", "*.json"))
    with fake_civitai() as civitai, serving(root, TSR_CIVITAI_URL=civitai.url) as api:
        red, other, gone = (
            api.generate(prompt=prompt, steps=2)["images"][0]["id"] for prompt in (RED_ON_BLUE, GROWN_UP, THROWN_AWAY)
        )
        edits = {red: {"tags": ["kept"], "rating": 4, "favourite": True}, other: {"tags": ["mature"]}}
        for image, edit in edits.items():
            api.http.post(f"/api/images/{image}/edit", json=edit).raise_for_status()
        api.http.delete(f"/api/images/{gone}").raise_for_status()
        yield api.server


def drawing(on: Visit) -> None:
    """With all that can be folded out: the family's own hires fix is on."""
    on.page.get_by_text("More", exact=True).click()
    expect(on.by("switch", "Hires fix")).to_be_checked()


def lora(on: Visit) -> None:
    on.press("Add LoRA")
    expect(on.by("dialog", "Add a LoRA").get_by_role("listitem")).not_to_have_count(0)


def drawn(on: Visit) -> None:
    on.ask(RED_ON_BLUE, Steps=2)
    expect(on.stage.get_by_role("link", name=RED_ON_BLUE).first).to_be_visible()


def gallery(on: Visit) -> None:
    on.walk("Gallery")
    on.press("Filters")
    on.press("Select")
    box = on.pictures.get_by_role("checkbox", name=f"Select {RED_ON_BLUE}").first
    box.click()
    expect(box).to_be_checked()
    expect(on.by("region", "Selected pictures")).to_contain_text("1 picture")


def trash(on: Visit) -> None:
    on.go("gallery?trash=true")
    expect(on.pictures.get_by_role("img", name=THROWN_AWAY)).to_be_visible()


def picture(on: Visit) -> None:
    on.walk("Gallery").drawn(RED_ON_BLUE).click()
    expect(on.box.get_by_role("textbox", name="Add a tag")).to_be_visible()


def deleted(on: Visit) -> None:
    """With a message in front of it."""
    on.walk("Gallery").drawn(GROWN_UP).click()
    on.press("Copy prompt", on.box)
    expect(on.says("Copied")).to_be_visible()


def library(on: Visit) -> None:
    on.walk("Library")
    on.press("Scan folders")
    expect(on.page.get_by_role("article").first).to_be_visible()


def catalog(on: Visit) -> None:
    on.walk("Library")
    on.press("Find models")
    on.press("Search")
    expect(on.by("list", "Models found").get_by_role("article")).not_to_have_count(0)


def queue(on: Visit) -> None:
    on.walk("Queue")
    expect(on.page.get_by_role("article", name=RED_ON_BLUE).first).to_be_visible()


SCENES: tuple[Callable[[Visit], None], ...] = (
    drawing,
    lora,
    drawn,
    gallery,
    trash,
    picture,
    deleted,
    library,
    catalog,
    queue,
)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_any_view(visit: OpenVisit, server: Server, theme: str) -> None:
    on = visit(server, None, color_scheme=theme, permissions=["clipboard-write"])
    found = []
    for scene in SCENES:
        on.page.goto("about:blank")
        scene(on.go())
        found += violations(on.page, scene.__name__)
    assert found == []
