"""`TsrClient` listening to a job: streams that are whole, that break, and that are none. The server is a mock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from tensors.client import TsrClient
from tensors.errors import JobNotFound, ServerUnreachable, TsrError, Unauthorized
from tensors.types.jobs import Job, JobEvent

URL = "http://junkpile:8080"
JOB = Job(id="1f", kind="generate", state="queued", created="2026-11-22T18:49:01.123Z")


def events(*states: str) -> list[JobEvent]:
    return [JobEvent(seq=seq, job="1f", state=state) for seq, state in enumerate(states, 1)]


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client wanted to wait before each new try; it need not."""
    taken: list[float] = []
    monkeypatch.setattr("tensors.client.time.sleep", taken.append)
    return taken


def answer(value: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, content=msgspec.json.encode(value), headers={"Content-Type": "application/json"})


def frames(told: list[JobEvent], *, newline: bytes = b"\n") -> bytes:
    lines = [[b"id: %d" % e.seq, b"event: job", b"data: " + msgspec.json.encode(e), b"", b""] for e in told]
    return b"".join(newline.join(part) for part in lines)


class Breaks(httpx.SyncByteStream):
    """A body that ends with an exception."""

    def __init__(self, body: bytes, error: Exception) -> None:
        self._body = body
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        yield self._body
        raise self._error


def stream(body: bytes, error: Exception | None = None) -> httpx.Response:
    given: Any = {"stream": Breaks(body, error)} if error else {"content": body}
    return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, **given)


class Told:
    """A server that answers each request for the events of job 1f with the next of these."""

    def __init__(self, *answers: httpx.Response | Exception, job: httpx.Response | None = None) -> None:
        self._answers = list(answers)
        self._job = job or answer(JOB)
        self.asked = 0
        self.client = TsrClient(URL, transport=httpx.MockTransport(self._handle))

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/jobs/1f":
            return self._job
        assert request.url.path == "/api/jobs/1f/events"
        assert request.headers["accept"] == "text/event-stream"
        self.asked += 1
        found = self._answers.pop(0) if self._answers else httpx.ConnectError("nobody there")
        if isinstance(found, Exception):
            raise found
        return found

    def events(self) -> list[JobEvent]:
        try:
            return list(self.client.jobs.events("1f"))
        finally:
            self.client.close()


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_events_come_until_the_last(naps: list[float], newline: bytes) -> None:
    told = events("queued", "running", "running", "succeeded")
    body = b": hello" + newline * 2 + frames(told[:2], newline=newline) + b": still here" + newline * 2
    server = Told(stream(body + frames(told[2:], newline=newline) + b"data: never read\n\n"))
    assert server.events() == told
    assert (server.asked, naps) == (1, [])


def test_events_of_a_newer_server_may_say_more() -> None:
    (event,) = events("succeeded")
    body = json.dumps({**msgspec.to_builtins(event), "mood": "good"}).encode()
    assert Told(stream(b"event: weather\ndata: %b\n\n" % body)).events() == [event]


@pytest.mark.parametrize(
    "broken",
    [
        stream(frames(events("queued", "running"))),
        stream(frames(events("queued", "running")) + b"id: 3\ndata: {", httpx.ReadError("gone")),
        stream(frames(events("queued", "running")), httpx.ReadTimeout("silence")),
        stream(frames(events("queued", "running")), httpx.RemoteProtocolError("peer closed connection")),
    ],
    ids=["ends-early", "breaks-in-a-frame", "falls-silent", "breaks"],
)
def test_a_stream_that_breaks_is_opened_again(naps: list[float], broken: httpx.Response) -> None:
    told = events("queued", "running", "running", "succeeded")
    server = Told(broken, httpx.ConnectError("restarting"), stream(frames(told[1:])))
    assert server.events() == [*told[:2], *told[1:]]
    assert server.asked == 3
    assert len(naps) == 2
    assert 0 < naps[0] < naps[1] < 10


def test_a_server_that_stays_away_is_given_up(naps: list[float]) -> None:
    server = Told(stream(frames(events("queued"))))
    with pytest.raises(ServerUnreachable, match=f"{URL} cannot be reached: nobody there"):
        server.events()
    assert 3 <= server.asked <= 10
    assert naps == sorted(naps)
    assert sum(naps) < 60


def test_a_server_that_says_nothing_each_time_is_given_up(naps: list[float]) -> None:
    server = Told(*[stream(b"") for _ in range(20)])
    with pytest.raises(ServerUnreachable, match="stopped telling about job 1f") as raised:
        server.events()
    assert raised.value.hint == "tsr jobs watch 1f"
    assert server.asked <= 10


def test_patience_starts_anew_with_each_event(naps: list[float]) -> None:
    told = events(*["running"] * 12, "succeeded")
    server = Told(*[stream(frames([event])) for event in told])
    assert server.events() == told


def test_a_job_that_is_gone_when_the_stream_is_opened_again_is_an_error(naps: list[float]) -> None:
    gone = answer(JobNotFound("job '1f' not found").to_wire(), 404)
    server = Told(stream(frames(events("queued"))), gone)
    with pytest.raises(JobNotFound, match="job '1f' not found"):
        server.events()
    assert server.asked == 2


@pytest.mark.parametrize("refusal", [JobNotFound("no such job"), Unauthorized("no key")])
def test_a_refused_stream_is_refused_before_it_starts(refusal: TsrError) -> None:
    server = Told(job=answer(refusal.to_wire(), refusal.status))
    with pytest.raises(type(refusal)):
        server.client.jobs.events("1f")
    assert server.asked == 0
    server.client.close()


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"seq": "one"}', b"hello", b"\xff"])
def test_events_that_are_not_tsrs_are_said_to_be(naps: list[float], data: bytes) -> None:
    with pytest.raises(TsrError, match=f"^{URL} answered with something else than tsr does"):
        Told(stream(b"data: %b\n\n" % data)).events()


def test_a_page_in_place_of_a_stream_is_given_up(naps: list[float]) -> None:
    """A proxy's login page answers everything with 200."""
    with pytest.raises(ServerUnreachable):
        Told(*[httpx.Response(200, html="<html>log in</html>") for _ in range(20)]).events()
