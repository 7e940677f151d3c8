"""What the library's commands share: options and the way to the next page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

from tensors.cli._app import App

F = TypeVar("F", bound=Callable[..., Any])


def page_options(default: int, most: int) -> Callable[[F], F]:
    """`--limit` and `--cursor`."""

    def add(command: F) -> F:
        command = click.option("--cursor", metavar="CURSOR", help="Go on after an earlier list.")(command)
        return click.option(
            "--limit",
            "-n",
            type=int,
            default=default,
            show_default=True,
            metavar="N",
            help=f"At most so many, up to {most}.",
        )(command)

    return add


def say_more(app: App, command: str, query: Iterable[str], options: Mapping[str, object], cursor: str) -> None:
    """Tell how to get the next page: the same command, with the cursor."""
    import shlex

    given = [word for name, value in options.items() for word in _option(name, value)]
    app.say(f"more: {command} {shlex.join([*query, *given, '--cursor', cursor])}")


def _option(name: str, value: object) -> list[str]:
    option = name.replace("_", "-")
    if value is None:
        return []
    if isinstance(value, bool):
        return [f"--{option}" if value else f"--no-{option}"]
    return [f"--{option}", str(value)]
