"""One file from the wire to its name on disk, byte-exact or not at all.

Each try goes on where the one before ended: the first address is asked again (a signed one has expired by then), with
`Range` and `If-Range`, so a file that changed meanwhile comes whole. What an answer claims is not believed: its length,
its range and its ETag are compared with what is known, and the hash decides. A redirect is followed by hand, past the
`Guard` (`asking.py`).
"""

from __future__ import annotations

import contextlib
import http.client
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tensors.downloads.addresses import shown
from tensors.downloads.asking import Asking, Passing
from tensors.downloads.connection import Connection
from tensors.downloads.following import Follower
from tensors.downloads.part import Mark, Part
from tensors.errors import Conflict, DownloadError, DownloadRefused, JobCancelled
from tensors.header import BrokenHeader, read_header
from tensors.waiting import asked_wait, back_off

TRIES = 6
"""Failures in a row without progress after which it is given up."""
_PROGRESS = 1024 * 1024
"""Bytes that make a try one with progress."""
_WHOLE_TRIES = 2
"""How often wrong bytes are thrown away and fetched anew."""
_PASSING = (408, 425, 429)
_MAYBE_EXPIRED = (400, 401, 403, 404, 410)
_WAIT_STEP = 0.2
_MAGIC = 16
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_WHOLE = re.compile(r"bytes \*/(\d{1,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file to fetch."""

    url: str
    target: Path
    size: int | None = None
    """Bytes, within 1 KiB."""
    sha256: str | None = None
    blake3: str | None = None

    @property
    def identity(self) -> str:
        """What tells it from another file of the same name."""
        return self.sha256 or self.blake3 or shown(self.url)

    def may_have(self, size: int) -> bool:
        """Whether it can have so many bytes: CivitAI says sizes in KiB."""
        return self.size is None or abs(size - self.size) < 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A file that is there."""

    path: Path
    size: int
    sha256: str


class _Wrong(Exception):
    """All bytes are there, and they are wrong."""


class Fetch:
    """Fetches one file."""

    def __init__(
        self,
        wanted: Wanted,
        asking: Asking,
        *,
        progress: Callable[[int, int | None], None] = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`progress` hears the bytes that are there and of how many; `stop` is asked often."""
        self._wanted = wanted
        self._asking = asking
        self._progress = progress
        self._stop = stop
        self._sleep = sleep

    def run(self) -> Fetched:
        """Fetch it. The part stays where it was not finished, and the next run goes on with it.

        Raises `DownloadRefused`, `DownloadError`, `DiskFull`, `Conflict` (somebody else fetches it, or another file has
        its name) and `JobCancelled`.
        """
        with Part(self._wanted.target, self._wanted.identity) as part:
            with contextlib.closing(_Coming(part, self._wanted)) as coming:
                hashes = self._insist(coming)
            size = part.size
            try:
                part.finish(self._wanted.target)
            except FileExistsError as error:
                raise Conflict(
                    f"{self._wanted.target} was made by somebody else meanwhile", hint="move it away, and run it again"
                ) from error
            return Fetched(path=self._wanted.target, size=size, sha256=hashes["sha256"])

    def _insist(self, coming: _Coming) -> dict[str, str]:
        """Try until the file is whole and right. Returns its hashes."""
        part = coming.part
        failures = wrong = 0
        while True:
            before = part.size
            try:
                return self._try(coming)
            except _Wrong as error:
                wrong += 1
                if wrong == _WHOLE_TRIES:
                    part.discard()
                    raise DownloadError(f"{self._wanted.target.name} {error}: thrown away") from error
                coming.restart(Mark(identity=self._wanted.identity))
                wait = 0.0
            except (Passing, OSError, http.client.HTTPException) as error:
                failures = 1 if part.size - before >= _PROGRESS else failures + 1
                why = str(error) or type(error).__name__
                told = error.wait if isinstance(error, Passing) else None
                wait = back_off(failures) if told is None else told
                if failures >= TRIES:
                    raise DownloadError(
                        f"{self._wanted.target.name} could not be fetched from {shown(self._wanted.url)}: {why}",
                        hint=f"run it again to go on: {part.size:,} bytes are kept",
                    ) from error
            self._wait(wait)

    def _try(self, coming: _Coming) -> dict[str, str]:
        """One try: the rest of the file, then its hashes."""
        self._check_stop()
        if not coming.part.is_whole:
            with self._asking.for_file(self._wanted.url, self._rest_of(coming.part), stop=self._stop) as asked:
                connection, own = asked
                self._judge(connection, own=own)
                self._begin(coming, connection)
                self._receive(coming, connection)
        return self._checked(coming.part, coming.hashes())

    def _rest_of(self, part: Part) -> dict[str, str]:
        if part.size and part.mark.validator:
            return {"Range": f"bytes={part.size}-", "If-Range": part.mark.validator}
        # Without a validator it is the hash that tells whether the two pieces belong together.
        return {"Range": f"bytes={part.size}-"} if part.size and self._wanted.sha256 else {}

    def _judge(self, connection: Connection, *, own: bool) -> None:
        """Raise for an answer that is no file. 416 is looked at later."""
        status = connection.status
        if status in (200, 206):
            packed = (connection.header("Content-Encoding") or "identity").lower()
            if packed != "identity":
                raise Passing(f"it sends the file packed ({packed[:20]}), which was not asked for")
        elif status in _PASSING or status >= 500:
            wait = asked_wait(connection.header("Retry-After"))
            raise Passing(f"it answered {status}", wait=wait)
        elif status in _MAYBE_EXPIRED and not own:
            raise Passing(f"the storage answered {status}: its address may have expired")
        elif status != 416:
            raise DownloadRefused(f"{self._wanted.target.name} is not to be had: the answer was {status}")

    def _begin(self, coming: _Coming, connection: Connection) -> None:
        """Bring the part in line with the answer."""
        part = coming.part
        if connection.status == 416:
            self._nothing_more(coming, connection)
        mark = Mark(
            identity=self._wanted.identity,
            etag=_short(connection.header("ETag")),
            last_modified=_short(connection.header("Last-Modified")),
            size=_total(connection),
        )
        self._check_size(mark.size)
        if mark.size is not None:
            part.check_room(mark.size)
        if connection.status == 200:
            coming.restart(mark)
        elif not _continues(part, connection, mark):
            coming.restart(Mark(identity=self._wanted.identity))
            raise Passing("it answered with another range, or of another file")
        else:
            part.mark = replace(part.mark, size=part.mark.size if mark.size is None else mark.size)

    def _nothing_more(self, coming: _Coming, connection: Connection) -> None:
        """It says that the file ends where the part does, which the hash will tell, or before."""
        said = _WHOLE.fullmatch(connection.header("Content-Range") or "")
        if said and int(said[1]) == coming.part.size:
            coming.part.mark = replace(coming.part.mark, size=coming.part.size)
            raise Passing("it says that there is nothing more", wait=0.0)
        coming.restart(Mark(identity=self._wanted.identity))
        raise Passing("it says that what is here is not the beginning of the file")

    def _check_size(self, size: int | None) -> None:
        if size is not None and not self._wanted.may_have(size):
            raise Passing(f"it says the file has {size:,} bytes, and it should have {self._wanted.size or 0:,}")

    def _receive(self, coming: _Coming, connection: Connection) -> None:
        part = coming.part
        total = part.mark.size or self._wanted.size
        checked = part.size >= _MAGIC
        self._progress(part.size, total)
        while piece := connection.read():
            self._check_stop()
            part.write(piece)
            if not checked and part.size >= _MAGIC:
                self._check_beginning(part)
                checked = True
            coming.grown()
            self._progress(part.size, total)
        # When it was cut, the end is not the end.
        self._check_stop()
        if part.mark.size is not None and part.size != part.mark.size:
            raise Passing(f"it ended after {part.size:,} of {part.mark.size:,} bytes")
        if part.mark.size is None:
            self._check_size(part.size)

    def _check_beginning(self, part: Part) -> None:
        """A page that was sent as a file is thrown away before it is whole."""
        with part.path.open("rb") as file:
            beginning = file.read(_MAGIC)
        if beginning[:4] != b"GGUF" and beginning[8:9] != b"{":
            raise _Wrong(f"begins with {beginning!r}: that is no safetensors and no GGUF file")

    def _checked(self, part: Part, hashes: dict[str, str]) -> dict[str, str]:
        expected = {"sha256": self._wanted.sha256, "blake3": self._wanted.blake3}
        for kind, value in expected.items():
            if value and kind in hashes and hashes[kind] != value.lower():
                raise _Wrong(f"has the {kind.upper()} {hashes[kind]} and not {value.lower()}")
        if not any(expected.values()):
            try:
                read_header(part.path)
            except BrokenHeader as error:
                raise _Wrong(f"is no whole model: {error}") from error
        return hashes

    def _check_stop(self) -> None:
        if self._stop():
            raise JobCancelled(hint="run it again to go on: what was fetched is kept")

    def _wait(self, seconds: float) -> None:
        while seconds > 0:
            self._check_stop()
            self._sleep(min(seconds, _WAIT_STEP))
            seconds -= _WAIT_STEP


class _Coming:
    """A part, and the thread that hashes it as it grows, over all tries."""

    def __init__(self, part: Part, wanted: Wanted) -> None:
        self.part = part
        # SHA256 also when only the other one is known: the library goes by it.
        self._kinds = ("sha256",) if wanted.sha256 or not wanted.blake3 else ("sha256", "blake3")
        self._follow()

    def _follow(self) -> None:
        self._follower = Follower(self.part.path, self._kinds)
        self._follower.grown(self.part.size)

    def grown(self) -> None:
        self._follower.grown(self.part.size)

    def restart(self, mark: Mark) -> None:
        self._follower.stop()
        try:
            self.part.restart(mark)
        finally:
            self._follow()

    def hashes(self) -> dict[str, str]:
        """Of all that is there. Raises `DownloadError`."""
        try:
            return self._follower.finish()
        except OSError as error:
            raise DownloadError(f"{self.part.path} cannot be read: {error.strerror or error}") from error

    def close(self) -> None:
        self._follower.stop()


def _continues(part: Part, connection: Connection, mark: Mark) -> bool:
    """Whether an answer has the bytes behind the part, of the same file."""
    said = _RANGE.fullmatch(connection.header("Content-Range") or "")
    if said is None or int(said[1]) != part.size:
        return False
    sizes = {size for size in (part.mark.size, mark.size) if size is not None}
    etags = {etag for etag in (part.mark.etag, mark.etag) if etag is not None}
    return len(sizes) <= 1 and len(etags) <= 1


def _total(connection: Connection) -> int | None:
    if connection.status == 206:
        said = _RANGE.fullmatch(connection.header("Content-Range") or "")
        return int(said[3]) if said and said[3] != "*" else None
    length = connection.header("Content-Length") or ""
    return int(length) if length.isdecimal() and length.isascii() and len(length) <= 18 else None


def _short(value: str | None) -> str | None:
    return value if value and len(value) <= 500 and value.isprintable() and value.isascii() else None
