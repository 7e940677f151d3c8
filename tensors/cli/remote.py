"""`tsr remote`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click

from tensors.cli._app import App, json_option, table


@click.group()
def remote() -> None:
    """Name the servers to talk to."""


def _described(app: App) -> list[dict[str, Any]]:
    default = app.config["default_remote"]
    return [
        {"name": name, "url": found.url, "default": name == default, "has_key": found.api_key is not None}
        for name, found in sorted(app.config.remotes.items())
    ]


def _rows(remotes: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield from table(
        ("*" if row["default"] else " ", row["name"], row["url"], "with key" if row["has_key"] else "")
        for row in remotes
    )


@remote.command()
@click.argument("name")
@click.argument("url")
@click.option("--api-key", metavar="KEY", help="The key that server wants; - asks for it.")
@click.option("--default", "make_default", is_flag=True, help="Use it when no remote is named.")
@json_option
@click.pass_obj
def add(app: App, name: str, url: str, api_key: str | None, make_default: bool) -> None:
    """Add or change a remote, such as: tsr remote add junkpile http://junkpile:8080"""
    from tensors.config import checked_url
    from tensors.config_file import add_remote

    if api_key == "-":
        api_key = click.prompt("API key", hide_input=True, err=True)
    add_remote(app.config.file, name, url, api_key=api_key, default=make_default)
    app.show({"name": name, "url": checked_url(url)}, lambda row: [f"{row['name']} is {row['url']}"])
    app.say(f"try it: tsr status --remote {name}")


@remote.command("list")
@json_option
@click.pass_obj
def list_remotes(app: App) -> None:
    """List remotes; * marks the default."""
    app.show(_described(app), _rows)
    if not app.config.remotes:
        app.say("no remotes yet: tsr remote add junkpile http://junkpile:8080")


@remote.command()
@click.argument("name", required=False)
@click.option("--none", "clear", is_flag=True, help="Have no default: commands work on this machine.")
@json_option
@click.pass_obj
def default(app: App, name: str | None, clear: bool) -> None:
    """Show or set the remote that is used when none is named."""
    from tensors.config_file import set_default_remote

    if name and clear:
        raise click.UsageError("give a NAME or --none, not both")
    current = app.config["default_remote"]
    if name or clear:
        set_default_remote(app.config.file, name)
        current = name
    app.show({"default_remote": current}, lambda row: [row["default_remote"] or "none"])


@remote.command()
@click.argument("name")
@json_option
@click.pass_obj
def remove(app: App, name: str) -> None:
    """Forget a remote."""
    from tensors.config_file import remove_remote

    remove_remote(app.config.file, name)
    app.show({"removed": name}, lambda row: [f"forgot {row['removed']}"])
