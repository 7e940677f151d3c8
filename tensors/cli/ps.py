"""`tsr ps`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from tensors.cli._app import App, json_option, remote_option
from tensors.cli._backends import backend_rows

if TYPE_CHECKING:
    from tensors.types.base import Page
    from tensors.types.server import EngineStatus

_PAUSE = 1.0
"""Seconds between two looks."""


@click.command()
@click.option("--watch", "-w", is_flag=True, help="Go on until Ctrl-C; with --json, one line for each change.")
@remote_option
@json_option
@click.pass_obj
def ps(app: App, watch: bool) -> None:
    """Show the backends, where engines run: what they have and do.

    Each line is one: its name, where it runs (process, docker or external), its state, the model in it and its family,
    the memory that this probably takes, for how long it has been in this state, how many jobs wait for its model, and
    the job that it draws. Below one that failed stands why.
    """
    with app.tensors() as tensors:
        page = tensors.backends.list()
        _show(app, page, clear=watch)
        while watch:
            time.sleep(_PAUSE)
            before, page = page, tensors.backends.list()
            if page != before or _is_screen(app):
                _show(app, page, clear=True)
    _advise(app, page.items)


def _show(app: App, page: Page[EngineStatus], *, clear: bool) -> None:
    if clear and _is_screen(app):
        click.clear()
    app.show(page, lambda page: backend_rows(page.items))


def _is_screen(app: App) -> bool:
    """Whether what was shown before can be replaced, and grows older before somebody's eyes."""
    return not app.json and sys.stdout.isatty()


def _advise(app: App, backends: Iterable[EngineStatus]) -> None:
    states = {backend.state for backend in backends}
    if not states:
        app.say("no backend is known: containers are found by a server (tsr serve)")
    elif "missing" in states:
        app.say("get an engine: tsr engine install")
    elif states == {"stopped"}:
        app.say("nothing is loaded: a request loads what it needs, or tsr models switch NAME")
