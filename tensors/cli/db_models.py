"""`tsr db search` and `updates`: models of CivitAI that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from tensors.cli._app import App, json_option, remote_option, table
from tensors.cli._library import page_options, say_more
from tensors.cli._models import early_access, model_rows
from tensors.cli._text import counted

if TYPE_CHECKING:
    from tensors.types.base import Page
    from tensors.types.library import Update


@click.command()
@click.argument("query", nargs=-1, metavar="[QUERY]...")
@click.option("--type", metavar="TYPE", help="Checkpoint, LORA, TextualInversion, ...")
@click.option("--base-model", metavar="NAME", help="SDXL 1.0, Pony, Flux.1 D, ...")
@click.option("--tag", metavar="TAG", help="Only with this tag.")
@click.option("--creator", metavar="NAME", help="Only of this creator.")
@page_options(20, 500)
@remote_option
@json_option
@click.pass_obj
def search(
    app: App,
    query: tuple[str, ...],
    type: str | None,
    base_model: str | None,
    tag: str | None,
    creator: str | None,
    limit: int,
    cursor: str | None,
) -> None:
    """Search the models that are kept, offline.

    All words of QUERY are in names, tags, trigger words, creators or descriptions. A star is before the models with
    files here.
    """
    filters = {"type": type, "base_model": base_model, "tag": tag, "creator": creator}
    with app.tensors() as tensors:
        page = tensors.db.models(query=" ".join(query) or None, limit=limit, cursor=cursor, **filters)
    app.show(page, lambda page: model_rows(page.items))
    if page.next_cursor:
        say_more(app, "tsr db search", query, {**filters, "limit": None if limit == 20 else limit}, page.next_cursor)
    elif not page.items and (query or any(filters.values()) or cursor):
        app.say("no such models are kept; ask CivitAI: tsr search QUERY")
    elif not page.items:
        app.say("no models yet: tsr db link, or tsr db cache MODEL_ID")


def _update_lines(page: Page[Update]) -> Iterator[str]:
    out = [update for update in page.items if not early_access(update.early_access_until)]
    yield from table(map(_update, out))
    waiting = [update for update in page.items if early_access(update.early_access_until)]
    if waiting:
        yield from ("",) if out else ()
        yield "early access, for buyers only until:"
        yield from table((*_update(update), early_access(update.early_access_until)) for update in waiting)


def _update(update: Update) -> tuple[object, ...]:
    return (
        update.file,
        update.model,
        f"{update.version} -> {update.newest}",
        update.base_model or "-",
        (update.published or "-")[:10],
        f"{update.model_id}@{update.newest_id}",
    )


@click.command()
@remote_option
@json_option
@click.pass_obj
def updates(app: App) -> None:
    """List files whose model has a newer version for the same base model.

    As far as CivitAI's pages are kept: `tsr db cache` fetches them anew. What is in early access comes last, with the
    day it ends.
    """
    with app.tensors() as tensors:
        page = tensors.db.updates()
    app.show(page, _update_lines)
    if page.items:
        app.say(f"{counted(len(page.items), 'file')} with a newer version; what is new: tsr get MODEL@VERSION")
    else:
        app.say("no newer versions are known; ask CivitAI again: tsr db cache")
