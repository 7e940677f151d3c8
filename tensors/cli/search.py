"""`tsr search`: models that can be had."""

from __future__ import annotations

import click

from tensors.cli._app import App, json_option, remote_option
from tensors.cli._library import page_options, say_more
from tensors.cli._models import model_rows

_PROVIDERS = {"civitai": "civitai", "hf": "huggingface", "huggingface": "huggingface"}


@click.command()
@click.argument("query", nargs=-1, required=True, metavar="QUERY...")
@click.option(
    "--provider", "-P", type=click.Choice(list(_PROVIDERS)), default="civitai", show_default=True, help="Whom to ask."
)
@click.option("--type", metavar="TYPE", help="Checkpoint, LORA, TextualInversion, ...")
@click.option("--base-model", metavar="NAME", help="SDXL 1.0, Pony, Flux.1 D, ...")
@click.option("--tag", metavar="TAG", help="Only with this tag.")
@click.option("--creator", metavar="NAME", help="Only of this creator.")
@click.option("--sort", metavar="ORDER", help="'Highest Rated', 'Most Downloaded' or 'Newest'.")
@click.option("--period", metavar="PERIOD", help="AllTime, Year, Month, Week or Day.")
@click.option("--nsfw/--no-nsfw", default=None, help="With or without what is for adults.")
@page_options(20, 100)
@remote_option
@json_option
@click.pass_obj
def search(
    app: App,
    /,
    *,
    query: tuple[str, ...],
    provider: str,
    limit: int,
    cursor: str | None,
    nsfw: bool | None,
    **filters: str | None,
) -> None:
    """Search CivitAI or Hugging Face for models.

    A star is before the models with files here. `tsr get ID` shows a model's page; `tsr db search` looks into those
    that are kept, offline.
    """
    with app.tensors() as tensors:
        page = tensors.catalog.search(
            " ".join(query), provider=_PROVIDERS[provider], nsfw=nsfw, limit=limit, cursor=cursor, **filters
        )
    app.show(page, lambda page: model_rows(page.items))
    if page.next_cursor:
        asked = {"provider": None if provider == "civitai" else provider, "limit": None if limit == 20 else limit}
        say_more(app, "tsr search", query, {**filters, **asked, "nsfw": nsfw}, page.next_cursor)
    elif not page.items:
        app.say("nothing found")
