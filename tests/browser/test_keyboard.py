"""Everything without a mouse."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from serving import RED_ON_BLUE, Api, serving

from browser.visit import OpenVisit, Visit

PROMPTS = ("the first", "the second", "the third")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("server")) as api:
        for prompt in PROMPTS:
            api.generate(prompt=prompt, steps=1)
        yield api


def tab_to(on: Visit, role: str, name: str) -> None:
    """Press Tab until the focus is there."""
    wanted = on.by(role, name).first
    for _ in range(60):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        on.page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not come to the {role} {name!r}")


def test_a_picture_is_drawn_from_the_keyboard(visit: OpenVisit, api: Api) -> None:
    on = visit(api.server)
    expect(on.prompt).to_be_visible()
    on.page.keyboard.press("Tab")
    expect(on.by("button", "Skip to the content")).to_be_focused()
    tab_to(on, "textbox", "Prompt")
    on.page.keyboard.type(f"{RED_ON_BLUE} {on.size}")
    tab_to(on, "spinbutton", "Steps")
    on.page.keyboard.press("Control+A")
    on.page.keyboard.type("2")
    tab_to(on, "button", "Draw")
    on.page.keyboard.press("Enter")
    expect(on.stage.get_by_role("link", name=f"{RED_ON_BLUE} {on.size}").first).to_be_visible()
    assert api.sent()[-1]["sample_params"]["sample_steps"] == 2


def test_the_lightbox_goes_by_keys_and_gives_the_focus_back(visit: OpenVisit, api: Api) -> None:
    on = visit(api.server)
    expect(on.prompt).to_be_visible()
    on.page.keyboard.press("g")
    on.page.keyboard.press("g")
    third, second = on.drawn(PROMPTS[2]), on.drawn(PROMPTS[1])
    expect(third).to_be_visible()
    third.focus()
    on.page.keyboard.press("Enter")
    expect(on.box.get_by_role("img", name=PROMPTS[2])).to_be_visible()
    on.page.keyboard.press("ArrowRight")
    expect(on.box.get_by_role("img", name=PROMPTS[1])).to_be_visible()
    expect(on.box.get_by_role("button", name="Favourite")).to_be_visible()
    on.page.keyboard.press("3")
    expect(on.box.get_by_role("radio", name="3 stars")).to_be_checked()
    on.page.keyboard.press("f")
    expect(on.box.get_by_role("button", name="Favourite")).to_have_attribute("aria-pressed", "true")
    on.page.keyboard.press("ArrowLeft")
    expect(on.box.get_by_role("img", name=PROMPTS[2])).to_be_visible()
    on.page.keyboard.press("ArrowRight")
    expect(on.box.get_by_role("img", name=PROMPTS[1])).to_be_visible()
    # What lies behind cannot be reached.
    for _ in range(40):
        on.page.keyboard.press("Tab")
        assert on.page.evaluate(
            "document.activeElement === document.body || !!document.activeElement.closest('dialog')"
        )
    on.page.keyboard.press("Escape")
    expect(on.box).to_have_count(0)
    expect(second).to_be_focused()
    rated = api.get("/api/images", text=f'"{PROMPTS[1]}"')["items"][0]
    assert (rated["rating"], rated["favourite"]) == (3, True)
    api.http.post(f"/api/images/{rated['id']}/edit", json={"rating": 0, "favourite": False}).raise_for_status()


def test_the_arrows_walk_through_the_grid(visit: OpenVisit, api: Api) -> None:
    on = visit(api.server, "gallery")
    on.drawn(PROMPTS[2]).focus()
    on.page.keyboard.press("ArrowRight")
    expect(on.drawn(PROMPTS[1])).to_be_focused()
    on.page.keyboard.press("ArrowRight")
    expect(on.drawn(PROMPTS[0])).to_be_focused()
    on.page.keyboard.press("ArrowLeft")
    expect(on.drawn(PROMPTS[1])).to_be_focused()
    on.page.keyboard.press("/")
    expect(on.by("searchbox", "Search pictures")).to_be_focused()
