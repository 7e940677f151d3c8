"""Which server runs on a data directory, and that what a crash leaves behind is taken for none."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tensors.config import Remote, load_config
from tensors.connect import connect
from tensors.discovery import ServerLock, find_running
from tensors.errors import AlreadyRunning
from tensors.local import LocalTensors

URL = "http://127.0.0.1:1"
TOKEN = "s3cret"

HOLDER = """
import sys
from pathlib import Path
from tensors.discovery import ServerLock
lock = ServerLock(Path(sys.argv[1]))
lock.announce(sys.argv[2], sys.argv[3])
print("serving", flush=True)
sys.stdin.read()
lock.release()
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "data" / "run"


@contextmanager
def holder(run_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that serves this data directory until its input is closed."""
    command = [sys.executable, "-c", HOLDER, str(run_dir), URL, TOKEN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "serving\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_server_is_found_while_it_runs_and_no_longer(run_dir: Path) -> None:
    assert find_running(run_dir) is None
    with holder(run_dir) as process:
        assert find_running(run_dir) == Remote(name="local", url=URL, api_key=TOKEN)
        assert find_running(run_dir) is not None
        process.communicate()
        assert process.returncode == 0
        assert find_running(run_dir) is None
    assert not (run_dir / "server.json").exists()


def test_what_a_killed_server_left_is_taken_for_none(run_dir: Path) -> None:
    with holder(run_dir) as process:
        process.kill()
        process.wait(10)
    assert (run_dir / "server.json").exists()
    assert find_running(run_dir) is None
    assert isinstance(connect(load_config()), LocalTensors)
    lock = ServerLock(run_dir)
    # It holds the lock but does not answer yet: the dead server's address must not be believed.
    assert find_running(run_dir) is None
    lock.announce("http://127.0.0.1:2", "other")
    assert find_running(run_dir) == Remote(name="local", url="http://127.0.0.1:2", api_key="other")
    lock.release()


def test_a_second_server_is_refused_and_told_where_the_first_is(run_dir: Path) -> None:
    with holder(run_dir):
        with pytest.raises(AlreadyRunning) as caught:
            ServerLock(run_dir)
        assert caught.value.message == f"a server is running on this data directory at {URL}"
        assert TOKEN not in str(caught.value.to_wire())
        assert find_running(run_dir) is not None


def test_a_second_server_is_refused_while_the_first_still_starts(run_dir: Path) -> None:
    lock = ServerLock(run_dir)
    with pytest.raises(AlreadyRunning) as caught:
        ServerLock(run_dir)
    assert caught.value.message == "a server is running on this data directory"
    assert caught.value.hint
    lock.release()
    ServerLock(run_dir).release()


def test_two_data_directories_are_served_at_once(run_dir: Path, tmp_path: Path) -> None:
    first, second = ServerLock(run_dir), ServerLock(tmp_path / "other")
    first.announce(URL, TOKEN)
    assert find_running(tmp_path / "other") is None
    second.release()
    first.release()


def test_the_key_is_for_the_owners_eyes_only(run_dir: Path) -> None:
    lock = ServerLock(run_dir)
    lock.announce(URL, TOKEN)
    assert stat.S_IMODE((run_dir / "server.json").stat().st_mode) == 0o600
    lock.announce(URL, "again")
    assert stat.S_IMODE((run_dir / "server.json").stat().st_mode) == 0o600
    lock.release()


@pytest.mark.parametrize("record", [b"", b"{}", b'{"url": 5, "token": "x"}', b'{"url": "\xff"}', b"[" * 100_000])
def test_a_broken_record_is_none(record: bytes, run_dir: Path) -> None:
    lock = ServerLock(run_dir)
    (run_dir / "server.json").write_bytes(record)
    assert find_running(run_dir) is None
    with pytest.raises(AlreadyRunning, match=r"^a server is running on this data directory$"):
        ServerLock(run_dir)
    lock.release()
