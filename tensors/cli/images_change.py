"""`tsr images edit`, `delete`, `restore` and `trash`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from tensors.cli._app import App, json_option, remote_option
from tensors.cli._complete import complete_images, complete_tags, complete_trash
from tensors.cli._follow import follow, submitted
from tensors.cli._image_options import listed_ids
from tensors.cli._image_rows import image_rows
from tensors.cli._reports import cleaning_words
from tensors.cli._text import counted, size
from tensors.errors import ImageNotFound, InvalidRequest
from tensors.service import Tensors
from tensors.types.base import Deleted
from tensors.types.gallery import CleanupRequest, Image, ImageEdit
from tensors.types.jobs import Job

F = TypeVar("F", bound=Callable[..., Any])

_NO_IDS = "no ids on standard input: nothing is changed"


def _tag_option(name: str, field: str, help: str) -> Callable[[F], F]:
    return click.option(name, field, multiple=True, metavar="TAG", shell_complete=complete_tags, help=help)


@click.command()
@click.argument("image_ids", nargs=-1, required=True, metavar="IMAGE_ID...", shell_complete=complete_images)
@_tag_option("--tag", "tags", "From now on its tags are these; repeatable.")
@_tag_option("--add-tag", "added", "One more tag; repeatable.")
@_tag_option("--remove-tag", "removed", "One tag less; repeatable.")
@click.option("--no-tags", is_flag=True, help="Take all tags away.")
@click.option("--notes", metavar="TEXT", help="What you want to remember; '' takes it away.")
@click.option("--rating", type=int, metavar="0-5", help="0 takes the rating away.")
@click.option("--favourite/--no-favourite", default=None, help="Keep it: cleanups leave favourites alone.")
@remote_option
@json_option
@click.pass_obj
def edit(
    app: App,
    /,
    image_ids: tuple[str, ...],
    tags: tuple[str, ...],
    added: tuple[str, ...],
    removed: tuple[str, ...],
    no_tags: bool,
    **said: Any,
) -> None:
    """Change tags, notes, rating or favourite of pictures.

    What is not named stays as it is. - as IMAGE_ID reads ids from standard input.
    """
    if bool(tags) + bool(added or removed) + no_tags > 1:
        raise click.UsageError("--tag says what all tags are: no --add-tag, --remove-tag or --no-tags with it")
    if not (tags or added or removed or no_tags) and all(value is None for value in said.values()):
        raise click.UsageError("say what to change: --tag, --add-tag, --notes, --rating, --favourite, ...")
    change = ImageEdit(tags=tags if tags or no_tags else None, **said)
    # Bad tags are refused before the first picture is changed.
    ImageEdit(tags=(*added, *removed))
    with app.tensors() as tensors:
        # A wrong id among right ones must not leave the work half done.
        images = [tensors.images.get(image_id) for image_id in listed_ids(image_ids)]
        edited = [tensors.images.edit(image.id, _edit_of(image, change, added, removed)) for image in images]
    app.show(edited, image_rows)
    if not edited:
        app.say(_NO_IDS)


def _edit_of(image: Image, change: ImageEdit, added: Sequence[str], removed: Sequence[str]) -> ImageEdit:
    if not (added or removed):
        return change
    tags = tuple(dict.fromkeys(tag for tag in (*image.tags, *added) if tag not in removed))
    return ImageEdit(tags=tags, notes=change.notes, rating=change.rating, favourite=change.favourite)


@click.command()
@click.argument("image_ids", nargs=-1, required=True, metavar="IMAGE_ID...", shell_complete=complete_images)
@click.option("--yes", "-y", is_flag=True, hidden=True, expose_value=False, help="Nothing is asked any more.")
@remote_option
@json_option
@click.pass_obj
def delete(app: App, image_ids: tuple[str, ...]) -> None:
    """Move pictures to the trash.

    `tsr images restore` brings them back, until the trash is emptied, or has had them for so many days as
    gallery.trash_days says. - as IMAGE_ID reads ids from standard input.
    """
    with app.tensors() as tensors:
        ids = listed_ids(image_ids)
        # A wrong id among right ones must not leave the work half done.
        for image_id in ids:
            tensors.images.get(image_id)
        deleted = tuple(tensors.images.delete(image_id) for image_id in ids)
    app.show(deleted, _deleted_lines)
    if not deleted:
        app.say(_NO_IDS)
    elif len(deleted) == 1:
        app.say(f"bring it back: tsr images restore {deleted[0].id}")
    else:
        app.say("they are in the trash: tsr images trash    bring them back: tsr images restore IMAGE_ID...")


def _deleted_lines(deleted: tuple[Deleted, ...]) -> list[str]:
    return [f"deleted {one.id}" for one in deleted]


@click.command()
@click.argument("image_ids", nargs=-1, required=True, metavar="IMAGE_ID...", shell_complete=complete_trash)
@remote_option
@json_option
@click.pass_obj
def restore(app: App, image_ids: tuple[str, ...]) -> None:
    """Take pictures out of the trash.

    - as IMAGE_ID reads ids from standard input. What is not in the trash keeps nothing else there.
    """
    with app.tensors() as tensors:
        ids = listed_ids(image_ids)
        restored, missing = _restored(tensors, ids)
    if missing:
        back = f"{counted(len(restored), 'other picture')} {'is' if len(restored) == 1 else 'are'} back; "
        raise ImageNotFound(
            f"not in the trash: {', '.join(missing)}",
            hint=f"{back if restored else ''}what is there: tsr images trash",
            details={"restored": [image.id for image in restored]},
        )
    app.show(restored, image_rows)
    if not ids:
        app.say(_NO_IDS)


def _restored(tensors: Tensors, ids: Sequence[str]) -> tuple[list[Image], list[str]]:
    restored: list[Image] = []
    missing: list[str] = []
    for image_id in ids:
        try:
            restored.append(tensors.images.restore(image_id))
        except ImageNotFound:
            missing.append(image_id)
    return restored, missing


@click.command()
@click.option("--empty", is_flag=True, help="Remove all that is in it, for good.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--limit", "-n", type=int, default=20, show_default=True, metavar="N", help="At most so many, up to 500.")
@click.option("--cursor", metavar="CURSOR", help="Go on after an earlier list.")
@remote_option
@json_option
@click.pass_obj
def trash(app: App, empty: bool, yes: bool, limit: int, cursor: str | None) -> None:
    """List what is in the trash, the last deleted first, or empty it."""
    with app.tensors() as tensors:
        if empty:
            _empty(app, tensors, yes=yes)
            return
        page = tensors.images.list(deleted=True, limit=limit, cursor=cursor)
    app.show(page, lambda page: image_rows(page.items))
    if page.next_cursor:
        app.say(f"more: tsr images trash --cursor {page.next_cursor}")
    elif not page.items:
        app.say("the trash is empty")


def _empty(app: App, tensors: Tensors, *, yes: bool) -> None:
    if not yes:
        if not (app.interactive and sys.stdin.isatty()):
            raise InvalidRequest(
                "what is in the trash would be removed for good", hint="tsr images trash --empty --yes does it"
            )
        would = cleaned(app, tensors, CleanupRequest(empty_trash=True, dry_run=True)).cleanup
        if would and would.removed:
            what = f"{counted(len(would.removed), 'picture')} ({size(would.freed)})"
            click.confirm(f"Remove {what} for good?", abort=True, err=True)
    job = cleaned(app, tensors, CleanupRequest(empty_trash=True))
    app.show(job, lambda job: [cleaning_words(job.cleanup) if job.cleanup and job.cleanup.removed else "it was empty"])


def cleaned(app: App, tensors: Tensors, request: CleanupRequest) -> Job:
    """A cleanup, once it has ended."""
    job = submitted(app, tensors, lambda: tensors.images.cleanup(request))
    follow(app, tensors, job)
    return tensors.jobs.get(job.id)
