"""Ten thousand pictures: far down, found by words, hidden where they are for grown-ups."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from observe import eventually
from playwright.sync_api import expect
from serving import Api, serving

from benchmarks.gallery import write
from browser.visit import RED_ON_BLUE, OpenVisit

PICTURES = 10_000
FEW = 150
"""So many tiles the grid may have, however many pictures there are: a screen full, and some around it."""
FAR = 2_000
RARE = "qwertzy circle on a blue background"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    root = tmp_path_factory.mktemp("server")
    (root / "data").mkdir()
    write(root / "data" / "gallery", PICTURES)
    with serving(root) as api:
        yield api
    shutil.rmtree(root / "data" / "gallery")


DEEPEST = "list => Math.max(...[...list.querySelectorAll('li:has(a)')].map(tile => Number(tile.dataset.index)))"
TO_THE_END = "list => list.parentElement.scrollTo(0, list.parentElement.scrollHeight)"


def test_far_down_the_grid_is_as_small_as_at_the_top(visit: OpenVisit, api: Api) -> None:
    on = visit(api.server, "gallery")
    expect(on.pictures.get_by_role("link").first).to_be_visible()
    deepest = 0
    # The way down is not known in advance: the list grows while somebody goes on.
    while deepest < FAR:
        before = deepest
        on.pictures.evaluate(TO_THE_END)
        eventually(lambda: on.pictures.evaluate(DEEPEST) > before)  # noqa: B023
        deepest = on.pictures.evaluate(DEEPEST)
        assert on.pictures.evaluate("list => list.children.length") < FEW

    # The next page is on its way: what is in sight stands still afterwards.
    expect(on.page.locator("[data-index]:not(:has(a))")).to_have_count(0)
    picture = on.pictures.get_by_role("link").last
    place = str(picture.get_attribute("href"))
    picture.click()
    expect(on.box.get_by_role("button", name="Use these settings")).to_be_visible()
    on.press("Close", on.box)
    expect(on.page.locator(f'[data-index] a[href="{place}"]')).to_be_focused()


def test_words_find_the_one_picture_that_has_them(visit: OpenVisit, api: Api) -> None:
    prompt = RARE
    api.generate(prompt=prompt, steps=1)
    on = visit(api.server, "gallery")
    on.by("searchbox", "Search pictures").fill("qwertz*")
    expect(on.pictures.get_by_role("link")).to_have_count(1)
    expect(on.drawn(RARE)).to_be_visible()
    # The address has it, for the next time.
    on.page.reload()
    expect(on.by("searchbox", "Search pictures")).to_have_value("qwertz*")
    expect(on.pictures.get_by_role("link")).to_have_count(1)
    on.by("searchbox", "Search pictures").fill("qwertzy -circle")
    expect(on.page.get_by_text("No picture fits")).to_be_visible()
    for image in api.get("/api/images", text="qwertzy")["items"]:
        api.http.delete(f"/api/images/{image['id']}").raise_for_status()


def test_mature_pictures_are_blurred_until_somebody_turns_that_off(visit: OpenVisit, api: Api) -> None:
    image = api.generate(prompt=RED_ON_BLUE, tags=["mature"], steps=1)["images"][0]["id"]
    on = visit(api.server, "gallery?tag=mature")
    picture = on.drawn(RED_ON_BLUE).get_by_role("img")
    blurred = "picture => getComputedStyle(picture).filter.includes('blur')"
    expect(picture).to_be_visible()
    assert picture.evaluate(blurred)
    picture.click()
    large = on.box.get_by_role("img", name=RED_ON_BLUE)
    expect(large).to_be_visible()
    assert large.evaluate(blurred)
    on.press("Show this mature picture", on.box)
    expect(large).to_have_css("filter", "none")
    on.press("Close", on.box)

    on.by("switch", "Blur mature pictures").set_checked(False)
    expect(picture).to_have_css("filter", "none")
    eventually(lambda: on.page.evaluate("localStorage.getItem('tsr.blur')") == "false")
    on.page.reload()
    expect(on.by("switch", "Blur mature pictures")).not_to_be_checked()
    expect(picture).to_have_css("filter", "none")
    api.http.delete(f"/api/images/{image}").raise_for_status()
