"""The options that say what to draw, and what of it was really said."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from tensors.cli._app import size_of
from tensors.cli._complete import complete_checkpoints, complete_loras
from tensors.errors import InvalidRequest
from tensors.types.generation import Hires, Lora

F = TypeVar("F", bound=Callable[..., Any])

_HIRES = "hires_"
_NOT_SAID = (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)


def _lora(_ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Lora, ...]:
    found = []
    for value in values:
        name, _, weight = value.rpartition(":")
        try:
            found.append(Lora(name=name, weight=float(weight)) if name else Lora(name=value))
        except ValueError:
            raise click.BadParameter(f"{value!r} is not NAME or NAME:WEIGHT") from None
    return tuple(found)


def picture_as_base64(path: Path) -> str:
    """A picture's file as requests have it. Raises `OSError`."""
    import pybase64

    return pybase64.b64encode(path.read_bytes()).decode()


def _file_as_base64(_ctx: click.Context, _parameter: click.Parameter, path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return picture_as_base64(path)
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read: {error.strerror}") from None


_OPTIONS = (
    click.option("--negative", "-n", "negative_prompt", metavar="TEXT", help="What the picture must not show."),
    click.option(
        "--model",
        "-m",
        metavar="NAME",
        shell_complete=complete_checkpoints,
        help="Checkpoint; when left out, the active one (tsr models active).",
    ),
    click.option("--size", metavar="WxH", callback=size_of, help="Width and height in one, such as 832x1216."),
    click.option("--width", "-W", type=int, metavar="PIXELS", help="A multiple of 8."),
    click.option("--height", "-H", type=int, metavar="PIXELS", help="A multiple of 8."),
    click.option("--steps", type=int, metavar="N", help="Sampling steps."),
    click.option("--cfg-scale", "--cfg", type=float, metavar="X", help="Classifier-free guidance scale."),
    click.option("--guidance", type=float, metavar="X", help="Distilled guidance, for models that take it (Flux)."),
    click.option("--sampler", metavar="NAME", help="Sampling method, such as euler_a or 'DPM++ 2M Karras'."),
    click.option("--scheduler", metavar="NAME", help="Noise schedule, such as karras."),
    click.option("--seed", "-s", type=int, default=-1, metavar="N", help="The same seed draws the same picture."),
    click.option(
        "--batch", "-b", "batch_size", type=int, default=1, metavar="N", help="How many, with seeds from --seed on."
    ),
    click.option("--clip-skip", type=int, metavar="N", help="1 uses all layers of CLIP, 2 all but the last."),
    click.option(
        "--lora",
        "-l",
        "loras",
        multiple=True,
        metavar="NAME[:WEIGHT]",
        callback=_lora,
        shell_complete=complete_loras,
        help="Apply a LoRA; repeatable.",
    ),
    click.option(
        "--init-image",
        "-i",
        type=click.Path(path_type=Path),
        metavar="FILE",
        callback=_file_as_base64,
        help="Picture to start from (img2img).",
    ),
    click.option(
        "--mask",
        type=click.Path(path_type=Path),
        metavar="FILE",
        callback=_file_as_base64,
        help="White: redraw the init image there; black: keep it.",
    ),
    click.option("--strength", type=float, metavar="X", help="Denoising strength of img2img, 0 to 1."),
    click.option(
        "--hires", "hires_scale", type=float, metavar="SCALE", help="Hires fix: enlarge that many times and draw again."
    ),
    click.option("--hires-upscaler", metavar="NAME", help="Lanczos, Nearest, Latent, ..."),
    click.option("--hires-steps", type=int, metavar="N", help="Steps of the second pass."),
    click.option(
        "--hires-denoising-strength", "--hires-strength", type=float, metavar="X", help="Strength of the second pass."
    ),
    click.option(
        "--force", is_flag=True, help="Draw also with LoRAs of another family, and at sizes the model was not made for."
    ),
    click.option("--tag", "-t", "tags", multiple=True, metavar="TAG", help="Tag for the gallery; repeatable."),
)
_FIELDS = frozenset(
    [
        "negative_prompt",
        "model",
        "width",
        "height",
        "steps",
        "cfg_scale",
        "guidance",
        "sampler",
        "scheduler",
        "seed",
        "batch_size",
        "clip_skip",
        "loras",
        "init_image",
        "mask",
        "strength",
        "force",
        "tags",
    ]
)


def drawing_options(command: F) -> F:
    """Every field of a request as an option."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def said(ctx: click.Context) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of a request that the command line names, and those of its hires fix."""
    given = {name: ctx.params[name] for name in ctx.params if ctx.get_parameter_source(name) not in _NOT_SAID}
    fields = {name: value for name, value in given.items() if name in _FIELDS}
    if size := given.get("size"):
        fields = {"width": size[0], "height": size[1], **fields}
    if (prompt := given.get("prompt")) is not None:
        fields["prompt"] = _from_standard_input() if prompt == "-" else prompt
    hires = {name.removeprefix(_HIRES): value for name, value in given.items() if name.startswith(_HIRES)}
    return fields, hires


def hires_fix(base: Hires | None, details: Mapping[str, Any]) -> Hires | None:
    """A hires fix with what the command line says about it."""
    if not details or base:
        return replace(base, **details) if base else None
    if "scale" not in details:
        raise click.UsageError(f"--hires-{next(iter(details)).replace('_', '-')} needs --hires SCALE")
    return Hires(**details)


def _from_standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise InvalidRequest("the prompt on standard input is not UTF-8") from None
