"""`tsr events`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tensors.cli._app import App, json_option, remote_option
from tensors.cli._follow import words
from tensors.cli._image_rows import image_rows
from tensors.cli._text import plain
from tensors.errors import ServerUnreachable

if TYPE_CHECKING:
    from tensors.types.jobs import Happening, JobEvent


@click.command()
@remote_option
@json_option
@click.pass_obj
def events(app: App) -> None:
    """Tell everything that happens on a server, until Ctrl-C.

    A line for each step of a job, and for each picture that is saved, imported, edited, deleted or restored. It begins
    with the jobs that have not ended. With --json, one JSON document in each line: `job` has what a job does, or
    `change` and `image` what became of a picture.
    """
    with app.tensors() as tensors:
        for happening in tensors.events():
            if app.json:
                app.data(happening)
            else:
                click.echo(plain(_line(happening)))
    raise ServerUnreachable("the server has ended", hint="tsr status")


def _line(happening: Happening) -> str:
    if happening.job:
        return f"job    {_job(happening.job)}"
    about = "".join(image_rows([happening.image])) if happening.image else ""
    return f"image  {(happening.change or 'changed').ljust(9)}  {about}"


def _job(event: JobEvent) -> str:
    parts = [event.job, event.kind.ljust(8), event.state.ljust(9)]
    if event.error:
        parts.append(event.error.message.partition("\n")[0])
    elif event.progress and event.state == "running":
        parts.append(words(event.progress))
    return "  ".join(parts).rstrip()
