"""The page as somebody uses it: what is on it by role and name, and the things that are done over and over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from conftest import Server
from playwright.sync_api import BrowserContext, Locator, Page, expect

from browser.chromium import Watch

RED_ON_BLUE = "a red circle on a blue background"


@dataclass(frozen=True)
class Visit:
    """One page of one server."""

    page: Page
    context: BrowserContext
    watch: Watch
    server: Server
    size: str

    def go(self, view: str = "") -> Visit:
        """Load the page at a view: ``, `gallery`, `library`, `queue`, `image/ID`."""
        self.page.goto(f"/#/{view}")
        return self

    def walk(self, view: str) -> Visit:
        """Go to a view by its link."""
        self.page.get_by_role("navigation", name="Main").get_by_role("link", name=view).click()
        expect(self.page.get_by_role("heading", name=view, level=1)).to_have_count(1)
        return self

    def by(self, role: Any, name: str, **options: Any) -> Locator:
        """What has exactly this role and name."""
        return self.page.get_by_role(role, name=name, exact=True, **options)

    @property
    def prompt(self) -> Locator:
        return self.by("textbox", "Prompt")

    @property
    def bar(self) -> Locator:
        return self.by("progressbar", "Drawing progress")

    @property
    def stage(self) -> Locator:
        """Where what was asked for appears."""
        return self.by("region", "Pictures of this prompt")

    @property
    def pictures(self) -> Locator:
        """The gallery's grid."""
        return self.by("list", "Pictures")

    @property
    def box(self) -> Locator:
        """The picture in front."""
        return self.by("dialog", "Picture")

    def drawn(self, prompt: str) -> Locator:
        """The newest picture of a prompt in the gallery."""
        return self.pictures.get_by_role("link", name=prompt).first

    def says(self, words: str) -> Locator:
        """A short message."""
        return self.page.get_by_role("status").filter(has_text=words)

    def press(self, name: str, within: Locator | None = None) -> None:
        """Click a button, or tap it."""
        button = (within or self.page).get_by_role("button", name=name, exact=True)
        button.tap() if self.size == "phone" else button.click()

    def set_number(self, name: str, value: int) -> None:
        self.by("spinbutton", name).fill(str(value))

    def ask(self, prompt: str, **numbers: int) -> Visit:
        """Fill in the form and press Draw; `Steps=3` are its numbers."""
        self.prompt.fill(prompt)
        for name, value in numbers.items():
            self.set_number(name.replace("_", " "), value)
        self.press("Draw")
        return self

    def progress(self, name: str = "Drawing progress") -> list[tuple[int, int]]:
        """How far a progress bar was shown to be, over time: (now, of how many)."""
        seen = self.page.evaluate("window.progressSeen")
        return [(entry["now"], entry["most"]) for entry in seen if entry["name"] == name]


OpenVisit = Callable[..., Visit]
