"""`tsr db list`: in a module of its own, because it is to be quick."""

from __future__ import annotations

import click

from tensors.cli._app import App, json_option, remote_option
from tensors.cli._complete import complete_families, complete_kinds, complete_states
from tensors.cli._files import file_rows
from tensors.cli._library import page_options, say_more


@click.command("list")
@click.argument("query", nargs=-1, metavar="[QUERY]...")
@click.option("--kind", metavar="KIND", shell_complete=complete_kinds, help="checkpoint, lora, vae, ...")
@click.option("--family", metavar="FAMILY", shell_complete=complete_families, help="sd15, sdxl, pony, flux, ...")
@click.option(
    "--state", metavar="STATE", shell_complete=complete_states, help="present, missing, broken, linked or unlinked."
)
@page_options(100, 500)
@remote_option
@json_option
@click.pass_obj
def list_files(
    app: App,
    query: tuple[str, ...],
    kind: str | None,
    family: str | None,
    state: str | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List files by name.

    QUERY is looked for in the names of files and of their models. A question mark is behind what is a guess from a name
    or folder.
    """
    filters = {"kind": kind, "family": family, "state": state}
    with app.tensors() as tensors:
        page = tensors.db.files(query=" ".join(query) or None, limit=limit, cursor=cursor, **filters)
    app.show(page, lambda page: file_rows(page.items))
    if page.next_cursor:
        say_more(app, "tsr db list", query, {**filters, "limit": None if limit == 100 else limit}, page.next_cursor)
    elif not page.items:
        app.say("no such files" if query or any(filters.values()) or cursor else "no files yet: tsr db scan DIR")
