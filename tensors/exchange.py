"""One HTTP request and its answer, with a limit for silence, for the whole and for its size."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tensors.errors import ConfigError
from tensors.proxies import proxy_for

_CHUNK = 64 * 1024
_CONNECT_SECONDS = 15.0
_SILENCES = 4
"""How many silences of the longest kind an answer may take in all."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    headers: Mapping[str, str]
    """Looked up in any case."""
    body: bytes

    @property
    def is_page(self) -> bool:
        """Whether it is for people to look at: a login, a block, a notice of maintenance."""
        return "html" in self.headers.get("content-type", "").lower() or self.body.lstrip()[:1] == b"<"


@functools.lru_cache(maxsize=4)
def _trusted(*variables: str | None) -> ssl.SSLContext:
    """The certificates, as these variables of the environment name them. Reading them takes 20 ms and more."""
    return httpx.create_ssl_context()


def _way(scheme: str, url: httpx.URL, trusted: ssl.SSLContext) -> httpx.HTTPTransport:
    """To a URL's host, through a proxy or not: the way that files take."""
    proxy = proxy_for(scheme, url.host, url.port)
    if proxy is None:
        return httpx.HTTPTransport(verify=trusted)
    auth = None if proxy.user is None else (proxy.user, proxy.password)
    return httpx.HTTPTransport(verify=trusted, proxy=httpx.Proxy(proxy.url, auth=auth))


class TooLarge(Exception):
    """An answer is longer than it may be."""


class TooSlow(Exception):
    """An answer keeps coming in, but not in the time it may take."""


class Exchange:
    """A connection that stays open between requests. One request at a time; others wait."""

    def __init__(self, url: str, *, silence: float, largest: int) -> None:
        """`url`: of the only host that is asked. `silence`: seconds without a byte; an answer may take four times as
        long in all. `largest`: bytes of it.

        Raises `ConfigError` when the environment's proxy or certificates cannot be used.
        """
        self.seconds = silence * _SILENCES
        self._largest = largest
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        timeout = httpx.Timeout(silence, connect=min(silence, _CONNECT_SECONDS))
        try:
            trusted = _trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
            ways = {f"{scheme}://": _way(scheme, httpx.URL(url), trusted) for scheme in ("http", "https")}
            headers = {"Accept-Encoding": "gzip"}
            self._client = httpx.Client(headers=headers, timeout=timeout, verify=trusted, mounts=ways, trust_env=False)
        except (OSError, ValueError, ImportError) as error:
            raise ConfigError(
                f"the proxy or certificate settings of the environment cannot be used: {error}",
                hint="HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR are what counts",
            ) from error

    def send(self, method: str, url: httpx.URL, headers: Mapping[bytes, bytes], content: bytes | None) -> Answer:
        """Ask and return the whole answer, whatever its status; redirects are not followed.

        Raises `httpx.HTTPError`, `TooLarge`, `TooSlow`.
        """
        with self._lock:
            late = threading.Event()
            timer = threading.Timer(self.seconds, self._cut, [late])
            timer.daemon = True
            timer.start()
            try:
                answer = self._send(method, url, headers, content)
            except BaseException as error:
                # The client has closed its handle; this one would keep the connection up.
                self._forget()
                if late.is_set() and isinstance(error, httpx.HTTPError):
                    raise TooSlow from error
                raise
            finally:
                timer.cancel()
                timer.join()
            if late.is_set():
                # The end of an answer without a length is the end of the connection, and that was us.
                self._forget()
                raise TooSlow
            return answer

    def _send(self, method: str, url: httpx.URL, headers: Mapping[bytes, bytes], content: bytes | None) -> Answer:
        request = self._client.build_request(
            method, url, headers=list(headers.items()), content=content, extensions={"trace": self._watch}
        )
        response = self._client.send(request, stream=True)
        try:
            if "," in response.headers.get("content-encoding", ""):
                # Each layer may grow a thousandfold, and the limit looks at the outcome.
                raise httpx.DecodingError("it is packed more than once")
            body = bytearray()
            for chunk in response.iter_bytes(_CHUNK):
                body += chunk
                if len(body) > self._largest:
                    raise TooLarge
            return Answer(response.status_code, response.headers, bytes(body))
        finally:
            response.close()

    def _watch(self, event: str, info: Mapping[str, Any]) -> None:
        """Keep a second handle of each new connection: the first one is inside TLS, and busy."""
        if event == "connection.connect_tcp.complete":
            self._forget()
            self._line = info["return_value"].get_extra_info("socket").dup()

    def _cut(self, late: threading.Event) -> None:
        """End the connection, so that whoever reads from it wakes up: no other limit ends bytes that drip."""
        late.set()
        line = self._line
        if line is not None:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def _forget(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def close(self) -> None:
        """End the connection."""
        self._client.close()
        self._forget()
