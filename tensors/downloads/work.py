"""Fetches planned files and makes them known: hashed, identified, linked, with their model in the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tensors.db.catalog import store_model, store_version
from tensors.db.edits import link_file
from tensors.db.files import find_file, load_file, triggers_of
from tensors.db.hashed import hash_one
from tensors.db.link import link
from tensors.db.scan import Folder, scan
from tensors.db.settle import settle
from tensors.db.tally import Tally
from tensors.downloads.fetch import Fetch
from tensors.downloads.plan import Asker, Planned
from tensors.types.download import DownloadedFile, DownloadReport
from tensors.types.jobs import Progress
from tensors.types.library import LinkRequest

if TYPE_CHECKING:
    from tensors.db.database import Database

Report = Callable[[Progress], None]
Stop = Callable[[], bool]

_WINDOW = 5.0
"""Seconds over which the speed is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloading:
    """What downloads need."""

    database: Database
    asking: Asker
    folder: Callable[[Path], Folder]
    """What is known of a folder that files lie in."""
    report: Report
    stop: Stop
    now: Callable[[], str]

    def run(self, planned: Sequence[Planned]) -> DownloadReport:
        """Fetch what is not here, and make all of it known.

        Raises `DownloadError` and its kinds, `JobCancelled`, `LibraryError`; files that were done by then stay.
        """
        progress = _Progress(planned, self.report)
        done = []
        for file in planned:
            path = file.here or self._fetch(file, progress)
            done.append(self._known(file, path))
        return DownloadReport(files=tuple(done))

    def _fetch(self, file: Planned, progress: _Progress) -> Path:
        progress.begin(file)
        fetched = Fetch(
            file.wanted, self.asking(file.site, file.what, file.page), progress=progress.tell, stop=self.stop
        ).run()
        progress.end(fetched.size)
        return fetched.path

    def _known(self, file: Planned, path: Path) -> DownloadedFile:
        """Bring a file into the library."""
        if file.model is not None:
            store_model(self.database, file.model, fetched_at=self.now())
        if file.version is not None:
            store_version(self.database, file.version, fetched_at=self.now())
        scan(self.database, [self.folder(path.parent)], hash=False, report=self.report, stop=self.stop)
        hash_one(self.database, path, Tally(self.report, self.stop))
        file_id = find_file(self.database, str(path))
        request = LinkRequest(files=(str(path),), offline=True)
        link(self.database, request, civitai=None, report=self.report, stop=self.stop, now=self.now)
        details = load_file(self.database, file_id)
        if details.link is None and file.version is not None:
            # Without a hash on its page: where it came from is certain all the same.
            with self.database.atomic():
                version = file.version.id
                link_file(self.database, file_id, version, matched_by="user", version_file_id=None, at=self.now())
                settle(self.database, [file_id])
            details = load_file(self.database, file_id)
        words = triggers_of(self.database, file_id)
        return DownloadedFile(
            path=str(path),
            name=words.file,
            size=details.size,
            sha256=details.sha256,
            fetched=file.here is None,
            kind=details.kind,
            family=details.family,
            model_id=details.link.model_id if details.link else None,
            version_id=details.link.version_id if details.link else None,
            lora=words.lora,
            words=words.words,
        )


class _Progress:
    """Adds up the files of a download, and guesses how long the rest takes."""

    def __init__(self, planned: Sequence[Planned], report: Report) -> None:
        self._report = report
        self._total = sum(file.wanted.size or 0 for file in planned if file.here is None)
        self._before = 0
        self._name = ""
        self._expected: int | None = None
        self._marks: list[tuple[float, int]] = []

    def begin(self, file: Planned) -> None:
        """The next file."""
        self._name, self._expected = file.wanted.target.name, file.wanted.size
        self._marks.clear()

    def tell(self, done: int, total: int | None) -> None:
        """So many bytes of it are there."""
        self._total += (total or 0) - (self._expected or 0) if total else 0
        self._expected = total or self._expected
        moment = time.monotonic()
        self._marks.append((moment, done))
        while len(self._marks) > 1 and moment - self._marks[0][0] > _WINDOW:
            del self._marks[0]
        began, first = self._marks[0]
        speed = (done - first) / (moment - began) if moment > began else 0.0
        all_done = self._before + done
        self._report(
            Progress(
                phase="downloading",
                done=all_done,
                total=max(self._total, all_done),
                unit="bytes",
                name=self._name,
                seconds_left=(self._total - all_done) / speed if speed > 0 and self._total > all_done else None,
            )
        )

    def end(self, size: int) -> None:
        """It is there."""
        self._before += size
