"""`tsr get`: a model's page."""

from __future__ import annotations

import click

from tensors.cli._app import App, json_option, remote_option
from tensors.cli._models import only, page_of
from tensors.cli._references import one_model
from tensors.references import Reference


@click.command()
@click.argument("model", metavar="ID", callback=one_model)
@remote_option
@json_option
@click.pass_obj
def get(app: App, model: Reference) -> None:
    """Show a model of CivitAI with its versions and files.

    ID is the model's number, MODEL@VERSION for one version only, or the address of its page. The model is kept in the
    library: `tsr db show --model ID` shows it offline.
    """
    with app.tensors() as tensors:
        found = tensors.catalog.model(model.model)
    app.show(found if model.version is None else only(found, model.version), page_of)
