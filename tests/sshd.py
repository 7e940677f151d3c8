"""A second host behind a real sshd: this machine in namespaces of its own, with its own folders (takes root on Linux).

What it has in `/usr/local/bin` are the stand-ins of `second_host/programs`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shell import FOLDER, put_program

HERE = Path(__file__).parent / "second_host"
NAME = "junkpile"
SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {root}/host_key
AuthorizedKeysFile /run/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
"""
SSH = """\
Host {name}
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {root}/client_key
  IdentitiesOnly yes
  UserKnownHostsFile {root}/known_hosts
"""


@dataclass(frozen=True)
class SecondHost:
    """The host, and `deploy.sh` to it."""

    root: Path
    pid: int
    own_network: bool

    @property
    def outside(self) -> list[str]:
        """What a command is started with that is to reach the host's ports."""
        return ["nsenter", f"--target={self.pid}", "--net", "--"] if self.own_network else []

    def path(self, path: str) -> Path:
        """A path of the host, as seen from here."""
        return Path(f"/proc/{self.pid}/root{path}")

    def run(self, *command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command on the host, past ssh."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", *(["--net"] if self.own_network else []), "--"]
        path = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        return subprocess.run([*enter, *command], env=path, capture_output=True, text=True, timeout=60, check=check)

    def write(self, path: str, text: str) -> None:
        """A file of the host, with its folder."""
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def command(self, *arguments: str | Path, user: str = "root") -> tuple[list[str], dict[str, str]]:
        """How `deploy.sh` is started, and its environment."""
        ssh = self.root / f"ssh_{user}"
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "TSR_SSH": f"ssh -F {ssh}"}
        return [*self.outside, str(FOLDER / "deploy.sh"), *map(str, arguments)], environment

    def deploy(self, *arguments: str | Path, user: str = "root", **more: str) -> subprocess.CompletedProcess[str]:
        """`deploy.sh` to its end, which must come within minutes."""
        command, environment = self.command(*arguments, NAME, user=user)
        return subprocess.run(
            command, env={**environment, **more}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240,
            check=False,
        )  # fmt: skip


def _all_but_systemctl(_folder: str, names: list[str]) -> set[str]:
    return set(names) - {"systemctl"}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _make_keys(root: Path, port: int, more: str) -> None:
    for name in ("host_key", "client_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", root / name], check=True)
    key = (root / "host_key.pub").read_text()
    address = "127.0.0.1" if port == 22 else f"[127.0.0.1]:{port}"
    (root / "known_hosts").write_text(f"{address} {key}")
    (root / "sshd_config").write_text(SSHD.format(port=port, root=root) + more)
    for user in ("root", "visitor"):
        (root / f"ssh_{user}").write_text(SSH.format(name=NAME, port=port, user=user, root=root))


@contextmanager
def second_host(root: Path, docker_socket: Path | None = None) -> Iterator[SecondHost]:
    """A host for as long as the block lasts; nothing of it is left.

    With the socket of a Docker engine it has that engine, shares this machine's network with it, and has only
    systemctl of the stand-ins.
    """
    root.mkdir()
    port = _free_port() if docker_socket else 22
    _make_keys(root, port, "SetEnv DOCKER_BUILDKIT=0\n" if docker_socket else "")
    programs = root / "programs"
    shutil.copytree(HERE / "programs", programs, ignore=_all_but_systemctl if docker_socket else None)
    if docker_socket:
        # Not a link: a virtual environment would look for its Python beside it.
        put_program(programs, "python3", 'exec /run/python/bin/python3 "$@"\n')
    (root / "machine").mkdir()
    own_network = docker_socket is None
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig=TERM", "unshare", "--mount", *(["--net"] if own_network else []),
             HERE / "start.sh", root / "machine", programs,
             root / "sshd_config", sys.base_prefix],
            env={**os.environ, "DOCKER_SOCKET": str(docker_socket or "")},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        host = SecondHost(root, process.pid, own_network)
        _wait(root / "log", process)
        try:
            yield host
        finally:
            host.run("systemctl", "stop", "tsr-server", check=False)
    finally:
        process.terminate()
        process.wait(10)


def _wait(log: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while "Server listening on" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
