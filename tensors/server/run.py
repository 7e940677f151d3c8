"""Running the server in this process until it is told to stop."""

from __future__ import annotations

import gc
import logging
import secrets
import socket
import sys
from collections.abc import Callable

import uvicorn

from tensors.checkpoints import Checkpoints
from tensors.config import Config
from tensors.discovery import ServerLock
from tensors.engine_settings import check_arguments
from tensors.engines.binary import find_engine
from tensors.engines.fleet import needs_engine
from tensors.errors import ConfigError, TsrError
from tensors.library import Library
from tensors.loopback import is_loopback
from tensors.server.app import create_app
from tensors.shelf import Shelf

_COLLECT = (700, 10, 10)
"""When to look for garbage: CPython's own measure."""


class _Server(uvicorn.Server):
    """uvicorn, which says when it is ready and lets go of open event streams when it stops."""

    def __init__(self, config: uvicorn.Config, *, ready: Callable[[], None], stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        await super().shutdown(sockets)


def check_bind(config: Config) -> None:
    """Refuse to serve other machines without a key. Raises `ConfigError`."""
    host = config["server.host"]
    if not is_loopback(host) and not config["server.api_keys"]:
        # Without a dash at its beginning, which a command would take for an option.
        key = secrets.token_hex(24)
        raise ConfigError(
            f"anybody who reaches {host} could use this machine: serving it needs an API key",
            hint=f"tsr config set server.api_keys {key}",
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise TsrError(
            f"cannot listen on {host}:{port}: {error.strerror or error}", hint="tsr serve --port 0 takes a free one"
        ) from None


def serve(config: Config, ready: Callable[[str], None]) -> None:
    """Serve until a signal says stop; `ready` hears the URL when requests are answered.

    Raises:
        ConfigError: for a public address without an API key, and arguments of the engine that are tsr's to set.
        AlreadyRunning: when another server has this data directory.
        EngineNotInstalled, ModelNotFound: before anything is started.
    """
    # The command line has made the collector wait for more than a server's memory should grow by.
    gc.set_threshold(*_COLLECT)
    check_bind(config)
    check_arguments(config["engine.arguments"], "engine.arguments")
    if needs_engine(config):
        find_engine(config)
    library = Library(config)
    Checkpoints(config, library, Shelf(library, config)).active()
    lock = ServerLock(config.run_dir)
    try:
        listener = _listen(config["server.host"], config["server.port"])
        host, port = listener.getsockname()[:2]
        reachable = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
        url = f"http://{reachable}:{port}"
        token = secrets.token_urlsafe(24)
        keys = (*config["server.api_keys"], token) if config["server.api_keys"] else ()
        app = create_app(config, url=url, keys=keys)

        def announce() -> None:
            lock.announce(url, token)
            ready(url)

        settings = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=3, lifespan="on", server_header=False
        )
        logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
        server = _Server(settings, ready=announce, stopping=lambda: app.state.core.close_listeners())
        server.run(sockets=[listener])
        if not server.started:
            raise TsrError("the server did not start", hint="its messages above say why")
    finally:
        lock.release()
