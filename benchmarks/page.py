"""How soon the web page is there, and whether scrolling through 10,000 of 100,000 pictures keeps its memory flat.

In Chromium, with a new profile for each load: nothing is cached. The baseline of the first paint is a line of text from
the same server. Memory is what is left of scripts and elements after a garbage collection.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

from benchmarks._measure import Report, finish, interleaved, parser, ratios, scratch, serving
from benchmarks.gallery import write
from tests.browser.chromium import PATIENCE, SIZES, find_chromium, running_chromium

PICTURES = 100_000
FIRST, LAST = 1_000, 10_000
"""So many pictures somebody has scrolled by when memory is looked at."""
PAINT_LIMIT_MS = 1000
GROWTH_LIMIT = 1.2
"""'Flat' as a number: of what is there after the first thousand pictures."""
MB = 1_000_000

FIRST_PAINT = """
() => new Promise((resolve) => {
  new PerformanceObserver((list) => resolve(list.getEntriesByName("first-contentful-paint")[0].startTime))
    .observe({ type: "paint", buffered: true });
})
"""
# As somebody does it who looks for something: a screen further as soon as it is known what is there.
SCROLL = """
async (list, wanted) => {
  const box = list.parentElement;
  const frame = () => new Promise(requestAnimationFrame);
  const last = () => Math.max(...[...list.querySelectorAll("[data-index]")].map((tile) => Number(tile.dataset.index)));
  for (;;) {
    do await frame(); while (list.querySelector("li[aria-hidden]"));
    if (last() >= wanted) break;
    box.scrollBy(0, box.clientHeight);
    await frame();
  }
  // What is on its way is held by the browser.
  while ([...document.images].some((picture) => !picture.complete)) await frame();
}
"""


def first_paint(browser: Browser, url: str) -> float:
    """Milliseconds from the address to the first text or picture."""
    context = browser.new_context(**SIZES["desktop"])
    page = context.new_page()
    page.goto(url)
    took = page.evaluate(FIRST_PAINT)
    context.close()
    return float(took)


def loads(report: Report, browser: Browser, url: str, rounds: int) -> None:
    found = interleaved(
        rounds,
        line=lambda: first_paint(browser, f"{url}/api/health"),
        page=lambda: first_paint(browser, f"{url}/"),
    )
    report.add("first paint of a line of text", found["line"], "ms")
    report.bar("first paint of the page", found["page"], PAINT_LIMIT_MS, "ms")


def held(page: Page) -> tuple[float, float]:
    """Bytes of the scripts' heap, and how many elements and texts there are, gone ones that are still held included."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    for _ in range(2):
        session.send("HeapProfiler.collectGarbage")
    answer: dict[str, Any] = session.send("Performance.getMetrics")
    metrics = {metric["name"]: metric["value"] for metric in answer["metrics"]}
    session.detach()
    return metrics["JSHeapUsedSize"], metrics["Nodes"]


def scrolled(browser: Browser, url: str, last: int) -> list[tuple[float, float]]:
    """What is held after the first thousand pictures, and after the last one."""
    context = browser.new_context(**SIZES["desktop"])
    context.set_default_timeout(10 * PATIENCE)
    page = context.new_page()
    page.goto(f"{url}/#/gallery")
    found = []
    for wanted in (min(FIRST, last // 2), last - 1):
        page.get_by_role("list", name="Pictures").evaluate(SCROLL, wanted)
        found.append(held(page))
    context.close()
    return found


def memory(report: Report, browser: Browser, url: str, last: int, rounds: int) -> None:
    found = [scrolled(browser, url, last) for _ in range(rounds)]
    for place, name in enumerate((f"{FIRST:,}", f"{last:,}")):
        report.add(f"heap of the scripts after {name} pictures", [both[place][0] / MB for both in found], "MB")
        report.add(f"elements and texts after {name} pictures", [both[place][1] for both in found], "")
    for kind, name in enumerate(("heap", "elements and texts")):
        first, all_ = ([both[place][kind] for both in found] for place in (0, 1))
        report.bar(f"{name} after {last:,} pictures, of those after {FIRST:,}", ratios(all_, first), GROWTH_LIMIT, "")


def main() -> int:
    options = parser((__doc__ or "").partition("\n")[0], rounds=15)
    options.add_argument("--pictures", type=int, default=PICTURES, metavar="N", help=f"how many there are ({PICTURES})")
    given = options.parse_args()
    program = find_chromium()
    if program is None:
        raise SystemExit("there is no Chromium here (apt-get install chromium)")
    report = Report("page")
    with scratch() as folder, tempfile.TemporaryDirectory() as home:
        (folder / "data").mkdir()
        write(folder / "data" / "gallery", given.pictures)
        with serving(folder) as server, running_chromium(program, Path(home)) as browser:
            loads(report, browser, server.url, given.rounds)
            memory(report, browser, server.url, min(LAST, given.pictures), max(3, given.rounds // 4))
    return finish(report, given)


if __name__ == "__main__":
    sys.exit(main())
