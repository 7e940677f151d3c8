"""How much later a picture comes from `POST /api/generate` than from the same request sent straight to sd-server.

Both go to one and the same engine process, in turns. Straight: a plain client posts the body that tsr sends and asks
for the result every 5 ms; once over a connection that stays open, as clients do, and once over one for each call, which
is faster with a real sd-server and is what we are compared with. Ours: the same plain client, `wait` true, no base64;
by then the PNG and its sidecar are synced to disk and the job is in the store. The fake engine takes a constant time
and answers with one 512x512 picture.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import psutil

from benchmarks._measure import Connection, Report, Server, differences, finish, interleaved, parser, scratch, serving
from tensors.atomic import create_atomic, write_atomic
from tensors.engines.sd_server import img_gen_body
from tensors.inputs import Inputs
from tensors.types.generation import Settings

LIMIT_MS = 40
REQUEST = {"prompt": "a green star on a white background", "seed": 7}
FAKE_STEPS, FAKE_STEP_SECONDS = 10, 0.01
POLL_SECONDS = 0.005


def photo_like(file: Path) -> None:
    """A picture that compresses as badly as a photograph: about 400 KB."""
    from PIL import Image, ImageChops

    size = 512, 512
    shade = Image.linear_gradient("L").resize(size)
    bands = (shade, Image.radial_gradient("L").resize(size), shade.rotate(90))
    noisy = [ImageChops.add(band, Image.effect_noise(size, 6), scale=2) for band in bands]
    Image.merge("RGB", noisy).save(file)


def engine_url(server: Server) -> str:
    """Where the engine of a server listens."""
    command = psutil.Process(server.call("GET", "/api/status")["engine"]["pid"]).cmdline()
    return f"http://127.0.0.1:{command[command.index('--listen-port') + 1]}"


def timed(work: Callable[[], object]) -> Callable[[], float]:
    """Measures `work` in milliseconds."""

    def measure() -> float:
        began = time.perf_counter()
        work()
        return (time.perf_counter() - began) * 1000

    return measure


def straight(engine: Connection, body: dict[str, Any]) -> None:
    """Draw without tsr."""
    job = engine.call("POST", "/sdcpp/v1/img_gen", body)["id"]
    while (answer := engine.call("GET", f"/sdcpp/v1/jobs/{job}"))["status"] != "completed":
        time.sleep(POLL_SECONDS)
    assert answer["result"]["images"]


def check_kept(server: Server, folder: Path, jobs: Iterable[str]) -> None:
    """A fast answer that forgot something is none: each job is in the store, its picture on disk, with a sidecar."""
    for job_id in jobs:
        job = server.call("GET", f"/api/jobs/{job_id}")
        (picture,) = job["images"]
        files = (folder / "data" / "gallery" / f"{picture}{extension}" for extension in (".png", ".json"))
        if job["state"] != "succeeded" or not all(file.is_file() for file in files):
            raise SystemExit(f"job {job_id} was answered and is not kept: {job}")


def measure(rounds: int, size: int, real_engine: str | None) -> Report:
    report = Report("overhead")
    with scratch() as folder:
        picture = folder / "photo.png"
        photo_like(picture)
        request = {**REQUEST, "width": size, "height": size, "steps": 1 if real_engine else FAKE_STEPS}
        if real_engine:
            settings = {"TSR_ENGINE": real_engine}
        else:
            settings = {"FAKE_SD_PNG": str(picture), "FAKE_SD_STEP_SECONDS": str(FAKE_STEP_SECONDS)}
        with serving(folder, **settings) as server:
            engine = Connection(engine_url(server), stays_open=False)
            engine_kept = Connection(engine_url(server))
            first = server.call("POST", "/api/generate", request)["images"][0]
            drawn = msgspec.convert(first["settings"], Settings)
            body = img_gen_body(drawn, seed=drawn.seed, count=1, inputs=Inputs(folder), loras={})
            data, record = Path(first["path"]).read_bytes(), msgspec.json.encode(first)
            numbers = iter(range(rounds + 1))
            jobs: list[str] = []

            def ours() -> None:
                jobs.append(server.call("POST", "/api/generate", request)["job"]["id"])

            def disk() -> None:
                create_atomic(folder / f"{next(numbers)}.png", data)
                write_atomic(folder / "record.json", record)

            found = interleaved(
                rounds,
                straight_kept=timed(lambda: straight(engine_kept, body)),
                straight=timed(lambda: straight(engine, body)),
                ours=timed(ours),
                disk=timed(disk),
            )
            check_kept(server, folder, jobs)
    kind = "sd-server" if real_engine else "the fake sd-server"
    report.add(f"straight to {kind}, one connection", found["straight_kept"], "ms")
    report.add(f"straight to {kind}, a connection for each call", found["straight"], "ms")
    report.add("POST /api/generate", found["ours"], "ms")
    overhead = differences(found["ours"], found["straight"])
    report.add("  more than the latter, round by round", overhead, "ms")
    report.add("  of it to write and sync as much to this disk, alone", found["disk"], "ms")
    report.bar("overhead at the median", overhead, LIMIT_MS, "ms")
    return report


def main() -> int:
    options = parser(__doc__.partition("\n")[0], rounds=40)
    options.add_argument("--real", metavar="FILE", help="use this sd-server instead of the fake one; it draws one step")
    options.add_argument("--size", type=int, default=512, metavar="N", help="pixels of each side, for --real (512)")
    chosen = options.parse_args()
    if chosen.size != 512 and not chosen.real:
        options.error("--size needs --real: the fake engine's picture is 512x512")
    return finish(measure(chosen.rounds, chosen.size, chosen.real), chosen)


if __name__ == "__main__":
    sys.exit(main())
