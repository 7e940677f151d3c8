"""`tsr models`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from tensors.cli._app import App, json_option, remote_option, table
from tensors.cli._backends import backend_rows
from tensors.cli._complete import complete_backends, complete_checkpoints, complete_families
from tensors.cli._follow import follow, submitted
from tensors.cli._library import page_options, say_more
from tensors.cli._reports import report_words
from tensors.cli._text import first_words, shortened, size
from tensors.types.models import LoraEntry, ModelEntry, SwitchRequest, UnloadRequest

if TYPE_CHECKING:
    from tensors.types.files import Link
    from tensors.types.jobs import Job

_NOTHING = "-"
_ACTIVE = ""
"""What `--fits` means without a name."""
_FITS = {True: "fits", False: "does not fit", None: "may fit"}


@click.group()
def models() -> None:
    """See which models there are, which one is loaded, and load another one."""


@models.command("list")
@click.argument("query", nargs=-1, metavar="[QUERY]...")
@click.option("--family", metavar="FAMILY", shell_complete=complete_families, help="sd15, sdxl, pony, flux, ...")
@page_options(100, 500)
@remote_option
@json_option
@click.pass_obj
def list_models(app: App, query: tuple[str, ...], family: str | None, limit: int, cursor: str | None) -> None:
    """List checkpoints and diffusion models by name.

    QUERY is looked for in the names of files and of their models. A star is before the active one, which is what a
    request is drawn with that names none. Then come family, size, the backends that have it loaded, its name on
    CivitAI, and what it lacks.
    """
    with app.tensors() as tensors:
        page = tensors.models.list(query=" ".join(query) or None, family=family, limit=limit, cursor=cursor)
    app.show(page, lambda page: _model_rows(page.items))
    if page.next_cursor:
        options = {"family": family, "limit": None if limit == 100 else limit}
        say_more(app, "tsr models list", query, options, page.next_cursor)
    elif not page.items:
        app.say("no such models; all of them: tsr models list")


def _model_rows(models: Iterable[ModelEntry]) -> Iterator[str]:
    return table(map(_model_columns, models), right=(3,))


def _model_columns(model: ModelEntry) -> tuple[str, ...]:
    return (
        "*" if model.active else " ",
        model.name,
        model.family,
        size(model.size),
        ", ".join(model.loaded) or _NOTHING,
        _page_name(model.link) or _NOTHING,
        _trouble(model),
    )


def _page_name(link: Link | None) -> str | None:
    return f"{shortened(link.model)} ({shortened(link.version, 32)})" if link else None


def _trouble(model: ModelEntry) -> str:
    if model.problem:
        return f"cannot be used: it {model.problem}"
    return f"needs: {', '.join(model.needs)}" if model.needs else ""


@models.command()
@click.argument("name", shell_complete=complete_checkpoints)
@remote_option
@json_option
@click.pass_obj
def show(app: App, name: str) -> None:
    """Show one model.

    NAME is its file's name, its path, the beginning of a hash, or MODEL@VERSION of CivitAI.
    """
    with app.tensors() as tensors:
        model = tensors.models.get(name)
    app.show(model, _details)
    for what in model.needs:
        from tensors.companions import source_of

        if source := source_of(what):
            app.say(f"{what}: tsr dl {source}")


def _details(model: ModelEntry) -> Iterator[str]:
    link = model.link
    rows: list[tuple[str, object]] = [
        ("name", model.name),
        ("active", "yes, it is what a request is drawn with that names no model" if model.active else None),
        ("loaded", ", ".join(model.loaded)),
        ("needs", ", ".join(model.needs)),
        ("trouble", model.problem and f"cannot be used: it {model.problem}"),
        ("kind", model.kind),
        ("family", model.family),
        ("variant", model.variant),
        ("precision", model.precision),
        ("size", f"{size(model.size)} ({model.size:,} bytes)"),
        ("file", model.path),
        ("number", model.id),
        ("ships with tsr", "yes" if model.builtin else None),
        ("CivitAI", link and f"{link.model} ({link.version})"),
        ("link", link and f"{link.model_id}@{link.version_id}"),
        ("page", link and link.url),
        ("sha256", model.sha256),
        ("added", model.added),
    ]
    yield from table((name, value) for name, value in rows if value not in (None, ""))


@models.command()
@remote_option
@json_option
@click.pass_obj
def active(app: App) -> None:
    """Print the name of the model that a request is drawn with that names none."""
    with app.tensors() as tensors:
        model = tensors.models.active()
    app.show(model, lambda model: [model.name])
    where = f"loaded on {', '.join(model.loaded)}" if model.loaded else "not loaded: the next request for it does that"
    app.say(f"family {model.family}, {where}")


@models.command()
@click.argument("name", shell_complete=complete_checkpoints)
@click.option(
    "--backend",
    metavar="BACKEND",
    shell_complete=complete_backends,
    help="Where to load it; when left out, where it fits best.",
)
@click.option("--detach", "-d", is_flag=True, help="Print the job's id and do not wait.")
@remote_option
@json_option
@click.pass_obj
def switch(app: App, name: str, backend: str | None, detach: bool) -> None:
    """Load a model, and draw with it from now on when none is named.

    Nobody's picture is stopped: what others asked for is drawn first, or in its turn. Ctrl-C cancels.
    """
    request = SwitchRequest(model=name, backend=backend)
    with app.tensors() as tensors:
        job = submitted(app, tensors, lambda: tensors.models.switch(request, detach=detach))
        if detach:
            app.show(job, lambda started: [started.id])
            app.say(f"follow it: tsr jobs watch {job.id}")
            return
        follow(app, tensors, job)
        app.show(tensors.jobs.get(job.id), _switched)


def _switched(job: Job) -> list[str]:
    return [report_words(job) or f"job {job.id} {job.state}"]


@models.command()
@click.argument("backends", nargs=-1, metavar="[BACKEND]...", shell_complete=complete_backends)
@remote_option
@json_option
@click.pass_obj
def unload(app: App, backends: tuple[str, ...]) -> None:
    """End engines that have nothing to do, to have their memory for something else.

    Without a BACKEND: all that are idle. Prints how the backends are then. The next request loads what it needs.
    """
    with app.tensors() as tensors:
        page = tensors.models.unload(UnloadRequest(backends=backends))
    app.show(page, lambda page: backend_rows(page.items))


@models.command()
@click.argument("query", nargs=-1, metavar="[QUERY]...")
@click.option("--family", metavar="FAMILY", shell_complete=complete_families, help="sd15, sdxl, pony, flux, ...")
@click.option(
    "--fits",
    is_flag=False,
    flag_value=_ACTIVE,
    metavar="[MODEL]",
    shell_complete=complete_checkpoints,
    help="Only those that may fit this model; without a name, the active one.",
)
@page_options(100, 500)
@remote_option
@json_option
@click.pass_obj
def loras(
    app: App, query: tuple[str, ...], family: str | None, fits: str | None, limit: int, cursor: str | None
) -> None:
    """List LoRAs by name, with whether they fit, and their trigger words.

    QUERY is looked for in the names of files and of their models. Whether one fits is told of the active model, or of
    the one that --fits names; write a QUERY before a --fits without a name.
    """
    with app.tensors() as tensors:
        model = tensors.models.active().path if fits == _ACTIVE else fits
        page = tensors.models.loras(
            query=" ".join(query) or None, family=family, fits=model, limit=limit, cursor=cursor
        )
    app.show(page, lambda page: _lora_rows(page.items))
    if page.next_cursor:
        options = {"family": family, "fits": model, "limit": None if limit == 100 else limit}
        say_more(app, "tsr models loras", query, options, page.next_cursor)
    elif not page.items:
        app.say("no such LoRAs; all of them: tsr models loras")


def _lora_rows(loras: Iterable[LoraEntry]) -> Iterator[str]:
    return table(map(_lora_columns, loras), right=(3,))


def _lora_columns(lora: LoraEntry) -> tuple[str, ...]:
    words = first_words(", ".join(lora.words), 72)
    trouble = lora.problem and f"cannot be used: it {lora.problem}"
    return lora.name, lora.family, _FITS[lora.fits], size(lora.size), trouble or words
