"""`tsr db scan`, `link` and `cache`: work that takes its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from tensors.cli._app import App, json_option, remote_option
from tensors.cli._complete import complete_files, complete_folders
from tensors.cli._files import what_is
from tensors.cli._follow import follow, submitted
from tensors.cli._references import several_models
from tensors.cli._reports import problems_of, report_words
from tensors.cli._text import counted, plain
from tensors.references import Reference, read_reference
from tensors.types.jobs import Job
from tensors.types.library import CacheRequest, FileEdit, LinkReport, LinkRequest, ScanReport, ScanRequest

if TYPE_CHECKING:
    from tensors.service import Tensors

_BY_HAND = "tsr db link FILE --model MODEL@VERSION"

detach_option = click.option("--detach", "-d", is_flag=True, help="Print the job's id and do not wait.")


def _work(app: App, tensors: Tensors, ask: Callable[[], Job], *, detach: bool) -> Job:
    """Start a job, see it to its end unless it is detached, and print what came of it."""
    job = submitted(app, tensors, ask)
    if detach:
        app.show(job, lambda started: [started.id])
        app.say(f"follow it: tsr jobs watch {job.id}")
        return job
    follow(app, tensors, job)
    job = tensors.jobs.get(job.id)
    app.show(job, _lines)
    for problem in problems_of(job):
        app.say(plain(f"{problem.path}: {problem.message}"))
    return job


def _lines(job: Job) -> Iterator[str]:
    yield report_words(job) or f"job {job.id} {job.state}"
    for folder in job.scan.folders if job.scan else ():
        yield f"  {folder}"


@click.command()
@click.argument("directories", nargs=-1, metavar="[DIR]...", shell_complete=complete_folders)
@click.option("--no-hash", is_flag=True, help="Only list and identify; without hashes nothing can be linked.")
@click.option("--full", is_flag=True, help="Read every file again, also those that have not changed.")
@detach_option
@remote_option
@json_option
@click.pass_obj
def scan(app: App, directories: tuple[str, ...], no_hash: bool, full: bool, detach: bool) -> int:
    """Look through folders for model files, identify and hash them.

    Without a DIR: the configured folders, and those that were scanned before. Files that have not changed are not read
    again; those that are gone are marked missing and come back when they do. The exit code is 1 when something is wrong
    with a file or folder: each is one line on standard error, and the rest is done.
    """
    request = ScanRequest(directories=directories, hash=not no_hash, full=full)
    with app.tensors() as tensors:
        job = _work(app, tensors, lambda: tensors.db.scan(request, detach=detach), detach=detach)
    if job.scan:
        _advise_after_scan(app, job.scan, named=bool(directories))
    return 1 if problems_of(job) else 0


def _advise_after_scan(app: App, report: ScanReport, *, named: bool) -> None:
    if not report.files and not named:
        app.say("no model files there: tsr db scan DIR, or for good: tsr config set paths.models DIR")
    elif report.unhashed and not report.problems:
        app.say(f"{counted(report.unhashed, 'file')} cannot be linked without hashes: tsr db scan")
    elif report.added:
        app.say("see them: tsr db list    find their pages on CivitAI: tsr db link")


def _model(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """The address of a page is as good as its numbers; what it is beyond that, the library says."""
    return str(read_reference(value) or value) if value else value


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...", shell_complete=complete_files)
@click.option("--refresh", is_flag=True, help="Ask again for what CivitAI did not know, and fetch anew what is linked.")
@click.option("--offline", is_flag=True, help="Match only with models that are kept, and with other tools' notes.")
@click.option(
    "--model",
    metavar="MODEL[@VERSION]",
    callback=_model,
    help="Link one FILE by hand: numbers or address of its page; 'none': not there; 'auto': by hash again.",
)
@detach_option
@remote_option
@json_option
@click.pass_obj
def link(app: App, files: tuple[str, ...], refresh: bool, offline: bool, model: str | None, detach: bool) -> int:
    """Match files with CivitAI by their hashes.

    Without a FILE: all that are not linked. What CivitAI tells is kept, so that it is there offline. The exit code is 1
    when something is wrong with a file.
    """
    if model is not None:
        if len(files) != 1 or refresh or offline or detach:
            raise click.UsageError("--model links one FILE by hand: no --refresh, --offline or --detach with it")
        with app.tensors() as tensors:
            app.show(tensors.db.edit(files[0], FileEdit(model=model)), lambda file: [what_is(file)])
        return 0
    request = LinkRequest(files=files, refresh=refresh, offline=offline)
    with app.tensors() as tensors:
        job = _work(app, tensors, lambda: tensors.db.link(request, detach=detach), detach=detach)
    if job.link:
        _advise_after_link(app, job.link)
    return 1 if problems_of(job) else 0


def _advise_after_link(app: App, report: LinkReport) -> None:
    if report.unhashed:
        app.say(f"{counted(report.unhashed, 'file')} cannot be matched without hashes: tsr db scan")
    if report.not_found:
        app.say(f"not known by their hashes: tsr db list --state unlinked    link by hand: {_BY_HAND}")


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL_ID]...", callback=several_models)
@detach_option
@remote_option
@json_option
@click.pass_obj
def cache(app: App, models: tuple[Reference, ...], detach: bool) -> int:
    """Fetch models from CivitAI and keep them for use offline.

    Without a MODEL_ID: those of all linked files. The exit code is 3 when CivitAI has no model of a number.
    """
    request = CacheRequest(models=tuple(reference.model for reference in models))
    with app.tensors() as tensors:
        job = _work(app, tensors, lambda: tensors.db.cache(request, detach=detach), detach=detach)
    report = job.cache
    if report is None:
        return 0
    for number in report.not_found:
        app.say(f"CivitAI has no model {number}")
    if not (report.models or report.not_found):
        app.say("no file is linked yet: tsr db link")
    return 3 if report.not_found else 0
