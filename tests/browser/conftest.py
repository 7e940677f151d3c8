"""One browser for all tests here, a new context for each, on a desktop's screen and on a phone's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from conftest import Server
from playwright.sync_api import Browser

from browser.chromium import SIZES, find_chromium, opened, running_chromium
from browser.visit import OpenVisit, Visit


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.browser)


# Not of the session: while it lives there is a loop in this thread, and asynchronous tests could have none.
@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The browser of this machine."""
    program = find_chromium()
    if program is None:
        pytest.skip("THE PAGE WAS NOT TESTED: there is no Chromium here (apt-get install chromium)")
    with running_chromium(program, tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(params=list(SIZES))
def size(request: pytest.FixtureRequest) -> str:
    """Each test runs on both screens."""
    return str(request.param)


@pytest.fixture
def visit(chromium: Browser, size: str) -> Iterator[OpenVisit]:
    """Opens pages of a server. A word on the console, a request that fails or goes elsewhere fails the test."""
    with ExitStack() as stack:

        def open_page(server: Server, view: str | None = "", *, screen: str = size, **options: Any) -> Visit:
            page, context, watch = stack.enter_context(opened(chromium, server.url, screen, **options))
            made = Visit(page, context, watch, server, screen)
            return made if view is None else made.go(view)

        yield open_page
