"""Hashes of the files that are drawn with: when they are computed, and when somebody knows them."""

from __future__ import annotations

import hashlib
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tensors import hash_cache
from tensors.config import load_config
from tensors.hash_cache import HashCache
from tensors.local import LocalTensors
from tensors.types.library import ScanRequest

HEADER = b'{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
SAFETENSORS = struct.pack("<Q", len(HEADER)) + HEADER + b"\1\2\3\4"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(SAFETENSORS)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "hashes.json"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read to be hashed."""
    seen: list[Path] = []
    for name in ("sha256_of", "autov3_of"):
        original = getattr(hash_cache, name)

        def recorded(path: Path, original: object = original) -> object:
            seen.append(path)
            return original(path)  # type: ignore[operator]

        monkeypatch.setattr(hash_cache, name, recorded)
    return seen


def test_what_the_library_knows_is_not_read_again(model: Path, store: Path, reads: list[Path]) -> None:
    tensors = LocalTensors(load_config())
    *_, last = tensors.jobs.events(tensors.db.scan(ScanRequest(directories=(str(model.parent),))).id)
    assert last.state == "succeeded"
    tensors.close()
    cache = HashCache(store, tensors.db.known_hash)
    assert cache.sha256(model) == hashlib.sha256(SAFETENSORS).hexdigest()
    assert cache.autov3(model) == hashlib.sha256(b"\1\2\3\4").hexdigest()
    assert reads == []
    model.write_bytes(SAFETENSORS[:-1] + b"\7")
    os.utime(model, ns=(1, 1))
    assert cache.sha256(model) == hashlib.sha256(model.read_bytes()).hexdigest()
    assert reads == [model]


def test_what_is_known_is_not_read_again(model: Path, store: Path, reads: list[Path]) -> None:
    expected = (hashlib.sha256(SAFETENSORS).hexdigest(), hashlib.sha256(b"\1\2\3\4").hexdigest())
    first = HashCache(store)
    assert (first.sha256(model), first.autov3(model)) == expected
    assert reads == [model, model]
    for cache in (first, HashCache(store)):
        assert (cache.sha256(model), cache.autov3(model)) == expected
    assert len(reads) == 2


def test_that_a_file_has_no_autov3_is_known_too(model: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model.write_bytes(b"GGUF")
    assert HashCache(store).autov3(model) is None
    monkeypatch.setattr(hash_cache, "autov3_of", lambda path: pytest.fail("computed again"))
    assert HashCache(store).autov3(model) is None


def test_one_file_by_two_ways_is_hashed_once(model: Path, store: Path, reads: list[Path], tmp_path: Path) -> None:
    link = tmp_path / "link.safetensors"
    link.symlink_to(model)
    cache = HashCache(store)
    assert cache.sha256(link) == cache.sha256(model)
    assert len(reads) == 1


def test_a_file_that_changed_is_hashed_again(model: Path, store: Path, reads: list[Path]) -> None:
    cache = HashCache(store)
    before = cache.sha256(model)
    stat = model.stat()
    model.write_bytes(SAFETENSORS + b"\5")
    os.utime(model, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    longer = cache.sha256(model)
    model.write_bytes(SAFETENSORS[:-1] + b"\5")
    os.utime(model, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    other = cache.sha256(model)
    assert len({before, longer, other}) == 3
    assert other == hashlib.sha256(model.read_bytes()).hexdigest()
    assert len(reads) == 3


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 5}', b'{"\xff": null}', b"[" * 100_000])
def test_a_broken_cache_is_an_empty_one(content: bytes, model: Path, store: Path) -> None:
    store.parent.mkdir()
    store.write_bytes(content)
    expected = hashlib.sha256(SAFETENSORS).hexdigest()
    assert HashCache(store).sha256(model) == expected
    assert expected.encode() in store.read_bytes()


def test_a_file_that_is_not_there_is_an_os_error(store: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        HashCache(store).sha256(tmp_path / "none")
    assert not store.exists()


def test_threads_that_hash_at_once_all_are_remembered(store: Path, tmp_path: Path, reads: list[Path]) -> None:
    paths = [tmp_path / f"{number}.bin" for number in range(16)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]))
    cache = HashCache(store)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(cache.sha256, paths))
    assert found == [hashlib.sha256(bytes([number])).hexdigest() for number in range(16)]
    assert [HashCache(store).sha256(path) for path in paths] == found
    assert len(reads) == 16
