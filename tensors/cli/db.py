"""`tsr db`: the library."""

from __future__ import annotations

from collections.abc import Mapping

import click

from tensors.cli._lazy import LazyGroup

_FILES, _JOBS, _MODELS, _STATE = (f"tensors.cli.db_{part}" for part in ("files", "jobs", "models", "state"))

COMMANDS: Mapping[str, tuple[str, str]] = {
    "cache": (_JOBS, "Fetch models from CivitAI and keep them for use offline."),
    "check": (_STATE, "Check that the database is sound."),
    "dupes": (_STATE, "List files with the same bytes."),
    "link": (_JOBS, "Match files with CivitAI by their hashes."),
    "list": ("tensors.cli.db_list:list_files", "List files by name."),
    "rm": (_FILES, "Take files, or a model, out of the library; nothing is deleted from disk."),
    "scan": (_JOBS, "Look through folders for model files, identify and hash them."),
    "search": (f"{_MODELS}:search", "Search the models that are kept, offline."),
    "set": (f"{_FILES}:set_file", "Say what files are; 'auto' goes back to what was found."),
    "show": (_FILES, "Show what is known about a file, or about a model that is kept."),
    "stats": (_STATE, "Show the library in numbers."),
    "triggers": (_FILES, "Print a file's trigger words, ready for a prompt."),
    "updates": (_MODELS, "List files whose model has a newer version for the same base model."),
}
"""Each command's module and its line in the help."""


@click.group(cls=LazyGroup, table=COMMANDS)
def db() -> None:
    """Know every model file: scan folders, link them with CivitAI, search offline."""
