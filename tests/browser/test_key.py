"""A server with an API key: the page asks for it once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from serving import Api, serving

from browser.accessibility import violations
from browser.visit import RED_ON_BLUE, OpenVisit

KEY = "a key only for this test"
REFUSED = "401"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("server"), TSR_API_KEYS=KEY) as api:
        api.http.headers["Authorization"] = f"Bearer {KEY}"
        api.generate(steps=1)
        yield api


def test_the_key_is_asked_for_once_and_pictures_load_with_it(visit: OpenVisit, api: Api) -> None:
    on = visit(api.server, "gallery")
    dialog = on.by("dialog", "API key")
    expect(dialog).to_be_visible()
    for theme in ("light", "dark"):
        on.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        assert violations(on.page, theme) == []
    on.page.keyboard.press("Escape")
    expect(dialog).to_be_visible()

    on.watch.forgive(REFUSED)
    field = dialog.get_by_label("API key", exact=True)
    field.fill("wrong")
    on.press("Continue", dialog)
    expect(dialog.get_by_role("alert")).to_contain_text("not valid")
    field.fill(KEY)
    field.press("Enter")
    expect(dialog).to_have_count(0)
    thumbnail = on.drawn(RED_ON_BLUE).get_by_role("img")
    expect(thumbnail).to_have_js_property("complete", True)
    assert thumbnail.evaluate("picture => picture.naturalWidth") > 0

    on.watch.forgiven.clear()
    on.watch.complaints.clear()
    on.page.reload()
    expect(on.drawn(RED_ON_BLUE)).to_be_visible()
    expect(dialog).to_have_count(0)
    # No script can read it, so none that gets into the page can carry it away.
    assert KEY not in on.page.evaluate("document.cookie + JSON.stringify(localStorage)")
    (cookie,) = on.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], KEY in cookie["value"]) == (True, "Strict", False)
