"""A server's look at its own machine, and first at the way to it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import httpx

from tensors import __version__
from tensors.doctoring import clock
from tensors.doctoring.finding import error, ok, warning
from tensors.session import Session
from tensors.types.doctor import Finding
from tensors.types.server import Version

_SILENCE = 150.0
"""Seconds: more than the longest check may take."""


def doctor(http: Session) -> Generator[Finding, None, None]:
    """See `tensors.service.Tensors.doctor`. What is refused is raised at once."""
    response = http.call("GET", "/api/version")
    now = datetime.now(UTC)
    version = http.decode(response.content, Version)
    first = connection(http.url, version.tsr, clock.ahead(response.headers, now))
    with ExitStack() as stack:
        try:
            told = stack.enter_context(http.events("/api/doctor", Finding, silence=_SILENCE))
        except httpx.HTTPError as failure:
            raise http.unreachable(failure) from failure
        return _told(http, stack.pop_all(), first, told)


def _told(http: Session, stream: ExitStack, first: Finding, told: Iterator[Finding]) -> Generator[Finding, None, None]:
    with stream:
        yield first
        try:
            yield from told
        except httpx.HTTPError as failure:
            raise http.unreachable(failure) from failure


def connection(url: str, version: str, ahead: float | None) -> Finding:
    """The server's version and clock beside ours. `ahead`: seconds by which our clock is."""
    if ahead is not None and abs(ahead) > clock.MOST_SECONDS:
        said = f"{url} answers, but its clock and this machine's differ by {abs(ahead) / 60:.0f} min"
        return error("connection", said, clock.MEND)
    if version != __version__:
        said = f"{url} answers with tsr {version}, and this is tsr {__version__}"
        return warning("connection", said, "pipx upgrade tensors")
    return ok("connection", f"{url} answers, with tsr {version} as here")
