"""`tsr generate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tensors.cli._app import App, json_option, remote_option
from tensors.cli._complete import complete_images
from tensors.cli._drawing_options import drawing_options, hires_fix, said
from tensors.cli._follow import follow, submit
from tensors.cli._results import Read, Ways, lines_of, open_pictures, save
from tensors.errors import InvalidRequest
from tensors.types.gallery import Image
from tensors.types.generation import GenerateRequest
from tensors.types.jobs import Generated

if TYPE_CHECKING:
    from tensors.cli._plan import Plan
    from tensors.service import Tensors
    from tensors.sweep import Axis


@click.command()
@click.argument("prompt", required=False)
@drawing_options
@click.option(
    "--input",
    "source",
    metavar="FILE",
    help="Draw each prompt of a file: .txt, .yaml, .json, .jsonl; - reads lines. What an entry says wins over options.",
)
@click.option(
    "--from",
    "origin",
    metavar="ID|FILE",
    shell_complete=complete_images,
    help="Make a picture again, of the gallery or of a file; options and PROMPT change what they name.",
)
@click.option(
    "--sweep",
    "sweeps",
    multiple=True,
    metavar="FIELD=V,V",
    help="Draw with each value, such as steps=10,20 or seed=1..4; repeatable: all combinations, on a contact sheet.",
)
@click.option("--sheet", metavar="FILE", help="The contact sheet's file; else sweep-TIME.png in -o DIR, or here.")
@click.option("--dry-run", is_flag=True, help="Only show what would be drawn; with --json, a file for --input.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before more than 1,000 pictures.")
@click.option("--output", "-o", metavar="FILE|DIR", help="Save a copy here; - writes the PNG to standard output.")
@click.option("--detach", "-d", is_flag=True, help="Print the job's id and do not wait.")
@click.option("--open", "open_it", is_flag=True, help="Open the pictures in a viewer.")
@click.option("--idempotency-key", "key", metavar="KEY", help="The same key again is the same job.")
@remote_option
@json_option
@click.pass_obj
def generate(
    app: App,
    /,
    *,
    prompt: str | None,
    source: str | None,
    origin: str | None,
    sweeps: tuple[str, ...],
    sheet: str | None,
    dry_run: bool,
    yes: bool,
    output: str | None,
    detach: bool,
    open_it: bool,
    key: str | None,
    **_drawing: Any,
) -> int:
    """Draw pictures.

    PROMPT says what they show; - reads it from standard input. What is left out is filled in with the defaults of the
    model's family. <lora:name:0.8> in the prompt applies a LoRA.
    """
    from tensors.cli import _plan
    from tensors.sweep import parse_axis

    context = click.get_current_context()
    axes = tuple(map(parse_axis, sweeps))
    _check_sources(context, prompt, source, origin, axes)
    ways = Ways(output, sheet, detach, open_it, key)
    with app.tensors() as tensors:
        plan = _plan.swept(_bases(app, tensors, context, source, origin, axes), axes)
        _check_ways(app, plan, ways, several=bool(source or axes))
        if dry_run:
            _plan.show(app, plan)
            return 0
        if not yes and (source or axes):
            _plan.confirm(app, plan)
        if source or axes:
            from tensors.cli._several import draw_several

            return draw_several(app, tensors, plan, ways)
        _draw(app, tensors, plan.tasks[0].request, ways)
        return 0


def _check_sources(
    context: click.Context, prompt: str | None, source: str | None, origin: str | None, axes: Sequence[Axis]
) -> None:
    if source and origin:
        raise click.UsageError("--input and --from are two ways to say what to draw: take one of them")
    if source == prompt == "-":
        raise click.UsageError("the prompt and the file cannot both come from standard input")
    if prompt is None and not source and not origin and not any(axis.field == "prompt" for axis in axes):
        argument = next(parameter for parameter in context.command.params if parameter.name == "prompt")
        raise click.MissingParameter(ctx=context, param=argument, param_hint="'PROMPT'")


def _bases(
    app: App,
    tensors: Tensors,
    context: click.Context,
    source: str | None,
    origin: str | None,
    axes: Sequence[Axis],
) -> list[tuple[str, GenerateRequest]]:
    """What is to be drawn before anything is swept, each with where it stands."""
    from tensors.cli import _plan

    fields, hires = said(context)
    if origin:
        return [("", _plan.from_picture(app, tensors, origin, fields, hires, [axis.field for axis in axes]))]
    if fix := hires_fix(None, hires):
        fields["hires"] = fix
    if source:
        return _plan.from_file(source, fields)
    # Where the prompt itself is swept, none needs to be given.
    prompts = [axis.points[0].value for axis in axes if axis.field == "prompt"]
    return [("", GenerateRequest(**{"prompt": next(iter(prompts), ""), **fields}))]


def _check_ways(app: App, plan: Plan, ways: Ways, *, several: bool) -> None:
    if ways.output == "-" and (several or plan.pictures != 1 or app.json or ways.detach):
        raise InvalidRequest(
            "-o - writes one picture and nothing else: no --batch, --input, --sweep, --json or --detach with it"
        )
    if ways.sheet is not None and (not plan.axes or ways.detach):
        raise click.UsageError("--sheet needs a --sweep that is waited for")
    if plan.axes and not ways.detach:
        from tensors.cli._sheets import check_sheet

        check_sheet(plan, ways.sheet)


def _draw(app: App, tensors: Tensors, request: GenerateRequest, ways: Ways) -> None:
    job = submit(app, tensors, request, idempotency_key=ways.key, detach=ways.detach)
    if ways.detach:
        app.show(Generated(job=job), lambda answer: [answer.job.id])
        app.say(f"follow it: tsr jobs watch {job.id}")
        return
    last = follow(app, tensors, job)
    images = tuple(tensors.images.get(image_id) for image_id in last.images)
    if ways.output == "-":
        click.echo(tensors.images.read(images[0].id), nl=False)
        return
    saved = save(app, tensors.images.read, images, ways.output)
    app.show(Generated(job=tensors.jobs.get(job.id), images=images), lines_of)
    _look(app, tensors.images.read, images, saved, open_it=ways.open_it)


def _look(app: App, read: Read, images: Sequence[Image], saved: Sequence[Path], *, open_it: bool) -> None:
    from tensors.cli._pictures import show_inline

    shown = app.interactive and [show_inline(read(image.id)) for image in images]
    if open_it:
        open_pictures(read, images, saved)
    elif images and not saved and not any(shown or []):
        app.say(f"see it: tsr images show {images[0].id}    keep a copy: tsr images download {images[0].id}")
