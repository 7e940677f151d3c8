"""Downloads under real signals and on a real disk that is full."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fetching
import hostile_server as hostile
import pytest
from hostile_server import serving

KILLS = 10
MB = 1024 * 1024
SIZE = 24 * MB


def model(size: int) -> bytes:
    """A safetensors file."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + random.Random(5).randbytes(size)


CONTENT = model(SIZE)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def start(url: str, target: Path) -> subprocess.Popen[str]:
    command = [sys.executable, fetching.__file__, f"{url}/file", str(target), SHA256]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def told(process: subprocess.Popen[str], least: int) -> int:
    """Wait until it says that so many bytes are written."""
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= least:
            return int(line)
    raise AssertionError("it ended before")


def last_words(process: subprocess.Popen[str]) -> str:
    """What it says at its end."""
    said, _ = process.communicate(timeout=60)
    return said.splitlines()[-1]


def test_kill_9_ten_times_and_nothing_is_fetched_twice(tmp_path: Path) -> None:
    target = tmp_path / "a.safetensors"
    part = tmp_path / "a.safetensors.part"
    chance = random.Random(11)
    starts: list[int] = []
    written = 0
    with serving(CONTENT) as server:
        for _ in range(KILLS):
            amount = chance.randrange(SIZE // KILLS // 2, SIZE // KILLS)

            def act(exchange: hostile.Exchange, amount: int = amount) -> None:
                starts.append(exchange.start)
                exchange.line.sendall(exchange.fitting_head()[:amount])
                server.released.wait()

            server.acts.append(act)
            process = start(server.url, target)
            seen = told(process, written + chance.randrange(1, amount))
            process.kill()
            process.communicate()
            assert not target.exists()
            assert starts[-1] == written, "it went on right where the one before ended"
            written = part.stat().st_size
            assert written >= seen, "what was told is there"
            assert CONTENT.startswith(part.read_bytes())
        process = start(server.url, target)
        assert last_words(process) == str(len(CONTENT))
        assert process.returncode == 0
        assert server.sent == len(CONTENT) - written
    assert target.read_bytes() == CONTENT
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 100 MB: 64 are left free on purpose."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_keeps_the_part_and_with_room_it_goes_on(small_disk: Path) -> None:
    target, filler = small_disk / "a.safetensors", small_disk / "filler"
    with serving(CONTENT) as server:
        # There seems to be room: the server does not say how long the file is.
        server.acts.append(hostile.without_length)
        filler.write_bytes(bytes(90 * MB))
        process = start(server.url, target)
        said = last_words(process)
        assert process.returncode == 1
        assert said.startswith(f"disk_full {small_disk} is full: a.safetensors could not be written to its end")
        kept = (small_disk / "a.safetensors.part").stat().st_size
        assert 0 < kept < len(CONTENT)

        process = start(server.url, target)
        said = last_words(process)
        assert said.startswith("disk_full a.safetensors needs 0.0"), "now it is known before it is written"
        assert (small_disk / "a.safetensors.part").stat().st_size == kept

        filler.unlink()
        process = start(server.url, target)
        assert last_words(process) == str(len(CONTENT))
        assert server.requests[-1].headers["range"] == f"bytes={kept}-"
    assert target.read_bytes() == CONTENT
