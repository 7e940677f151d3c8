"""How long pages of a gallery of 100,000 take over HTTP, and a picture's throughput next to nginx's.

The pages are the same 50 pictures as in `benchmarks.gallery`; the baseline is the shortest answer of the same server.
The picture is a PNG of 1.5 MB, asked for over and over by wrk with four connections, in turns from nginx (one worker,
sendfile) and from tsr. Needs nginx and wrk.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
import zlib

from benchmarks._measure import Report, Server, finish, interleaved, parser, ratios, scratch, serving
from benchmarks._nginx import nginx
from benchmarks.gallery import PAGE, PICTURES, milliseconds, write
from tensors.png import SIGNATURE, _chunk

PAGE_LIMIT = 15.0
SHARE_LIMIT = 1 / 0.7
SIDE = 720
SECONDS = 2


def png(side: int) -> bytes:
    """A picture of noise: 1.5 MB."""
    noise = random.Random(5)
    rows = b"".join(b"\0" + noise.randbytes(3 * side) for _ in range(side))
    head = side.to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0))
    return SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows, 0)) + _chunk(b"IEND", b"")


def pages(report: Report, server: Server, names: list[str], rounds: int) -> None:
    """The newest page and one far behind."""
    deep = names[-PAGE * 999] if len(names) > PAGE * 1000 else names[len(names) // 2]

    def took(path: str) -> float:
        return milliseconds(lambda: server.call("GET", path))

    found = interleaved(
        rounds * 20,
        shortest=lambda: took("/api/health"),
        first=lambda: took(f"/api/images?limit={PAGE}"),
        deep=lambda: took(f"/api/images?limit={PAGE}&cursor={deep}"),
    )
    report.add("GET /api/health", found["shortest"], "ms")
    report.bar(f"GET /api/images, page 1 of {len(names):,}", found["first"], PAGE_LIMIT, "ms")
    report.bar("GET /api/images, page 1,000", found["deep"], PAGE_LIMIT, "ms")


def seconds_each(url: str) -> float:
    """What one answer takes of the time, when four clients ask."""
    command = ["wrk", "-t1", "-c4", f"-d{SECONDS}s", url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or not (rate := re.search(r"Requests/sec:\s+([\d.]+)", said)):
        raise SystemExit(f"{url} was not answered: {said}")
    return 1 / float(rate[1])


def main() -> int:
    options = parser((__doc__ or "").partition("\n")[0], rounds=9)
    options.add_argument("--pictures", type=int, default=PICTURES, metavar="N", help=f"how many there are ({PICTURES})")
    given = options.parse_args()
    for needed in ("nginx", "wrk"):
        if shutil.which(needed) is None:
            raise SystemExit(f"{needed} is needed, and not installed")
    report = Report("serving")
    with scratch() as folder:
        # nginx's workers are another user.
        folder.chmod(0o755)
        (folder / "data").mkdir()
        names = write(folder / "data" / "gallery", given.pictures)
        (folder / "files").mkdir()
        picture = png(SIDE)
        (folder / "files" / "picture.png").write_bytes(picture)
        (folder / "data" / "gallery" / f"{names[0]}.png").write_bytes(picture)
        with nginx(folder) as base, serving(folder) as server:
            server.call("GET", "/api/status")
            pages(report, server, names, given.rounds)
            found = interleaved(
                given.rounds,
                theirs=lambda: seconds_each(f"{base}/picture.png"),
                ours=lambda: seconds_each(f"{server.url}/api/images/{names[0]}"),
            )
        size = len(picture) / 1e6
        report.add(f"nginx, a picture of {size:.1f} MB", [size / each for each in found["theirs"]], "MB/s")
        report.add("tsr, the same", [size / each for each in found["ours"]], "MB/s")
        report.bar("time a picture takes, of nginx's", ratios(found["ours"], found["theirs"]), SHARE_LIMIT, "times")
    return finish(report, given)


if __name__ == "__main__":
    sys.exit(main())
