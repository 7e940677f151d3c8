"""`tsr images`: the gallery."""

from __future__ import annotations

from collections.abc import Mapping

import click

from tensors.cli._lazy import LazyGroup

_LOOK, _CHANGE, _CARE, _FILES = (f"tensors.cli.images_{part}" for part in ("look", "change", "care", "files"))

COMMANDS: Mapping[str, tuple[str, str]] = {
    "cleanup": (_CARE, "Remove what the settings of the gallery do not keep."),
    "delete": (_CHANGE, "Move pictures to the trash."),
    "download": (_FILES, "Save copies of pictures."),
    "edit": (_CHANGE, "Change tags, notes, rating or favourite of pictures."),
    "export": (_FILES, "Save pictures and their records as one zip file."),
    "gc": (_CARE, "Remove files that belong to no picture."),
    "import": ("tensors.cli.images_import:import_files", "Bring pictures made elsewhere into the gallery."),
    "info": (_LOOK, "Show how the pictures in files were made, by whatever program."),
    "list": (f"{_LOOK}:list_images", "List pictures, newest first, or search for them."),
    "reindex": (_CARE, "Read all files of the gallery again."),
    "replay": ("tensors.cli.images_replay", "Draw a picture again, and see whether it is the same."),
    "restore": (_CHANGE, "Take pictures out of the trash."),
    "show": (_LOOK, "Show how a picture was made, and the picture where the terminal can."),
    "trash": (_CHANGE, "List what is in the trash, or empty it."),
}
"""Each command's module and its line in the help."""


@click.group(cls=LazyGroup, table=COMMANDS)
def images() -> None:
    """Look after the gallery: find, rate, import, export, delete and restore pictures."""
