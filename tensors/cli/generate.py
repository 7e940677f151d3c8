"""`tsr generate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from tensors.cli._app import App, json_option, remote_option
from tensors.cli._complete import complete_checkpoints, complete_loras
from tensors.cli._follow import follow, submit
from tensors.errors import InvalidRequest
from tensors.types.gallery import Image
from tensors.types.generation import GenerateRequest, Hires, Lora
from tensors.types.jobs import Generated


def _lora(_ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Lora, ...]:
    found = []
    for value in values:
        name, _, weight = value.rpartition(":")
        try:
            found.append(Lora(name=name, weight=float(weight)) if name else Lora(name=value))
        except ValueError:
            raise click.BadParameter(f"{value!r} is not NAME or NAME:WEIGHT") from None
    return tuple(found)


def _file_as_base64(_ctx: click.Context, _parameter: click.Parameter, path: Path | None) -> str | None:
    if path is None:
        return None
    import pybase64

    try:
        return pybase64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read: {error.strerror}") from None


def _size(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    width, _, height = value.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise click.BadParameter(f"{value!r} is not WIDTHxHEIGHT")
    return int(width), int(height)


def _hires(scale: float | None, details: dict[str, Any]) -> Hires | None:
    given = {name: value for name, value in details.items() if value is not None}
    if scale is None:
        if given:
            raise click.UsageError(f"--hires-{next(iter(given)).replace('_', '-')} needs --hires SCALE")
        return None
    return Hires(scale=scale, **given)


def _from_standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise InvalidRequest("the prompt on standard input is not UTF-8") from None


@click.command()
@click.argument("prompt")
@click.option("--negative", "-n", "negative_prompt", metavar="TEXT", help="What the picture must not show.")
@click.option(
    "--model",
    "-m",
    metavar="NAME",
    shell_complete=complete_checkpoints,
    help="Checkpoint; when left out, the active one (tsr models active).",
)
@click.option("--size", metavar="WxH", callback=_size, help="Width and height in one, such as 832x1216.")
@click.option("--width", "-W", type=int, metavar="PIXELS", help="A multiple of 8.")
@click.option("--height", "-H", type=int, metavar="PIXELS", help="A multiple of 8.")
@click.option("--steps", type=int, metavar="N", help="Sampling steps.")
@click.option("--cfg-scale", "--cfg", type=float, metavar="X", help="Classifier-free guidance scale.")
@click.option("--guidance", type=float, metavar="X", help="Distilled guidance, for models that take it (Flux).")
@click.option("--sampler", metavar="NAME", help="Sampling method, such as euler_a or 'DPM++ 2M Karras'.")
@click.option("--scheduler", metavar="NAME", help="Noise schedule, such as karras.")
@click.option("--seed", "-s", type=int, default=-1, metavar="N", help="The same seed draws the same picture.")
@click.option(
    "--batch", "-b", "batch_size", type=int, default=1, metavar="N", help="How many, with seeds from --seed on."
)
@click.option("--clip-skip", type=int, metavar="N", help="1 uses all layers of CLIP, 2 all but the last.")
@click.option(
    "--lora",
    "-l",
    "loras",
    multiple=True,
    metavar="NAME[:WEIGHT]",
    callback=_lora,
    shell_complete=complete_loras,
    help="Apply a LoRA; repeatable.",
)
@click.option(
    "--init-image",
    "-i",
    type=click.Path(path_type=Path),
    metavar="FILE",
    callback=_file_as_base64,
    help="Picture to start from (img2img).",
)
@click.option(
    "--mask",
    type=click.Path(path_type=Path),
    metavar="FILE",
    callback=_file_as_base64,
    help="White: redraw the init image there; black: keep it.",
)
@click.option("--strength", type=float, metavar="X", help="Denoising strength of img2img, 0 to 1.")
@click.option(
    "--hires", "hires_scale", type=float, metavar="SCALE", help="Hires fix: enlarge that many times and draw again."
)
@click.option("--hires-upscaler", metavar="NAME", help="Lanczos, Nearest, Latent, ...")
@click.option("--hires-steps", type=int, metavar="N", help="Steps of the second pass.")
@click.option(
    "--hires-denoising-strength", "--hires-strength", type=float, metavar="X", help="Strength of the second pass."
)
@click.option(
    "--force", is_flag=True, help="Draw also with LoRAs of another family, and at sizes the model was not made for."
)
@click.option("--tag", "-t", "tags", multiple=True, metavar="TAG", help="Tag for the gallery; repeatable.")
@click.option("--output", "-o", metavar="FILE|DIR", help="Save a copy here; - writes the PNG to standard output.")
@click.option("--detach", "-d", is_flag=True, help="Print the job's id and do not wait.")
@click.option("--open", "open_it", is_flag=True, help="Open the pictures in a viewer.")
@click.option("--idempotency-key", metavar="KEY", help="The same key again is the same job.")
@remote_option
@json_option
@click.pass_obj
def generate(
    app: App,
    /,
    *,
    prompt: str,
    size: tuple[int, int] | None,
    hires_scale: float | None,
    hires_upscaler: str | None,
    hires_steps: int | None,
    hires_denoising_strength: float | None,
    output: str | None,
    detach: bool,
    open_it: bool,
    idempotency_key: str | None,
    **values: Any,
) -> None:
    """Draw pictures.

    PROMPT says what they show; - reads it from standard input. What is left out is filled in with the defaults of the
    model's family. <lora:name:0.8> in the prompt applies a LoRA.
    """
    if size:
        values["width"], values["height"] = values["width"] or size[0], values["height"] or size[1]
    details = {"upscaler": hires_upscaler, "steps": hires_steps, "denoising_strength": hires_denoising_strength}
    request = GenerateRequest(
        prompt=_from_standard_input() if prompt == "-" else prompt, hires=_hires(hires_scale, details), **values
    )
    if output == "-" and (request.batch_size != 1 or app.json or detach):
        raise InvalidRequest("-o - writes one picture and nothing else: no --batch, --json or --detach with it")
    with app.tensors() as tensors:
        job = submit(app, tensors, request, idempotency_key=idempotency_key, detach=detach)
        if detach:
            app.show(Generated(job=job), lambda answer: [answer.job.id])
            app.say(f"follow it: tsr jobs watch {job.id}")
            return
        last = follow(app, tensors, job)
        images = tuple(tensors.images.get(image_id) for image_id in last.images)
        if output == "-":
            click.echo(tensors.images.read(images[0].id), nl=False)
            return
        saved = _save(app, tensors.images.read, images, output)
        app.show(Generated(job=tensors.jobs.get(job.id), images=images), _lines)
        _look(app, tensors.images.read, images, saved, open_it=open_it)


def _lines(answer: Generated) -> list[str]:
    return [f"{image.id}  {image.width}x{image.height}  seed {image.settings.seed}" for image in answer.images]


def _save(app: App, read: Any, images: tuple[Image, ...], output: str | None) -> list[Path]:
    from tensors.cli._pictures import save_copy, save_target

    targets = []
    for position, image in enumerate(images if output else ()):
        target = save_target(str(output), image.id, position, len(images))
        save_copy(target, read(image.id))
        app.say(f"saved {target}")
        targets.append(target)
    return targets


def _look(app: App, read: Any, images: tuple[Image, ...], saved: list[Path], *, open_it: bool) -> None:
    from tensors.cli._pictures import open_viewer, save_copy, show_inline

    shown = app.interactive and [show_inline(read(image.id)) for image in images]
    if open_it:
        import tempfile

        for position, image in enumerate(images):
            path = saved[position] if saved else Path(tempfile.gettempdir()) / f"tsr-{image.id}.png"
            if not saved:
                save_copy(path, read(image.id))
            open_viewer(path)
    elif images and not saved and not any(shown or []):
        app.say(f"see it: tsr images show {images[0].id}    keep a copy: tsr images download {images[0].id}")
