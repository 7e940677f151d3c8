"""`tsr dl`: from a model's number to a file that can be used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from tensors.cli._app import App, json_option, remote_option, table
from tensors.cli._complete import complete_folders, complete_models
from tensors.cli._follow import cancel_all, follow, submitted
from tensors.cli._text import counted, plain, plain_lines, size
from tensors.errors import DownloadError, JobCancelled, ServerUnreachable, TsrError
from tensors.types.base import Page
from tensors.types.download import DownloadedFile, DownloadPlan, DownloadRequest
from tensors.types.jobs import Job

if TYPE_CHECKING:
    from tensors.service import Tensors

_AHEAD = 8
"""Jobs of a long list that are asked for before the first has ended: a server's queue has room for others too."""
_STATES = {"new": "to fetch", "here": "here already"}


@click.command("dl")
@click.argument("targets", nargs=-1, metavar="[TARGET]...", shell_complete=complete_models)
@click.option("--version", "-v", "version_id", type=click.IntRange(1), metavar="ID", help="A version on CivitAI.")
@click.option("--hash", "-H", "hash_", metavar="HASH", help="The file with this hash on CivitAI.")
@click.option("--file", metavar="NAME", help="Which of several files: number, name or pattern ('*fp16*').")
@click.option("--fp", "precision", metavar="FP", help="Precision: fp16, bf16, fp8, fp32.")
@click.option("--format", "format_", metavar="FORMAT", help="safetensors or gguf.")
@click.option("--all", "everything", is_flag=True, help="All files of the version that can be used.")
@click.option(
    "--to",
    "directory",
    metavar="DIR",
    shell_complete=complete_folders,
    help="Folder to write to, instead of the one for its kind.",
)
@click.option(
    "--from", "source", type=click.File(), metavar="LIST", help="A file with a TARGET in each line; - reads it."
)
@click.option("--dry-run", "-n", is_flag=True, help="Only show names, sizes, hashes, and what is here already.")
@click.option("--force", is_flag=True, help="Try although the page says no: with bought early access, for example.")
@click.option("--detach", "-d", is_flag=True, help="Print the job's id and do not wait.")
@remote_option
@json_option
@click.pass_obj
def download(
    app: App,
    /,
    targets: tuple[str, ...],
    version_id: int | None,
    hash_: str | None,
    source: Any,
    dry_run: bool,
    detach: bool,
    **options: Any,
) -> int:
    """Download models: checked, identified, linked, ready to use.

    A TARGET is a model of CivitAI (1102 for its newest version, 1102@1318, an AIR, the address of its page), or of
    Hugging Face (hf:org/repo, hf:org/repo/file, the address of its page). What is here already is not fetched; what
    was broken off goes on where it ended. The trigger words are shown at the end.
    """
    wanted = [*targets, *(_lines_of(source) if source else ())]
    options["format"] = options.pop("format_")
    requests = [DownloadRequest(target=target, **options) for target in wanted]
    if version_id is not None:
        requests.append(DownloadRequest(version_id=version_id, **options))
    if hash_ is not None:
        requests.append(DownloadRequest(hash=hash_, **options))
    if not requests:
        raise click.UsageError("name what to download: tsr dl 1102, tsr dl hf:org/repo, or --version, --hash, --from")
    with app.tensors() as tensors:
        if dry_run:
            return _plan(app, tensors, requests)
        return _fetch(app, tensors, requests, detach=detach)


def _lines_of(source: Any) -> Iterator[str]:
    for text in source:
        target = text.partition(" #")[0].strip()
        if target and not target.startswith("#"):
            yield target


def _plan(app: App, tensors: Tensors, requests: list[DownloadRequest]) -> int:
    plans = [tensors.downloads.plan(request) for request in requests]
    app.show(DownloadPlan(files=tuple(file for plan in plans for file in plan.files)), _plan_lines)
    return 0


def _plan_lines(plan: DownloadPlan) -> Iterator[str]:
    yield from table(
        [_STATES.get(file.state, f"{size(file.done)} here"), size(file.size) if file.size else "?", plain(file.path)]
        for file in plan.files
    )
    for file in plan.files:
        if file.sha256:
            yield f"{file.sha256}  {plain(file.name)}"
    missing = sum((file.size or 0) - file.done for file in plan.files if file.state != "here")
    yield f"{counted(len(plan.files), 'file')}, {size(missing)} to fetch"


def _fetch(app: App, tensors: Tensors, requests: list[DownloadRequest], *, detach: bool) -> int:
    jobs = _started(app, tensors, requests, detach=detach) if detach else list(_followed(app, tensors, requests))
    if len(jobs) == 1:
        app.show(jobs[0], _lines)
    else:
        app.show(Page(items=tuple(jobs)), lambda page: [line for job in page.items for line in _lines(job)])
    if detach:
        for job in jobs:
            app.say(f"follow it: tsr jobs watch {job.id}")
    return DownloadError.exit_code if any(job.error for job in jobs) else 0


def _started(
    app: App, tensors: Tensors, requests: Iterable[DownloadRequest], *, detach: bool = False, beside: Sequence[Job] = ()
) -> list[Job]:
    """All of them begin, or none, and then those `beside` them end too."""
    jobs: list[Job] = []
    try:
        for request in requests:
            ask = partial(tensors.downloads.start, request, detach=detach)
            jobs.append(submitted(app, tensors, ask, also=[*beside, *jobs]))
    except TsrError:
        cancel_all(tensors, [*beside, *jobs])
        raise
    return jobs


def _followed(app: App, tensors: Tensors, requests: list[DownloadRequest]) -> Iterator[Job]:
    """Each in its turn, while the next ones have begun."""
    rest, going = iter(requests), list[Job]()
    for request in requests:
        going += _started(app, tensors, islice(rest, _AHEAD - len(going)), beside=going)
        job = going.pop(0)
        try:
            follow(app, tensors, job, also=going)
        except (JobCancelled, ServerUnreachable):
            raise
        except TsrError as error:
            if len(requests) == 1:
                raise
            # What is not to be had keeps nobody from having the others.
            name = request.target or request.version_id or request.hash
            app.say(f"{plain(str(name))}: {plain_lines(error.message)}")
        yield tensors.jobs.get(job.id)


def _lines(job: Job) -> Iterator[str]:
    if not job.ended:
        yield job.id
    for file in job.download.files if job.download else ():
        yield plain(file.path)
        yield f"  {', '.join(_about(file))}"
        prompt = " ".join(filter(None, [file.lora, ", ".join(file.words)]))
        if prompt:
            yield f"  {plain(prompt)}"


def _about(file: DownloadedFile) -> Iterator[str]:
    yield size(file.size) if file.fetched else f"{size(file.size)}, was here already"
    yield from (value for value in (file.family, file.kind) if value and value != "unknown")
    if file.version_id:
        yield f"{file.model_id}@{file.version_id}"
