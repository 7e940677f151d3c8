"""`tsr engine`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from tensors.cli._app import App, json_option, table

if TYPE_CHECKING:
    from tensors.engines.binary import EngineBinary


@click.group()
def engine() -> None:
    """Get, list and remove sd-server, the engine that draws."""


def _rows(engines: Sequence[EngineBinary]) -> Iterator[str]:
    for position, one in enumerate(engines):
        mark = "*" if position == 0 else " "
        yield from table([(mark, one.name, one.version, one.source, one.accelerator, one.path)])


@engine.command()
@click.option(
    "--source",
    type=click.Choice(["release", "build"]),
    help="Upstream's binary, or a build from source; when left out, the first that works.",
)
@click.option(
    "--accelerator",
    metavar="NAME",
    help="cpu, cuda, rocm, vulkan or metal; when left out, what this machine has.",
)
@click.option("--force", is_flag=True, help="Install again what is there.")
@json_option
@click.pass_obj
def install(app: App, source: str | None, accelerator: str | None, force: bool) -> None:
    """Have an sd-server on this machine.

    One on PATH is taken; else upstream's release for this platform, checked by its SHA256; else it is built once from
    source, which takes a C++ compiler and some minutes.
    """
    from tensors.cli._install import install_with_progress

    found = install_with_progress(app, source=source, accelerator=accelerator, force=force)
    app.show(found, lambda one: [str(one.path)])
    app.say(f"sd-server {found.version} ({found.source}, {found.accelerator}) is ready")


@engine.command("list")
@json_option
@click.pass_obj
def list_engines(app: App) -> None:
    """List the engines on this machine; * marks the one in use."""
    from tensors.engines.binary import list_engines as find_all

    engines = find_all(app.config)
    app.show(engines, _rows)
    if not engines:
        app.say("none yet: tsr engine install")


@engine.command()
@json_option
@click.pass_obj
def path(app: App) -> None:
    """Show the program in use."""
    from tensors.engines.binary import find_engine

    app.show(find_engine(app.config), lambda one: [str(one.path)])


@engine.command()
@click.argument("name")
@json_option
@click.pass_obj
def remove(app: App, name: str) -> None:
    """Remove an installed engine."""
    from tensors.engines.install import remove_engine

    app.show(remove_engine(app.config, name), lambda one: [f"removed {one.name}"])
