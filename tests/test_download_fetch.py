"""Fetching a file from a server that misbehaves: the file is byte-exact, or it is not there."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hostile_server as hostile
import pytest
from blake3 import blake3
from fetching import fetched
from hostile_server import HostileServer, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tensors.downloads import fetch as fetching
from tensors.downloads import part as parts
from tensors.downloads import refusals
from tensors.downloads.addresses import Guard
from tensors.downloads.fetch import TRIES, Fetched, Wanted
from tensors.downloads.part import Part
from tensors.downloads.site import CIVITAI
from tensors.errors import Conflict, DiskFull, DownloadError, DownloadRefused, JobCancelled, TsrError

KEY = "key-that-nobody-else-may-see"
SILENCE = 0.25


def model(size: int = 300_000, seed: int = 1) -> bytes:
    """A safetensors file."""
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + random.Random(seed).randbytes(size)


CONTENT, OTHER = model(), model(seed=2)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def refused(status: int, header: Callable[[str], str | None], body: bytes) -> DownloadRefused | None:
    """As CivitAI's answers are understood."""
    return refusals.refused(CIVITAI, status, header, body, what="the file", page="its page", key=KEY)


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with serving(CONTENT) as server:
        yield server


Run = Callable[..., Fetched]


def fetch(server: HostileServer, target: Path, *, path: str = "/file", **options: Any) -> Fetched:
    """One run against a server."""
    details = {"sha256": sha256(CONTENT), "size": len(CONTENT)}
    details.update({name: options.pop(name) for name in ("sha256", "size", "blake3") if name in options})
    wanted = Wanted(url=server.url + path, target=target, **details)
    guard = options.pop("guard", None) or Guard(server.url)
    return fetched(wanted, guard, **{"refused": refused, "key": KEY, "silence": SILENCE, **options})


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are not waited after."""
    monkeypatch.setattr(fetching, "back_off", lambda _failures: 0.0)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_comes_whole_and_nothing_else_is_left(server: HostileServer, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "a.safetensors"
    done = fetch(server, target)
    assert done == Fetched(path=target, size=len(CONTENT), sha256=sha256(CONTENT))
    assert target.read_bytes() == CONTENT
    assert names(target.parent) == ["a.safetensors"]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "acts",
    [
        [hostile.cut(10)],
        [hostile.cut(0), hostile.cut(1000, hard=True), hostile.cut(200_000)],
        [hostile.cut(100_000), hostile.ignores_range],
        [hostile.cut(100_000), hostile.believes_in_other_start],
        [hostile.cut(100_000), hostile.says_range("bytes 0-1/2")],
        [hostile.cut(100_000), hostile.says_range("nonsense")],
        [hostile.cut(100_000), hostile.says(416, Content_Range="bytes */7")],
        [hostile.cut(100_000), hostile.says(416)],
        [hostile.cut(100_000), hostile.says(416, Content_Range="bytes */100000")],
        [hostile.says(416)],
        [hostile.says_length(1000)],
        [hostile.says_length(len(CONTENT) + 5)],
        [hostile.without_length],
        [hostile.chunked],
        [hostile.packed],
        [hostile.spoiled],
        [hostile.hangs_up, hostile.garbage],
        [hostile.says(500), hostile.says(503, Retry_After=1), hostile.says(429)],
        [hostile.stalls(100_000)],
        [hostile.stalls(0)],
        [hostile.cut(100_000), hostile.moved("/file")],
    ],
)
def test_after_misbehaviour_the_file_is_byte_exact(
    acts: list[hostile.Act], server: HostileServer, tmp_path: Path
) -> None:
    server.acts.extend(acts)
    fetch(server, tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == CONTENT
    assert names(tmp_path) == ["a.safetensors"]
    assert not server.acts, "it was asked as often as it misbehaved, and once more"


ACTS = st.one_of(
    st.integers(0, len(CONTENT)).map(hostile.cut),
    st.integers(0, len(CONTENT)).map(lambda after: hostile.cut(after, hard=True)),
    st.integers(0, 2 * len(CONTENT)).map(hostile.says_length),
    st.sampled_from(
        [
            *(hostile.ignores_range, hostile.believes_in_other_start, hostile.without_length, hostile.chunked),
            *(hostile.packed, hostile.spoiled, hostile.hangs_up, hostile.garbage, hostile.says(416), hostile.says(502)),
            *(hostile.says(200, b"<html>log in</html>", "text/html"), hostile.says(403), hostile.says(404)),
            *(hostile.moved("/other"), hostile.moved("file:///etc/passwd"), hostile.moved("http://169.254.169.254/")),
            *(hostile.other_file(OTHER), hostile.other_file(CONTENT, '"three"')),
        ]
    ),
)


@given(acts=st.lists(ACTS, max_size=8), runs=st.integers(1, 3), known=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_the_file_is_byte_exact_or_not_there(
    tmp_path_factory: pytest.TempPathFactory, acts: list[hostile.Act], runs: int, known: bool
) -> None:
    folder = tmp_path_factory.mktemp("any")
    target = folder / "a.safetensors"
    with serving(CONTENT) as server:
        server.acts = deque(acts)
        for _ in range(runs):
            if not target.exists():
                try:
                    fetch(server, target, **({} if known else {"sha256": None, "blake3": blake3(CONTENT).hexdigest()}))
                except TsrError:
                    assert not target.exists()
    if target.exists():
        assert target.read_bytes() == CONTENT
        assert names(folder) == ["a.safetensors"]
    shutil.rmtree(folder)


def test_the_next_run_goes_on_where_the_last_one_ended(server: HostileServer, tmp_path: Path) -> None:
    target = tmp_path / "a.safetensors"
    server.acts.extend([hostile.cut(200_000), *[hostile.hangs_up] * TRIES])
    with pytest.raises(DownloadError, match="could not be fetched") as caught:
        fetch(server, target)
    assert "200,000 bytes are kept" in str(caught.value.hint)
    assert (tmp_path / "a.safetensors.part").read_bytes() == CONTENT[:200_000]
    server.acts.clear()
    fetch(server, target)
    assert server.requests[-1].headers["range"] == "bytes=200000-"
    assert server.requests[-1].headers["if-range"] == '"one"'
    assert server.sent == len(CONTENT) - 200_000
    assert target.read_bytes() == CONTENT


def test_a_changed_file_comes_anew(server: HostileServer, tmp_path: Path) -> None:
    """Not known by its hash, so only the server can tell."""
    server.acts.extend([hostile.cut(200_000), hostile.other_file(OTHER)])
    fetch(server, tmp_path / "a.safetensors", sha256=None)
    assert (tmp_path / "a.safetensors").read_bytes() == OTHER
    assert [asked.headers.get("range") for asked in server.requests] == [None, "bytes=200000-"]


def test_without_anything_to_tell_it_by_a_rest_is_not_asked_for(server: HostileServer, tmp_path: Path) -> None:
    server.etag = None
    server.acts.append(hostile.cut(200_000))
    fetch(server, tmp_path / "a.safetensors", sha256=None)
    assert ["range" in asked.headers for asked in server.requests] == [False, False]
    assert (tmp_path / "a.safetensors").read_bytes() == CONTENT


def test_a_weak_etag_promises_nothing(server: HostileServer, tmp_path: Path) -> None:
    server.etag = 'W/"one"'
    server.acts.append(hostile.cut(200_000))
    fetch(server, tmp_path / "a.safetensors")
    assert "if-range" not in server.requests[-1].headers
    assert server.requests[-1].headers["range"] == "bytes=200000-", "the hash will tell"


def test_a_part_of_another_file_is_not_used(server: HostileServer, tmp_path: Path) -> None:
    target = tmp_path / "a.safetensors"
    server.content = OTHER
    server.acts.extend([hostile.cut(200_000), *[hostile.hangs_up] * TRIES])
    with pytest.raises(DownloadError):
        fetch(server, target, sha256=sha256(OTHER))
    server.content = CONTENT
    server.acts.clear()
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert "range" not in server.requests[-1].headers


def test_wrong_bytes_are_thrown_away(server: HostileServer, tmp_path: Path) -> None:
    server.acts.extend([hostile.spoiled] * 10)
    with pytest.raises(DownloadError, match=f"and not {sha256(CONTENT)}: thrown away"):
        fetch(server, tmp_path / "a.safetensors")
    assert names(tmp_path) == []
    assert len(server.requests) == 2


def test_by_blake3_alone(server: HostileServer, tmp_path: Path) -> None:
    server.acts.append(hostile.spoiled)
    done = fetch(server, tmp_path / "a.safetensors", sha256=None, blake3=blake3(CONTENT).hexdigest().upper())
    assert done.sha256 == sha256(CONTENT)
    assert len(server.requests) == 2


@pytest.mark.parametrize("content", [CONTENT[:-1], b"<!DOCTYPE html><html>Sign in</html>", CONTENT[:200]])
def test_without_a_hash_only_a_whole_model_is_taken(content: bytes, server: HostileServer, tmp_path: Path) -> None:
    server.content = content
    with pytest.raises(DownloadError, match="thrown away"):
        fetch(server, tmp_path / "a.safetensors", sha256=None, size=None)
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["text/html", "application/json; charset=utf-8", "TEXT/HTML"])
def test_a_page_is_never_saved(kind: str, server: HostileServer, tmp_path: Path) -> None:
    server.acts.append(hostile.says(200, CONTENT, kind))
    with pytest.raises(DownloadRefused, match="a web page or a text in place of the file"):
        fetch(server, tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_refusal_of_the_site_is_final(status: int, server: HostileServer, tmp_path: Path) -> None:
    server.acts.extend([hostile.says(status, b'{"error": "why"}')] * 3)
    with pytest.raises(DownloadRefused, match="the file"):
        fetch(server, tmp_path / "a.safetensors")
    assert len(server.requests) == 1


# --- redirects --------------------------------------------------------------------------------------------------------


def test_an_expired_address_is_asked_for_again_and_the_key_stays_at_home(server: HostileServer, tmp_path: Path) -> None:
    with serving(CONTENT, host="127.0.0.2") as storage:
        storage.acts.extend([hostile.cut(100_000), hostile.says(403, b"expired", "application/xml")])
        server.acts.extend(hostile.moved(f"{storage.url}/signed?secret={number}") for number in range(3))
        guard = Guard(server.url, ["127.0.0.2"])
        fetch(server, tmp_path / "a.safetensors", guard=guard)
        assert [asked.path for asked in storage.requests] == [f"/signed?secret={number}" for number in range(3)]
        assert storage.requests[-1].headers["range"] == "bytes=100000-"
        assert all(KEY not in str(asked) for asked in storage.requests)
        assert all(asked.headers["authorization"] == f"Bearer {KEY}" for asked in server.requests)
    assert (tmp_path / "a.safetensors").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/file",
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.2:1/file",
        "http://localhost:1/file",
        "http://[::1]:1/file",
        "http://[::ffff:127.0.0.1]:1/file",
        "http://2130706433/file",
        "http://user:password@127.0.0.1/file",
        "https://example.org/file",
        "http://civitai.com/file",
        "//127.0.0.3/file",
        "https://127.0.0.1.nowhere.example/file",
        "http://[half/file",
    ],
)
def test_a_redirect_to_where_it_must_not_lead_is_not_followed(
    location: str, server: HostileServer, tmp_path: Path
) -> None:
    server.acts.extend([hostile.moved(location)] * TRIES)
    with pytest.raises(DownloadError):
        fetch(server, tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()
    assert all(asked.path == "/file" for asked in server.requests)


def test_redirects_in_a_circle_end(server: HostileServer, tmp_path: Path) -> None:
    server.acts.extend([hostile.moved("/file")] * 100)
    with pytest.raises(DownloadRefused, match="from one redirect to the next"):
        fetch(server, tmp_path / "a.safetensors")
    assert len(server.requests) == 6


def test_a_login_behind_a_redirect_is_a_refusal(server: HostileServer, tmp_path: Path) -> None:
    server.acts.append(hostile.moved("/login?returnUrl=x&reason=download-auth"))
    with pytest.raises(DownloadRefused, match="leads to its login page"):
        fetch(server, tmp_path / "a.safetensors")
    assert len(server.requests) == 1


# --- this machine -----------------------------------------------------------------------------------------------------


def test_cancelled_it_stops_and_keeps_what_came(server: HostileServer, tmp_path: Path) -> None:
    server.acts.append(hostile.stalls(100_000))
    seen: list[int] = []
    with pytest.raises(JobCancelled):
        fetch(
            server,
            tmp_path / "a.safetensors",
            progress=lambda done, _total: seen.append(done),
            stop=lambda: bool(seen and seen[-1] >= 1000),
        )
    assert seen
    kept = (tmp_path / "a.safetensors.part").read_bytes()
    assert kept
    assert CONTENT.startswith(kept)


@pytest.mark.parametrize("after", [None, 0, 100_000], ids=["no answer", "no bytes", "half"])
def test_cancelled_while_nothing_comes_it_stops_at_once(
    after: int | None, server: HostileServer, tmp_path: Path
) -> None:
    asked = threading.Event()

    def act(exchange: hostile.Exchange) -> None:
        if after is not None:
            exchange.line.sendall(exchange.fitting_head()[:after])
        asked.set()
        server.released.wait()

    server.acts.append(act)
    began = time.monotonic()
    with pytest.raises(JobCancelled):
        fetch(server, tmp_path / "a.safetensors", stop=asked.is_set, silence=60.0)
    assert time.monotonic() - began < 30, "it does not wait for the silence to end"
    assert not (tmp_path / "a.safetensors").exists()


def test_two_at_once_do_not_write_one_part(server: HostileServer, tmp_path: Path) -> None:
    target = tmp_path / "a.safetensors"
    begun = threading.Event()
    server.acts.append(hostile.stalls(100_000))
    first = threading.Thread(
        target=lambda: fetch(server, target, silence=30.0, progress=lambda done, _: done and begun.set())
    )
    first.start()
    try:
        assert begun.wait(10)
        with pytest.raises(Conflict, match="being downloaded already"):
            fetch(server, target)
    finally:
        server.released.set()
        first.join(30)
    assert target.read_bytes() == CONTENT


def test_too_little_room_is_told_before_anything_is_written(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "_SPARE", 2**60)
    with pytest.raises(DiskFull, match="GB free"):
        fetch(server, tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors.part").stat().st_size == 0


def test_a_disk_that_fills_up_keeps_the_part(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "a.safetensors"
    written = 0
    real = os.write

    def write(file: int, data: Any) -> int:
        nonlocal written
        if len(data) > 1000 and written + len(data) > 100_000:
            if written == 100_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[: 100_000 - written]
        count = real(file, data)
        written += count if len(data) > 1000 else 0
        return count

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(DiskFull, match="is full") as caught:
            fetch(server, target)
    assert "what was fetched is kept" in str(caught.value.hint)
    kept = target.with_name("a.safetensors.part").stat().st_size
    assert 0 < kept <= 100_000
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.requests[-1].headers["range"] == f"bytes={kept}-"


def test_a_disk_that_is_full_at_once_holds_nothing(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(_target: Path, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    open_before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    with monkeypatch.context() as patch:
        patch.setattr(parts, "write_atomic", write)
        with pytest.raises(DiskFull):
            Part(tmp_path / "a.safetensors", "abc")
    if open_before is not None:
        assert len(os.listdir("/proc/self/fd")) == open_before
    fetch(server, tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == CONTENT


def test_a_range_of_unknown_size_does_not_make_the_size_unknown(server: HostileServer, tmp_path: Path) -> None:
    server.acts.extend([hostile.cut(100_000), short_of_unknown_size])
    fetch(server, tmp_path / "a.safetensors", sha256=None, size=None)
    assert (tmp_path / "a.safetensors").read_bytes() == CONTENT
    assert server.requests[-1].headers["range"] == "bytes=150000-"


def short_of_unknown_size(exchange: hostile.Exchange) -> None:
    """The right range, of a file whose size is not said, and only a part of it."""
    end = exchange.start + 50_000
    exchange.fitting_head(Content_Range=f"bytes {exchange.start}-{end - 1}/*", Content_Length=50_000)
    exchange.line.sendall(exchange.server.content[exchange.start : end])


def test_a_name_that_is_taken_is_not_overwritten(server: HostileServer, tmp_path: Path) -> None:
    target = tmp_path / "a.safetensors"
    target.write_bytes(b"mine")
    with pytest.raises(Conflict, match="somebody else"):
        fetch(server, target)
    assert target.read_bytes() == b"mine"


def test_nothing_on_disk_tells_the_key_or_a_signature(server: HostileServer, tmp_path: Path) -> None:
    server.acts.extend([hostile.cut(200_000), *[hostile.hangs_up] * TRIES])
    with pytest.raises(DownloadError) as caught:
        fetch(server, tmp_path / "a.safetensors", path="/file?signature=abc", sha256=None)
    mark = (tmp_path / "a.safetensors.part.json").read_text()
    assert json.loads(mark)["size"] == len(CONTENT)
    for told in (mark, str(caught.value), str(caught.value.hint)):
        assert KEY not in told
        assert "abc" not in told
