"""`tsr db show`, `triggers`, `set` and `rm`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from tensors.cli._app import App, json_option, remote_option
from tensors.cli._complete import complete_families, complete_files, complete_kinds
from tensors.cli._files import details_of, what_is
from tensors.cli._references import one_model
from tensors.references import Reference

if TYPE_CHECKING:
    from tensors.types.files import Triggers
    from tensors.types.library import Forgotten


@click.command()
@click.argument("file", required=False, shell_complete=complete_files)
@click.option("--model", metavar="MODEL_ID", callback=one_model, help="Show a model that is kept, with its versions.")
@remote_option
@json_option
@click.pass_obj
def show(app: App, file: str | None, model: Reference | None) -> None:
    """Show what is known about a file, or about a model that is kept.

    FILE is its name, its path, its number, or the beginning of one of its hashes.
    """
    if (file is None) == (model is None):
        raise click.UsageError("give a FILE or --model MODEL_ID")
    with app.tensors() as tensors:
        if file is not None:
            app.show(tensors.db.file(file), details_of)
        elif model is not None:
            from tensors.cli._models import page_of

            found = tensors.db.model(model.model)
            app.show(found, page_of)
            if not found.complete:
                app.say(f"only a part of its versions is kept; all of them: tsr db cache {found.id}")


@click.command()
@click.argument("file", shell_complete=complete_files)
@click.option("--lora", is_flag=True, help="Put <lora:NAME:1> in front, which applies it.")
@remote_option
@json_option
@click.pass_obj
def triggers(app: App, file: str, lora: bool) -> None:
    """Print a file's trigger words, ready for a prompt.

    One line on standard output: tsr generate "a cat, $(tsr db triggers style)". When no words are known there is none,
    standard error says so, and the exit code is 0: many files need no words.
    """
    with app.tensors() as tensors:
        found = tensors.db.triggers(file)
    app.show(found, lambda found: _prompt(found, lora=lora))
    if not found.words:
        import shlex

        app.say(f"no trigger words of {found.file} are known; what is known: tsr db show {shlex.quote(file)}")
    elif found.source == "training":
        app.say(f"these are the tags {found.file} was trained on most; its author's own words are not known")
    if lora and not found.lora:
        app.say(f"{found.file} is no LoRA")


def _prompt(found: Triggers, *, lora: bool) -> Iterable[str]:
    # CivitAI's are typed by people, some of them with the comma behind.
    words = [stripped for word in found.words if (stripped := " ".join(word.split()).strip(" ,"))]
    parts = [found.lora, *words] if lora and found.lora else words
    return [", ".join(parts)] if parts else []


@click.command("set")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=complete_files)
@click.option("--family", metavar="FAMILY", shell_complete=complete_families, help="sd15, pony, flux, ...; or auto.")
@click.option("--kind", metavar="KIND", shell_complete=complete_kinds, help="checkpoint, lora, vae, ...; or auto.")
@remote_option
@json_option
@click.pass_obj
def set_file(app: App, files: tuple[str, ...], family: str | None, kind: str | None) -> None:
    """Say what files are; 'auto' goes back to what was found."""
    from tensors.types.library import FileEdit

    if family is None and kind is None:
        raise click.UsageError("give --family FAMILY, --kind KIND, or both")
    change = FileEdit(family=family, kind=kind)
    with app.tensors() as tensors:
        # A wrong name among right ones must not leave the work half done.
        for file in files:
            tensors.db.file(file)
        changed = tuple(tensors.db.edit(file, change) for file in files)
    app.show(changed, lambda files: map(what_is, files))


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...", shell_complete=complete_files)
@click.option("--model", metavar="MODEL_ID", callback=one_model, help="A model that is kept, and the links to it.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@remote_option
@json_option
@click.pass_obj
def rm(app: App, files: tuple[str, ...], model: Reference | None, yes: bool) -> None:
    """Take files, or a model, out of the library; nothing is deleted from disk.

    The next scan finds a file again when it is still in a folder that is scanned.
    """
    if bool(files) == (model is not None):
        raise click.UsageError("give FILEs or --model MODEL_ID")
    what = f"model {model.model} and the links to it" if model else f"{len(files)} file(s)"
    if app.interactive and not yes:
        click.confirm(f"Take {what} out of the library? Nothing is deleted from disk.", abort=True, err=True)
    with app.tensors() as tensors:
        for file in files:
            tensors.db.file(file)
        gone = (tensors.db.forget_model(model.model),) if model else tuple(map(tensors.db.forget, files))
    app.show(gone, _gone_lines)
    if not model:
        app.say("they are still on disk")


def _gone_lines(gone: tuple[Forgotten, ...]) -> list[str]:
    return [f"took {one.name} out of the library" for one in gone]
