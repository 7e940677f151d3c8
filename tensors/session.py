"""One connection pool to a tsr server, and every failure of it as an error of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import httpx
import httpx_sse
import msgspec

from tensors import __version__
from tensors.decoding import NOT_THAT_JSON
from tensors.errors import ServerUnreachable, TsrError, from_wire

T = TypeVar("T")

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
LONG = httpx.Timeout(330.0, connect=5.0)
"""For what makes the server ask CivitAI, which may take several tries."""
_EVENT_SILENCE = 45.0
"""Three heartbeats of the server."""


class Session:
    """Requests to one server."""

    def __init__(self, url: str, api_key: str | None, transport: httpx.BaseTransport | None) -> None:
        headers = {b"User-Agent": f"tsr/{__version__}".encode()}
        if api_key:
            # As bytes: of a text httpx takes ASCII only, and a key may be any words.
            headers[b"Authorization"] = f"Bearer {api_key}".encode()
        self.url = url
        # The proxy settings of a laptop are not for the box in the corner.
        self.session = httpx.Client(
            base_url=url, headers=headers, timeout=_TIMEOUT, transport=transport, trust_env=False
        )

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self.session.request(method, path, **options)
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
        if response.is_error:
            raise error_of(response)
        return response

    def get(self, path: str, kind: type[T], **options: Any) -> T:
        return self.decode(self.call("GET", path, **options).content, kind)

    def post(self, path: str, kind: type[T], body: object) -> T:
        headers = {"Content-Type": "application/json"}
        content = msgspec.json.encode(body)
        return self.decode(self.call("POST", path, content=content, headers=headers, timeout=LONG).content, kind)

    def delete(self, path: str, kind: type[T]) -> T:
        return self.decode(self.call("DELETE", path).content, kind)

    @contextmanager
    def events(
        self, path: str, kind: type[T], *, silence: float | None = _EVENT_SILENCE, **options: Any
    ) -> Iterator[Iterator[T]]:
        """What a stream of server-sent events of one kind tells. See `listening`."""
        with self.listening(path, silence=silence, **options) as messages:
            yield (self.decode(message.data, kind) for message in messages)

    @contextmanager
    def listening(
        self, path: str, *, silence: float | None = _EVENT_SILENCE, **options: Any
    ) -> Iterator[Iterator[httpx_sse.ServerSentEvent]]:
        """A stream of server-sent events. `silence`: seconds. Raises `TsrError` and `httpx.HTTPError`."""
        timeout = httpx.Timeout(silence, connect=5.0)
        with httpx_sse.connect_sse(self.session, "GET", path, timeout=timeout, **options) as source:
            if source.response.is_error:
                source.response.read()
                raise error_of(source.response)
            # A heartbeat, which is a comment, comes out of the library as an event without data.
            yield (message for message in source.iter_sse() if message.data)

    def stream(self, path: str, **options: Any) -> Iterator[bytes]:
        """The bytes of a long answer as they come. What the server refuses is raised before the first."""
        request = self.session.build_request("GET", path, timeout=LONG, **options)
        try:
            response = self.session.send(request, stream=True)
            if response.is_error:
                response.read()
                raise error_of(response)
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
        return self._rest(response)

    def _rest(self, response: httpx.Response) -> Iterator[bytes]:
        with closing(response):
            try:
                yield from response.iter_raw()
            except httpx.HTTPError as error:
                raise self.unreachable(error) from error

    def decode(self, content: bytes | str, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=kind)
        except NOT_THAT_JSON as error:
            raise self.not_tsr(str(error)) from error

    def not_tsr(self, why: str) -> TsrError:
        return TsrError(f"{self.url} answered with something else than tsr does: {why}")

    def unreachable(self, error: httpx.HTTPError) -> ServerUnreachable:
        said = str(error) or type(error).__name__
        return ServerUnreachable(f"{self.url} cannot be reached: {said}", hint="is `tsr serve` running there?")


def error_of(response: httpx.Response) -> TsrError:
    try:
        document = response.json()
    except (ValueError, RecursionError):
        document = None
    return from_wire(document, status=response.status_code)


def given(**parameters: object) -> Mapping[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def part(value: str) -> str:
    """An id as one part of a path, whatever is in it: `../` must reach the server as an id that does not exist."""
    from urllib.parse import quote

    return quote(value, safe="", errors="surrogatepass").replace(".", "%2E")
