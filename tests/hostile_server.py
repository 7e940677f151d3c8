"""A file server with bad manners to order, over real sockets.

Each request takes the next act of `acts`; without one the server behaves: ranges, `If-Range`, an ETag. The content can
change between requests. What was asked is in `requests`.
"""

from __future__ import annotations

import gzip
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_RANGE = re.compile(r"bytes=(\d+)-")


@dataclass(frozen=True)
class Asked:
    """A request."""

    path: str
    headers: dict[str, str]
    """Names in lower case."""


@dataclass
class Exchange:
    """A connection with one request."""

    server: HostileServer
    line: socket.socket
    asked: Asked
    start: int = 0
    """Where the range that was asked for begins; 0 when all is to be sent."""

    def head(self, status: int, **headers: object) -> None:
        """Send the head of an answer."""
        lines = [f"HTTP/1.1 {status} Whatever"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value is not None]
        self.line.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def fitting_head(self, **changes: object) -> bytes:
        """Send the head that an honest server sends, but for some changes. Returns the body that belongs to it."""
        content, start = self.server.content, self.start
        headers: dict[str, object] = {
            "Content_Type": "binary/octet-stream",
            "Content_Length": len(content) - start,
            "ETag": self.server.etag,
        }
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.head(206 if start else 200, **{**headers, **changes})
        return content[start:]

    def reset(self) -> None:
        """End the connection the hard way."""
        self.line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Act = Callable[[Exchange], None]


@dataclass
class HostileServer:
    """See the module."""

    content: bytes
    host: str = "127.0.0.1"
    etag: str | None = '"one"'
    acts: deque[Act] = field(default_factory=deque)
    requests: list[Asked] = field(default_factory=list)
    sent: int = 0
    """Bytes of bodies that honest acts were about to send."""
    released: threading.Event = field(default_factory=threading.Event)
    """Ends all stalls."""

    def __post_init__(self) -> None:
        self._listener = socket.create_server((self.host, 0))
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def close(self) -> None:
        self.released.set()
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
                line, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(line,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, line: socket.socket) -> None:
        # Whoever asks may hang up at any time.
        with line, suppress(OSError):
            line.settimeout(30)
            asked = _read(line)
            if asked is None:
                return
            self.requests.append(asked)
            act = self.acts.popleft() if self.acts else honest
            act(Exchange(self, line, asked, self._start(asked)))

    def _start(self, asked: Asked) -> int:
        found = _RANGE.fullmatch(asked.headers.get("range", ""))
        condition = asked.headers.get("if-range")
        if found is None or (condition is not None and condition != self.etag):
            return 0
        return int(found[1])


def _read(line: socket.socket) -> Asked | None:
    head = b""
    while b"\r\n\r\n" not in head:
        more = line.recv(65536)
        if not more:
            return None
        head += more
    first, *rest = head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    pairs = (entry.split(":", 1) for entry in rest)
    return Asked(first.split()[1], {name.strip().lower(): value.strip() for name, value in pairs})


@contextmanager
def serving(content: bytes, *, host: str = "127.0.0.1") -> Iterator[HostileServer]:
    server = HostileServer(content, host)
    try:
        yield server
    finally:
        server.close()


# --- acts -------------------------------------------------------------------------------------------------------------


def honest(exchange: Exchange) -> None:
    """As it should be."""
    if exchange.start >= len(exchange.server.content):
        exchange.head(416, Content_Range=f"bytes */{len(exchange.server.content)}", Content_Length=0)
        return
    body = exchange.fitting_head()
    exchange.server.sent += len(body)
    exchange.line.sendall(body)


def cut(after: int, *, hard: bool = False) -> Act:
    """Hang up after so many bytes of the body."""

    def act(exchange: Exchange) -> None:
        exchange.line.sendall(exchange.fitting_head()[:after])
        if hard:
            exchange.reset()

    return act


def says_length(length: int) -> Act:
    """Lie about the length."""

    def act(exchange: Exchange) -> None:
        exchange.line.sendall(exchange.fitting_head(Content_Length=length))

    return act


def says_range(value: str) -> Act:
    """Send the right bytes under a wrong range."""

    def act(exchange: Exchange) -> None:
        exchange.line.sendall(exchange.fitting_head(Content_Range=value))

    return act


def ignores_range(exchange: Exchange) -> None:
    """Send all, whatever was asked."""
    exchange.start = 0
    exchange.line.sendall(exchange.fitting_head())


def believes_in_other_start(exchange: Exchange) -> None:
    """Send another part than was asked for, and say so."""
    exchange.start //= 2
    exchange.line.sendall(exchange.fitting_head())


def without_length(exchange: Exchange) -> None:
    """Send until the connection ends."""
    exchange.line.sendall(exchange.fitting_head(Content_Length=None))


def chunked(exchange: Exchange) -> None:
    """Send in chunks, without a length."""
    body = exchange.fitting_head(Content_Length=None, Transfer_Encoding="chunked")
    for place in range(0, len(body), 50_000):
        piece = body[place : place + 50_000]
        exchange.line.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
    exchange.line.sendall(b"0\r\n\r\n")


def packed(exchange: Exchange) -> None:
    """Send gzip, which nobody asked for."""
    body = gzip.compress(exchange.server.content)
    exchange.head(200, Content_Encoding="gzip", Content_Length=len(body), Content_Type="binary/octet-stream")
    exchange.line.sendall(body)


def spoiled(exchange: Exchange) -> None:
    """Send the wrong bytes, as many as they should be."""
    body = bytearray(exchange.fitting_head())
    body[len(body) // 2] ^= 1
    exchange.line.sendall(body)


def says(status: int, body: bytes = b"", content_type: str = "application/json", **headers: object) -> Act:
    """Answer with just this."""

    def act(exchange: Exchange) -> None:
        exchange.head(status, Content_Type=content_type, Content_Length=len(body), **headers)
        exchange.line.sendall(body)

    return act


def moved(location: str, status: int = 307) -> Act:
    """Redirect."""
    return says(status, Location=location)


def other_file(content: bytes, etag: str = '"two"') -> Act:
    """From now on there is another file."""

    def act(exchange: Exchange) -> None:
        exchange.server.content, exchange.server.etag = content, etag
        exchange.start = exchange.server._start(exchange.asked)
        honest(exchange)

    return act


def stalls(after: int) -> Act:
    """Stop sending, and keep the connection."""

    def act(exchange: Exchange) -> None:
        exchange.line.sendall(exchange.fitting_head()[:after])
        exchange.server.released.wait()

    return act


def hangs_up(exchange: Exchange) -> None:
    """Not a word."""
    exchange.reset()


def garbage(exchange: Exchange) -> None:
    """Speak no HTTP."""
    exchange.line.sendall(b"\x00\x01\x02 what\r\n\r\n" * 40)
