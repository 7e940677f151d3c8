"""Files through a proxy of the environment: which proxy serves, and the tunnel through it."""

from __future__ import annotations

import http.client
import re
import socket
import time

from tensors import __version__
from tensors.errors import DownloadRefused
from tensors.proxies import Proxy, proxy_for

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})\b")
_PASSING = (408, 425, 429)
_LARGEST_HEAD = 32 * 1024
_PIECE = 4096


class ProxyFailed(OSError):
    """A proxy did not do its part; the next time it may."""


def proxy_for_file(scheme: str, host: str, port: int) -> Proxy | None:
    """The same, for a file. Raises `DownloadRefused` for a proxy that files cannot go through."""
    try:
        proxy = proxy_for(scheme, host, port)
    except ValueError as error:
        raise DownloadRefused(f"the environment's proxy cannot be used: {error}", hint=_other(host)) from error
    if proxy is not None and proxy.scheme != "http":
        raise DownloadRefused(
            f"files cannot be fetched through {proxy}: only through a proxy whose address begins with http://",
            hint=_other(host),
        )
    return proxy


def _other(host: str) -> str:
    return f"set HTTPS_PROXY to http://HOST:PORT, or NO_PROXY to {host} if that is reached without"


def tunnel(line: socket.socket, proxy: Proxy, host: str, port: int, *, seconds: float) -> None:
    """Have a proxy connect a line to a host. What is sent afterwards arrives there.

    `seconds`: how long it may take. Raises `ProxyFailed`, and `DownloadRefused` when trying again would not help.
    """
    goal = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = {"Host": goal, "User-Agent": f"tsr/{__version__}", **proxy.headers()}
    lines = [f"CONNECT {goal} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    try:
        line.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        head, _, more = _answer(line, seconds).partition(b"\r\n\r\n")
    except TimeoutError as error:
        raise ProxyFailed(f"the proxy {proxy} did not answer within {seconds:g} seconds") from error
    except OSError as error:
        raise ProxyFailed(f"the proxy {proxy} gave no answer: {error}") from error
    found = _STATUS.match(head)
    status = int(found[1]) if found else 0
    if not 200 <= status < 300:
        check_proxy(proxy, status, goal)
        what = f"answered {status}" if status else "speaks no HTTP"
        raise ProxyFailed(f"the proxy {proxy} made no way to {goal}: it {what}")
    if more:
        # With TLS it is the asking side that speaks first: this is not from the host.
        raise ProxyFailed(f"the proxy {proxy} sends bytes that nobody asked for")


def check_proxy(proxy: Proxy, status: int, goal: str) -> None:
    """Raise `DownloadRefused` for a status that is a proxy's last word."""
    if status == http.client.PROXY_AUTHENTICATION_REQUIRED:
        what = "wants a user and a password" if proxy.user is None else "does not take the user and the password"
        raise DownloadRefused(
            f"the proxy {proxy} {what} (407)",
            hint=f"the environment says them: http://USER:PASSWORD@{proxy.url[7:]} (special characters as %40)",
        )
    if 400 <= status < 500 and status not in _PASSING:
        raise DownloadRefused(
            f"the proxy {proxy} refuses the way to {goal} ({status})",
            hint="ask who runs it, or list the host in NO_PROXY if it is reached without",
        )


def _answer(line: socket.socket, seconds: float) -> bytes:
    """The head of an answer, and what came with it."""
    ends = time.monotonic() + seconds
    head = b""
    while b"\r\n\r\n" not in head:
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        line.settimeout(left)
        piece = line.recv(_PIECE)
        if not piece:
            raise ConnectionError("it hung up")
        head += piece
        if len(head) > _LARGEST_HEAD:
            raise ConnectionError("its head has no end")
    return head
