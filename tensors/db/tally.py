"""What a scan counts, what it finds wrong, and what it says meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tensors.clock import now
from tensors.db.walk import printable
from tensors.errors import JobCancelled
from tensors.types.jobs import Progress
from tensors.types.library import FileProblem, ScanReport

MOST_PROBLEMS = 1_000
_TELL_SECONDS = 0.1


class Stopped(JobCancelled):
    """Somebody asked for it. What was done by then is kept."""


@dataclass(slots=True)
class Tally:
    """Of one scan."""

    report: Callable[[Progress], None]
    stop: Callable[[], bool]
    moment: str = field(default_factory=now)
    """When the scan began: what it adds and misses is marked with it."""
    new_ids: list[range] = field(default_factory=list)
    """Of rows that this scan has added."""
    files: int = 0
    added: int = 0
    changed: int = 0
    moved: int = 0
    returned: int = 0
    missing: int = 0
    hashed: int = 0
    unhashed: int = 0
    _problems: list[FileProblem] = field(default_factory=list)
    _more_problems: int = 0
    _told: float = 0.0

    def tell(self, path: str, message: str) -> None:
        """Note what is wrong with a file or folder."""
        if len(self._problems) < MOST_PROBLEMS:
            self._problems.append(FileProblem(path=printable(path), message=message))
        else:
            self._more_problems += 1

    def check(self) -> None:
        """Raise `Stopped` when somebody asked for it."""
        if self.stop():
            raise Stopped

    def listing(self, folder: str, *, last: bool = False) -> None:
        """Report how many files were listed so far, unless that was done a moment ago."""
        if last or self._is_due():
            self.report(Progress(phase="listing", done=self.files, unit="files", name=printable(folder) or None))

    def hashing(self, done: int, total: int, path: str, seconds_left: float | None, *, last: bool = False) -> None:
        """Report how many bytes were hashed so far, unless that was done a moment ago."""
        if last or self._is_due():
            self.report(
                Progress(
                    phase="hashing", done=done, total=total, unit="bytes", name=path or None, seconds_left=seconds_left
                )
            )

    def _is_due(self) -> bool:
        moment = time.monotonic()
        if moment - self._told < _TELL_SECONDS:
            return False
        self._told = moment
        return True

    def result(self, folders: Sequence[str]) -> ScanReport:
        """The report, when all is done."""
        problems = list(self._problems)
        if self._more_problems:
            problems.append(FileProblem(path="...", message=f"and {self._more_problems:,} more"))
        return ScanReport(
            folders=tuple(printable(folder) for folder in folders),
            files=self.files,
            added=self.added,
            changed=self.changed,
            moved=self.moved,
            returned=self.returned,
            missing=self.missing,
            hashed=self.hashed,
            unhashed=self.unhashed,
            problems=tuple(problems),
        )
