"""`tsr images cleanup`, `gc` and `reindex`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from tensors.cli._app import App, json_option, remote_option, table
from tensors.cli._pace import spinner
from tensors.cli._reports import cleaning_words
from tensors.cli._text import counted, listed, size
from tensors.cli.images_change import cleaned
from tensors.types.gallery import Cleaning, CleanupRequest, Garbage, GcRequest

_LITTER = (
    ("temporary", "half files"),
    ("sidecars", "records without a picture"),
    ("thumbnails", "thumbnails without a picture"),
    ("inputs", "input pictures that nothing needs"),
)


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what it would remove.")
@remote_option
@json_option
@click.pass_obj
def cleanup(app: App, dry_run: bool) -> None:
    """Remove what the settings of the gallery do not keep.

    Pictures older than gallery.max_age go to the trash; what was there for gallery.trash_days is removed for good; and
    the oldest are, beyond gallery.max_size. Favourites stay, unless gallery.keep_favourites is false. A server does
    this by itself.
    """
    with app.tensors() as tensors:
        job = cleaned(app, tensors, CleanupRequest(dry_run=dry_run))
    app.show(job, lambda job: _cleaning_lines(job.cleanup) if job.cleanup else [])
    if dry_run:
        app.say("nothing was removed: that was --dry-run")


def _cleaning_lines(report: Cleaning) -> Iterator[str]:
    yield cleaning_words(report)
    moved = [("to the trash", image_id) for image_id in report.trashed]
    removed = [("for good", image_id) for image_id in report.removed]
    yield from (f"  {line}" for line in table([*moved, *removed]))


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say which.")
@remote_option
@json_option
@click.pass_obj
def gc(app: App, dry_run: bool) -> None:
    """Remove files that belong to no picture.

    They are what crashes and other programs leave behind. What is younger than an hour stays: somebody may just be
    writing it.
    """
    with app.tensors() as tensors, spinner(app, "looking through the gallery"):
        garbage = tensors.images.gc(GcRequest(dry_run=dry_run))
    app.show(garbage, _litter)
    kinds = listed([(len(getattr(garbage, field)), words) for field, words in _LITTER])
    if not kinds:
        app.say("there are none")
    else:
        app.say(f"{kinds}: {size(garbage.bytes)}{'; nothing was removed' if dry_run else ''}")


def _litter(garbage: Garbage) -> list[str]:
    return [path for field, _ in _LITTER for path in getattr(garbage, field)]


@click.command()
@remote_option
@json_option
@click.pass_obj
def reindex(app: App) -> None:
    """Read all files of the gallery again.

    The index follows the files by itself. This is for when you do not trust it.
    """
    with app.tensors() as tensors, spinner(app, "reading all files again"):
        found = tensors.images.reindex()
    app.show(found, lambda found: [counted(found.images, "picture")])
