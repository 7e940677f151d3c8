"""`tsr images import`: pictures made elsewhere."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import click

from tensors.cli._app import App, json_option, remote_option, table
from tensors.cli._complete import complete_paths, complete_tags
from tensors.cli._pace import pace
from tensors.cli._text import amount_done, counted, listed, plain, shortened
from tensors.errors import InvalidRequest, JobCancelled
from tensors.types.gallery import ImageEdit

if TYPE_CHECKING:
    from tensors.service import Tensors

_AT_ONCE = 4
"""Pictures on their way to a server while the one before is stored."""
_HEAD = 16
"""Bytes that tell what a file is."""
_NEW, _HERE, _WOULD = "imported", "was here", "to import"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileImport:
    """What became of a file."""

    path: str
    id: str | None = None
    """Of the picture in the gallery."""
    new: bool | None = None
    """False when the same file was there already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A file that could not be imported."""

    path: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What became of all of them."""

    items: tuple[FileImport, ...]
    problems: tuple[Problem, ...] = ()
    others: int = 0
    """Files in folders that are no pictures."""


@dataclass(frozen=True, slots=True)
class _Source:
    path: str
    named: bool
    """It was named itself: that it is no picture is a problem then."""


@click.command("import")
@click.argument("paths", nargs=-1, required=True, metavar="FILE|DIR...", shell_complete=complete_paths)
@click.option(
    "--tag", "-t", "tags", multiple=True, metavar="TAG", shell_complete=complete_tags, help="Tag them so; repeatable."
)
@click.option("--dry-run", "-n", is_flag=True, help="Only say which files are pictures.")
@remote_option
@json_option
@click.pass_obj
def import_files(app: App, paths: tuple[str, ...], tags: tuple[str, ...], dry_run: bool) -> int:
    """Bring pictures made elsewhere into the gallery.

    FILE and DIR are on this machine. Of a folder, all PNG, JPEG and WebP files are taken, in the folders in it too,
    whatever they are called; not what begins with a dot. Files stay as they are, byte for byte; how they were made is
    read out of them, whatever program made them. Their time is that of their last change.

    The same file is stored once, so the command can be broken off and given again. What cannot be imported is one line
    on standard error, the rest is done, and the exit code is 1.
    """
    ImageEdit(tags=tags)
    with app.tensors() as tensors:
        work = partial(_looked_at, tags=tags, tensors=None if dry_run else tensors)
        report = _report(app, work, _sources(paths))
    app.show(report, lambda report: table(map(_row, report.items)))
    for problem in report.problems:
        app.say(plain(f"{problem.path}: {problem.message}"))
    app.say(_summary(report))
    return 1 if report.problems else 0


def _row(item: FileImport) -> tuple[str, ...]:
    state = _WOULD if item.new is None else _NEW if item.new else _HERE
    return (state, *([item.id] if item.id else []), item.path)


def _summary(report: ImportReport) -> str:
    states = [item.new for item in report.items]
    parts = [
        (states.count(None), _WOULD),
        (states.count(True), _NEW),
        (states.count(False), "were here already"),
        (len(report.problems), "with a problem"),
    ]
    others = f"; {counted(report.others, 'other file')} passed over" if report.others else ""
    return f"{listed(parts) or 'no pictures there'}{others}"


def _sources(paths: Iterable[str]) -> list[_Source]:
    """The files, those of a folder in the order of their names; each once."""
    found: dict[str, _Source] = {}
    for path in paths:
        named = not os.path.isdir(path)
        for file in [path] if named else _below(path):
            place = os.path.abspath(file)
            if named or place not in found:
                found[place] = _Source(file, named)
    return list(found.values())


def _below(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(parent, name) for name in sorted(files) if not name.startswith("."))


_Look = Callable[[_Source], FileImport | Problem | None]


def _report(app: App, look: _Look, sources: Sequence[_Source]) -> ImportReport:
    items: list[FileImport] = []
    problems: list[Problem] = []
    with pace(app, len(sources)) as tell:
        try:
            for done, (source, found) in enumerate(zip(sources, _in_order(look, sources), strict=True), 1):
                if isinstance(found, FileImport):
                    items.append(found)
                elif found:
                    problems.append(found)
                name = shortened(plain(os.path.basename(source.path)), 40)
                tell(done, f"importing, {amount_done(done, len(sources), 'files')}, {name}")
        except KeyboardInterrupt:
            stored = sum(bool(item.new) for item in items)
            hint = f"{counted(stored, 'picture')} imported; the same command goes on from there"
            raise JobCancelled("interrupted", hint=hint) from None
    others = len(sources) - len(items) - len(problems)
    return ImportReport(items=tuple(items), problems=tuple(problems), others=others)


def _in_order(look: _Look, sources: Iterable[_Source]) -> Iterator[FileImport | Problem | None]:
    """Several at once, the answers in the order of the files; no more begin when one fails, or nobody waits."""
    waiting: deque[Future[FileImport | Problem | None]] = deque()
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        for source in sources:
            waiting.append(pool.submit(look, source))
            if len(waiting) > _AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _looked_at(source: _Source, *, tags: tuple[str, ...], tensors: Tensors | None) -> FileImport | Problem | None:
    """What became of a file; None for one of a folder that is no picture. Without `tensors` only whether it is one."""
    from tensors.clock import from_epoch_ms
    from tensors.pictures.intake import extension_of
    from tensors.recipes import MAX_FILE

    try:
        with open(source.path, "rb") as file:
            head = file.read(_HEAD)
            if extension_of(head) is None:
                problem = Problem(path=source.path, message="is no PNG, JPEG or WebP picture")
                return problem if source.named else None
            stat = os.fstat(file.fileno())
            if stat.st_size > MAX_FILE:
                return Problem(path=source.path, message=f"is larger than {MAX_FILE // 1024**2} MiB")
            if tensors is None:
                return FileImport(path=source.path)
            data = head + file.read()
        created = from_epoch_ms(max(0, stat.st_mtime_ns // 1_000_000))
        imported = tensors.images.import_file(data, created=created, tags=tags)
    except OSError as error:
        return Problem(path=source.path, message=error.strerror or str(error))
    except InvalidRequest as error:
        return Problem(path=source.path, message=error.message)
    return FileImport(path=source.path, id=imported.image.id, new=imported.new)
