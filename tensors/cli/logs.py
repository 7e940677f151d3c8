"""`tsr logs`."""

from __future__ import annotations

import click

from tensors.cli._app import App, json_option, remote_option
from tensors.cli._complete import complete_backends
from tensors.cli._text import plain
from tensors.types.base import Page


@click.command()
@click.argument("backend", required=False, shell_complete=complete_backends)
@click.option("--follow", "-f", is_flag=True, help="Go on with what it says, until Ctrl-C.")
@click.option(
    "--lines", "-n", type=int, default=100, show_default=True, metavar="N", help="At most so many, up to 2000."
)
@remote_option
@json_option
@click.pass_obj
def logs(app: App, backend: str | None, follow: bool, lines: int) -> None:
    """Print what an engine said last.

    BACKEND is a name from `tsr ps`; when there is but one, it may be left out. With --follow --json, one JSON document
    in each line.
    """
    with app.tensors() as tensors:
        told = tensors.backends.logs(backend, lines=lines, follow=follow)
        if not follow:
            page = Page(items=tuple(told))
            app.show(page, lambda page: [line.text for line in page.items])
            if not page.items and lines:
                app.say("it has said nothing yet")
            return
        for line in told:
            if app.json:
                app.data(line)
            else:
                click.echo(plain(line.text))
