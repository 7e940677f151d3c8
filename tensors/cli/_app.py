"""What every command has: the configuration, where to send the work, and how to print."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tensors.cli._text import plain, plain_lines, width

if TYPE_CHECKING:
    from tensors.config import Config
    from tensors.service import Tensors

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class App:
    """One run of `tsr`. Data goes to standard output, words to standard error."""

    def __init__(self, *, json: bool = False, remote: str | None = None) -> None:
        self.json = json
        self.remote = remote

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
            # What others wrote does nothing to the terminal. Written at once: a list has hundreds of lines.
            rows = list(map(plain, lines(value)))
            if rows:
                click.echo("\n".join(rows))

    def data(self, value: object) -> None:
        """Print one JSON document on one line."""
        click.echo(as_json(value))

    def say(self, text: str) -> None:
        """Tell the person something that is not the result."""
        if not self.json:
            click.echo(plain_lines(text), err=True)

    @property
    def interactive(self) -> bool:
        """Whether a person watches: progress bars and pictures make sense."""
        return not self.json and sys.stderr.isatty()


def as_json(value: object) -> bytes:
    """A value as one JSON document."""
    import msgspec

    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        # Bytes of a file's name that are no text: escapes keep them.
        import json

        return json.dumps(msgspec.to_builtins(value)).encode()


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


def table(rows: Iterable[Iterable[object]], *, right: Collection[int] = ()) -> Iterator[str]:
    """Rows as lines with aligned columns; those at the positions `right` end below each other."""
    columns = [_aligned(list(map(str, cells)), n in right) for n, cells in enumerate(zip(*rows, strict=True))]
    for row in zip(*columns, strict=True):
        yield "  ".join(row).rstrip()


def _aligned(cells: list[str], right: bool) -> Iterator[str]:
    texts = list(map(plain, cells))
    widths = list(map(width, texts))
    widest = max(widths)
    for text, wide in zip(texts, widths, strict=True):
        yield " " * (widest - wide) + text if right else text + " " * (widest - wide)


def size_of(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """`832x1216` as width and height: the callback of an option."""
    if value is None:
        return None
    width, _, height = value.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise click.BadParameter(f"{value!r} is not WIDTHxHEIGHT")
    return int(width), int(height)
