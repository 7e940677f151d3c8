"""axe-core on a page: what people with a screen reader, a keyboard or weak eyes stumble over."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

_AXE = Axe()
_OPTIONS = {"resultTypes": ["violations"]}


def violations(page: Page, where: str) -> list[str]:
    """Each rule that is broken, with the elements that break it; `where` says what was on the page."""
    found = _AXE.run(page, options=_OPTIONS).response["violations"]
    return [
        f"{where}: {rule['id']} ({rule['impact']}): {node['target']}: {node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ]
