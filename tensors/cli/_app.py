"""What every command has: the configuration, where to send the work, and how to print."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from tensors.config import Config
    from tensors.service import Tensors

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class App:
    """One run of `tsr`. Data goes to standard output, words to standard error."""

    json: bool = False
    remote: str | None = None

    @cached_property
    def config(self) -> Config:
        """The settings in force. Raises `ConfigError`."""
        from tensors.config import load_config

        return load_config()

    @contextmanager
    def tensors(self) -> Iterator[Tensors]:
        """The implementation to use, local or remote."""
        from tensors.connect import connect

        service = connect(self.config, self.remote)
        try:
            yield service
        finally:
            service.close()

    def show(self, value: T, lines: Callable[[T], Iterable[str]]) -> None:
        """Print a command's result: one JSON document, or the lines for people."""
        if self.json:
            self.data(value)
        else:
            for line in lines(value):
                click.echo(line)

    def data(self, value: object) -> None:
        """Print one JSON document on one line."""
        import msgspec

        click.echo(msgspec.json.encode(value))

    def say(self, text: str) -> None:
        """Tell the person something that is not the result."""
        if not self.json:
            click.echo(text, err=True)

    @property
    def interactive(self) -> bool:
        """Whether a person watches: progress bars and pictures make sense."""
        return not self.json and sys.stderr.isatty()


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value:
            setattr(ctx.ensure_object(App), name, value)

    return callback


def _complete_remotes(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    from tensors.config import load_config

    return [name for name in ("local", *load_config().remotes) if name.startswith(incomplete)]


def json_option(command: F) -> F:
    """`--json`: one JSON document instead of text."""
    return click.option(
        "--json", is_flag=True, expose_value=False, callback=_set("json"), help="Print JSON, errors included."
    )(command)


def remote_option(command: F) -> F:
    """`--remote`: do it on that server."""
    return click.option(
        "--remote",
        "-r",
        metavar="NAME|URL",
        expose_value=False,
        callback=_set("remote"),
        shell_complete=_complete_remotes,
        help="Do it on that server; 'local' means this machine.",
    )(command)


def table(rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """Rows as lines with aligned columns."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
