"""Getting an sd-server: from a release host on loopback, from a build with stand-ins for the tools, and off again."""

from __future__ import annotations

import hashlib
import http.server
import importlib.util
import io
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensors.config import Config, load_config
from tensors.engines import accelerator, archive, build, compiler, install, release, workspace
from tensors.engines.accelerator import ACCELERATORS, FALLBACKS
from tensors.engines.assets import choose_asset
from tensors.engines.binary import EngineBinary, find_engine, installed_engines
from tensors.engines.install import InstallProgress, install_engine, remove_engine
from tensors.errors import ConfigError, Conflict, EngineInstallFailed, EngineNotInstalled, InvalidRequest, NotFound

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-ins are scripts with a #! line")

HELP = "stable-diffusion.cpp version master-748-abcdef1, commit abcdef1"
WORKS = f"#!/bin/sh\necho '{HELP}'\necho 'Usage: sd-server [options]'\n"
TOO_OLD = '#!/bin/sh\necho "sd-server: version \\`GLIBC_2.38\' not found" >&2\nexit 1\n'
NO_VULKAN = "#!/bin/sh\necho 'error while loading shared libraries: libvulkan.so.1' >&2\nexit 127\n"
CRASHES = "#!/bin/sh\nkill -ILL $$\n"
TAG = "master-748-abcdef1"
PREFIX = f"sd-{TAG}-bin-"
LINUX_CPU = f"{PREFIX}Linux-Ubuntu-24.04-x86_64.zip"
LINUX_VULKAN = f"{PREFIX}Linux-Ubuntu-24.04-x86_64-vulkan.zip"
NAMES = [
    LINUX_CPU,
    LINUX_VULKAN,
    f"{PREFIX}Linux-Ubuntu-24.04-x86_64-rocm-7.2.1.zip",
    f"{PREFIX}Linux-Ubuntu-24.04-aarch64.zip",
    f"{PREFIX}Linux-Ubuntu-24.04-x86_64-sycl.zip",
    f"{PREFIX}Darwin-macOS-15.7.3-arm64.zip",
    f"{PREFIX}win-avx-x64.zip",
    f"{PREFIX}win-avx2-x64.zip",
    f"{PREFIX}win-avx512-x64.zip",
    f"{PREFIX}win-noavx-x64.zip",
    f"{PREFIX}win-cuda12-x64.zip",
    f"{PREFIX}win-rocm-7.1.1-x64.zip",
    f"{PREFIX}win-vulkan-x64.zip",
    "cudart-sd-bin-win-cu12-x64.zip",
    "sd-master.tar.gz",
]


# --- which file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "machine", "wanted", "expected"),
    [
        ("Linux", "x86_64", "cpu", "Linux-Ubuntu-24.04-x86_64"),
        ("Linux", "AMD64", "cpu", "Linux-Ubuntu-24.04-x86_64"),
        ("Linux", "x86_64", "vulkan", "Linux-Ubuntu-24.04-x86_64-vulkan"),
        ("Linux", "x86_64", "rocm", "Linux-Ubuntu-24.04-x86_64-rocm-7.2.1"),
        ("Linux", "x86_64", "cuda", None),
        ("Linux", "x86_64", "metal", None),
        ("Linux", "aarch64", "cpu", "Linux-Ubuntu-24.04-aarch64"),
        ("Linux", "arm64", "vulkan", None),
        ("Linux", "riscv64", "cpu", None),
        ("Darwin", "arm64", "metal", "Darwin-macOS-15.7.3-arm64"),
        ("Darwin", "arm64", "cpu", None),
        ("Darwin", "x86_64", "cpu", None),
        ("Windows", "AMD64", "cpu", "win-avx2-x64"),
        ("Windows", "AMD64", "cuda", "win-cuda12-x64"),
        ("Windows", "AMD64", "rocm", "win-rocm-7.1.1-x64"),
        ("Windows", "AMD64", "vulkan", "win-vulkan-x64"),
        ("Windows", "ARM64", "cpu", None),
        ("FreeBSD", "x86_64", "cpu", None),
    ],
)
def test_the_file_for_each_platform(system: str, machine: str, wanted: str, expected: str | None) -> None:
    assert choose_asset(NAMES, system, machine, wanted) == (expected and f"{PREFIX}{expected}.zip")


def test_older_names_of_the_same_files() -> None:
    names = ["sd-master-3c1187c-bin-Linux-Ubuntu-22.04-x86_64-rocm.zip", "sd-master-3c1187c-bin-win-rocm-x64.zip"]
    assert choose_asset(names, "Linux", "x86_64", "rocm") == names[0]
    assert choose_asset(names, "Windows", "AMD64", "rocm") == names[1]


def test_of_several_systems_the_oldest_whose_files_run_on_newer_ones_too() -> None:
    names = [f"{PREFIX}Linux-Ubuntu-{version}-x86_64.zip" for version in ("24.04", "22.04", "26.04")]
    assert choose_asset(names, "Linux", "x86_64", "cpu") == names[1]


def test_without_avx2_the_next_best_file_for_windows() -> None:
    names = [f"{PREFIX}win-{variant}-x64.zip" for variant in ("noavx", "avx512", "avx")]
    assert choose_asset(names, "Windows", "AMD64", "cpu") == names[2]
    assert choose_asset(names[1:2], "Windows", "AMD64", "cpu") is None


SYSTEMS = st.sampled_from(["Linux", "Darwin", "Windows", "FreeBSD", ""])
MACHINES = st.sampled_from(["x86_64", "AMD64", "arm64", "aarch64", "riscv64", ""])
NAME = st.one_of(
    st.sampled_from(NAMES),
    st.text(),
    st.from_regex(r"sd-[a-z0-9.-]{1,9}-bin-(Linux|Darwin|win)-[a-zA-Z0-9.-]{1,30}\.zip", fullmatch=True),
)


@settings(deadline=None)
@given(st.lists(NAME), SYSTEMS, MACHINES, st.sampled_from(ACCELERATORS), st.randoms())
def test_choosing_gives_a_fitting_file_of_the_release_whatever_its_order(
    names: list[str], system: str, machine: str, wanted: str, random: Any
) -> None:
    chosen = choose_asset(names, system, machine, wanted)
    shuffled = random.sample(names, len(names))
    assert choose_asset(shuffled, system, machine, wanted) == chosen
    if chosen is None:
        return
    assert chosen in names
    assert chosen.lower().startswith("sd-")
    assert {"Linux": "linux", "Darwin": "darwin", "Windows": "-win-"}[system] in chosen.lower()
    gpus = [gpu for gpu in ("vulkan", "rocm", "-cu", "sycl") if gpu in chosen.lower().partition("-bin-")[2]]
    assert gpus == {"vulkan": ["vulkan"], "rocm": ["rocm"], "cuda": ["-cu"]}.get(wanted, [])


@settings(deadline=None)
@given(st.sets(st.sampled_from(NAMES)), SYSTEMS, MACHINES, st.sampled_from(ACCELERATORS))
def test_more_files_never_lose_one_that_fits(names: set[str], system: str, machine: str, wanted: str) -> None:
    if choose_asset(names, system, machine, wanted):
        assert choose_asset(NAMES, system, machine, wanted)


def test_every_accelerator_has_something_to_try() -> None:
    assert set(FALLBACKS) == set(ACCELERATORS)
    assert all(tried[0] == wanted and set(tried) <= set(ACCELERATORS) for wanted, tried in FALLBACKS.items())


@pytest.mark.parametrize(
    ("system", "machine", "files", "library", "expected"),
    [
        ("Linux", "x86_64", ["dev/kfd", "dev/dri/renderD128"], True, "rocm"),
        ("Linux", "x86_64", ["proc/driver/nvidia/version"], False, "cuda"),
        ("Linux", "x86_64", ["dev/dri/renderD128"], True, "vulkan"),
        ("Linux", "x86_64", ["dev/dri/renderD128"], False, "cpu"),
        ("Linux", "x86_64", ["dev/dri/card0"], True, "cpu"),
        ("Linux", "aarch64", [], True, "cpu"),
        ("Darwin", "arm64", [], False, "metal"),
        ("Darwin", "x86_64", [], False, "cpu"),
        ("Windows", "AMD64", [], True, "vulkan"),
        ("Windows", "AMD64", [], False, "cpu"),
    ],
)
def test_the_accelerator_of_a_machine(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    machine: str,
    files: list[str],
    library: bool,
    expected: str,
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(accelerator, "_loads", lambda name: library)
    assert accelerator.detect_accelerator(tmp_path) == expected


def test_a_library_that_is_not_there_does_not_load() -> None:
    assert accelerator._loads("libno-such-library.so.77") is False


# --- what the tests install into, and from ---------------------------------------------------------------------------


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, with a C++ compiler in it that is not even asked."""
    folder = tmp_path / "tools"
    folder.mkdir()
    script(folder / "c++", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)
    return folder


@pytest.fixture
def config(tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A Linux machine without a GPU, and nowhere to download from."""
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(install, "detect_accelerator", lambda: "cpu")
    for name in ("TSR_ENGINE", "TSR_ENGINE_DIR", "TSR_DATA_DIR", "TSR_ENGINE_RELEASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return load_config(tmp_path / "none.toml").with_values(
        engine__directory=tmp_path / "engines", api__engine_release_url="http://127.0.0.1:9/latest"
    )


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def quiet(_: InstallProgress) -> None:
    pass


def leftovers(config: Config) -> list[str]:
    """What is in the engine directory besides engines and the lock."""
    if not config.engine_dir.exists():
        return []
    engines = {engine.name for engine in installed_engines(config)}
    return sorted({path.name for path in config.engine_dir.iterdir()} - engines - {workspace.LOCK, build.FAILED_LOG})


def zipped(members: Mapping[str, str | bytes], modes: Mapping[str, int] | None = None) -> bytes:
    """A zip; members are plain files unless `modes` says otherwise."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            file.writestr(info, content)
    return stream.getvalue()


@dataclass
class Answer:
    """What the release host sends."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    says: int | None = None
    """The length it claims, when that is not the body's."""


@dataclass
class Host:
    """A release host on loopback."""

    url: str
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    assets: list[dict[str, Any]] = field(default_factory=list)

    def publish(self, name: str, content: bytes, **changes: Any) -> dict[str, Any]:
        """Add a file to the release; `changes` are the release's untruths about it."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        asset = {"name": name, "browser_download_url": f"{self.url}/{name}", "size": len(content), "digest": digest}
        self.assets.append({**asset, **changes, "uploader": {"login": "somebody"}})
        self.answers[f"/{name}"] = Answer(content)
        self.answers["/latest"] = Answer(json.dumps({"tag_name": TAG, "assets": self.assets, "id": 1}).encode())
        return asset


@pytest.fixture
def host() -> Iterator[Host]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            here.asked[self.path] += 1
            answer = here.answers.get(self.path, Answer(b"{}", 404))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body) if answer.says is None else answer.says))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        here = Host(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield here
        server.shutdown()
        thread.join()


@pytest.fixture
def online(config: Config, host: Host) -> Config:
    """The machine, with the release host as its place to download from."""
    return config.with_values(api__engine_release_url=f"{host.url}/latest")


# --- from a release --------------------------------------------------------------------------------------------------


def test_a_release_is_downloaded_checked_and_installed(online: Config, host: Host) -> None:
    library = "libstable-diffusion.so"
    needs_it = f'#!/bin/sh\n[ -e "${{LD_LIBRARY_PATH%%:*}}/{library}" ] && echo "{HELP}"\n'
    members = {
        "sd-server": needs_it,
        "sd-cli": WORKS,
        f"{library}.1": "code",
        library: f"{library}.1",
        "LICENSE": "MIT",
    }
    modes = {"sd-cli": stat.S_IFREG | 0o755, library: stat.S_IFLNK | 0o777}
    host.publish(LINUX_CPU, zipped(members, modes))
    said: list[InstallProgress] = []

    engine = install_engine(online, source="release", report=said.append)

    folder = online.engine_dir / f"{TAG}-release-cpu"
    assert engine == EngineBinary(
        name=folder.name, version=TAG, source="release", path=folder / "sd-server", accelerator="cpu"
    )
    assert installed_engines(online) == [engine]
    assert find_engine(online) == engine
    assert os.access(engine.path, os.X_OK)
    assert os.access(folder / "sd-cli", os.X_OK)
    assert not os.access(folder / "LICENSE", os.X_OK)
    assert (folder / library).readlink() == Path(f"{library}.1")
    assert leftovers(online) == []
    assert [progress.phase for progress in said if progress.fraction in (None, 1.0)] == [
        "looking", "downloading", "unpacking", "checking"
    ]  # fmt: skip
    assert all(0 <= progress.fraction <= 1 for progress in said if progress.fraction is not None)


def test_what_is_installed_is_returned_at_once_unless_forced(online: Config, host: Host) -> None:
    host.publish(LINUX_CPU, zipped({"sd-server": WORKS, "old": ""}))
    first = install_engine(online, report=quiet)
    assert install_engine(online, report=quiet) == first
    assert install_engine(online, source="release", accelerator="cpu", report=quiet) == first
    assert host.asked["/latest"] == 1

    host.assets.clear()
    host.publish(LINUX_CPU, zipped({"sd-server": WORKS, "new": ""}))
    assert install_engine(online, force=True, report=quiet) == first
    assert (first.path.parent / "new").exists()
    assert not (first.path.parent / "old").exists()
    assert leftovers(online) == []


def test_a_release_that_lies_in_folders_as_the_one_for_rocm_does(online: Config, host: Host) -> None:
    members = {"build/bin/sd-server": WORKS, "build/bin/hipblaslt/library/kernels.co": "x" * 2000}
    host.publish(f"{PREFIX}Linux-Ubuntu-24.04-x86_64-rocm.zip", zipped(members))
    engine = install_engine(online, source="release", accelerator="rocm", report=quiet)
    assert engine.path == online.engine_dir / f"{TAG}-release-rocm" / "sd-server"
    assert (engine.path.parent / "hipblaslt/library/kernels.co").stat().st_size == 2000


GOOD = zipped({"sd-server": WORKS})


@pytest.mark.parametrize(
    ("changes", "answer", "problem"),
    [
        ({"digest": "sha256:" + "0" * 64}, None, "has the SHA256"),
        ({"digest": None}, None, "has no SHA256"),
        ({"digest": "md5:1234"}, None, "has no SHA256"),
        ({"size": len(GOOD) + 5}, None, f"ended after {len(GOOD):,} of"),
        ({"size": len(GOOD) - 5}, None, "sends more than"),
        ({"size": 0}, None, "has 0 bytes: refused"),
        ({"size": 10**12}, None, "bytes: refused"),
        ({}, Answer(GOOD[:-5], says=len(GOOD)), "cannot be reached"),
        ({}, Answer(b"gone", 404), "answered 404"),
        ({"browser_download_url": "ftp://127.0.0.1/x.zip"}, None, "is not https: refused"),
        ({"browser_download_url": "http://[::1/x.zip"}, None, "is not https: refused"),
        ({"browser_download_url": "http://192.0.2.1/x.zip"}, None, "is not https: refused"),
    ],
)
def test_a_file_that_is_not_what_the_release_says_is_refused(
    online: Config, host: Host, changes: dict[str, Any], answer: Answer | None, problem: str
) -> None:
    host.publish(LINUX_CPU, GOOD, **changes)
    if answer:
        host.answers[f"/{LINUX_CPU}"] = answer
    with pytest.raises(EngineInstallFailed, match=problem) as caught:
        install_engine(online, source="release", report=quiet)
    assert "--source build" in (caught.value.hint or "")
    assert installed_engines(online) == []
    assert leftovers(online) == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Answer(b"", 404), "answered 404"),
        (Answer(b"{}", 403), "answered 403 Forbidden; GitHub does so after 60 requests an hour"),
        (Answer(b"{}", 500), "answered 500"),
        (Answer(b"<html>"), "no list of releases"),
        (Answer(b'{"message": "hello"}'), "no list of releases"),
        (Answer(b"[" * 100_000), "no list of releases"),
        (Answer(b'{"tag_name": "\xff", "assets": []}'), "no list of releases"),
        (Answer(b'{"tag_name": "../up", "assets": []}'), "names its release '../up': refused"),
        (Answer(b'{"tag_name": "v1", "assets": []}'), "v1 has none for cpu on Linux x86_64"),
        (Answer(b" " * (4 * 1024**2 + 1)), "sends more than"),
        (Answer(b"", 302, {"Location": "/latest"}), "from one redirect to the next"),
        (Answer(b"", 302, {"Location": "http://192.0.2.1/latest"}), "is not https: refused"),
        (Answer(b"", 302, {"Location": "file:///etc/passwd"}), "is not https: refused"),
    ],
)
def test_a_host_that_gives_no_release_is_an_error_with_a_way_out(
    online: Config, host: Host, answer: Answer, problem: str
) -> None:
    host.answers["/latest"] = answer
    with pytest.raises(EngineInstallFailed) as caught:
        install_engine(online, source="release", report=quiet)
    assert problem in caught.value.message
    assert "--source build" in (caught.value.hint or "")


def test_nobody_at_the_other_end(config: Config) -> None:
    with pytest.raises(EngineInstallFailed, match=r"cannot be reached: .*refused"):
        install_engine(config, source="release", report=quiet)


def test_redirects_on_loopback_are_followed(online: Config, host: Host) -> None:
    host.publish(LINUX_CPU, GOOD)
    host.answers["/elsewhere"] = host.answers[f"/{LINUX_CPU}"]
    host.answers[f"/{LINUX_CPU}"] = Answer(b"", 302, {"Location": f"{host.url}/elsewhere"})
    assert install_engine(online, source="release", report=quiet).source == "release"
    assert host.asked["/elsewhere"] == 1


@pytest.mark.parametrize(
    ("target", "status"), [("https://objects.example/x", 200), ("http://127.0.0.1/x", None), ("//plain.example/x", 200)]
)
def test_https_is_never_left(monkeypatch: pytest.MonkeyPatch, target: str, status: int | None) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "api.example":
            return httpx.Response(302, headers={"Location": target})
        assert request.url.scheme == "https"
        return httpx.Response(200, content=iter([b'{"tag_name": "v1", "assets": []}']))

    monkeypatch.setattr(httpx, "Client", partial(httpx.Client, transport=httpx.MockTransport(answer)))
    host = release.ReleaseHost("https://api.example/latest")
    if status:
        assert host.latest().tag_name == "v1"
    else:
        with pytest.raises(EngineInstallFailed, match="is not https: refused"):
            host.latest()


@pytest.mark.parametrize("url", ["http://8.8.8.8/latest", "ftp://127.0.0.1/latest", "http://[::1/latest", "https://"])
def test_plain_http_is_for_the_own_network(config: Config, url: str) -> None:
    with pytest.raises(ConfigError, match=r"api\.engine_release_url"):
        install_engine(config.with_values(api__engine_release_url=url), report=quiet)


def test_a_host_that_has_no_address(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    with pytest.raises(EngineInstallFailed, match=r"the host 'mirror\.example' is not known"):
        install_engine(
            config.with_values(api__engine_release_url="http://mirror.example/x"), source="release", report=quiet
        )


LINK = stat.S_IFLNK | 0o777


@pytest.mark.parametrize(
    ("members", "modes", "problem"),
    [
        ({"sd-server": WORKS, "../evil": "x"}, {}, "land outside its folder"),
        ({"sd-server": WORKS, "/evil": "x"}, {}, "land outside its folder"),
        ({"sd-server": WORKS, "..\\evil": "x"}, {}, "land outside its folder"),
        ({"sd-server": WORKS, "c:evil": "x"}, {}, "land outside its folder"),
        ({"sd-server": WORKS, "l": "../../evil"}, {"l": LINK}, "leads out of its folder"),
        ({"sd-server": WORKS, "l": "/etc/passwd"}, {"l": LINK}, "leads out of its folder"),
        ({"sd-server": WORKS, "l": ".."}, {"l": LINK}, "leads out of its folder"),
        ({"sd-server": WORKS, "../l": "sd-server"}, {"../l": LINK}, "land outside its folder"),
        ({"sd-server": WORKS, "pipe": ""}, {"pipe": stat.S_IFIFO | 0o644}, "is no plain file"),
        ({"sd-server": WORKS, "x": "1", "x/y": "2"}, {}, "x"),
        ({"sd-cli": WORKS}, {}, "has no sd-server in it"),
    ],
)
def test_archives_that_would_do_harm_are_refused(
    online: Config, host: Host, tmp_path: Path, members: dict[str, str | bytes], modes: dict[str, int], problem: str
) -> None:
    host.publish(LINUX_CPU, zipped(members, modes))
    with pytest.raises(EngineInstallFailed, match=problem):
        install_engine(online, source="release", report=quiet)
    assert leftovers(online) == []
    assert not [path for path in tmp_path.rglob("*") if path.name in ("evil", "l")]


def test_two_members_of_one_name_are_refused(online: Config, host: Host) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("sd-server", WORKS)
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("sd-server", CRASHES)
    host.publish(LINUX_CPU, stream.getvalue())
    with pytest.raises(EngineInstallFailed, match="not a zip that can be unpacked"):
        install_engine(online, source="release", report=quiet)


@pytest.mark.parametrize("content", [b"", b"not a zip at all", GOOD[:60] + b"\xff" * 20 + GOOD[80:]])
def test_a_damaged_archive(online: Config, host: Host, content: bytes) -> None:
    host.publish(LINUX_CPU, content, size=len(content))
    with pytest.raises(EngineInstallFailed):
        install_engine(online, source="release", report=quiet)
    assert leftovers(online) == []


def test_an_archive_that_grows_without_bounds(online: Config, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.publish(LINUX_CPU, zipped({"sd-server": WORKS, "zeros": b"\0" * 1_000_000}))
    monkeypatch.setattr(archive, "MAX_BYTES", 900_000)
    with pytest.raises(EngineInstallFailed, match=r"unpacks to 1,000,\d\d\d bytes in 2 files: refused"):
        install_engine(online, source="release", report=quiet)


def test_a_disk_that_is_too_full(online: Config, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.publish(LINUX_CPU, GOOD)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("usage", (), {"free": 10}))
    with pytest.raises(EngineInstallFailed, match="the disk has 10 free"):
        install_engine(online, source="release", report=quiet)


def test_what_does_not_run_here_gives_way_to_what_does(
    online: Config, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "detect_accelerator", lambda: "cuda")
    host.publish(LINUX_VULKAN, zipped({"sd-server": NO_VULKAN}))
    host.publish(LINUX_CPU, GOOD)
    said: list[InstallProgress] = []
    engine = install_engine(online, source="release", report=said.append)
    assert engine.accelerator == "cpu"
    remarks = [progress.message for progress in said if progress.phase == "remark"]
    assert "has none for cuda on Linux" in remarks[0]
    assert "does not run here: it ended with exit code 127: error while loading shared libraries" in remarks[1]
    assert [path.name for path in online.engine_dir.iterdir() if path.is_dir()] == [f"{TAG}-release-cpu"]


def test_an_accelerator_that_was_asked_for_is_not_replaced(online: Config, host: Host) -> None:
    host.publish(LINUX_CPU, GOOD)
    with pytest.raises(EngineInstallFailed, match="has none for vulkan"):
        install_engine(online, source="release", accelerator="vulkan", report=quiet)


def test_too_old_a_system_is_found_out_once(online: Config, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "detect_accelerator", lambda: "vulkan")
    host.publish(LINUX_VULKAN, zipped({"sd-server": TOO_OLD}))
    host.publish(LINUX_CPU, GOOD)
    with pytest.raises(EngineInstallFailed, match=r"does not run here: .*GLIBC_2\.38"):
        install_engine(online, source="release", report=quiet)
    assert host.asked[f"/{LINUX_CPU}"] == 0


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        (CRASHES, "it ended with SIGILL: without a word"),
        ("#!/bin/sh\necho dyld: no library >&2\nkill -ABRT $$\n", "it ended with SIGABRT: dyld: no library"),
        ("#!/bin/sh\nexit 3\n", "it ended with exit code 3: without a word"),
        ("#!/bin/sh\necho something else\n", "it ended with exit code 0: something else"),
        ("#!/no/such/loader\n", "No such file"),
        ("\x7fELF of another machine", "Exec format error"),
        ("#!/bin/sh\nexec /bin/sleep 60\n", "it gave no answer in 0.2 s"),
    ],
)
def test_programs_that_do_not_run(
    online: Config, host: Host, monkeypatch: pytest.MonkeyPatch, program: str, problem: str
) -> None:
    monkeypatch.setattr(install, "_TRIAL_SECONDS", 0.2 if "sleep" in program else 30)
    host.publish(LINUX_CPU, zipped({"sd-server": program}))
    with pytest.raises(EngineInstallFailed) as caught:
        install_engine(online, source="release", report=quiet)
    assert f"{LINUX_CPU} does not run here: {problem}" in caught.value.message
    assert installed_engines(online) == []
    assert leftovers(online) == []


# --- from source -----------------------------------------------------------------------------------------------------

CMAKE = '''\
#!{python} -S
"""A stand-in for cmake that talks as ninja does; STUB_* say how it fares."""
import os, subprocess, sys, time
from pathlib import Path

calls = Path(os.environ["STUB_CALLS"])
with calls.open("a") as file:
    print(*sys.argv[1:], file=file)
mode = os.environ.get("STUB_MODE", "")
if "--build" not in sys.argv:
    Path(sys.argv[sys.argv.index("-B") + 1]).mkdir()
    print("-- Configuring done")
    sys.exit(mode == "unconfigured")
build = Path(sys.argv[sys.argv.index("--build") + 1])
for step in range(1, 5):
    status = os.environ["NINJA_STATUS"].replace("%f", str(step)).replace("%t", "4")
    print(f"{{status}}Building CXX object {{step}}.o", flush=True)
    if mode == "hang":
        child = subprocess.Popen(["/bin/sleep", "300"], process_group=0)
        Path(os.environ["STUB_PIDS"]).write_text(f"{{os.getpid()}} {{child.pid}}\\n")
        time.sleep(300)
if mode == "fails":
    for line in range(30):
        print(f"x.cpp:{{line}}: error: \\xff no such thing")
    sys.exit(2)
if mode != "empty":
    (build / "bin").mkdir()
    server = build / "bin" / "sd-server"
    server.write_text({works!r} if mode != "broken" else {crashes!r})
    server.chmod(0o755)
'''


@dataclass
class Cmake:
    """The stand-in for cmake, and what it was told."""

    calls_file: Path
    pids_file: Path
    monkeypatch: pytest.MonkeyPatch

    def fares(self, mode: str) -> None:
        self.monkeypatch.setenv("STUB_MODE", mode)

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []

    def pids(self) -> list[int]:
        """The processes of a build that hangs, once they are there."""
        wait_until(lambda: self.pids_file.exists() and self.pids_file.read_text().endswith("\n"))
        return [int(pid) for pid in self.pids_file.read_text().split()]


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def cmake(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cmake:
    text = CMAKE.format(python=sys.executable, works=WORKS, crashes=CRASHES)
    script(tools / "cmake", text)
    script(tools / "ninja", "#!/bin/sh\n")
    stand_in = Cmake(tmp_path / "calls", tmp_path / "pids", monkeypatch)
    monkeypatch.setenv("STUB_CALLS", str(stand_in.calls_file))
    monkeypatch.setenv("STUB_PIDS", str(stand_in.pids_file))
    return stand_in


def without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source is there already, and no virtual environment is made: that costs seconds, and one test does it."""

    def fetch(site: build._Site, package: build.SourcePackage) -> Path:
        source = site.workspace / "source"
        source.mkdir()
        (source / "LICENSE").write_text("MIT")
        return source

    monkeypatch.setattr(build._Site, "prepare", lambda site: None)
    monkeypatch.setattr(build._Site, "fetch", fetch)


@pytest.fixture
def builder(config: Config, cmake: Cmake, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A machine that can build."""
    without_pip(monkeypatch)
    return config


def test_a_build_reports_how_far_it_is_and_installs_the_server(
    builder: Config, cmake: Cmake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NINJA_STATUS", "the user's own form")
    said: list[InstallProgress] = []
    engine = install_engine(builder, source="build", report=said.append)
    assert (engine.name, engine.version, engine.source, engine.accelerator) == (
        "0.4.7-build-cpu",
        "0.4.7",
        "build",
        "cpu",
    )
    assert installed_engines(builder) == [engine]
    assert (engine.path.parent / "LICENSE").read_text() == "MIT"
    compiling = [progress for progress in said if progress.phase == "compiling"]
    assert [progress.fraction for progress in compiling] == [None, 0.25, 0.5, 0.75, 1.0]
    assert compiling[-1].message == "sd-server, 4 of 4"
    assert leftovers(builder) == []
    configure, compile_ = cmake.calls
    assert "-DGGML_NATIVE=OFF" in configure
    assert "-DSD_BUILD_EXAMPLES=ON" in configure
    assert "--target sd-server" in compile_
    assert install_engine(builder, source="build", report=quiet) == engine
    assert len(cmake.calls) == 2


@pytest.mark.parametrize(
    ("wanted", "flag"), [("cuda", "SD_CUDA"), ("rocm", "SD_HIPBLAS"), ("vulkan", "SD_VULKAN"), ("metal", "SD_METAL")]
)
def test_a_build_for_an_accelerator(builder: Config, cmake: Cmake, wanted: str, flag: str) -> None:
    engine = install_engine(builder, source="build", accelerator=wanted, report=quiet)
    assert engine.name == f"0.4.7-build-{wanted}"
    assert f"-D{flag}=ON" in cmake.calls[0]
    assert install_engine(builder, source="build", report=quiet).accelerator == "cpu"
    assert f"-D{flag}=ON" not in cmake.calls[2]


def test_without_a_release_it_is_built_and_the_reason_is_told(
    builder: Config, cmake: Cmake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "detect_accelerator", lambda: "rocm")
    said: list[InstallProgress] = []
    engine = install_engine(builder, report=said.append)
    assert engine.name == "0.4.7-build-cpu"
    remarks = [progress.message for progress in said if progress.phase == "remark"]
    assert remarks[0].startswith("no release: http://127.0.0.1:9/latest cannot be reached")
    assert "--accelerator rocm" in remarks[1]


def test_a_release_that_does_not_run_here_gives_way_to_a_build(
    builder: Config, cmake: Cmake, host: Host, tmp_path: Path
) -> None:
    host.publish(LINUX_CPU, zipped({"sd-server": TOO_OLD}))
    said: list[InstallProgress] = []
    engine = install_engine(builder.with_values(api__engine_release_url=f"{host.url}/latest"), report=said.append)
    assert engine.source == "build"
    assert any("GLIBC_2.38" in progress.message for progress in said if progress.phase == "remark")
    assert [path.name for path in builder.engine_dir.iterdir() if path.is_dir()] == ["0.4.7-build-cpu"]


def test_a_compiler_that_fails_is_quoted_and_its_log_kept(builder: Config, cmake: Cmake) -> None:
    cmake.fares("fails")
    with pytest.raises(EngineInstallFailed) as caught:
        install_engine(builder, source="build", report=quiet)
    log = builder.engine_dir / build.FAILED_LOG
    first, *quoted = caught.value.message.splitlines()
    assert first == f"compiling sd-server failed with exit code 2; the last lines of {log}:"
    assert len(quoted) == 15
    assert quoted[-1].startswith("x.cpp:29: error:")
    assert caught.value.details == {"log": str(log)}
    assert "[1/4] Building" in log.read_text("utf-8", "replace")
    assert installed_engines(builder) == []
    assert leftovers(builder) == []


@pytest.mark.parametrize(
    ("mode", "problem"),
    [
        ("unconfigured", "configuring sd-server for vulkan failed with exit code 1"),
        ("empty", "made no sd-server"),
        ("broken", "the sd-server that was built does not run: it ended with SIGILL"),
    ],
)
def test_builds_that_come_to_nothing(builder: Config, cmake: Cmake, mode: str, problem: str) -> None:
    cmake.fares(mode)
    with pytest.raises(EngineInstallFailed) as caught:
        install_engine(builder, source="build", accelerator="vulkan", report=quiet)
    assert problem in caught.value.message
    assert (mode != "unconfigured") or "development kit" in (caught.value.hint or "")
    assert leftovers(builder) == []


def test_a_failed_forced_build_leaves_the_engine_that_was_there(builder: Config, cmake: Cmake) -> None:
    engine = install_engine(builder, source="build", report=quiet)
    before = engine.path.stat()
    cmake.fares("broken")
    with pytest.raises(EngineInstallFailed):
        install_engine(builder, source="build", force=True, report=quiet)
    assert installed_engines(builder) == [engine]
    assert engine.path.stat() == before


def test_without_a_compiler_nothing_is_begun(builder: Config, tools: Path, cmake: Cmake) -> None:
    (tools / "c++").unlink()
    said: list[InstallProgress] = []
    with pytest.raises(
        EngineInstallFailed, match=r"there is none on PATH \(looked for c\+\+, g\+\+ and clang\+\+\)"
    ) as caught:
        install_engine(builder, source="build", report=said.append)
    assert caught.value.hint
    assert said == []
    assert leftovers(builder) == []


@pytest.mark.parametrize(
    ("cxx", "found"),
    [("c++", True), ("my-c++ -m64", True), ("clang++-99", False), ("'unbalanced", False), (" ", False)],
)
def test_the_compiler_that_cxx_names(tools: Path, monkeypatch: pytest.MonkeyPatch, cxx: str, found: bool) -> None:
    script(tools / "my-c++", "#!/bin/sh\n")
    monkeypatch.setenv("CXX", cxx)
    if found:
        compiler.check_compiler()
    else:
        with pytest.raises(EngineInstallFailed, match=r"\$CXX names"):
            compiler.check_compiler()


@pytest.mark.parametrize(
    ("system", "distribution", "hint"),
    [
        ("Linux", {"ID": "debian"}, "sudo apt install g++"),
        ("Linux", {"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "sudo apt install g++"),
        ("Linux", {"ID": "fedora"}, "sudo dnf install gcc-c++"),
        ("Linux", {"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "sudo dnf install gcc-c++"),
        ("Linux", {"ID": "arch"}, "sudo pacman -S gcc"),
        ("Linux", {"ID": "opensuse-leap", "ID_LIKE": "suse opensuse"}, "sudo zypper install gcc-c++"),
        ("Linux", {}, "install g++ or clang++ with the system's package manager"),
        ("Darwin", {}, "xcode-select --install"),
        (
            "Windows",
            {},
            "install Visual Studio's C++ build tools, or use a ready one: tsr engine install --source release",
        ),
    ],
)
def test_how_to_get_a_compiler(system: str, distribution: dict[str, str], hint: str) -> None:
    assert compiler.compiler_hint(system, distribution) == hint


def test_macos_without_its_command_line_tools(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    script(tools / "xcode-select", "#!/bin/sh\nexit 2\n")
    with pytest.raises(EngineInstallFailed) as caught:
        compiler.check_compiler()
    assert caught.value.hint == "xcode-select --install"
    script(tools / "xcode-select", "#!/bin/sh\nexit 0\n")
    compiler.check_compiler()


def test_a_python_without_venv(builder: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ensurepip" else find(name))
    monkeypatch.setattr(build, "distribution", lambda: {"ID": "ubuntu", "ID_LIKE": "debian"})
    with pytest.raises(EngineInstallFailed, match="no venv and ensurepip") as caught:
        install_engine(builder, source="build", report=quiet)
    assert caught.value.hint == "sudo apt install python3-venv"


def test_a_small_memory_gets_fewer_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    def memory(available: int) -> None:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: type("memory", (), {"available": available}))

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    memory(64 * 10**9)
    assert build._jobs() == 8
    memory(4 * 10**9)
    assert 1 <= build._jobs() < 8
    memory(10**8)
    assert build._jobs() == 1


# --- from source, with the real pip ----------------------------------------------------------------------------------

BACKEND = """\
import os, zipfile
def prepare_metadata_for_build_wheel(directory, config_settings=None):
    os.mkdir(os.path.join(directory, "demo_engine-1.0.dist-info"))
    with open(os.path.join(directory, "demo_engine-1.0.dist-info", "METADATA"), "w") as file:
        file.write("Metadata-Version: 2.1\\nName: demo-engine\\nVersion: 1.0\\n")
    return "demo_engine-1.0.dist-info"
def build_wheel(*arguments):
    raise SystemExit("nobody asked for a wheel")
"""


def source_package(folder: Path) -> build.SourcePackage:
    """A source package like the real one, in a few hundred bytes."""
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "PKG-INFO": "Metadata-Version: 2.1\nName: demo-engine\nVersion: 1.0\n",
        "backend.py": BACKEND,
        "vendor/engine/LICENSE": "MIT",
        "vendor/engine/CMakeLists.txt": "",
    }
    path = folder / "demo_engine-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        for name, text in files.items():
            info = tarfile.TarInfo(f"demo_engine-1.0/{name}")
            info.size = len(text.encode())
            file.addfile(info, io.BytesIO(text.encode()))
    return build.SourcePackage(
        "demo-engine", "1.0", hashlib.sha256(path.read_bytes()).hexdigest(), ("vendor", "engine")
    )


def tool_wheel(folder: Path, tool: str, program: str) -> None:
    """A wheel that installs one script."""
    info, path = f"{tool}-1.0.dist-info", f"{tool}-1.0.data/scripts/{tool}"
    files = {
        path: program,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {tool}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    (folder / f"{tool}-1.0-py3-none-any.whl").write_bytes(zipped(files, {path: stat.S_IFREG | 0o755}))


def test_pip_gets_the_tools_and_the_source_from_the_index_of_the_user(
    config: Config, cmake: Cmake, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    index.mkdir()
    package = source_package(index)
    for tool in ("cmake", "ninja"):
        tool_wheel(index, tool, (tools / tool).read_text())
        (tools / tool).unlink()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    (tmp_path / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {index}\n")
    monkeypatch.setattr(build, "SOURCE", package)
    fetch = build._Site.fetch

    def fetch_a_forged_one_first(site: build._Site, package: build.SourcePackage) -> Path:
        with pytest.raises(EngineInstallFailed, match=r"downloading demo-engine 1\.0 failed") as caught:
            fetch(site, replace(package, sha256="0" * 64))
        assert "hash" in caught.value.message.lower()
        assert "pip config list" in (caught.value.hint or "")
        return fetch(site, package)

    monkeypatch.setattr(build._Site, "fetch", fetch_a_forged_one_first)
    said: list[str] = []

    engine = install_engine(config, source="build", report=lambda progress: said.append(progress.phase))

    assert engine.name == "1.0-build-cpu"
    assert (engine.path.parent / "LICENSE").read_text() == "MIT"
    assert list(dict.fromkeys(said)) == [
        "preparing", "downloading", "unpacking", "configuring", "compiling", "checking"
    ]  # fmt: skip
    assert installed_engines(config) == [engine]
    assert leftovers(config) == []


def tarred(path: Path, members: dict[str, tarfile.TarInfo | str]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            if isinstance(content, str):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                file.addfile(info, io.BytesIO(content.encode()))
            else:
                file.addfile(content)
    return path


def tar_link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"a/src/x": "x", "a/../../evil": "x"}, "land outside"),
        ({"a/src/x": "x", "/a/src/evil": "x"}, "land outside"),
        ({"a/src/l": tar_link("a/src/l", "/etc/passwd")}, "no plain file"),
        ({"a/src/l": tar_link("a/src/l", "../../../evil", tarfile.LNKTYPE)}, "no plain file"),
        ({"a/src/null": tar_link("a/src/null", "", tarfile.CHRTYPE)}, "no plain file"),
        ({"a/other/x": "x"}, "has no folder src"),
    ],
)
def test_source_archives_that_would_do_harm_are_refused(
    tmp_path: Path, members: dict[str, tarfile.TarInfo | str], problem: str
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(EngineInstallFailed, match=problem):
        archive.unpack_tar(tarred(tmp_path / "x.tar.gz", members), folder, ("src",))
    assert list(folder.iterdir()) == []


def test_of_a_source_archive_only_the_folder_wanted(tmp_path: Path) -> None:
    members: dict[str, tarfile.TarInfo | str] = {"a/setup.py": "1", "a/l": tar_link("a/l", "/etc"), "a/v/src/b/c": "2"}
    archive.unpack_tar(tarred(tmp_path / "x.tar.gz", members), tmp_path / ".", ("v", "src"))
    assert (tmp_path / "b/c").read_text() == "2"
    assert not (tmp_path / "setup.py").exists()


def test_a_damaged_source_archive(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"\x1f\x8b nothing")
    with pytest.raises(EngineInstallFailed, match="not a tar that can be unpacked"):
        archive.unpack_tar(tmp_path / "x.tar.gz", tmp_path, ())


# --- one at a time, whole or not at all ------------------------------------------------------------------------------


def test_two_at_once_build_once(builder: Config, cmake: Cmake) -> None:
    building, waiting = threading.Event(), threading.Event()
    found: list[EngineBinary] = []

    def first(progress: InstallProgress) -> None:
        if progress.phase == "compiling":
            building.set()
            assert waiting.wait(20)

    def second(progress: InstallProgress) -> None:
        assert progress.phase == "waiting"
        waiting.set()

    def start(report: Callable[[InstallProgress], None]) -> threading.Thread:
        def work() -> None:
            found.append(install_engine(builder, source="build", report=report))

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    one = start(first)
    assert building.wait(20)
    old = builder.engine_dir / "0.4.6-build-cpu"
    old.mkdir()
    (old / "engine.json").write_text(json.dumps({"version": "0.4.6", "source": "build"}))
    script(old / "sd-server", WORKS)
    with pytest.raises(Conflict, match="is being installed"):
        remove_engine(builder, old.name)
    two = start(second)
    one.join(20)
    two.join(20)
    assert len(found) == 2
    assert found[0] == found[1]
    assert len(cmake.calls) == 2


def test_what_a_listener_raises_ends_the_build_and_undoes_it(builder: Config, cmake: Cmake) -> None:
    cmake.fares("hang")

    def interrupt(progress: InstallProgress) -> None:
        if progress.fraction:
            cmake.pids()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        install_engine(builder, source="build", report=interrupt)
    wait_until(lambda: not any(map(lives, cmake.pids())))
    assert leftovers(builder) == []


INSTALLER = """\
import signal, sys
from pathlib import Path
import pytest
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path[:0] = {path!r}
from tensors.config import load_config
from tensors.engines.install import install_engine
from {module} import quiet, without_pip
without_pip(pytest.MonkeyPatch())
config = load_config(Path("none.toml")).with_values(engine__directory=Path({directory!r}))
install_engine(config, source="build", report=quiet)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_install_that_is_killed_leaves_no_half_engine(
    builder: Config, cmake: Cmake, tmp_path: Path, number: signal.Signals
) -> None:
    cmake.fares("hang")
    here = Path(__file__)
    text = INSTALLER.format(
        path=[str(here.parent), str(here.parent.parent)], module=here.stem, directory=str(builder.engine_dir)
    )
    with subprocess.Popen([sys.executable, "-c", text], cwd=tmp_path, stderr=subprocess.PIPE) as installer:
        compiler_pid, child_pid = cmake.pids()
        installer.send_signal(number)
        installer.wait(20)
    assert installer.returncode != 0
    assert installed_engines(builder) == []
    if number == signal.SIGINT or sys.platform == "linux":
        wait_until(lambda: not lives(compiler_pid))
    if number == signal.SIGINT:
        wait_until(lambda: not lives(child_pid))
        assert leftovers(builder) == []
    else:
        assert len(leftovers(builder)) == 1
        psutil.Process(child_pid).kill()
    cmake.fares("")
    engine = install_engine(builder, source="build", report=quiet)
    assert installed_engines(builder) == [engine]
    assert leftovers(builder) == []


def test_an_engine_on_its_way_out_when_all_ended_is_put_back(builder: Config, cmake: Cmake) -> None:
    engine = install_engine(builder, source="build", report=quiet)
    halfway = builder.engine_dir / ".installing-halfway" / "replaced"
    halfway.mkdir(parents=True)
    os.rename(engine.path.parent, halfway / engine.name)
    assert installed_engines(builder) == []
    with pytest.raises(EngineInstallFailed):
        install_engine(builder, source="release", report=quiet)
    assert installed_engines(builder) == [engine]
    assert leftovers(builder) == []


def test_a_folder_that_cannot_be_written(builder: Config, cmake: Cmake) -> None:
    builder.engine_dir.parent.mkdir(exist_ok=True)
    builder.engine_dir.write_text("a file")
    with pytest.raises(EngineInstallFailed, match="exists") as caught:
        install_engine(builder, source="build", report=quiet)
    assert "engine.directory" in (caught.value.hint or "")


# --- what is there already, and words --------------------------------------------------------------------------------


def test_with_one_on_path_there_is_nothing_to_install(config: Config, tools: Path) -> None:
    path = script(tools / "sd-server", WORKS)
    said: list[InstallProgress] = []
    engine = install_engine(config, report=said.append)
    assert (engine.name, engine.path, engine.version) == ("PATH", path, TAG)
    assert said == []
    assert install_engine(config, force=True, report=said.append) == engine
    assert [progress.phase for progress in said] == ["remark"]
    assert not config.engine_dir.exists()


def test_one_on_path_does_not_answer_for_a_source_or_an_accelerator(builder: Config, cmake: Cmake, tools: Path) -> None:
    script(tools / "sd-server", WORKS)
    assert install_engine(builder, source="build", report=quiet).source == "build"
    assert install_engine(builder, accelerator="vulkan", report=quiet).accelerator == "vulkan"


def test_an_engine_that_is_configured_wrongly(config: Config, tmp_path: Path) -> None:
    with pytest.raises(EngineNotInstalled):
        install_engine(config.with_values(engine__path=tmp_path / "nothing"), report=quiet)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"source": "realease"}, "no source 'realease' for an engine; did you mean 'release'?"),
        ({"accelerator": "vulcan"}, "no accelerator 'vulcan' for an engine; did you mean 'vulkan'?"),
    ],
)
def test_words_that_do_not_exist(config: Config, words: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        install_engine(config, report=quiet, **words)  # type: ignore[arg-type]
    assert message in caught.value.message


def test_removing(builder: Config, cmake: Cmake) -> None:
    engine = install_engine(builder, source="build", report=quiet)
    with pytest.raises(NotFound, match=r"engine '0\.4\.7-build-cpi' not found; did you mean '0\.4\.7-build-cpu'\?"):
        remove_engine(builder, "0.4.7-build-cpi")
    with pytest.raises(NotFound):
        remove_engine(builder, "../engines")
    assert remove_engine(builder, engine.name) == engine
    assert not engine.path.parent.exists()
    assert leftovers(builder) == []
    with pytest.raises(NotFound):
        remove_engine(builder, engine.name)


@pytest.mark.parametrize("name", ["PATH", "configured"])
def test_what_tsr_did_not_install_it_does_not_remove(config: Config, tools: Path, name: str) -> None:
    path = script(tools / "sd-server", WORKS)
    with pytest.raises(InvalidRequest, match="was not installed by tsr") as caught:
        remove_engine(config, name)
    assert caught.value.hint
    assert path.exists()


def test_importing_it_is_cheap() -> None:
    text = textwrap.dedent("""
        import sys, tensors.engines.install
        print(*{"httpx", "rich", "filelock", "psutil", "tarfile", "venv", "asyncio"} & set(sys.modules))
    """)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
