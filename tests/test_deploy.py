"""`rocm-docker/deploy.sh` against a second host behind a real sshd; there, only Docker, systemd and tsr are stand-ins.

Takes root on Linux, sshd, ssh and sudo.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import FOLDER, ROOT, run
from sshd import NAME, SecondHost, second_host

_NEEDED = [
    name
    for name in ("sshd", "ssh", "sudo", "ip", "unshare")
    if not shutil.which(name, path=os.defpath + ":/usr/sbin:/sbin")
]
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or bool(_NEEDED),
    reason=f"a second host takes root on Linux, and sshd, ssh, sudo, ip; missing: {', '.join(_NEEDED) or 'root'}",
)

MODEL = "/srv/tsr/models/checkpoints/pony.safetensors"
ALL = ("/opt", "/etc", "/srv", "/var/lib/tsr", "/run/host/docker")
STAMP = re.compile(r"\d{8}-\d{6}-[0-9a-f]{12}")
READS = re.compile(
    r"info |compose version|compose up --no-start|image inspect|image ls|ps |inspect |logs ",
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SecondHost]:
    """A machine with Docker, on which nothing of tsr is."""
    with second_host(tmp_path / "host") as host:
        yield host


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """Something that a stand-in of pip takes for tsr."""
    file = tmp_path / "tensors-1-py3-none-any.whl"
    file.write_text("the first")
    return file


@pytest.fixture
def usual(host: SecondHost, wheel: Path) -> tuple[str | Path, ...]:
    """The options of a deploy that goes well."""
    host.write(MODEL, "a model")
    return ("--backend", "cpu", "--families", "pony", "--set", "PONY_MODEL=/models/checkpoints/pony.safetensors",
            "--tsr", wheel)  # fmt: skip


def deployed(host: SecondHost, *arguments: str | Path, user: str = "root") -> subprocess.CompletedProcess[str]:
    """A deploy that must go well."""
    done = host.deploy(*arguments, user=user)
    assert done.returncode == 0, done.stderr
    return done


def tree(host: SecondHost, *, times: bool = True) -> dict[str, tuple[object, ...]]:
    """All that a deploy may change: each file with mode, owner, content; with `times`, when it was written."""
    found: dict[str, tuple[object, ...]] = {}
    for top in ALL:
        for folder, folders, files in os.walk(host.path(top)):
            for name in [*folders, *files]:
                path = Path(folder, name)
                status = path.lstat()
                content = os.readlink(path) if path.is_symlink() else ""
                if stat.S_ISREG(status.st_mode):
                    content = hashlib.sha256(path.read_bytes()).hexdigest()
                key = str(path).partition("/root")[2]
                found[key] = (oct(status.st_mode), status.st_uid, content, status.st_mtime_ns if times else 0)
    return found


def outcome(host: SecondHost) -> dict[str, tuple[object, ...]]:
    """What a deploy has left there, less what is another thing each time: stamps, keys, ids."""
    found: dict[str, tuple[object, ...]] = {}
    for path, (mode, owner, content, _) in tree(host, times=False).items():
        name = STAMP.sub("STAMP", path)
        drawn_anew = path.endswith(("/tsr.env", "/started", "shadow", "shadow-")) or "/containers/" in path
        found[name] = (mode, owner, "" if drawn_anew else STAMP.sub("STAMP", str(content)))
    return found


def calls(host: SecondHost) -> list[str]:
    file = host.path("/run/host/calls")
    return file.read_text().splitlines() if file.exists() else []


def steps(host: SecondHost) -> list[str]:
    """What deploy.sh did there, one program after the other."""
    return host.path("/run/host/steps").read_text().splitlines()


def forget_calls(host: SecondHost) -> None:
    for name in ("calls", "steps", "count", "tsr-calls"):
        host.path(f"/run/host/{name}").unlink(missing_ok=True)


def environment(host: SecondHost) -> dict[str, str]:
    text = host.path("/etc/tsr/tsr.env").read_text()
    return dict(line.split("=", 1) for line in text.splitlines() if not line.startswith("#"))


def current(host: SecondHost) -> str:
    return os.readlink(host.path("/opt/tsr/current")).removeprefix("releases/")


def answers(host: SecondHost, port: int = 8080) -> bool:
    """Whether the server there answers from where deploy.sh was started."""
    ask = ["curl", "--silent", "--fail", "--noproxy", "*", f"http://127.0.0.1:{port}/api/health"]
    return subprocess.run([*host.outside, *ask], capture_output=True, check=False).returncode == 0


def service_pid(host: SecondHost) -> str:
    return host.path("/run/units/tsr-server.service").read_text()


# Going well


def test_one_command_puts_everything_there(host: SecondHost, usual: tuple[str, ...]) -> None:
    done = deployed(host, *usual)
    release = host.path(f"/opt/tsr/releases/{current(host)}")
    assert STAMP.fullmatch(release.name)
    assert (release / ".complete").exists()
    assert os.readlink(release / "rocm-docker" / ".env") == "/etc/tsr/compose.env"
    written = host.path("/etc/tsr/compose.env").read_text().splitlines()
    user = host.run("id", "-u", "tsr").stdout.strip()
    for line in ("MODELS_DIR=/srv/tsr/models", f"SD_UID={user}", "PONY_MODEL=/models/checkpoints/pony.safetensors",
                 "ILLUSTRIOUS_MODEL=", "COMPOSE_FILE=docker-compose.yml:docker-compose.cpu.yml"):  # fmt: skip
        assert written.count(line) == 1
    key = environment(host)["TSR_API_KEYS"]
    assert re.fullmatch("[0-9a-f]{48}", key)
    assert stat.S_IMODE(host.path("/etc/tsr/tsr.env").stat().st_mode) == 0o600
    assert (
        host.path("/etc/systemd/system/tsr-server.service").read_text() == (FOLDER / "tsr-server.service").read_text()
    )
    assert host.run("systemctl", "is-enabled", "tsr-server").returncode == 0
    assert answers(host)
    (picture,) = host.path("/run/host/tsr-calls").read_text().splitlines()
    assert picture.startswith("generate a lighthouse")
    assert f"--model {MODEL} " in picture
    assert picture.endswith(f"--remote http://127.0.0.1:8080 uid={user} key={key}")
    remotes = tomllib.loads(done.stdout)["remotes"]
    assert remotes == {NAME: {"url": "http://127.0.0.1:8080", "api_key": key}}
    assert f"# tsr remote add {NAME} http://127.0.0.1:8080 --api-key - --default" in done.stdout
    config = tomllib.loads(host.path("/etc/tsr/config.toml").read_text())
    assert (config["engine"]["model"], config["server"]["allowed_hosts"]) == (MODEL, ["127.0.0.1"])
    assert key not in done.stderr + "".join(calls(host)) + "".join(steps(host))


def test_a_second_run_changes_nothing_and_says_so(host: SecondHost, usual: tuple[str, ...]) -> None:
    first = deployed(host, *usual)
    before, pid = tree(host), service_pid(host)
    forget_calls(host)
    second = deployed(host, *usual)
    assert tree(host) == before
    assert [call for call in calls(host) if not READS.match(call)] == []
    assert service_pid(host) == pid
    assert f"Nothing was changed: release {current(host)} is there, and runs." in second.stderr
    assert second.stdout == first.stdout
    # What it was told the first time it need not be told again.
    third = deployed(host)
    assert tree(host) == before
    assert "--update replaces it" in third.stderr


def test_a_dry_run_prints_each_command_and_changes_nothing(host: SecondHost, usual: tuple[str, ...]) -> None:
    before = tree(host)
    done = deployed(host, *usual, "--models", "1102@1318", "--dry-run")
    assert tree(host) == before
    assert [call for call in calls(host) if not READS.match(call)] == []
    assert done.stdout == ""
    for command in ("useradd --system", "tar -C", "-m venv", "fetch 1102@1318", "docker tag", "docker compose up --det",
                    "systemctl restart tsr-server.service", "install -d -m 755 /etc/tsr"):  # fmt: skip
        assert command in done.stderr
    assert done.stderr.endswith("Nothing was changed.\n")


def test_tsr_comes_from_this_checkout_as_it_was_tested(host: SecondHost, usual: tuple[str, ...]) -> None:
    deployed(host, *usual[: usual.index("--tsr")])
    release = host.path(f"/opt/tsr/releases/{current(host)}")
    (built,) = (release / "wheel").iterdir()
    assert re.fullmatch(r"tensors-.+-py3-none-any\.whl", built.name)
    assert (release / "requirements.txt").read_text() == (ROOT / "requirements" / "runtime.txt").read_text()
    first, second = [call for call in calls(host) if call.startswith("pip ")]
    assert "--require-hashes -r" in first
    assert second.endswith(f"--no-deps /opt/tsr/releases/{release.name}/wheel/{built.name}")


def test_models_are_fetched_once_as_tsr_and_loaded(host: SecondHost, wheel: Path) -> None:
    arguments = ("--backend", "cpu", "--families", "pony", "--models", "pony=257749@290640,hf:org/lora", "--tsr", wheel)
    deployed(host, *arguments)
    user = host.run("id", "-u", "tsr").stdout.strip()
    notes = host.path("/run/host/tsr-calls").read_text()
    assert re.findall(r"^dl (\S+) --json uid=(\d+)", notes, re.MULTILINE) == [
        ("257749@290640", user),
        ("hf:org/lora", user),
    ]
    assert (
        "\nPONY_MODEL=/models/checkpoints/257749@290640.safetensors\n" in host.path("/etc/tsr/compose.env").read_text()
    )
    forget_calls(host)
    before = tree(host)
    deployed(host, *arguments)
    assert tree(host) == before
    assert not host.path("/run/host/tsr-calls").exists()


def test_what_the_owner_has_set_stays(host: SecondHost, usual: tuple[str, ...]) -> None:
    deployed(host, *usual)
    changed = {}
    for name, line in (("compose.env", "SD_MEMORY=9g"), ("config.toml", "# mine"), ("tsr.env", "TSR_MODEL=mine")):
        file = host.path(f"/etc/tsr/{name}")
        changed[name] = file.read_text() + f"{line}\n"
        file.write_text(changed[name])
    pid = service_pid(host)
    done = deployed(host, *usual, "--set", "SD_MEMORY=1g", "--port", "9999", "--bind", "127.0.0.1")
    assert {name: host.path(f"/etc/tsr/{name}").read_text() for name in changed} == changed
    for kept in ("compose.env keeps SD_MEMORY=9g", "tsr.env keeps TSR_HOST=0.0.0.0", "tsr.env keeps TSR_PORT=8080"):
        assert kept in done.stderr
    # It was started with other settings than it would be now.
    assert service_pid(host) != pid
    assert "TSR_MODEL=mine" in host.path(f"/proc/{service_pid(host)}/environ").read_text().split("\0")


def test_a_server_for_its_own_machine_has_no_key(host: SecondHost, usual: tuple[str, ...]) -> None:
    done = deployed(host, *usual, "--bind", "127.0.0.1", "--port", "8099", "--name", "box")
    assert "TSR_API_KEYS" not in environment(host)
    assert f"ssh -N -L 8099:127.0.0.1:8099 {NAME}" in done.stdout
    assert tomllib.loads(done.stdout)["remotes"] == {"box": "http://127.0.0.1:8099"}


def test_images_come_from_a_registry(host: SecondHost, usual: tuple[str, ...]) -> None:
    arguments = (*usual, "--registry", "registry.example/")
    deployed(host, *arguments)
    made = [call.strip() for call in calls(host) if call.startswith(("pull", "tag", "build"))]
    assert made == [
        "pull --quiet registry.example/sd-server:pony",
        "tag registry.example/sd-server:pony sd-server:pony",
        f"tag sd-server:pony sd-server:pony-{current(host)}",
    ]
    first = current(host)
    deployed(host, *arguments)
    assert current(host) == first
    # A name in a registry can mean another image tomorrow.
    deployed(host, *arguments, "--update")
    assert current(host) != first


# Updates


def test_update_rollback_and_update_again(host: SecondHost, usual: tuple[str, ...], wheel: Path) -> None:
    deployed(host, *usual)
    first, first_image = current(host), host.path("/run/host/docker/images/sd-server:pony").read_text()
    key = environment(host)["TSR_API_KEYS"]
    wheel.write_text("the second")
    engine = wheel.parent / "sd-server"
    engine.write_text("an engine")
    told = deployed(host, *usual, "--engine", engine)
    assert current(host) == first
    assert f"Release {first} is there, and what would be made now is another: --update replaces it." in told.stderr
    # Stamps count seconds.
    host.run("sh", "-c", f"while [ $(date -u +%Y%m%d-%H%M%S) = {first[:15]} ]; do sleep 0.1; done")
    deployed(host, *usual, "--engine", engine, "--update")
    second = current(host)
    assert second > first
    assert host.path(f"/opt/tsr/releases/{second}/engine/sd-server").read_text() == "an engine"
    host.path("/run/host/docker/images/sd-server:pony").write_text("the image of the second")
    host.path(f"/run/host/docker/images/sd-server:pony-{second}").write_text("the image of the second")
    back = deployed(host, "--rollback")
    assert current(host) == first
    assert host.path("/run/host/docker/images/sd-server:pony").read_text() == first_image
    assert f"Release {first} is there, and runs." in back.stderr
    assert answers(host)
    none = host.deploy("--rollback")
    assert none.returncode == 1
    assert f"there is no release before {first} to go back to" in none.stderr
    # It is there already, images too.
    forget_calls(host)
    deployed(host, *usual, "--engine", engine, "--update")
    assert current(host) == second
    assert [call for call in calls(host) if call.startswith(("build", "pip"))] == []
    assert environment(host)["TSR_API_KEYS"] == key


def test_old_releases_go_only_when_that_is_asked_for(host: SecondHost, usual: tuple[str, ...], wheel: Path) -> None:
    deployed(host, *usual)
    first = current(host)
    host.run("sh", "-c", f"while [ $(date -u +%Y%m%d-%H%M%S) = {first[:15]} ]; do sleep 0.1; done")
    host.write("/opt/tsr/releases/mine/notes", "of the owner's")
    host.write("/opt/tsr/releases/0-mine/.complete", "")
    host.write("/srv/tsr/output/picture.png", "x")
    wheel.write_text("the second")
    deployed(host, *usual, "--update")
    assert host.path(f"/opt/tsr/releases/{first}").exists()
    deployed(host, *usual, "--keep", "1")
    left = {path.name for path in host.path("/opt/tsr/releases").iterdir()}
    assert left == {current(host), "mine", "0-mine"}
    assert not host.path(f"/run/host/docker/images/sd-server:pony-{first}").exists()
    assert host.path("/srv/tsr/output/picture.png").exists()


# Going wrong


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, tuple[object, ...]], list[str]]:
    """What a run leaves that nothing interrupts, and its steps."""
    root = tmp_path_factory.mktemp("whole")
    (root / "tensors-1-py3-none-any.whl").write_text("the first")
    with second_host(root / "host") as host:
        host.write(MODEL, "a model")
        deployed(host, *INTERRUPTED, "--tsr", root / "tensors-1-py3-none-any.whl")
        return outcome(host), steps(host)


INTERRUPTED = ("--backend", "cpu", "--families", "pony", "--set", "PONY_MODEL=/models/checkpoints/pony.safetensors")
POINTS = {
    "the user is made": "useradd",
    "the release is copied": "tar ",
    "pip installs": "python -m pip",
    "the release is called complete": "touch ",
    "images are built": "docker build",
    "the release becomes the current one": "mv -T",
    "a container is started": "docker compose up --detach",
    "it is noted what the server was started with": "mv -f /opt/tsr/started",
}


def step_of(whole_steps: list[str], program: str) -> int:
    """The number of the first step with this program."""
    return next(number for number, line in enumerate(whole_steps, 1) if line.partition(" ")[2].startswith(program))


@pytest.mark.parametrize("point", POINTS)
def test_after_a_power_cut_the_same_command_goes_on(
    host: SecondHost, usual: tuple[str, ...], whole: tuple[dict[str, tuple[object, ...]], list[str]], point: str
) -> None:
    host.write("/run/host/cut-at", str(step_of(whole[1], POINTS[point])))
    cut = host.deploy(*usual)
    assert cut.returncode == 1
    assert f"To go on, when that is mended:\n  {FOLDER / 'deploy.sh'} --backend cpu " in cut.stderr
    host.path("/run/host/cut-at").unlink()
    deployed(host, *usual)
    assert outcome(host) == whole[0]
    assert answers(host)


@pytest.mark.parametrize("point", ["pip installs", "images are built", "the release becomes the current one"])
def test_after_kill_9_of_deploy_the_same_command_goes_on(
    host: SecondHost, usual: tuple[str, ...], whole: tuple[dict[str, tuple[object, ...]], list[str]], point: str
) -> None:
    host.write("/run/host/stop-at", str(step_of(whole[1], POINTS[point])))
    command, variables = host.command(*usual, NAME)
    # Not below `tmp_path`: a socket's name has to be short.
    left_over = tempfile.mkdtemp(prefix="tsr-")
    with subprocess.Popen(
        command, env={**variables, "TMPDIR": left_over}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 30
        while not host.path("/run/host/stopped").exists():
            assert process.poll() is None, process.stderr
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    shutil.rmtree(left_over)
    # What goes on there by itself is in nobody's way.
    host.path("/run/host/stop-at").unlink()
    deployed(host, *usual)
    assert outcome(host) == whole[0]


def test_everything_that_is_missing_is_said_at_once(host: SecondHost, wheel: Path) -> None:
    programs = ("docker", "python3.11", "python3.12", "python3.13", "python3.14")
    host.run("rm", "-f", *(f"{folder}/{name}" for folder in ("/usr/bin", "/usr/local/bin") for name in programs))
    host.path("/run/systemd/system").rmdir()
    host.run("mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", "/opt")
    host.write("/run/host/no-venv", "")
    before = tree(host)
    done = host.deploy("--tsr", wheel)
    assert done.returncode == 1
    assert tree(host) == before
    assert f"{NAME} is not ready, and nothing was changed there." in done.stderr
    for problem, mends in [
        ("Docker is not installed", "sudo apt-get install docker.io"),
        ("systemd does not run there", "docs/deploy.md"),
        ("there is no Python 3.11 or newer with venv", "sudo apt-get install python3 python3-venv"),
        ("there is no /dev/kfd", "--backend cpu"),
        ("there is no /dev/dri/renderD*", "lspci"),
        ("/opt/tsr has 100 MB free, and a release of tsr takes up to 1000 MB", "df -h /opt/tsr"),
        ("sd-pony has no PONY_MODEL", "--models pony=TARGET"),
        ("sd-flux has no FLUX_MODEL FLUX_VAE=/models/vae/ae.safetensors", "flux=FILE in /srv/tsr/models"),
    ]:
        said = re.search(rf"^  {re.escape(problem)}.*\n    (.+)$", done.stderr, re.MULTILINE)
        assert said, f"{problem}:\n{done.stderr}"
        assert mends in said.group(1)
    assert done.stderr.splitlines()[-2] == "To go on, when that is mended:"


def test_containers_are_in_the_groups_of_the_card(host: SecondHost, wheel: Path) -> None:
    host.run("mkdir", "-p", "/run/host/dev/upper", "/run/host/dev/work")
    layers = "lowerdir=/dev,upperdir=/run/host/dev/upper,workdir=/run/host/dev/work"
    host.run("mount", "-t", "overlay", "-o", layers, "overlay", "/dev")
    host.run("groupadd", "--gid", "4242", "render")
    host.run("mkdir", "/dev/dri")
    host.run("/usr/bin/touch", "/dev/kfd", "/dev/dri/renderD128")
    host.run("chgrp", "4243", "/dev/kfd", "/dev/dri/renderD128")
    host.write(MODEL, "a model")
    arguments = ("--families", "pony", "--models", "pony=checkpoints/pony.safetensors", "--tsr", wheel)
    done = host.deploy(*arguments)
    assert done.returncode == 1
    for node in ("/dev/kfd", "/dev/dri/renderD128"):
        assert (
            f"  {node} belongs to group 4243, and containers are in 44 and 4242\n    deploy.sh --set RENDER_GID=4243"
            in done.stderr
        )
    host.run("chgrp", "render", "/dev/kfd", "/dev/dri/renderD128")
    deployed(host, *arguments)
    settings = host.path("/etc/tsr/compose.env").read_text().splitlines()
    assert {"RENDER_GID=4242", "COMPOSE_FILE=docker-compose.yml"} <= set(settings)
    drop_in = host.path("/etc/systemd/system/tsr-server.service.d/50-host.conf").read_text()
    assert "SupplementaryGroups=docker render video\n" in drop_in
    assert any("BASE_IMAGE=rocm/" in call for call in calls(host))


@pytest.mark.parametrize(
    ("said_by_docker", "problem", "mends"),
    [
        (
            "Cannot connect to the Docker daemon",
            "Docker's daemon does not answer: Cannot",
            "systemctl enable --now docker",
        ),
        ("permission denied while trying to connect", "user root may not use Docker", "sudo usermod -aG docker root"),
    ],
)
def test_a_docker_that_does_not_answer(
    host: SecondHost, usual: tuple[str, ...], said_by_docker: str, problem: str, mends: str
) -> None:
    host.write("/run/host/docker-down", said_by_docker)
    done = host.deploy(*usual)
    assert done.returncode == 1
    assert re.search(rf"  {problem}.*\n    .*{mends}", done.stderr)


def test_a_port_that_is_somebody_else_s(host: SecondHost, usual: tuple[str, ...]) -> None:
    listen = (
        "import socket, sys\n"
        "listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
    )
    taken = []
    for port in ("8080", "1234"):
        command = [*host.outside, "/usr/bin/env", "python3", "-c", listen, port]
        taken.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    for process in taken:
        assert process.stdout
        process.stdout.readline()
    done = host.deploy(*usual)
    for process in taken:
        process.communicate()
    assert done.returncode == 1
    assert "something else listens on port 8080\n" in done.stderr
    assert "something else listens on port 1234, which is for sd-pony\n" in done.stderr
    deployed(host, *usual)
    # Now they are its own.
    deployed(host, *usual)


def test_a_disk_that_fills_up_leaves_no_half_release(host: SecondHost, usual: tuple[str, ...]) -> None:
    # Room for megabytes, but for few files: no check sees that coming.
    host.run("mount", "-t", "tmpfs", "-o", "size=2g,nr_inodes=16", "tmpfs", "/opt")
    done = host.deploy(*usual)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Done so far:\n  make the user tsr\n" in done.stderr
    assert not host.path("/opt/tsr/current").exists()
    assert not answers(host)
    host.run("mount", "-o", "remount,nr_inodes=0", "/opt")
    again = deployed(host, *usual)
    assert "remove a release that was not finished" in again.stderr
    assert len(list(host.path("/opt/tsr/releases").iterdir())) == 1


def test_a_container_that_does_not_come_up_is_told_with_its_last_words(
    host: SecondHost, usual: tuple[str, ...]
) -> None:
    host.write("/run/host/unhealthy", "")
    forget_calls(host)
    done = host.deploy(*usual)
    assert done.returncode == 1
    assert "    its last words\ndeploy.sh: sd-pony is not healthy (exited" in done.stderr
    host.path("/run/host/unhealthy").unlink()
    deployed(host, *usual)


def test_a_user_with_sudo_will_do_and_one_without_is_told(host: SecondHost, usual: tuple[str, ...]) -> None:
    done = host.deploy(*usual, user="visitor")
    assert done.returncode == 1
    assert "  user visitor may not become root: sudo wants a password\n" in done.stderr
    assert "visitor ALL=(ALL) NOPASSWD: ALL" in done.stderr
    host.write("/etc/sudoers.d/visitor", "visitor ALL=(ALL) NOPASSWD: ALL\n")
    host.path("/etc/sudoers.d/visitor").chmod(0o440)
    deployed(host, *usual, user="visitor")
    assert host.path("/opt/tsr/current").lstat().st_uid == 0
    assert answers(host)


def test_a_host_that_does_not_let_us_in(host: SecondHost, usual: tuple[str, ...], tmp_path: Path) -> None:
    (host.root / "ssh_root").write_text((host.root / "ssh_root").read_text().replace("client_key", "host_key"))
    done = host.deploy(*usual)
    assert done.returncode == 1
    assert f"cannot reach {NAME} without a password" in done.stderr
    assert "Permission denied" in done.stderr
    assert f"ssh-copy-id {NAME}" in done.stderr


# Options


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "on which HOST?"),
        (("a", "b"), "one HOST at a time: a and b"),
        (("--bakend", "cpu", "a"), "unknown option --bakend"),
        (("--backend", "opencl", "a"), "unknown backend 'opencl': rocm, vulkan, cuda or cpu"),
        (("--families", "pony,ponny", "a"), "no service for the family 'ponny'; there are: pony "),
        (("--engine-url", "https://example.org/x.zip", "a"), "--engine-url needs --engine-sha256"),
        (("--engine", "/nowhere", "a"), "--engine /nowhere is no sd-server"),
        (("--registry", "r", "--engine-url", "u", "a"), "give one of --engine, --engine-url and --registry"),
        (("--set", "sd_args=x", "a"), "--set takes NAME=VALUE"),
        (("--port", "http", "a"), "--port takes a number"),
        (("--keep", "0", "a"), "--keep takes a number from 1 on"),
        (("--prefix", "opt tsr", "a"), "--prefix takes an absolute path"),
        (("--update", "--rollback", "a"), "--update or --rollback, not both"),
        (("--tsr", "latest", "a"), "--tsr takes a version or a wheel"),
        (("--backend",), "--backend wants a value"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_done(arguments: tuple[str, ...], said: str) -> None:
    done = run(FOLDER / "deploy.sh", *arguments, TSR_SSH="false")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"deploy.sh: {said}")


def test_help_and_the_docs_tell_every_option() -> None:
    text = (FOLDER / "deploy.sh").read_text()
    options = set(re.findall(r"^      (--[a-z0-9-]+)\)", text, re.MULTILINE)) - {"--"}
    assert len(options) > 15
    told = run(FOLDER / "deploy.sh", "--help")
    assert told.returncode == 0
    docs = (ROOT / "docs" / "deploy.md").read_text()
    for option in options:
        assert option in told.stdout
        assert f"`{option}" in docs, option


def test_shellcheck_finds_nothing_in_the_stand_ins() -> None:
    folder = ROOT / "tests" / "second_host"
    scripts = [path for path in (*folder.glob("programs/*"), folder / "start.sh") if "bash" in path.read_text()[:30]]
    assert len(scripts) > 5
    done = run(Path(sysconfig.get_path("scripts")) / "shellcheck", "--exclude=SC1091", *scripts)
    assert (done.returncode, done.stdout) == (0, "")
