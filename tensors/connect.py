"""Local or remote? The only place that asks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tensors.config import Config

if TYPE_CHECKING:
    from tensors.service import Tensors

LOCAL = "local"
"""Names this machine where a remote is expected, also when a default remote is set."""


def connect(config: Config, remote: str | None = None) -> Tensors:
    """The named remote, else the default one, else the server running here, else this process itself.

    Raises `RemoteNotFound` for an unknown name.
    """
    name = remote or config["default_remote"] or LOCAL
    if name != LOCAL:
        from tensors.client import TsrClient

        found = config.remote(name)
        return TsrClient(found.url, api_key=found.api_key or config["api_key"])
    if (config.run_dir / "server.json").exists():
        from tensors.discovery import find_running

        running = find_running(config.run_dir)
        if running:
            from tensors.client import TsrClient

            return TsrClient(running.url, api_key=running.api_key, directory=Path.cwd())
    from tensors.local import LocalTensors

    return LocalTensors(config)
