"""`tsr info`: what a file says about itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from tensors.cli._app import App, json_option, remote_option
from tensors.cli._complete import complete_paths
from tensors.cli._files import details_of, metadata_of
from tensors.cli._text import counted

if TYPE_CHECKING:
    from tensors.types.files import FileDetails


def _lines(file: FileDetails, *, whole: bool) -> Iterator[str]:
    yield from details_of(file)
    if file.metadata:
        yield ""
        yield f"metadata, {counted(len(file.metadata), 'key')}:"
        yield from (f"  {line}" for line in metadata_of(file, whole=whole))


@click.command()
@click.argument("file", shell_complete=complete_paths)
@click.option("--metadata", "whole", is_flag=True, help="Show the values of its metadata in full.")
@remote_option
@json_option
@click.pass_obj
def info(app: App, file: str, whole: bool) -> None:
    """Show what a model file says about itself.

    Only its header is read. FILE is a path; the file need not be in the library.
    """
    with app.tensors() as tensors:
        app.show(tensors.db.info(file), lambda file: _lines(file, whole=whole))
