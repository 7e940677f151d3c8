"""One request for a file, and its answer as bytes come in."""

from __future__ import annotations

import functools
import http.client
import os
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress

from tensors import __version__
from tensors.downloads.addresses import PORTS, Route

CONNECT_SECONDS = 15.0
_PIECE = 1024 * 1024
_SLOWEST = 1024
"""Bytes a second, at the least, over the time of a silence: what drips slower is a stall too."""


class Stalled(OSError):
    """Bytes stopped coming, or drip."""


class Connection:
    """A connection for one request. Every method raises `OSError` or `http.client.HTTPException`."""

    def __init__(self, route: Route, *, silence: float) -> None:
        """Connect. `silence`: seconds without a byte that are too many."""
        self._route = route
        self._silence = silence
        self._socket = _connect(route, silence)
        self._connection = http.client.HTTPConnection(route.host, route.port, timeout=silence)
        self._connection.sock = self._socket

    def ask(self, headers: Mapping[str, str]) -> None:
        """Send the request and read the head of the answer."""
        # With a port where it need not be, the signature of a storage's URL would not fit.
        common = {"Host": _host(self._route), "Accept-Encoding": "identity", "Connection": "close"}
        said = {**common, "User-Agent": f"tsr/{__version__}", **headers}
        self._connection.request("GET", self._route.target, headers=said)
        self._answer = self._connection.getresponse()
        self._since = time.monotonic()
        self._fresh = 0

    @property
    def status(self) -> int:
        """Of the answer."""
        return self._answer.status

    def header(self, name: str) -> str | None:
        """A header of the answer."""
        return self._answer.getheader(name)

    def read(self) -> bytes:
        """What came in, at most 1 MiB; nothing at the end. Raises `Stalled`."""
        try:
            piece = self._answer.read1(_PIECE)
        except TimeoutError as error:
            raise Stalled(f"nothing came for {self._silence:.0f} seconds") from error
        self._fresh += len(piece)
        lasted = time.monotonic() - self._since
        if lasted >= self._silence:
            if self._fresh < _SLOWEST * lasted and piece:
                raise Stalled(f"only {self._fresh} bytes came in {lasted:.0f} seconds")
            self._since, self._fresh = time.monotonic(), 0
        return piece

    def cut(self) -> None:
        """End it from another thread: whoever waits for bytes wakes up."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection."""
        with suppress(OSError):
            self._connection.close()
        with suppress(OSError):
            self._socket.close()


def _host(route: Route) -> str:
    host = f"[{route.host}]" if ":" in route.host else route.host
    return host if route.port == PORTS[route.scheme] else f"{host}:{route.port}"


@functools.lru_cache(maxsize=4)
def _trusted(*_variables: str | None) -> ssl.SSLContext:
    """The system's certificates. Reading them takes 20 ms and more."""
    return ssl.create_default_context()


def _connect(route: Route, silence: float) -> socket.socket:
    line = _first_that_answers(route)
    line.settimeout(silence)
    if route.scheme == "http":
        return line
    trusted = _trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    try:
        return trusted.wrap_socket(line, server_hostname=route.host)
    except BaseException:
        line.close()
        raise


def _first_that_answers(route: Route) -> socket.socket:
    for address in route.addresses[:-1]:
        with suppress(OSError):
            return socket.create_connection((address, route.port), CONNECT_SECONDS)
    return socket.create_connection((route.addresses[-1], route.port), CONNECT_SECONDS)
