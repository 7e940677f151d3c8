"""Who may talk to the server: host and origin, API key, size of the body. Checked before anything else is."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

import msgspec
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tensors.errors import Forbidden, PayloadTooLarge, TsrError, Unauthorized

_OPEN_PATHS = ("/api/health", "/docs", "/openapi.json", "/static-offline-docs/", "/assets/", "/favicon.svg")
"""What needs no key: monitoring, and what a browser opens before it has one: the description of the API, the page."""

COOKIE = "tsr_session"
"""Of a web page that was given the key."""


def _own_names(bind: str) -> set[str]:
    """Names under which a server bound there is asked for."""
    full = socket.gethostname()
    short = full.partition(".")[0]
    return {"localhost", bind, full, short, f"{short}.local"}


def _host_of(value: str) -> str:
    try:
        return (urlsplit(f"//{value}").hostname or "") if value else ""
    except ValueError:
        # A bracket too few, as in `[::1`.
        return ""


def is_key(keys: Sequence[str], headers: Headers) -> bool:
    """Whether a request brings one of the keys, or the cookie that stands for it."""
    given = _given(headers)
    cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "").encode("latin-1", "replace")
    # Every key is compared, and in constant time: how long it takes tells nothing.
    matches = [hmac.compare_digest(given, key.encode()) for key in keys]
    matches += [hmac.compare_digest(cookie, _session(key).encode()) for key in keys]
    return any(matches)


def session_of(keys: Sequence[str], headers: Headers) -> str:
    """The cookie for the key that a request brings: not the key itself, and void when that key is taken away."""
    given = _given(headers)
    return _session(next((key for key in keys if hmac.compare_digest(given, key.encode())), keys[0]))


def _session(key: str) -> str:
    return hmac.new(key.encode(), b"tsr session", "sha256").hexdigest()


def _given(headers: Headers) -> bytes:
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    return (bearer.strip() if scheme.casefold() == "bearer" else headers.get("x-api-key", "")).encode("latin-1")


class Guard:
    """ASGI middleware that refuses foreign host names (DNS rebinding) and other people's web pages.

    Asks for a key where keys are set, and bounds bodies.
    """

    def __init__(
        self, app: ASGIApp, *, bind: str, allowed_hosts: Iterable[str], keys: Sequence[str], max_body: int
    ) -> None:
        self._app = app
        self._trusted_pages = {host.casefold() for host in allowed_hosts}
        self._hosts = self._trusted_pages | {host.casefold() for host in _own_names(bind)}
        self._keys = keys
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            self._check_host(headers)
            self._check_key(scope["method"], scope["path"], headers)
            receive = self._bounded(headers, receive)
        except TsrError as error:
            await _answer(send, error)
            return
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        host = _host_of(headers.get("host", ""))
        if not self._is_ours(host):
            raise Forbidden(
                f"this server does not answer to the name {host!r}", hint="add it to server.allowed_hosts on the server"
            )
        origin = headers.get("origin")
        if origin is not None and not self._may_call(origin.partition("://")[2], headers.get("host", "")):
            raise Forbidden(f"requests from pages of {origin} are refused")

    def _is_ours(self, host: str) -> bool:
        if host.casefold() in self._hosts:
            return True
        try:
            # A bare address cannot be rebound by somebody's DNS.
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True

    def _may_call(self, origin: str, host: str) -> bool:
        """Pages of this server itself, and of hosts the owner listed; not those of any address that happens to be a
        number.
        """
        return origin == host or _host_of(origin).casefold() in self._trusted_pages

    def _check_key(self, method: str, path: str, headers: Headers) -> None:
        if not self._keys or path == "/" or path.startswith(_OPEN_PATHS):
            return
        if (method, path) == ("GET", "/api/session"):
            return
        if not is_key(self._keys, headers):
            raise Unauthorized(
                "the API key is not valid" if _given(headers) else "this server wants an API key",
                hint="tsr remote add NAME URL --api-key KEY",
            )

    def _bounded(self, headers: Headers, receive: Receive) -> Receive:
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._max_body:
            raise self._too_large()
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_body:
                raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> PayloadTooLarge:
        limit = self._max_body // 1_000_000
        return PayloadTooLarge(f"the request is larger than {limit} MB", hint="server.max_body_mb sets the limit")


async def _answer(send: Send, error: TsrError) -> None:
    body = msgspec.json.encode(error.to_wire())
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if isinstance(error, PayloadTooLarge):
        # The rest of the body is not read.
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
