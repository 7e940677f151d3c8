"""`tsr db stats`, `dupes` and `check`: the library as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from tensors.cli._app import App, json_option, remote_option, table
from tensors.cli._text import counted, size

if TYPE_CHECKING:
    from tensors.types.base import Page
    from tensors.types.library import Duplicates, LibraryCheck, LibraryStats


def _stats_lines(stats: LibraryStats) -> Iterator[str]:
    copies = f"{stats.duplicates:,} ({size(stats.duplicate_size)} could go: tsr db dupes)"
    rows = [
        ("files", f"{stats.files:,} ({size(stats.size)})"),
        ("linked", f"{stats.linked:,}"),
        ("not known to CivitAI", f"{stats.not_found:,}"),
        ("without hashes", f"{stats.unhashed:,}"),
        ("missing", f"{stats.missing:,}"),
        ("broken", f"{stats.broken:,}"),
        ("copies", copies if stats.duplicates else "0"),
        ("models kept", f"{stats.models:,} with {counted(stats.versions, 'version')}"),
        ("database", f"{stats.database} ({size(stats.database_size)})"),
    ]
    yield from table(rows)
    for counts in (stats.kinds, stats.families):
        yield from ("",) if counts else ()
        yield from table(((one.name, f"{one.files:,}", size(one.size)) for one in counts), right=(1, 2))


@click.command()
@remote_option
@json_option
@click.pass_obj
def stats(app: App) -> None:
    """Show the library in numbers."""
    with app.tensors() as tensors:
        app.show(tensors.db.stats(), _stats_lines)


def _copies(page: Page[Duplicates]) -> Iterator[str]:
    for same in page.items:
        yield f"{size(same.size)}  {len(same.files)} times  sha256 {same.sha256}"
        yield from (f"  {path}" for path in same.files)


@click.command()
@remote_option
@json_option
@click.pass_obj
def dupes(app: App) -> None:
    """List files with the same bytes.

    Links to one file do not count: they take no space.
    """
    with app.tensors() as tensors:
        page = tensors.db.duplicates()
    app.show(page, _copies)
    spare = sum(len(same.files) - 1 for same in page.items)
    saved = sum(same.size * (len(same.files) - 1) for same in page.items)
    app.say(f"{counted(spare, 'file')} could go, {size(saved)}" if spare else "no two files are the same")


def _check_lines(check: LibraryCheck) -> Iterator[str]:
    yield "sound" if check.sound else "not sound"
    yield from (f"mended: {what}" for what in check.mended)
    yield from (f"wrong: {what}" for what in check.problems)


@click.command()
@remote_option
@json_option
@click.pass_obj
def check(app: App) -> int:
    """Check that the database is sound.

    The search index is mended when it is wrong. The exit code is 1 when the database is not sound.
    """
    with app.tensors() as tensors:
        found = tensors.db.check()
    app.show(found, _check_lines)
    return 0 if found.sound else 1
