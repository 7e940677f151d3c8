"""What all benchmarks share: rounds that take turns, a report with its bars, and servers to measure."""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CHECKOUT = Path(__file__).parent.parent
FAKE_ENGINE = CHECKOUT / "tests" / "fake_sd_server.py"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing measured: its median, and between which values eight of ten lie."""

    name: str
    median: float
    low: float
    high: float
    unit: str

    @classmethod
    def of(cls, name: str, values: Sequence[float], unit: str) -> Line:
        ordered = sorted(values)
        tenth = len(ordered) // 10
        return cls(name, statistics.median(ordered), ordered[tenth], ordered[-1 - tenth], unit)

    def __str__(self) -> str:
        return f"{self.name:<58}{self.median:10.2f} {self.unit:<2}  ({self.low:.2f} .. {self.high:.2f})"


@dataclass(frozen=True, slots=True)
class Bar:
    """What was promised, and the median found."""

    name: str
    found: float
    limit: float
    unit: str
    verdict: str
    """`met`, `MISSED`, or `undecided` when the median is not known well enough to tell."""

    @classmethod
    def of(cls, name: str, values: Sequence[float], limit: float, unit: str) -> Bar:
        ordered = sorted(values)
        # Between these two the true median lies with 95 % certainty, however the values are distributed.
        low = max(0, math.floor(len(ordered) / 2 - 0.98 * math.sqrt(len(ordered))))
        high = len(ordered) - 1 - low
        verdict = "met" if ordered[high] <= limit else "MISSED" if ordered[low] > limit else "undecided"
        return cls(name, statistics.median(ordered), limit, unit, verdict)

    def __str__(self) -> str:
        return f"bar: {self.name}: at most {self.limit:g} {self.unit}, found {self.found:.2f}: {self.verdict}"


@dataclass(slots=True)
class Report:
    """What one benchmark found."""

    benchmark: str
    lines: list[Line] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)

    def add(self, name: str, values: Sequence[float], unit: str) -> None:
        """Note what was measured."""
        self.lines.append(Line.of(name, values, unit))

    def bar(self, name: str, values: Sequence[float], limit: float, unit: str) -> None:
        """Compare what was measured with what was promised."""
        self.bars.append(Bar.of(name, values, limit, unit))


def parser(description: str, *, rounds: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--rounds", type=int, default=rounds, metavar="N", help=f"how often each is measured ({rounds})")
    made.add_argument("--json", action="store_true", help="print one JSON document")
    made.add_argument("--check", action="store_true", help="exit with 1 unless every bar is met")
    return made


def finish(report: Report, options: argparse.Namespace) -> int:
    """Print a report and return the exit code."""
    if options.json:
        print(json.dumps(asdict(report)))
    else:
        for row in (*report.lines, *report.bars):
            print(row)
    return 1 if options.check and not all(bar.verdict == "met" for bar in report.bars) else 0


def interleaved(rounds: int, **measures: Callable[[], float]) -> dict[str, list[float]]:
    """Measure each in turn, over and over (A B A B ...): whatever else the machine does then falls on all of them.

    One round before the first warms everything up and is not counted.
    """
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds + 1):
        for name, measure in measures.items():
            value = measure()
            if number:
                found[name].append(value)
    return found


def ratios(ours: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Round by round, how many times its baseline ours is."""
    return [mine / theirs for mine, theirs in zip(ours, baseline, strict=True)]


def differences(ours: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Round by round, what ours takes more than its baseline."""
    return [mine - theirs for mine, theirs in zip(ours, baseline, strict=True)]


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder beside the checkout: /tmp may be memory, where a sync costs nothing."""
    with tempfile.TemporaryDirectory(prefix=".benchmark-", dir=CHECKOUT) as folder:
        yield Path(folder)


def environment(folder: Path, **more: str) -> dict[str, str]:
    """An environment without this machine's settings of tsr. Compiled modules are kept, as an installation does."""
    foreign = ("TSR_", "FAKE_SD_", "XDG_", "DBOS", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    kept["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
    return {**kept, "TSR_DATA_DIR": str(folder / "data"), "TSR_CONFIG": os.devnull, **more}


@contextmanager
def serving(folder: Path, **more: str) -> Iterator[Server]:
    """`tsr serve` as its own process, with its model loaded."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tensors", "serve", "--port", "0", "--json"],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(folder, **{"TSR_ENGINE": str(FAKE_ENGINE), **more}),
    )
    assert process.stdout
    try:
        line = process.stdout.readline()
        if not line:
            raise SystemExit("tsr serve did not start")
        server = Server(process.pid, json.loads(line)["url"])
        # The first picture waits for the model.
        server.call("POST", "/api/generate", {"prompt": "a red circle", "width": 64, "height": 64})
        yield server
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


class Connection:
    """A plain client: one connection that stays open, or one for each call."""

    def __init__(self, url: str, *, stays_open: bool = True) -> None:
        self._http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
        self._headers = {"Content-Type": "application/json"} | ({} if stays_open else {"Connection": "close"})

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer's JSON; a refusal ends the benchmark."""
        data = None if body is None else json.dumps(body).encode()
        try:
            response = self._send(method, path, data)
        except ConnectionError:
            # It was idle for longer than the other side keeps it.
            self._http.close()
            response = self._send(method, path, data)
        answer = json.loads(response.read())
        if response.status >= 400:
            raise SystemExit(f"{method} {path} was answered with {response.status}: {answer}")
        return answer

    def _send(self, method: str, path: str, data: bytes | None) -> http.client.HTTPResponse:
        self._http.request(method, path, data, self._headers)
        return self._http.getresponse()


class Server(Connection):
    """A running tsr server."""

    def __init__(self, pid: int, url: str) -> None:
        super().__init__(url)
        self.pid = pid
        self.url = url
