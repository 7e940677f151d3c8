"""`rocm-docker/tsr-server.service` before systemd's own checks, which need no running systemd."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from shell import FOLDER, run

UNIT = FOLDER / "tsr-server.service"
PROGRAM = "/opt/tsr/current/venv/bin/tsr"


def verified(folder: Path, text: str) -> str:
    """What systemd has to say of a unit; its program is one that is there, because it looks for that too."""
    file = folder / "tsr-server.service"
    file.write_text(text.replace(PROGRAM, "/bin/true"))
    done = run("systemd-analyze", "verify", "--man=no", file)
    return done.stdout + done.stderr


def exposure(file: Path) -> float:
    """systemd's score of how much a unit may do: 0 is nothing, 10 is everything."""
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", file)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stderr
    return float(found.group(1))


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_systemd_verifies_it_without_a_word(tmp_path: Path) -> None:
    assert verified(tmp_path, UNIT.read_text()) == ""


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [("Restart=", "Restrat=", "Unknown key"), ("Type=exec", "Type=exce", "Failed to parse service type")],
)
def test_systemd_finds_something(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    assert said in verified(tmp_path, UNIT.read_text().replace(f"\n{right}", f"\n{wrong}"))


def test_it_may_do_little(tmp_path: Path) -> None:
    assert exposure(UNIT) < 3.0
    open_one = tmp_path / "tsr-server.service"
    open_one.write_text(UNIT.read_text().replace("CapabilityBoundingSet=\n", "").replace("ProtectSystem=strict\n", ""))
    assert exposure(open_one) > exposure(UNIT) + 1


def test_it_has_a_user_of_its_own_and_its_keys_in_a_file() -> None:
    found = settings()
    assert (found["User"], found["Group"]) == (["tsr"], ["tsr"])
    assert found["SupplementaryGroups"] == ["docker render video"]
    assert found["EnvironmentFile"] == ["-/etc/tsr/tsr.env"]
    assert found["StateDirectory"] == ["tsr"]
    assert "KEY" not in " ".join(found["Environment"])


def test_it_comes_after_docker_and_the_network_and_is_not_started_for_ever() -> None:
    found = settings()
    assert found["After"] == found["Wants"] == ["network-online.target docker.service"]
    assert found["Restart"] == ["on-failure"]
    assert {"StartLimitIntervalSec", "StartLimitBurst"} <= set(found)
    assert found["WantedBy"] == ["multi-user.target"]
