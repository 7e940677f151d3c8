"""Fetching a file, in a test or as a process that can be killed: `python fetching.py URL TARGET SHA256`.

The process prints how many bytes are written, as it goes; an error is its last line.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tensors.downloads.addresses import Guard
from tensors.downloads.asking import Asking
from tensors.downloads.fetch import Fetch, Fetched, Wanted
from tensors.errors import TsrError


def fetched(wanted: Wanted, guard: Guard, *, refused: Any, key: str, silence: float, **options: Any) -> Fetched:
    """One run, which does not wait between its tries."""
    asking = Asking(guard, refused=refused, key=key, silence=silence)
    return Fetch(wanted, asking, **{"sleep": lambda _: None, **options}).run()


def tell(done: int, _total: int | None) -> None:
    print(done, flush=True)


def main(url: str, target: str, sha256: str) -> int:
    wanted = Wanted(url=url, target=Path(target), sha256=sha256)
    try:
        Fetch(wanted, Asking(Guard(url), refused=lambda *_: None), progress=tell).run()
    except TsrError as error:
        print(error.code, error, error.hint)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
