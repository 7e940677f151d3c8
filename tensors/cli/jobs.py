"""`tsr jobs`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from tensors.cli._app import App, json_option, remote_option, table
from tensors.cli._complete import complete_jobs
from tensors.cli._follow import checked, follow, words
from tensors.cli._reports import report_words
from tensors.cli._text import first_words
from tensors.errors import InvalidRequest
from tensors.types.base import Page
from tensors.types.jobs import Job

if TYPE_CHECKING:
    from tensors.service import Tensors

_PAGE = 500


@click.group()
def jobs() -> None:
    """Watch, pause and cancel jobs."""


def _rows(page: Page[Job]) -> Iterator[str]:
    yield from table(
        (
            (job.id, job.created, job.state.ljust(9), job.kind, len(job.images) if job.settings else "", _about(job))
            for job in page.items
        ),
        right=(4,),
    )


def _about(job: Job) -> str:
    """What it draws; of work on the library, what came of it or how far it is."""
    if job.settings:
        return first_words(job.settings.prompt, 48)
    if job.error:
        return job.error.message.partition("\n")[0]
    return report_words(job) or job.waits_for or (words(job.progress) if job.progress and not job.ended else "")


def _plan_rows(page: Page[Job]) -> Iterator[str]:
    return table(map(_plan_columns, page.items), right=(0,))


def _plan_columns(job: Job) -> tuple[object, ...]:
    model = job.settings.model.name if job.settings else "-"
    return job.position or "", job.id, job.state, job.kind, model, _why(job)


def _why(job: Job) -> str:
    """What it waits for; of one that runs, how far it is."""
    if job.state == "queued":
        return job.waits_for or "waits for its turn"
    return words(job.progress) if job.progress else ""


def _planned(tensors: Tensors, kind: str | None) -> list[Job]:
    """What runs, then what waits: first what waits for an engine, in the order that is likely now."""
    found: dict[str, Job] = {}
    # Those that begin meanwhile are seen twice, and none is missed.
    for state in ("queued", "running"):
        cursor = None
        while True:
            page = tensors.jobs.list(kind=kind, state=state, limit=_PAGE, cursor=cursor)
            found |= {job.id: job for job in page.items}
            cursor = page.next_cursor
            if cursor is None:
                break

    def place(job: Job) -> tuple[bool, float, str, str]:
        return job.state != "running", job.position or math.inf, job.created, job.id

    return sorted(found.values(), key=place)


@jobs.command("list")
@click.option("--plan", is_flag=True, help="What runs and what waits, in the likely order, with what it waits for.")
@click.option("--kind", metavar="KIND", help="generate, switch, scan, link, cache, download or cleanup.")
@click.option("--state", metavar="STATE", help="queued, running, paused, succeeded, failed or cancelled.")
@click.option("--limit", "-n", type=int, default=20, show_default=True, metavar="N", help="At most so many, up to 500.")
@click.option("--cursor", metavar="CURSOR", help="Go on after an earlier list.")
@remote_option
@json_option
@click.pass_obj
def list_jobs(app: App, kind: str | None, state: str | None, limit: int, cursor: str | None, plan: bool) -> None:
    """List jobs, newest first; with --plan in the order in which they will probably be done."""
    if plan and (state or cursor):
        raise click.UsageError("--plan lists what runs and waits: no --state or --cursor with it")
    with app.tensors() as tensors:
        if plan:
            _show_plan(app, tensors, kind, limit)
            return
        page = tensors.jobs.list(kind=kind, state=state, limit=limit, cursor=cursor)
    app.show(page, _rows)
    if page.next_cursor:
        app.say(f"more: tsr jobs list --cursor {page.next_cursor}")


def _show_plan(app: App, tensors: Tensors, kind: str | None, limit: int) -> None:
    if not 1 <= limit <= _PAGE:
        raise InvalidRequest(f"limit must be between 1 and {_PAGE}, not {limit}")
    planned = _planned(tensors, kind)
    page = Page(items=tuple(planned[:limit]))
    app.show(page, _plan_rows)
    if not planned:
        app.say("nothing runs and nothing waits")
    elif len(planned) > limit:
        app.say(f"and {len(planned) - limit:,} more: tsr jobs list --plan --limit {min(len(planned), _PAGE)}")


def _details(job: Job) -> Iterator[str]:
    rows = [
        ("id", job.id),
        ("kind", job.kind),
        ("state", job.state),
        ("created", job.created),
        ("finished", job.finished),
        ("progress", job.progress and words(job.progress)),
        ("place", job.position and f"{job.position} in the likely order"),
        ("waits", job.waits_for),
        ("prompt", job.settings and job.settings.prompt),
        ("images", " ".join(job.images)),
        ("report", report_words(job)),
        ("error", job.error and job.error.message),
    ]
    yield from table((name, value) for name, value in rows if value)


@jobs.command()
@click.argument("job_id", shell_complete=complete_jobs)
@remote_option
@json_option
@click.pass_obj
def show(app: App, job_id: str) -> None:
    """Show one job."""
    with app.tensors() as tensors:
        app.show(tensors.jobs.get(job_id), _details)


@jobs.command()
@click.argument("job_id", shell_complete=complete_jobs)
@remote_option
@json_option
@click.pass_obj
def watch(app: App, job_id: str) -> None:
    """Follow a job until it ends. With --json, one line for each event. Ctrl-C stops watching, not the job."""
    with app.tensors() as tensors:
        job = tensors.jobs.get(job_id)
        if app.json:
            last = None
            for event in tensors.jobs.events(job_id):
                last = event
                app.data(event)
            checked(job_id, last)
            return
        last = follow(app, tensors, job, cancel_on_interrupt=False)
        app.show(tensors.jobs.get(job_id), _details)


@jobs.command()
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...", shell_complete=complete_jobs)
@remote_option
@json_option
@click.pass_obj
def cancel(app: App, job_ids: tuple[str, ...]) -> None:
    """Stop jobs, queued or running."""
    with app.tensors() as tensors:
        app.show([tensors.jobs.cancel(job_id) for job_id in job_ids], _states)


@jobs.command()
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...", shell_complete=complete_jobs)
@remote_option
@json_option
@click.pass_obj
def pause(app: App, job_ids: tuple[str, ...]) -> None:
    """Let downloads wait, also over a restart of the server."""
    with app.tensors() as tensors:
        app.show([tensors.jobs.pause(job_id) for job_id in job_ids], _states)


@jobs.command()
@click.argument("job_ids", nargs=-1, required=True, metavar="JOB_ID...", shell_complete=complete_jobs)
@remote_option
@json_option
@click.pass_obj
def resume(app: App, job_ids: tuple[str, ...]) -> None:
    """Let paused downloads go on where they were."""
    with app.tensors() as tensors:
        app.show([tensors.jobs.resume(job_id) for job_id in job_ids], _states)


def _states(jobs: list[Job]) -> list[str]:
    return [f"{job.id} {job.state}" for job in jobs]
