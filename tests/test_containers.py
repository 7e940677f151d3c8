"""What a container says of itself: the files it sees, and how its engine is reached."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensors.engines.containers import Container, read_container
from tensors.errors import EngineStartFailed


def described(*mounts: tuple[str, str | None], **changes: Any) -> Container:
    """A container with these mounts (target, source), as Docker describes it."""
    settings = {"Ports": changes.pop("ports", {}), "Networks": changes.pop("networks", {})}
    return read_container(
        {
            "Id": "0" * 64, "Name": "/sd", "State": {"Status": "running"}, "NetworkSettings": settings,
            "Config": {"Labels": changes.pop("labels", {})}, "HostConfig": {"NetworkMode": "house", **changes},
            "Mounts": [{"Destination": target, "Source": source} for target, source in mounts],
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mounts", "file", "seen"),
    [
        ([("/models", "/data/models")], "/data/models/a/b.gguf", ["/models/a/b.gguf"]),
        ([("/models", "/data/models")], "/data/models2/b.gguf", []),
        ([("/m.gguf", "/data/b.gguf")], "/data/b.gguf", ["/m.gguf"]),
        ([("/all", "/data"), ("/loras", "/data/loras")], "/data/loras/x", ["/loras/x", "/all/loras/x"]),
        ([("/models", "/data"), ("/models/loras", "/other")], "/data/loras/x", []),
        ([("/models", "/data"), ("/models/tmp", None)], "/data/tmp/x", []),
        ([], "/data/x", []),
    ],
)
def test_where_a_container_sees_a_file(mounts: list[tuple[str, str | None]], file: str, seen: list[str]) -> None:
    assert list(map(str, described(*mounts).inside(Path(file)))) == seen


_parts = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)


@given(st.dictionaries(_parts, _parts, min_size=1, max_size=4), _parts)
def test_what_it_sees_is_the_file_that_was_meant(mounts: dict[str, str], file: str) -> None:
    container = described(*((f"/in/{target}", f"/nowhere/{source}") for target, source in mounts.items()))
    path = Path("/nowhere") / file
    for target in container.inside(path):
        assert container.outside(target) == path


def test_a_link_is_followed_before_it_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "blob").write_bytes(b"")
    link = tmp_path / "models" / "a.gguf"
    link.symlink_to(tmp_path / "cache" / "blob")
    assert described(("/models", str(tmp_path / "models"))).inside(link) == []
    both = described(("/models", str(tmp_path / "models")), ("/cache", str(tmp_path / "cache")))
    assert both.inside(link) == [PurePosixPath("/cache/blob")]


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({"ports": {"1234/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5"}]}}, "http://127.0.0.1:5"),
        ({"ports": {"1234/tcp": [{"HostIp": "0.0.0.0", "HostPort": "5"}]}}, "http://127.0.0.1:5"),
        (
            {"ports": {"1234/tcp": [{"HostIp": "::", "HostPort": "6"}, {"HostIp": "", "HostPort": "5"}]}},
            "http://127.0.0.1:5",
        ),
        ({"ports": {"1234/tcp": [{"HostIp": "::", "HostPort": "6"}]}}, "http://[::1]:6"),
        ({"ports": {"1234/tcp": [{"HostIp": "10.1.1.1", "HostPort": "5"}]}}, "http://10.1.1.1:5"),
        ({"ports": {"1234/tcp": None}, "networks": {"n": {"IPAddress": "172.18.0.2"}}}, "http://172.18.0.2:1234"),
        ({"networks": {"n": {"IPAddress": "", "GlobalIPv6Address": "fd::2"}}}, "http://[fd::2]:1234"),
        ({"networks": {"n": {"IPAddress": "172.18.0.2"}}, "labels": {"tsr.port": "80"}}, "http://172.18.0.2:80"),
        ({"NetworkMode": "host"}, "http://127.0.0.1:1234"),
        ({"networks": {"n": {"IPAddress": ""}}}, None),
    ],
)
def test_how_a_container_is_reached(changes: dict[str, Any], url: str | None) -> None:
    assert described(**changes).address() == url


@pytest.mark.parametrize("port", ["", "http", "0", "65536", "-1", "²"])
def test_a_port_label_that_is_none(port: str) -> None:
    with pytest.raises(EngineStartFailed, match=r"the label tsr\.port="):
        described(labels={"tsr.port": port}).address()
