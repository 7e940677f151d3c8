"""`tsr status`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from tensors.cli._app import App, json_option, remote_option, table
from tensors.cli._backends import backend_rows
from tensors.types.server import Status


def _lines(status: Status) -> Iterator[str]:
    engine = status.engine
    model = f"{engine.model} ({engine.family})" if engine.model else "none loaded"
    rows = [
        (
            "server",
            f"{status.url} (tsr {status.version})" if status.url else f"none running here (tsr {status.version})",
        ),
        ("engine", f"{engine.state}, sd-server {engine.version}" if engine.version else engine.state),
        ("model", model),
        ("jobs", f"{status.running} running, {status.queued} queued"),
        ("gallery", f"{status.images} pictures"),
        ("data", status.data_dir),
        ("trouble", engine.message if len(status.backends) < 2 else None),
    ]
    yield from table((name, value) for name, value in rows if value)
    if len(status.backends) > 1:
        yield ""
        yield from backend_rows(status.backends)


@click.command()
@remote_option
@json_option
@click.pass_obj
def status(app: App) -> None:
    """Show what runs where."""
    with app.tensors() as tensors:
        app.show(tensors.status(), _lines)
