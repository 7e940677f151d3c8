"""`tsr demo`."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from tensors.cli._app import App, json_option
from tensors.errors import from_wire

PROMPTS = (
    ("a red circle on a blue background", 16),
    ("a yellow star on a purple background", 8),
    ("a white heart on a black background", 2),
    ("an orange diamond on a cyan background", 16),
)
"""What is drawn, with the seeds, which are among the better ones of this tiny model."""


@click.command()
@json_option
@click.pass_obj
def demo(app: App) -> None:
    """Draw four pictures through a server of its own, to see that all works.

    Gets the engine if there is none (built from source, that takes some minutes once), starts a server, sends it four
    requests as another machine would, and stops it.
    """
    started = time.monotonic()
    _engine(app)
    with _server(app) as url:
        app.say(f"3. {len(PROMPTS)} pictures, as another machine would ask for them:")
        images = [_draw(app, url, prompt, seed) for prompt, seed in PROMPTS]
        result: dict[str, Any] = {
            "images": images,
            "directory": str(app.config.gallery_dir),
            "gallery": f"{url}/#/gallery",
            "seconds": round(time.monotonic() - started, 1),
        }
        app.show(result, lambda found: [image["path"] for image in found["images"]])
        app.say(f"\nThe pictures are in {result['directory']}")
        app.say(f"The page with them was {result['gallery']}; this server stops now, `tsr serve` starts another.")
    app.say(
        f"Done in {time.monotonic() - started:.0f} s. Your turn: tsr generate 'two blue stars on a white background'"
    )


def _engine(app: App) -> None:
    from tensors.cli._install import install_with_progress
    from tensors.engines.binary import find_engine
    from tensors.errors import EngineNotInstalled

    try:
        engine = find_engine(app.config)
    except EngineNotInstalled:
        app.say("1. The engine: none on this machine yet, getting one")
        engine = install_with_progress(app)
    app.say(f"1. The engine: sd-server {engine.version} ({engine.path})")


@contextmanager
def _server(app: App) -> Iterator[str]:
    """A server of our own on a free port; or the one that already serves this data directory."""
    from tensors.discovery import find_running

    running = find_running(app.config.run_dir)
    if running:
        app.say(f"2. The server: running already at {running.url}")
        yield running.url
        return
    process = subprocess.Popen(
        [sys.executable, "-m", "tensors", "serve", "--port", "0", "--model", "shapes", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        answer = json.loads(process.stdout.readline() or "{}")
        if "url" not in answer:
            raise from_wire(answer, status=500)
        app.say(f"2. The server: tsr serve, at {answer['url']}")
        yield answer["url"]
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def _draw(app: App, url: str, prompt: str, seed: int) -> dict[str, Any]:
    """One picture, drawn by the very command a person would type."""
    arguments = ["generate", prompt, "--model", "shapes", "--seed", str(seed), "--remote", url]
    app.say(f"   $ tsr {shlex.join(arguments)}")
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tensors", *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    answer = json.loads(done.stdout or "{}")
    if done.returncode != 0:
        raise from_wire(answer, status=500)
    image: dict[str, Any] = answer["images"][0]
    app.say(f"   {image['id']}.png, {image['width']}x{image['height']}, {time.monotonic() - began:.1f} s")
    return image
