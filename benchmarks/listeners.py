"""How soon a listener hears of a job, and whether 200 of them slow it down.

A job waits behind another one, so that its listeners are all there before it begins. Its time is what the first
listener sees between the event that it runs and its last one. The baseline is the same job with that one alone.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from benchmarks._measure import Report, Server, finish, parser, ratios, scratch, serving

LISTENERS = 200
FIRST_EVENT_LIMIT_MS = 200
SLOWER_LIMIT = 1.05
"""'Does not slow' as a number: within 5 % of the job that one listener follows."""
STEPS, STEP_SECONDS = 40, 0.05
"""20 steps a second: more than most graphics cards make at 512x512."""
STATES = ("queued", "running", "succeeded")


@dataclass(slots=True)
class Listener:
    """One open event stream, and when what came."""

    url: str
    job: str
    opened: float = 0.0
    heard: dict[str, float] = field(default_factory=dict)
    """When each state was first heard of."""
    events: int = 0

    async def listen(self) -> None:
        """Read until the last event. Takes little of the processor, which the server needs."""
        address = urlsplit(self.url)
        self.opened = time.perf_counter()
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(f"GET /api/jobs/{self.job}/events HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        received = b""
        while "succeeded" not in self.heard:
            chunk = await reader.read(65536)
            now = time.perf_counter()
            if not chunk:
                raise SystemExit(f"a stream ended too soon: {received[-300:].decode()}")
            received += chunk
            for state in STATES:
                if state not in self.heard and f'"state":"{state}"'.encode() in received:
                    self.heard[state] = now
        self.events = received.count(b"\ndata: ")
        writer.close()

    @property
    def first(self) -> float:
        """When the first event came."""
        return min(self.heard.values())


@dataclass(frozen=True, slots=True)
class Followed:
    """What the listeners of one job found, in milliseconds."""

    first_event: list[float]
    job: float
    spread: float
    """Between the first and the last listener who heard of the end."""
    events: float


def order(server: Server, steps: int) -> str:
    request: dict[str, Any] = {"prompt": "a red circle", "width": 512, "height": 512, "steps": steps, "wait": False}
    return str(server.call("POST", "/api/generate", request)["job"]["id"])


async def follow(server: Server, count: int) -> Followed:
    """Order a job and follow it with so many listeners."""
    order(server, STEPS)
    job = order(server, STEPS)
    listeners = [Listener(server.url, job) for _ in range(count)]
    await asyncio.gather(*(listener.listen() for listener in listeners))
    first = listeners[0]
    ends = [listener.heard["succeeded"] for listener in listeners]
    late = sum(listener.first >= first.heard["running"] for listener in listeners[1:])
    if late:
        raise SystemExit(f"{late} of {count} listeners came after the job had begun: this machine is too busy to tell")
    return Followed(
        first_event=[(listener.first - listener.opened) * 1000 for listener in listeners],
        job=(first.heard["succeeded"] - first.heard["running"]) * 1000,
        spread=(max(ends) - min(ends)) * 1000,
        events=statistics.mean(listener.events for listener in listeners),
    )


async def first_event(server: Server) -> float:
    """Milliseconds from sending a request to the first event about its job, both calls counted."""
    began = time.perf_counter()
    listener = Listener(server.url, order(server, 1))
    await listener.listen()
    return (listener.first - began) * 1000


def measure(rounds: int) -> Report:
    report = Report("listeners")
    alone: list[Followed] = []
    many: list[Followed] = []
    with scratch() as folder, serving(folder, FAKE_SD_STEP_SECONDS=str(STEP_SECONDS)) as server:
        asyncio.run(first_event(server))
        firsts = [asyncio.run(first_event(server)) for _ in range(10 * rounds)]
        for _ in range(rounds):
            alone.append(asyncio.run(follow(server, 1)))
            many.append(asyncio.run(follow(server, LISTENERS)))
    report.add("first event after the request was sent", firsts, "ms")
    opened = [moment for one in many for moment in one.first_event]
    report.add(f"first event of a stream, {LISTENERS} opened at once", opened, "ms")
    jobs, followed = [one.job for one in alone], [one.job for one in many]
    report.add(f"job of {STEPS} steps, followed by 1", jobs, "ms")
    report.add(f"job of {STEPS} steps, followed by {LISTENERS}", followed, "ms")
    report.add(f"events to each of {LISTENERS}", [one.events for one in many], "")
    report.add(f"the end is heard by the last of {LISTENERS} after the first", [one.spread for one in many], "ms")
    report.bar("first event", firsts, FIRST_EVENT_LIMIT_MS, "ms")
    report.bar(f"job with {LISTENERS} listeners, of the job with one", ratios(followed, jobs), SLOWER_LIMIT, "x")
    return report


def main() -> int:
    options = parser(__doc__.partition("\n")[0], rounds=8).parse_args()
    return finish(measure(options.rounds), options)


if __name__ == "__main__":
    sys.exit(main())
