"""A process that fetches a file, for tests that kill it: `python fetching.py URL TARGET SHA256`.

It prints how many bytes are written, as it goes; an error is its last line.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tensors.downloads.addresses import Guard
from tensors.downloads.fetch import Fetch, Wanted
from tensors.errors import TsrError


def tell(done: int, _total: int | None) -> None:
    print(done, flush=True)


def main(url: str, target: str, sha256: str) -> int:
    wanted = Wanted(url=url, target=Path(target), sha256=sha256)
    try:
        Fetch(wanted, Guard(url), refused=lambda *_: None, progress=tell).run()
    except TsrError as error:
        print(error.code, error, error.hint)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
