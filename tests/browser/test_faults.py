"""What a slow engine, a dying one and a server that goes away look like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import StartServer
from observe import eventually
from playwright.sync_api import expect
from serving import Api, serving

from browser.visit import OpenVisit

LONG, SECOND, THIRD = "a long one", "the second one", "the third one"
SLOW = "0.5"
DEATH = {"FAKE_SD_DIE_AT_STEP": "1"}
HANGING = {"FAKE_SD_HANG_LOAD": "1"}
LOST = (r"ERR_(INCOMPLETE_CHUNKED_ENCODING|CONNECTION_REFUSED|EMPTY_RESPONSE|CONNECTION_RESET)",)
"""Chromium says it by itself when a server is killed."""


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path, FAKE_SD_STEP_SECONDS=SLOW) as api:
        yield api


def test_the_queue_goes_in_order_and_what_is_cancelled_is_not_drawn(visit: OpenVisit, slow: Api) -> None:
    on = visit(slow.server)
    on.ask(LONG, Steps=90)
    # What it is now is what Cancel ends, so it must be there before.
    expect(on.bar).to_have_attribute("aria-valuenow", re.compile("[1-9]"))
    for prompt in (SECOND, THIRD):
        on.ask(prompt, Steps=1)
        expect(on.by("link", "Queue")).to_contain_text(str(2 if prompt == SECOND else 3))
    on.walk("Queue")
    waiting = on.by("region", "3 jobs").get_by_role("article")
    expect(waiting).to_have_count(3)
    # Their places come a moment after themselves.
    eventually(lambda: [job.get_attribute("aria-label") for job in waiting.all()] == [LONG, SECOND, THIRD])

    on.press(f"Cancel {SECOND}")
    expect(waiting).to_have_count(0)
    expect(on.by("region", "2 jobs").get_by_role("article")).to_have_count(2)
    on.walk("Draw")
    on.press("Cancel", on.by("region", "Progress"))
    on.walk("Queue")
    done = on.by("region", "Done")
    expect(done.get_by_role("article", name=THIRD).get_by_role("img")).to_be_visible()
    for prompt in (LONG, SECOND):
        expect(done.get_by_role("article", name=prompt)).to_contain_text("cancelled")
    assert [body["prompt"] for body in slow.sent()] == [LONG, THIRD]


@pytest.mark.parametrize(("size", "fault"), [("desktop", DEATH), ("phone", HANGING)], ids=["dies", "hangs"])
def test_why_an_engine_fails_is_told_and_what_to_do(visit: OpenVisit, tmp_path: Path, fault: dict[str, str]) -> None:
    (tmp_path / "config.toml").write_text("[engine]\nstart_timeout = 1\n")
    with serving(tmp_path, **fault) as api:
        on = visit(api.server).ask(LONG, Steps=2)
        expect(on.stage).to_contain_text("Drawing failed")
        (failed,) = api.get("/api/jobs")["items"]
        error = failed["error"]
        for part in (error["message"], error["hint"]):
            expect(on.stage).to_contain_text(part, ignore_case=True)
        on.walk("Queue")
        expect(on.by("region", "Done").get_by_role("article", name=LONG)).to_contain_text("failed")


def test_after_the_server_is_killed_the_page_says_so_and_goes_on_with_the_next_one(
    visit: OpenVisit, start_server: StartServer, fake_engine: Path
) -> None:
    server = start_server(FAKE_SD_STEP_SECONDS=SLOW)
    on = visit(server)
    on.ask(LONG, Steps=8)
    expect(on.bar).to_have_attribute("aria-valuenow", re.compile("[1-9]"))
    on.watch.forgive(*LOST)
    server.kill()
    banner = on.page.get_by_role("alert").filter(has_text="connection to the server is lost")
    expect(banner).to_be_visible()

    port = urlsplit(server.url).port
    start_server("--port", str(port), FAKE_SD_STEP_SECONDS="0.01")
    on.press("Try now", banner)
    expect(banner).to_have_count(0)
    # The job outlived its server, and so did what was written.
    expect(on.stage.get_by_role("link", name=LONG).first).to_be_visible()
    expect(on.prompt).to_have_value(LONG)
    on.ask(SECOND, Steps=1)
    expect(on.stage.get_by_role("link", name=SECOND).first).to_be_visible()
