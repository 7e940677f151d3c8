"""Scans a folder as a process of its own, which may end at a given moment as by kill -9.

Prints a line when it is ready and begins when it is sent one; prints how many statements and reports there were.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import tensors.db.intake
from tensors.db.database import Database
from tensors.db.scan import Folder, scan
from tensors.types.jobs import Progress


class Moments:
    """Counts what happens; at the last one the process is killed."""

    def __init__(self, last: int) -> None:
        self.count = 0
        self._last = last

    def __call__(self, _: object) -> None:
        self.count += 1
        if self.count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def main(database: str, folder: str, last_statement: int, last_report: int) -> None:
    tensors.db.intake._MOST_FILES = 4
    statements, reports = Moments(last_statement), Moments(last_report)
    with Database(Path(database)) as opened:
        print("ready", flush=True)
        sys.stdin.readline()
        opened.connection.set_trace_callback(statements)

        def report(progress: Progress) -> None:
            if progress.phase == "hashing":
                reports(progress)

        scan(opened, [Folder(Path(folder))], report=report, stop=lambda: False)
    print(statements.count, reports.count)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
