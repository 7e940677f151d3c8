"""A proxy over real sockets: `CONNECT` and requests with a whole URL, with a user and a password if so told.

It knows names that no DNS has (`ways`), and notes what it was asked and all that it could read. Each tunnel takes the
next act of `acts`; without one it does what a proxy should.
"""

from __future__ import annotations

import base64
import select
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Say:
    """Answer with this in place of a tunnel, and hang up."""

    answer: bytes


@dataclass(frozen=True)
class Break:
    """Hang up after so many bytes from the other side."""

    after: int


class Wait:
    """Say nothing until the proxy ends."""


Act = Say | Break | Wait


def status(code: int) -> Say:
    """The head of an answer."""
    return Say(b"HTTP/1.1 %d Whatever\r\nContent-Length: 0\r\n\r\n" % code)


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""


@dataclass
class FakeProxy:
    """See the module."""

    ways: dict[str, int] = field(default_factory=dict)
    """Ports of 127.0.0.1, by `name:port`."""
    login: str | None = None
    """`user:password` that it wants."""
    acts: deque[Act] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)
    heard: bytearray = field(default_factory=bytearray)
    """All that those who asked have sent."""
    waiting: threading.Event = field(default_factory=threading.Event)
    """Set when somebody is kept waiting."""

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def targets(self) -> list[str]:
        """What was asked for, in order."""
        return [f"{asked.method} {asked.target}" for asked in self.asked]

    def close(self) -> None:
        self._ended.set()
        with suppress(OSError):
            # Wakes up whoever accepts.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(near,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, near: socket.socket) -> None:
        # Either side may hang up at any time.
        with near, suppress(OSError):
            near.settimeout(30)
            head = self._head(near)
            asked = _read(head)
            self.asked.append(asked)
            if self.login is not None and asked.headers.get("proxy-authorization") != _basic(self.login):
                near.sendall(status(407).answer)
                return
            act = self.acts.popleft() if self.acts else None
            match act:
                case Say(answer):
                    near.sendall(answer)
                case Wait():
                    self.waiting.set()
                    self._ended.wait()
                case _:
                    self._pass_on(near, asked, head, act.after if act else None)

    def _head(self, near: socket.socket) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = near.recv(65536)
            if not piece:
                raise ConnectionError
            self.heard += piece
            head += piece
        return head

    def _pass_on(self, near: socket.socket, asked: Asked, head: bytes, limit: int | None) -> None:
        goal = asked.target if asked.method == "CONNECT" else urlsplit(asked.target).netloc
        try:
            far = socket.create_connection(self._real(goal), 10)
        except OSError:
            near.sendall(status(502).answer)
            return
        with far:
            if asked.method == "CONNECT":
                near.sendall(b"HTTP/1.1 200 Connection established\r\nVia: fake\r\n\r\n")
            else:
                far.sendall(_without_proxy(asked, head))
            self._relay(near, far, limit)

    def _real(self, goal: str) -> tuple[str, int]:
        host, _, port = goal.rpartition(":")
        if goal in self.ways:
            return "127.0.0.1", self.ways[goal]
        return (host, int(port)) if host else (goal, 80)

    def _relay(self, near: socket.socket, far: socket.socket, limit: int | None) -> None:
        passed = 0
        while not self._ended.is_set():
            ready, _, _ = select.select([near, far], [], [], 0.05)
            for side in ready:
                piece = side.recv(16384)
                if not piece:
                    return
                if side is near:
                    self.heard += piece
                    far.sendall(piece)
                    continue
                near.sendall(piece if limit is None else piece[: limit - passed])
                passed += len(piece)
                if limit is not None and passed >= limit:
                    return


def _basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


def _read(head: bytes) -> Asked:
    first, *rest = head.decode("latin-1").strip().split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (entry.split(":", 1) for entry in rest)
    return Asked(method, target, {name.strip().lower(): value.strip() for name, value in pairs})


def _without_proxy(asked: Asked, head: bytes) -> bytes:
    """The request as the host is to see it."""
    parts = urlsplit(asked.target)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [line for line in head.split(b"\r\n")[1:] if not line.lower().startswith(b"proxy-")]
    return b"\r\n".join([f"{asked.method} {path} HTTP/1.1".encode(), *lines])


@contextmanager
def proxying() -> Iterator[FakeProxy]:
    proxy = FakeProxy()
    try:
        yield proxy
    finally:
        proxy.close()
