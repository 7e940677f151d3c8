"""`tsr images list`, `show` and `info`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tensors.cli._app import App, json_option, remote_option, table
from tensors.cli._complete import complete_images, complete_paths
from tensors.cli._image_options import STANDARD_INPUT, filter_options, listed_ids, query_of
from tensors.cli._image_rows import image_details, image_rows
from tensors.cli._text import plain
from tensors.errors import InvalidRequest
from tensors.types.gallery import Image, ImageQuery

if TYPE_CHECKING:
    from tensors.service import Tensors
    from tensors.types.recipe import Recipe


@click.command("list")
@click.argument("words", nargs=-1, metavar="[TEXT]...")
@filter_options
@click.option("--limit", "-n", type=int, default=20, show_default=True, metavar="N", help="At most so many, up to 500.")
@click.option("--cursor", metavar="CURSOR", help="Go on after an earlier list.")
@remote_option
@json_option
@click.pass_obj
def list_images(app: App, /, words: tuple[str, ...], limit: int, cursor: str | None, **filters: Any) -> None:
    """List pictures, newest first, or search for them.

    TEXT: words of the prompt or the notes; cat* finds all that begin so. What must not be there goes into --search, as
    in --search 'cat -dog'. Pictures are listed that fit everything given.

    Each line: the id, the size, the model, a heart for a favourite and a star for each point of the rating, the prompt,
    and the tags in brackets.
    """
    query = query_of(filters, words)
    with app.tensors() as tensors:
        page = tensors.images.list(query, limit=limit, cursor=cursor)
    app.show(page, lambda page: image_rows(page.items))
    if page.items:
        if page.next_cursor:
            app.say(f"more: tsr images list --cursor {page.next_cursor}")
    elif query != ImageQuery() or cursor:
        app.say("no such pictures")
    else:
        app.say("no pictures yet: tsr generate 'a red circle on a blue background'")


@click.command()
@click.argument("image_ids", nargs=-1, required=True, metavar="IMAGE_ID...", shell_complete=complete_images)
@click.option("--open", "open_it", is_flag=True, help="Open it in a viewer.")
@remote_option
@json_option
@click.pass_obj
def show(app: App, image_ids: tuple[str, ...], open_it: bool) -> None:
    """Show how a picture was made, and the picture where the terminal can.

    - as IMAGE_ID reads ids from standard input. With --json, several pictures are a list.
    """
    alone = len(image_ids) == 1 and image_ids[0] != STANDARD_INPUT
    with app.tensors() as tensors:
        images = [tensors.images.get(image_id) for image_id in listed_ids(image_ids)]
        for image in images:
            _look(app, tensors, image, open_it=open_it)
        if alone:
            app.show(images[0], image_details)
        else:
            app.show(images, _one_below_the_other)


def _one_below_the_other(images: list[Image]) -> Iterator[str]:
    for number, image in enumerate(images):
        if number:
            yield ""
        yield from image_details(image)


def _look(app: App, tensors: Tensors, image: Image, *, open_it: bool) -> None:
    if not (app.interactive or open_it):
        return
    from tensors.cli._pictures import extension_of, open_viewer, save_copy, show_inline

    picture = tensors.images.read(image.id)
    if app.interactive:
        show_inline(picture)
    if open_it:
        import tempfile

        path = Path(tempfile.gettempdir()) / f"tsr-{image.id}{extension_of(picture)}"
        save_copy(path, picture)
        open_viewer(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a file says of how its picture was made."""

    file: str
    recipe: Recipe | None = None
    """None where it says nothing that is understood."""
    problem: str | None = None
    """Why it could not be read."""


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=complete_paths)
@json_option
@click.pass_obj
def info(app: App, files: tuple[str, ...]) -> int:
    """Show how the pictures in files were made, by whatever program.

    FILE is a PNG, JPEG or WebP on this machine, as A1111, Forge, ComfyUI, InvokeAI, SwarmUI, Fooocus, sd-server and tsr
    write it. Of a picture in the gallery, `tsr images show` tells. With --json, several files are a list. The exit code
    is 1 when one of several files could not be read.
    """
    if len(files) == 1:
        one = _told(files[0])
        if one.problem:
            raise InvalidRequest(f"{one.file}: {one.problem}")
        app.show(one, _recipe_lines)
        return 0
    told = [_told(file) for file in files]
    app.show(told, _recipes)
    for each in told:
        if each.problem:
            app.say(plain(f"{each.file}: {each.problem}"))
    return 1 if any(each.problem for each in told) else 0


def _told(file: str) -> Told:
    from tensors.recipes import NotAPicture, read_recipe

    try:
        return Told(file=file, recipe=read_recipe(Path(file)))
    except NotAPicture as error:
        return Told(file=file, problem=f"no picture: {error}")
    except OSError as error:
        return Told(file=file, problem=f"cannot be read: {error.strerror}")


def _recipes(told: list[Told]) -> Iterator[str]:
    for number, each in enumerate(each for each in told if not each.problem):
        if number:
            yield ""
        yield plain(each.file)
        yield from (f"  {line}" for line in _recipe_lines(each))


def _recipe_lines(told: Told) -> Iterator[str]:
    recipe = told.recipe
    if recipe is None:
        yield "it does not say how it was made, or in no way that is understood"
        return
    rows: list[tuple[str, object]] = [
        ("program", " ".join(filter(None, [recipe.program, recipe.version]))),
        ("prompt", recipe.prompt),
        ("negative prompt", recipe.negative_prompt),
        ("model", recipe.model),
        ("model hash", recipe.model_hash and f"{recipe.model_hash.value} ({recipe.model_hash.kind})"),
        ("CivitAI", recipe.model_version_id and f"version {recipe.model_version_id}"),
        ("size", recipe.width and recipe.height and f"{recipe.width}x{recipe.height}"),
        ("seed", recipe.seed),
        ("steps", recipe.steps),
        ("CFG scale", recipe.cfg_scale),
        ("guidance", recipe.guidance),
        ("sampler", ", ".join(_sampling(recipe))),
        ("clip skip", recipe.clip_skip),
        ("LoRAs", ", ".join(_weighed(lora.name, lora.weight) for lora in recipe.loras)),
        ("strength", recipe.strength),
        ("hires", ", ".join(_hires(recipe))),
        ("VAE", recipe.vae),
        *recipe.rest.items(),
    ]
    yield from table((name, value) for name, value in rows if value not in (None, ""))


def _sampling(recipe: Recipe) -> Iterator[str]:
    """Sampler and scheduler as written, and in brackets as tsr calls them, where that is something else."""
    written: dict[str, list[str]] = {}
    for named in (recipe.sampler, recipe.scheduler):
        if named:
            # A1111 has one name for both.
            written.setdefault(named.written, []).append(named.name or "?")
    for name, ours in written.items():
        yield name if ours in ([name], ["?"]) else f"{name} ({', '.join(ours)})"


def _weighed(name: str, weight: float | None) -> str:
    return name if weight is None else f"{name} ({weight:g})"


def _hires(recipe: Recipe) -> Iterator[str]:
    if hires := recipe.hires:
        scale = f"x{hires.scale:g}" if hires.scale else None
        yield " ".join(filter(None, [scale, hires.upscaler])) or "yes"
        if hires.steps:
            yield f"{hires.steps} steps"
        if hires.denoising_strength is not None:
            yield f"strength {hires.denoising_strength:g}"
