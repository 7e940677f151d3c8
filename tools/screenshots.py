"""Take the pictures of the web page for the docs anew, with the real engine: `python -m tools.screenshots`."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from tensors.client import TsrClient
from tensors.config import load_config
from tensors.types.gallery import ImageEdit
from tensors.types.generation import GenerateRequest
from tests.browser.chromium import SIZES, find_chromium, running_chromium

IMAGES = Path(__file__).parent.parent / "docs" / "images"
_COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "cyan")
_SHAPES = ("circle", "square", "triangle")
_PICTURES = 40
_FRONT = "a red circle on a blue background"


@contextlib.contextmanager
def _serving(folder: str) -> Iterator[str]:
    """The address of a server with the real engine, and nobody's settings."""
    settings = {
        "TSR_DATA_DIR": folder,
        "TSR_CONFIG": os.devnull,
        "TSR_ENGINE_DIR": str(load_config().engine_dir),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tensors", "serve", "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **settings},
    )
    assert process.stdout
    try:
        yield str(json.loads(process.stdout.readline())["url"])
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def _prompts() -> list[str]:
    """What is drawn: all kinds of shapes, and last the one that is shown in front."""
    pairs = itertools.permutations(_COLOURS, 2)
    every = [
        f"a {disc} {shape} on a {ground} background"
        for (disc, ground), shape in zip(pairs, itertools.cycle(_SHAPES), strict=False)
    ]
    return [*[prompt for prompt in every if prompt != _FRONT][: _PICTURES - 1], _FRONT]


def _fill(client: TsrClient) -> None:
    """Draw them, one after the other, so that each is newer than the one before."""
    for seed, prompt in enumerate(_prompts()):
        job = client.generate(GenerateRequest(prompt=prompt, seed=seed))
        *_, last = client.jobs.events(job.id)
        if last.state != "succeeded":
            raise SystemExit(f"{prompt}: {last.error}")
        for image in last.images:
            if seed == _PICTURES - 1:
                client.images.edit(image, ImageEdit(tags=("shapes", "keep"), rating=5, favourite=True))


def _settled(page: Page) -> Page:
    """With all its pictures loaded."""
    page.wait_for_load_state("load")
    page.get_by_role("img").first.wait_for()
    page.evaluate("async () => { await Promise.all([...document.images].map((one) => one.decode())); }")
    return page


def _front(page: Page) -> Page:
    """A picture drawn just now, beside the form."""
    page.get_by_role("textbox", name="Prompt", exact=True).fill(_FRONT)
    page.get_by_role("button", name="Draw", exact=True).click()
    stage = page.get_by_role("region", name="Pictures of this prompt")
    page.get_by_role("progressbar", name="Drawing progress").wait_for()
    page.get_by_role("progressbar", name="Drawing progress").wait_for(state="detached")
    stage.get_by_role("link", name=_FRONT).first.wait_for()
    return _settled(page)


def _gallery(page: Page) -> Page:
    page.get_by_role("link", name="Gallery", exact=True).click()
    page.get_by_role("list", name="Pictures").get_by_role("link").nth(10).wait_for()
    return _settled(page)


def _lightbox(page: Page) -> Page:
    _gallery(page).get_by_role("list", name="Pictures").get_by_role("link", name=_FRONT).last.click()
    page.get_by_role("dialog", name="Picture").get_by_role("button", name="Use these settings").wait_for()
    return _settled(page)


_SCENES = {"desktop": ("desktop", _front), "phone": ("phone", _gallery), "lightbox": ("desktop", _lightbox)}


def take(browser: Browser, url: str, folder: Path) -> None:
    """Each scene in the light theme and in the dark one."""
    for (name, (size, scene)), theme in itertools.product(_SCENES.items(), ("light", "dark")):
        context = browser.new_context(
            base_url=url, locale="en-GB", color_scheme=theme, reduced_motion="reduce", **SIZES[size]
        )
        page = context.new_page()
        page.goto("/")
        file = folder / f"page-{name}{'' if theme == 'light' else '-dark'}.png"
        scene(page).screenshot(path=file)
        # 256 colours are enough for a page, and a third of the bytes.
        with Image.open(file) as picture:
            picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
        context.close()


def main() -> None:
    """Draw a gallery on a data directory of its own, and look at it."""
    program = find_chromium()
    if program is None:
        raise SystemExit("there is no Chromium here (apt-get install chromium)")
    with tempfile.TemporaryDirectory() as folder, _serving(folder) as url:
        with contextlib.closing(TsrClient(url)) as client:
            _fill(client)
        with running_chromium(program, Path(folder)) as browser:
            take(browser, url, IMAGES)


if __name__ == "__main__":
    main()
