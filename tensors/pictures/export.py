"""Pictures and their records as one zip file, made while it is sent: nothing of it is kept, however large it is."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tensors.pictures import records
from tensors.pictures.folder import Folder
from tensors.types.gallery import Image

if TYPE_CHECKING:
    from typing_extensions import Buffer

_FIRST_YEAR = 1980
"""Zip files know no earlier one."""


class _Outlet(io.RawIOBase):
    """A file that only passes on what is written."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        self._written.append(bytes(data))
        return len(self._written[-1])

    def taken(self) -> bytes:
        """What was written since it was last asked."""
        data, self._written = b"".join(self._written), []
        return data


def zipped(pictures: Iterable[Image], folder: Folder) -> Iterator[bytes]:
    """A zip file of them. What was deleted meanwhile is left out. Raises `OSError`."""
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w") as archive:
        for image in pictures:
            path = Path(image.path)
            with suppress(FileNotFoundError):
                # Pictures do not get smaller by compressing them again.
                archive.writestr(_entry(path.name, image, zipfile.ZIP_STORED), path.read_bytes())
                record = _entry(folder.sidecar(image.id).name, image, zipfile.ZIP_DEFLATED)
                archive.writestr(record, records.encode(image))
            yield outlet.taken()
    yield outlet.taken()


def _entry(name: str, image: Image, compression: int) -> zipfile.ZipInfo:
    made = datetime.fromisoformat(image.created)
    moment = made.timetuple()[:6] if made.year >= _FIRST_YEAR else (_FIRST_YEAR, 1, 1, 0, 0, 0)
    entry = zipfile.ZipInfo(name, moment)
    entry.compress_type = compression
    entry.external_attr = 0o644 << 16
    return entry
