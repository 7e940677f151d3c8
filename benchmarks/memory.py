"""How much memory `tsr serve` holds while it waits, without its engine.

Resident memory of the one server process, libraries it shares with others included; the baseline is a Python that
sleeps. The engine is a process of its own and not counted.
"""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

from benchmarks._measure import Report, finish, parser, scratch, serving

LIMIT_MB = 150
SETTLE_SECONDS = 2.0
PICTURES = 50


def resident(pid: int) -> float:
    """Resident memory in MB (10^6 bytes)."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def sleeping() -> float:
    """Of a Python that does nothing."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        time.sleep(0.5)
        found = resident(process.pid)
        process.communicate(b"\n")
    return found


def measure(rounds: int) -> Report:
    report = Report("memory")
    bare: list[float] = []
    idle: list[float] = []
    used: list[float] = []
    for _ in range(rounds):
        bare.append(sleeping())
        with scratch() as folder, serving(folder) as server:
            time.sleep(SETTLE_SECONDS)
            idle.append(resident(server.pid))
            for seed in range(PICTURES):
                server.call("POST", "/api/generate", {"prompt": "a red circle", "steps": 2, "seed": seed})
            time.sleep(SETTLE_SECONDS)
            used.append(resident(server.pid))
    report.add("a Python that sleeps", bare, "MB")
    report.add("tsr serve, idle, its model loaded", idle, "MB")
    report.add(f"tsr serve, idle again after {PICTURES} pictures", used, "MB")
    report.bar("tsr serve, idle", idle, LIMIT_MB, "MB")
    return report


def main() -> int:
    options = parser(__doc__.partition("\n")[0], rounds=3).parse_args()
    return finish(measure(options.rounds), options)


if __name__ == "__main__":
    sys.exit(main())
