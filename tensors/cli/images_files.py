"""`tsr images download` and `export`: pictures out of the gallery."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from tensors.cli._app import App, json_option, remote_option
from tensors.cli._complete import complete_images, complete_paths
from tensors.cli._image_options import filter_options, listed_ids, query_of
from tensors.cli._pace import counted_bytes, pace
from tensors.cli._text import counted, plain, size
from tensors.errors import ImageNotFound, InvalidRequest
from tensors.types.gallery import ImageQuery

if TYPE_CHECKING:
    from tensors.service import Tensors

_STANDARD_OUTPUT = "-"
MOST_IDS = 1000
"""They go to a server in an address, which can only be so long."""


@click.command()
@click.argument("image_ids", nargs=-1, required=True, metavar="IMAGE_ID...", shell_complete=complete_images)
@click.option("--output", "-o", default=".", metavar="FILE|DIR", help="Where to; the present folder when left out.")
@remote_option
@json_option
@click.pass_obj
def download(app: App, image_ids: tuple[str, ...], output: str) -> None:
    """Save copies of pictures.

    - as the output writes one to standard output; - as IMAGE_ID reads ids from standard input. In a folder a picture is
    called by its id: .png, or .jpg or .webp for imported ones that are.
    """
    if output == _STANDARD_OUTPUT and (len(image_ids) != 1 or app.json):
        raise click.UsageError("-o - writes one picture and nothing else: one IMAGE_ID, and no --json with it")
    with app.tensors() as tensors:
        ids = listed_ids(image_ids)
        if output == _STANDARD_OUTPUT:
            if len(ids) != 1:
                raise InvalidRequest(f"-o - writes one picture, and standard input names {len(ids)}")
            click.echo(tensors.images.read(ids[0]), nl=False)
            return
        saved = [_download(tensors, image_id, output, i, len(ids)) for i, image_id in enumerate(ids)]
    app.show(saved, lambda rows: [row["path"] for row in rows])


def _download(tensors: Tensors, image_id: str, output: str, position: int, count: int) -> dict[str, str]:
    from tensors.cli._pictures import extension_of, save_copy, save_target

    picture = tensors.images.read(image_id)
    target = save_target(output, image_id, position, count, extension_of(picture))
    save_copy(target, picture)
    return {"id": image_id, "path": str(target)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A zip file with pictures."""

    path: str
    images: int
    bytes: int


@click.command()
@click.argument("image_ids", nargs=-1, metavar="[IMAGE_ID]...", shell_complete=complete_images)
@click.option("--output", "-o", required=True, metavar="FILE.zip", shell_complete=complete_paths, help="Where to.")
@click.option("--force", is_flag=True, help="Replace a file of that name.")
@filter_options
@remote_option
@json_option
@click.pass_obj
def export(app: App, /, image_ids: tuple[str, ...], output: str, force: bool, **filters: Any) -> None:
    """Save pictures and their records as one zip file.

    Those named, or else all that the options find; without any, all there are. - as IMAGE_ID reads ids from standard
    input, - as the output writes the file to standard output.
    """
    query = query_of(filters)
    if image_ids and query != ImageQuery():
        raise click.UsageError("either IMAGE_ID... or options that search, not both")
    to_stdout = output == _STANDARD_OUTPUT
    if to_stdout and (app.json or sys.stdout.isatty()):
        raise click.UsageError("-o - writes the zip file and nothing else, and not to a terminal: no --json with it")
    if not to_stdout:
        _check_target(output, force=force)
    with app.tensors() as tensors, pace(app) as tell:
        ids = _named(image_ids)
        chunks = counted_bytes(tensors.images.export(None if ids else query, ids=ids), tell)
        if to_stdout:
            for chunk in chunks:
                click.echo(chunk, nl=False)
            return
        done = _write(Path(output), chunks, force=force)
    app.show(done, lambda done: [done.path])
    app.say(f"{counted(done.images, 'picture')}, {size(done.bytes)}")


def _named(image_ids: tuple[str, ...]) -> tuple[str, ...]:
    ids = listed_ids(image_ids)
    if image_ids and not ids:
        # Without ids all pictures would be meant.
        raise ImageNotFound("there is no picture to export: no ids on standard input")
    if len(ids) > MOST_IDS:
        refused = f"those are {len(ids):,} pictures, and {MOST_IDS:,} can be named at once"
        raise InvalidRequest(refused, hint="options that search, such as --tag, find any number")
    return ids


def _check_target(output: str, *, force: bool) -> None:
    if os.path.isdir(output) or output.endswith(("/", "\\")):
        raise InvalidRequest(f"{plain(output)} is a folder: name the file", hint="-o pictures.zip")
    if os.path.lexists(output) and not force:
        raise InvalidRequest(f"{plain(output)} is there already", hint="--force replaces it")


def _write(target: Path, chunks: Iterator[bytes], *, force: bool) -> Exported:
    """A file that is there whole or not at all."""
    import zipfile

    from tensors.atomic import place

    try:
        with _beside(target) as (temporary, file):
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            # Reading its list of contents tells, too, that it is whole.
            with zipfile.ZipFile(temporary) as archive:
                images = sum(not name.endswith(".json") for name in archive.namelist())
            written = temporary.stat().st_size
            if force:
                os.replace(temporary, target)
            else:
                place(temporary, target)
    except FileExistsError:
        raise InvalidRequest(f"{target} is there already", hint="--force replaces it") from None
    except OSError as error:
        raise InvalidRequest(f"cannot write {target}: {error.strerror}") from None
    except zipfile.BadZipFile:
        raise InvalidRequest("what came is no whole zip file; nothing was written") from None
    return Exported(path=str(target), images=images, bytes=written)


@contextmanager
def _beside(target: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield temporary, file
    finally:
        temporary.unlink(missing_ok=True)
