"""Models found on CivitAI, fetched, and then in the library, all from the page."""

from __future__ import annotations

import contextlib

from conftest import StartServer
from playwright.sync_api import expect
from test_download_jobs import NAME, Offer, offer, start  # noqa: F401 fixtures
from test_download_work import CONTENT

from browser.visit import OpenVisit


def test_a_model_is_found_fetched_and_in_the_library(
    visit: OpenVisit,
    start: StartServer,  # noqa: F811 the fixture
    offer: Offer,  # noqa: F811 the fixture
) -> None:
    server = start()
    offer.storage.released.set()
    on = visit(server).walk("Library")
    on.press("Find models")
    on.by("searchbox", "Search models").fill("Wanderer")
    on.press("Search")
    found = on.by("list", "Models found").get_by_role("article", name="Wanderer")
    on.press("Download Wanderer", found)
    dialog = on.by("dialog", "Download Wanderer")
    expect(dialog).to_contain_text(NAME)
    on.press("Start the download", dialog)
    expect(dialog).to_have_count(0)
    expect(found).to_contain_text("is in the library")

    with contextlib.closing(server.client()) as client:
        (file,) = client.db.files(kind="lora").items
        assert file.size == len(CONTENT)
    on.press("On this machine")
    on.by("searchbox", "Search files").fill("Wanderer")
    row = on.page.get_by_role("article", name=NAME.removesuffix(".safetensors"))
    row.get_by_role("button", name="Add to prompt").click()
    on.walk("Draw")
    expect(on.page.get_by_text("Wanderer v2").first).to_be_visible()
