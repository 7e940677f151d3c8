"""`tsr config`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click

from tensors.cli._app import App, json_option, table
from tensors.cli._complete import complete_settings


@click.group()
def config() -> None:
    """Read and change settings."""


def _plain(value: Any) -> Any:
    return (
        [str(part) for part in value]
        if isinstance(value, tuple)
        else value
        if isinstance(value, int)
        else value and str(value)
    )


def _row(app: App, key: str) -> dict[str, Any]:
    from tensors.config_file import setting_named

    setting = setting_named(key)
    value = app.config[key]
    shown = "***" if setting.secret and value else _plain(value)
    return {"key": key, "value": shown, "from": app.config.origins[key], "about": setting.doc}


def _text(value: Any) -> str:
    return "-" if value in (None, []) else ", ".join(value) if isinstance(value, list) else str(value)


def _rows(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield from table((row["key"], _text(row["value"]), row["from"], row["about"]) for row in rows)


@config.command("list")
@json_option
@click.pass_obj
def list_settings(app: App) -> None:
    """Show every setting, its value and where that comes from."""
    from tensors.config import SETTINGS

    app.show([_row(app, setting.key) for setting in SETTINGS], _rows)


@config.command()
@click.argument("key", shell_complete=complete_settings)
@json_option
@click.pass_obj
def get(app: App, key: str) -> None:
    """Show one setting's value."""
    app.show(_row(app, key), lambda row: [_text(row["value"])])


@config.command("set")
@click.argument("key", shell_complete=complete_settings)
@click.argument("value")
@json_option
@click.pass_obj
def set_setting(app: App, key: str, value: str) -> None:
    """Write one setting into the file; lists are separated by commas."""
    from tensors.config_file import set_value, setting_named

    set_value(app.config.file, key, value)
    shown = "***" if setting_named(key).secret else value
    app.show({"key": key, "value": shown}, lambda row: [f"{row['key']} = {row['value']}"])


@config.command()
@click.argument("key", shell_complete=complete_settings)
@json_option
@click.pass_obj
def unset(app: App, key: str) -> None:
    """Take one setting out of the file: its default holds again."""
    from tensors.config_file import unset_value

    unset_value(app.config.file, key)
    app.show({"key": key, "value": None}, lambda row: [f"{row['key']} unset"])


@config.command()
@json_option
@click.pass_obj
def path(app: App) -> None:
    """Show where the file is."""
    app.show({"path": str(app.config.file)}, lambda row: [row["path"]])
