"""Chromium without a window, and pages in it that note everything that went wrong."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

PATIENCE = 60_000
"""Milliseconds until something that must come is missing: the machine may be busy."""
SIZES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "has_touch": True,
        "is_mobile": True,
    },
}
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
# Read before the tests take all settings of this machine away.
GIVEN = os.environ.get("TSR_TEST_CHROMIUM")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# What the policy of the page forbids, and how far a drawing was shown to be, in the order of things.
_WATCHER = """
window.progressSeen = [];
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} of ${event.blockedURI}`));
new MutationObserver((records) => {
  const bars = new Set(records.map((record) => record.target));
  for (const bar of document.querySelectorAll('[role="progressbar"][aria-valuenow]')) {
    const now = Number(bar.getAttribute("aria-valuenow"));
    const last = window.progressSeen.at(-1);
    const name = bar.getAttribute("aria-label");
    const most = Number(bar.getAttribute("aria-valuemax"));
    if (!last || last.name !== name || last.now !== now || last.most !== most)
      window.progressSeen.push({ name, now, most });
  }
}).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["aria-valuenow"] });
"""


def find_chromium() -> str | None:
    """A Chromium or Chrome of this machine: `TSR_TEST_CHROMIUM`, else the first of the usual names."""
    return GIVEN or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def running_chromium(program: str, home: Path) -> Iterator[Browser]:
    """One browser; whatever it keeps is below `home`."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=list(FLAGS), env={**os.environ, "HOME": str(home)}
        )
        yield browser
        browser.close()


@dataclass
class Watch:
    """Notes what must not happen on a page of `origin`: words on the console, failures, requests to somebody else."""

    origin: str
    complaints: list[str] = field(default_factory=list)
    forgiven: list[str] = field(default_factory=list)
    """Patterns of what a test causes on purpose."""

    def forgive(self, *patterns: str) -> None:
        """Say what is meant to happen."""
        self.forgiven.extend(patterns)

    def check(self) -> None:
        """Fail when anything went wrong that was not meant to."""
        left = [words for words in self.complaints if not any(re.search(pattern, words) for pattern in self.forgiven)]
        assert not left, "\n".join(left)

    def follow(self, page: Page) -> None:
        """Listen to a page from its first request on."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(f"thrown: {error}"))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on("crash", lambda _: self.complaints.append("the page crashed"))
        page.on("request", self._request)
        page.on("requestfailed", self._failed)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def _request(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in ("data", "blob") and f"{url.scheme}://{url.netloc}" != self.origin:
            self.complaints.append(f"request to somebody else: {request.url}")

    def _failed(self, request: Request) -> None:
        # The page itself stops what it does not need any more: a search that is overtaken, its stream when it closes.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"failed: {request.method} {request.url}: {request.failure}")


@contextmanager
def opened(browser: Browser, origin: str, size: str, **options: Any) -> Iterator[tuple[Page, BrowserContext, Watch]]:
    """An empty page in a context of its own, watched; what it complains of fails the test at the end."""
    context = browser.new_context(base_url=origin, locale="en-GB", reduced_motion="reduce", **SIZES[size], **options)
    try:
        context.set_default_timeout(PATIENCE)
        context.add_init_script(_WATCHER)
        page = context.new_page()
        watch = Watch(origin)
        watch.follow(page)
        yield page, context, watch
        watch.check()
    finally:
        context.close()
