"""What all tests share: an environment of their own, engines real and fake, running servers, the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import pytest
from fake_civitai import civitai  # noqa: F401 a fixture for all
from fake_tensors import FakeTensors

from tensors.client import TsrClient
from tensors.config import load_config
from tensors.engines.install import InstallProgress, Report, install_engine

TESTS = Path(__file__).parent
FAKE_ENGINE = TESTS / "fake_sd_server.py"
# Read before any test moves HOME: the engine that `tsr` itself would use, built once for all checkouts of this machine.
DEFAULT_DATA = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "tensors"
ENGINE_CACHE = Path(os.environ.get("TSR_TEST_ENGINE_DIR") or DEFAULT_DATA / "engines")
START_SECONDS = 60

# A run in the background inherits 'ignore Ctrl-C', and so would every command that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in each run, and no verdict by the clock of a busy machine.
hypothesis.settings.register_profile("tsr", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("tsr")


@pytest.fixture(scope="session", autouse=True)
def no_settings_of_the_developer() -> Iterator[None]:
    """Servers that live as long as a module start before any test has an environment of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("TSR_", "FAKE_SD_", "XDG_", "DBOS", "CIVITAI_", "HF_")):
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the developer's settings, and none leaves any behind."""
    for name in list(os.environ):
        if name.startswith(("TSR_", "FAKE_SD_", "XDG_", "DBOS", "CIVITAI_", "HF_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TSR_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("TSR_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture(scope="session")
def sd_server() -> Path:
    """A real sd-server, built from source once and kept outside the tree."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSR_ENGINE_DIR", str(ENGINE_CACHE))
        patch.setenv("TSR_CONFIG", os.devnull)
        config = load_config()

        return install_engine(config, source="build", report=_say_in_tenths()).path


def _say_in_tenths() -> Report:
    """A line now and then, past pytest's capture: a build of minutes must not look like a hanging test."""
    said: set[tuple[str, int]] = set()

    def report(progress: InstallProgress) -> None:
        key = (progress.phase, int((progress.fraction or 0) * 10))
        if key not in said:
            said.add(key)
            print(f"engine: {progress.phase} {key[1]}0 % {progress.message}", file=sys.__stderr__, flush=True)

    return report


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fake engine, as the one that tsr finds."""
    monkeypatch.setenv("TSR_ENGINE", str(FAKE_ENGINE))
    return FAKE_ENGINE


@pytest.fixture
def real_engine(sd_server: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real engine, as the one that tsr finds."""
    monkeypatch.setenv("TSR_ENGINE", str(sd_server))
    return sd_server


@dataclass
class Tsr:
    """Runs the command line as its own process, in this test's environment."""

    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, check: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one command; with `check`, a failure fails the test and shows what was said."""
        done = subprocess.run(
            [sys.executable, "-m", "tensors", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, **self.environment, **environment},
            timeout=120,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if check:
            assert done.returncode == 0, f"tsr {arguments}: {done.stderr}{done.stdout}"
        return done

    def json(self, *arguments: str, **environment: str) -> object:
        """Run one command with `--json` and return what it printed."""
        return json.loads(self(*arguments, "--json", check=True, **environment).stdout)


@pytest.fixture
def tsr() -> Tsr:
    return Tsr()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensors]:
    """Every command of this process asks this one, and closes it whatever happens."""
    made = FakeTensors()
    monkeypatch.setattr("tensors.connect.connect", made.connect)
    yield made
    assert made.closed == made.opened


@dataclass
class Server:
    """`tsr serve` as its own process."""

    process: subprocess.Popen[str]
    url: str
    data_dir: Path

    def client(self, api_key: str | None = None) -> TsrClient:
        """A client of this server; the caller closes it."""
        return TsrClient(self.url, api_key=api_key)

    def kill(self) -> None:
        """kill -9, as a power cut would."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, seconds: float = 20) -> int:
        """Ask it to stop and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


StartServer = Callable[..., Server]


def launch_server(data_dir: Path, *arguments: str, **environment: str) -> Server:
    """Start `tsr serve` on a free port and wait until it answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tensors", "serve", "--port", "0", "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=None,
        text=True,
        env={**os.environ, "TSR_DATA_DIR": str(data_dir), **environment},
    )
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise AssertionError(f"tsr serve ended with {process.wait(START_SECONDS)}")
    document = json.loads(line)
    assert "url" in document, document
    return Server(process, document["url"], data_dir)


@contextmanager
def running(data_dir: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    """A server for as long as the block lasts."""
    server = launch_server(data_dir, *arguments, **environment)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.terminate()
        server.process.wait(30)
        assert server.process.stdout
        server.process.stdout.close()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers on this test's data directory; ends them with the test, whatever it did to them."""
    started: list[Server] = []

    def start(*arguments: str, **environment: str) -> Server:
        server = launch_server(Path(os.environ["TSR_DATA_DIR"]), *arguments, **environment)
        started.append(server)
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.terminate()
        server.process.wait(30)
        if server.process.stdout:
            server.process.stdout.close()


@pytest.fixture(scope="module")
def fake_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with the fake engine for all tests of a module that do not disturb it."""
    root = tmp_path_factory.mktemp("server")
    with running(root / "data", TSR_ENGINE=str(FAKE_ENGINE), TSR_CONFIG=str(root / "config.toml")) as server:
        yield server
