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
from tensors.downloads.tunnel import ProxyFailed, check_proxy, tunnel
from tensors.proxies import Proxy

CONNECT_SECONDS = 15.0
_PIECE = 1024 * 1024
_SLOWEST = 1024
"""Bytes a second, at the least, over the time of a silence: what drips slower is a stall too."""


class Stalled(OSError):
    """Bytes stopped coming, or drip."""


class Connection:
    """A connection for one request. Every method raises `OSError` or `http.client.HTTPException`."""

    def __init__(self, route: Route, *, silence: float) -> None:
        """Nothing is sent yet. `silence`: seconds without a byte that are too many."""
        self._route = route
        self._silence = silence
        self._line: socket.socket | None = None
        self._is_cut = False
        self._connection = http.client.HTTPConnection(route.host, route.port, timeout=silence)

    def ask(self, headers: Mapping[str, str]) -> None:
        """Connect, send the request and read the head of the answer. Raises `DownloadRefused` when a proxy does."""
        route, proxy = self._route, self._route.proxy
        self._connection.sock = self._opened()
        # With a port where it need not be, the signature of a storage's URL would not fit.
        host = _host(route)
        common = {"Host": host, "Accept-Encoding": "identity", "Connection": "close"}
        said = {**common, "User-Agent": f"tsr/{__version__}", **headers}
        target = route.target
        if proxy is not None and route.scheme == "http":
            target = f"http://{host}{target}"
            said |= proxy.headers()
        self._connection.request("GET", target, headers=said)
        self._answer = self._connection.getresponse()
        if proxy is not None and route.scheme == "http" and self.status == http.client.PROXY_AUTHENTICATION_REQUIRED:
            check_proxy(proxy, self.status, host)
        self._since = time.monotonic()
        self._fresh = 0

    def _opened(self) -> socket.socket:
        """A line to the host, through a proxy if there is one, with TLS if the scheme says so."""
        route = self._route
        line = _first_that_answers(route) if route.proxy is None else _to_proxy(route.proxy)
        self._hold(line)
        if route.scheme == "https":
            if route.proxy is not None:
                tunnel(line, route.proxy, route.host, route.port, seconds=self._silence)
            line.settimeout(self._silence)
            trusted = _trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
            safe = trusted.wrap_socket(line, server_hostname=route.host, do_handshake_on_connect=False)
            self._hold(safe)
            safe.do_handshake()
            return safe
        line.settimeout(self._silence)
        return line

    def _hold(self, line: socket.socket) -> None:
        """From now on this is what is cut."""
        self._line = line
        if self._is_cut:
            raise OSError("it was cut")

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
        self._is_cut = True
        if self._line is not None:
            with suppress(OSError):
                # Not the method of a socket with TLS: that takes the session away under whoever reads.
                socket.socket.shutdown(self._line, socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection."""
        with suppress(OSError):
            self._connection.close()
        if self._line is not None:
            with suppress(OSError):
                self._line.close()


def _host(route: Route) -> str:
    host = f"[{route.host}]" if ":" in route.host else route.host
    return host if route.port == PORTS[route.scheme] else f"{host}:{route.port}"


@functools.lru_cache(maxsize=4)
def _trusted(*_variables: str | None) -> ssl.SSLContext:
    """The system's certificates. Reading them takes 20 ms and more."""
    return ssl.create_default_context()


def _first_that_answers(route: Route) -> socket.socket:
    for address in route.addresses[:-1]:
        with suppress(OSError):
            return socket.create_connection((address, route.port), CONNECT_SECONDS)
    return socket.create_connection((route.addresses[-1], route.port), CONNECT_SECONDS)


def _to_proxy(proxy: Proxy) -> socket.socket:
    try:
        return socket.create_connection((proxy.host, proxy.port), CONNECT_SECONDS)
    except (OSError, UnicodeError) as error:
        raise ProxyFailed(f"the proxy {proxy} cannot be reached: {error}") from error
