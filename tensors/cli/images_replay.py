"""`tsr images replay`: the same picture again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from tensors.cli._app import App, json_option, remote_option
from tensors.cli._complete import complete_images
from tensors.cli._follow import follow, submit
from tensors.cli._image_rows import image_rows
from tensors.types.gallery import Image
from tensors.types.remake import Comparison, Difference, MissingPart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensors.errors import TsrError
    from tensors.service import Tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A picture drawn again."""

    image: Image
    """The new one."""
    original: str
    """Id of the old one."""
    comparison: Comparison
    differences: tuple[Difference, ...]
    """Between then and now, known before it was drawn."""


@click.command()
@click.argument("image_id", metavar="IMAGE_ID", shell_complete=complete_images)
@click.option("--check", is_flag=True, help="The exit code is 1 when the new picture differs.")
@remote_option
@json_option
@click.pass_obj
def replay(app: App, image_id: str, check: bool) -> int:
    """Draw a picture again, and see whether it is the same.

    With everything it was drawn with, found by its hashes. What is not as it was then (the model's file, LoRAs, the
    engine) is said before; what is missing is an error, with the command that fetches it. Both pictures are then
    compared, pixel by pixel. `tsr generate --from` draws variations.
    """
    from tensors.cli._plan import not_here
    from tensors.remaking.comparison import compare

    with app.tensors() as tensors:
        remake = tensors.images.remake(image_id)
        if remake.missing:
            raise _with_a_way(not_here(remake.missing), remake.missing, image_id)
        for difference in remake.differences:
            app.say(difference.says)
        old = tensors.images.read(image_id)
        last = follow(app, tensors, submit(app, tensors, remake.request))
        image, new = tensors.images.get(last.images[0]), tensors.images.read(last.images[0])
        done = Replayed(image=image, original=image_id, comparison=compare(old, new), differences=remake.differences)
        app.show(done, lambda done: image_rows([done.image]))
        app.say(_verdict(tensors, done))
    return 1 if check and not done.comparison.same_pixels else 0


def _with_a_way(error: TsrError, missing: Sequence[MissingPart], image_id: str) -> TsrError:
    """The error with what can be done about it here, where nothing else can be taken."""
    ways = [part.command for part in missing if part.command]
    ways.append(f"with something else: tsr generate --from {image_id}, and --model, --lora or --init-image")
    return type(error)(error.message, hint="\n".join(dict.fromkeys(ways)))


def _verdict(tensors: Tensors, done: Replayed) -> str:
    compared, new = done.comparison, done.image
    if compared.same_pixels:
        return "the same picture, pixel for pixel"
    old = tensors.images.get(done.original)
    if (old.width, old.height) != (new.width, new.height):
        return f"another picture: of {new.width}x{new.height} pixels, and it was of {old.width}x{old.height}"
    share = 100 * compared.differing
    return f"not the same picture: {'less than 0.1' if share < 0.1 else f'{share:.1f}'} % of its pixels differ"
