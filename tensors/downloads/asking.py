"""A request for a file, past redirects, to its answer. The key goes to the configured site only."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urljoin

from tensors.downloads.addresses import Guard, Route, shown
from tensors.downloads.connection import Connection
from tensors.errors import DownloadRefused

SILENCE = 60.0
"""Seconds without a byte that count as a failure."""
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_WATCH_STEP = 0.2
_BODY = 4096

Header = Callable[[str], str | None]
Refused = Callable[[int, Header, bytes], DownloadRefused | None]
"""What an answer of the site means that is no file, from its status, headers and the beginning of its body; None when
it may be one, leads to one, or may be better later."""


class Passing(Exception):
    """A failure after which the next try may do better."""

    def __init__(self, why: str, *, wait: float | None = None) -> None:
        """`wait`: seconds that it asks for."""
        super().__init__(why)
        self.wait = wait


class Asking:
    """Asks one site for files."""

    def __init__(self, guard: Guard, *, refused: Refused, key: str | None = None, silence: float = SILENCE) -> None:
        """`silence`: seconds."""
        self._guard = guard
        self._refused = refused
        self._key = key
        self._silence = silence

    @contextlib.contextmanager
    def for_file(
        self, url: str, headers: Mapping[str, str], *, stop: Callable[[], bool]
    ) -> Iterator[tuple[Connection, bool]]:
        """The answer that is no redirect, and whether the site itself gave it. It is cut when `stop` says so.

        Raises `DownloadRefused`, `Passing`, `OSError` and `http.client.HTTPException`.
        """
        at = url
        for _ in range(_MOST_REDIRECTS + 1):
            route = self._guard.route(at)
            key = {"Authorization": f"Bearer {self._key}"} if self._key and route.own else {}
            with self._connected(route, stop) as connection:
                connection.ask({**headers, **key})
                if route.own:
                    self._hear(connection)
                if connection.status not in _REDIRECTS:
                    yield connection, route.own
                    return
                at = _next(at, connection)
        raise DownloadRefused(f"{shown(url)} leads from one redirect to the next")

    @contextlib.contextmanager
    def _connected(self, route: Route, stop: Callable[[], bool]) -> Iterator[Connection]:
        """A connection that is cut when it is time to stop: it may say nothing for a minute."""
        with contextlib.closing(Connection(route, silence=self._silence)) as connection:
            ended = threading.Event()

            def watch() -> None:
                while not ended.wait(_WATCH_STEP):
                    if stop():
                        connection.cut()
                        return

            watcher = threading.Thread(target=watch, name="watch-download")
            watcher.start()
            try:
                yield connection
            finally:
                ended.set()
                watcher.join()

    def _hear(self, connection: Connection) -> None:
        """Raise what the site says against it."""
        # What may be the file itself is looked at when it is written.
        body = _beginning(connection) if connection.status >= 400 else b""
        reason = self._refused(connection.status, connection.header, body)
        if reason is not None:
            raise reason


def _next(url: str, connection: Connection) -> str:
    """Where a redirect leads."""
    location = connection.header("Location")
    if not location:
        raise Passing("it answered with a redirect to nowhere")
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise Passing("it answered with a redirect that cannot be read") from error


def _beginning(connection: Connection) -> bytes:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return connection.read()[:_BODY]
    return b""
