"""`tsr images`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from tensors.cli._app import App, json_option, remote_option, table
from tensors.cli._complete import complete_images
from tensors.types.base import Deleted, Page
from tensors.types.gallery import Image

if TYPE_CHECKING:
    from tensors.service import Tensors


@click.group()
def images() -> None:
    """Look into the gallery."""


def _short(text: str, most: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3] + "..."


def _rows(page: Page[Image]) -> Iterator[str]:
    yield from table(
        (image.id, f"{image.width}x{image.height}", image.settings.model.name, _short(image.settings.prompt))
        for image in page.items
    )


@images.command("list")
@click.option("--limit", "-n", type=int, default=20, show_default=True, metavar="N", help="At most so many, up to 500.")
@click.option("--cursor", metavar="CURSOR", help="Go on after an earlier list.")
@remote_option
@json_option
@click.pass_obj
def list_images(app: App, limit: int, cursor: str | None) -> None:
    """List pictures, newest first."""
    with app.tensors() as tensors:
        page = tensors.images.list(limit=limit, cursor=cursor)
    app.show(page, _rows)
    if not page.items:
        app.say("no pictures yet: tsr generate 'a red circle on a blue background'")
    elif page.next_cursor:
        app.say(f"more: tsr images list --cursor {page.next_cursor}")


def _details(image: Image) -> Iterator[str]:
    used = image.settings
    rows: list[tuple[str, object]] = [
        ("id", image.id),
        ("created", image.created),
        ("file", image.path),
        ("size", f"{image.width}x{image.height}"),
        ("prompt", used.prompt),
        ("negative prompt", used.negative_prompt),
        ("model", f"{used.model.name} ({used.model.family})"),
        ("model hash", used.model.sha256 and used.model.sha256[:10]),
        ("seed", used.seed),
        ("steps", used.steps),
        ("CFG scale", used.cfg_scale),
        ("guidance", used.guidance),
        ("sampler", f"{used.sampler}, {used.scheduler}"),
        ("clip skip", used.clip_skip),
        ("LoRAs", ", ".join(f"{lora.name} ({lora.weight:g})" for lora in used.loras)),
        ("strength", used.strength),
        (
            "hires",
            used.hires and f"x{used.hires.scale:g} {used.hires.upscaler}, strength {used.hires.denoising_strength:g}",
        ),
        ("tags", ", ".join(used.tags)),
        ("engine", image.engine),
        ("job", image.job),
    ]
    yield from table((name, value) for name, value in rows if value not in (None, ""))


@images.command()
@click.argument("image_id", shell_complete=complete_images)
@click.option("--open", "open_it", is_flag=True, help="Open it in a viewer.")
@remote_option
@json_option
@click.pass_obj
def show(app: App, image_id: str, open_it: bool) -> None:
    """Show how a picture was made, and the picture where the terminal can."""
    from tensors.cli._pictures import open_viewer, save_copy, show_inline

    with app.tensors() as tensors:
        image = tensors.images.get(image_id)
        if app.interactive:
            show_inline(tensors.images.read(image_id))
        app.show(image, _details)
        if open_it:
            import tempfile
            from pathlib import Path

            path = Path(tempfile.gettempdir()) / f"tsr-{image.id}.png"
            save_copy(path, tensors.images.read(image_id))
            open_viewer(path)


@images.command()
@click.argument("image_ids", nargs=-1, required=True, metavar="IMAGE_ID...", shell_complete=complete_images)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@remote_option
@json_option
@click.pass_obj
def delete(app: App, image_ids: tuple[str, ...], yes: bool) -> None:
    """Delete pictures and their records."""
    if app.interactive and not yes:
        click.confirm(f"Delete {len(image_ids)} picture(s) for good?", abort=True, err=True)
    with app.tensors() as tensors:
        # A wrong id among right ones must not leave the work half done.
        for image_id in image_ids:
            tensors.images.get(image_id)
        deleted = tuple(tensors.images.delete(image_id) for image_id in image_ids)
    app.show(deleted, _deleted_lines)


def _deleted_lines(deleted: tuple[Deleted, ...]) -> list[str]:
    return [f"deleted {one.id}" for one in deleted]


@images.command()
@click.argument("image_ids", nargs=-1, required=True, metavar="IMAGE_ID...", shell_complete=complete_images)
@click.option("--output", "-o", default=".", metavar="FILE|DIR", help="Where to; the present folder when left out.")
@remote_option
@json_option
@click.pass_obj
def download(app: App, image_ids: tuple[str, ...], output: str) -> None:
    """Save copies of pictures; - as the output writes one to standard output."""
    if output == "-" and (len(image_ids) != 1 or app.json):
        raise click.UsageError("-o - writes one picture and nothing else: one IMAGE_ID, and no --json with it")
    with app.tensors() as tensors:
        if output == "-":
            click.echo(tensors.images.read(image_ids[0]), nl=False)
            return
        saved = [_download(tensors, image_id, output, i, len(image_ids)) for i, image_id in enumerate(image_ids)]
    app.show(saved, lambda rows: [row["path"] for row in rows])


def _download(tensors: Tensors, image_id: str, output: str, position: int, count: int) -> dict[str, str]:
    from tensors.cli._pictures import save_copy, save_target

    target = save_target(output, image_id, position, count)
    save_copy(target, tensors.images.read(image_id))
    return {"id": image_id, "path": str(target)}
