"""`tsr doctor` on ports, disks, folders, databases, CivitAI and the clock."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_civitai import FakeCivitai, answering, failing, hang_up, page, silent

from tensors.db.database import Database
from tensors.doctoring import clock, databases, disk, folders, ports, sites
from tensors.doctoring.folders import Wanted
from tensors.doctoring.machine import Machine
from tensors.types.doctor import Finding

GB = 10**9
NOBODY = "http://127.0.0.1:1"
"""Where nothing listens."""


def told(findings: Iterable[Finding]) -> list[tuple[str, str | None]]:
    """State and command of each finding."""
    return [(finding.state, finding.command) for finding in findings]


# Ports


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_free_port_and_the_servers_own() -> None:
    assert ports.look_at_server("127.0.0.1", free_port(), None).state == "ok"
    assert ports.look_at_server("127.0.0.1", 0, None).state == "skipped"
    assert list(ports.look_at_loopback()) == []


def test_a_port_that_another_program_has_and_one_that_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        found = ports.look_at_server("127.0.0.1", port, None)
        assert found.state == "error"
        assert found.command
        *words, other = found.command.split()
        assert words == ["tsr", "config", "set", "server.port"]
        assert port < int(other) < port + 20
        socket.create_server(("127.0.0.1", int(other))).close()
        assert ports.look_at_server("127.0.0.1", port, f"http://127.0.0.1:{port}").state == "ok"


def test_an_address_of_another_machine() -> None:
    found = ports.look_at_server("192.0.2.7", 8080, None)
    assert (found.state, found.command) == ("error", "tsr config unset server.host")


@pytest.mark.parametrize(
    ("host", "has_keys", "refused"),
    [
        ("127.0.0.1", False, False),
        ("::1", False, False),
        ("localhost", False, False),
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("junkpile", False, True),
        ("0.0.0.0", True, False),
    ],
)
def test_serving_everybody_needs_a_key(host: str, has_keys: bool, refused: bool) -> None:
    assert [finding.state for finding in ports.look_at_bind(host, has_keys)] == ["error"] * refused


# Disks

Room = namedtuple("Room", "total free")


@pytest.mark.parametrize(
    ("free", "state"),
    [
        (disk.LITTLE, "ok"),
        (disk.LITTLE - 1, "warning"),
        (disk.NEXT_TO_NOTHING, "warning"),
        (disk.NEXT_TO_NOTHING - 1, "error"),
        (0, "error"),
    ],
)
def test_free_space_is_judged(free: int, state: str, tmp_path: Path) -> None:
    (found,) = disk.look([("data", tmp_path)], lambda _path: Room(1000 * GB, free))
    assert found.state == state
    assert (found.command or "").startswith("" if state == "ok" else f"du -xhd2 {tmp_path} ")
    assert f"{free / 1e9:.1f} GB of 1000.0 GB" in found.message


def test_each_file_system_is_told_once_also_of_folders_that_are_not_there(tmp_path: Path) -> None:
    asked = []

    (tmp_path / "m").mkdir()

    def usage(path: Path) -> Room:
        asked.append(path)
        return Room(100 * GB, 50 * GB)

    places = [
        ("data", tmp_path / "not" / "there"),
        ("models", tmp_path),
        ("models", tmp_path / "m"),
        ("system", Path("/proc")),
    ]
    here, proc = disk.look(places, usage)
    assert "for data, models (" in here.message
    assert "for system (" in proc.message
    assert asked == [tmp_path, Path("/proc")]


# Folders


def may_not(*forbidden: tuple[Path, int]) -> Machine:
    """A machine whose user, ann, may do all but this."""
    return Machine(Path("/nowhere"), {}, lambda path, mode: (path, mode) not in forbidden, "ann")


def test_folders_that_are_fine_are_told_in_one_line(tmp_path: Path) -> None:
    wanted = [Wanted(tmp_path, "models"), Wanted(tmp_path / "later", "gallery", optional=True, written=True)]
    (found,) = folders.look(wanted, may_not())
    assert found.state == "ok"
    assert "models, gallery" in found.message


READ, WRITE = os.R_OK | os.X_OK, os.W_OK | os.X_OK


@pytest.mark.parametrize(
    ("forbidden", "right"), [((READ,), "rx"), ((WRITE,), "rwx"), ((READ, WRITE), "rx")], ids=["look", "write", "both"]
)
def test_what_may_not_be_done_in_a_folder(forbidden: tuple[int, ...], right: str, tmp_path: Path) -> None:
    machine = may_not(*((tmp_path, mode) for mode in forbidden))
    (found,) = folders.look([Wanted(tmp_path, "models", written=True)], machine)
    assert (found.state, found.command) == ("error", f"sudo setfacl -m u:ann:{right} {tmp_path}")


def test_a_folder_that_is_only_read_need_not_be_written(tmp_path: Path) -> None:
    assert told(folders.look([Wanted(tmp_path, "models")], may_not((tmp_path, WRITE)))) == [("ok", None)]


def test_where_a_folder_cannot_be_made(tmp_path: Path) -> None:
    wanted = Wanted(tmp_path / "a" / "b", "gallery", optional=True, written=True)
    (found,) = folders.look([wanted, wanted], may_not((tmp_path, WRITE)))
    assert found.command == f"sudo setfacl -m u:ann:rwx {tmp_path}"


def test_a_missing_folder_and_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = list(folders.look([Wanted(tmp_path / "a b", "models"), Wanted(tmp_path / "file", "models")], may_not()))
    assert told(found) == [("error", f"mkdir -p '{tmp_path / 'a b'}'"), ("error", f"ls -l {tmp_path / 'file'}")]


def test_what_is_told_is_text_whatever_files_are_called(tmp_path: Path) -> None:
    (found,) = folders.look([Wanted(tmp_path / os.fsdecode(b"caf\xe9"), "models")], may_not())
    assert "caf\\udce9" in found.message
    assert msgspec.json.decode(msgspec.json.encode(found), type=Finding) == found


@pytest.mark.parametrize("mounted", [True, False])
def test_a_folder_on_a_disk_that_is_not_mounted(mounted: bool, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "proc").mkdir()
    fstab = "#/dev/x /gone/models/loras ext4\nUUID=1 / ext4\n/dev/sdb1 /gone/models ext4 defaults 0 2\nnone none\n\n"
    (tmp_path / "etc/fstab").write_text(fstab)
    (tmp_path / "proc/mounts").write_text("/dev/sda1 / ext4 rw\n" + "/dev/sdb1 /gone/models ext4 rw\n" * mounted)
    (found,) = folders.look([Wanted(Path("/gone/models/loras"), "models")], Machine(tmp_path))
    assert found.command == ("mkdir -p /gone/models/loras" if mounted else "sudo mount /gone/models")


def test_a_folder_mounted_for_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result((*there[:8], there[8] | os.ST_RDONLY, there[9])))
    (found,) = folders.look([Wanted(tmp_path, "models", written=True)], may_not((tmp_path, WRITE)))
    assert found.command is not None
    place = found.command.removeprefix("sudo mount -o remount,rw ")
    assert os.path.ismount(place)
    assert tmp_path.is_relative_to(place)


@pytest.mark.parametrize(
    ("mode", "secrets", "state"),
    [(0o600, ["api_key"], "ok"), (0o640, ["api_key"], "warning"), (0o604, ["api_key"], "warning"), (0o644, [], "ok")],
)
def test_a_file_with_keys_is_its_owners(mode: int, secrets: list[str], state: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.touch()
    file.chmod(mode)
    (found,) = folders.look_at_secrets(file, secrets)
    assert (found.state, found.command) == (state, None if state == "ok" else f"chmod 600 {file}")


# Databases


def look_at_databases(folder: Path) -> list[Finding]:
    return list(databases.look(databases.kept_in(folder, folder / "gallery.db")))


def test_databases_are_whole_or_not_there_yet(tmp_path: Path) -> None:
    assert told(look_at_databases(tmp_path)) == [("skipped", None)]
    assert not list(tmp_path.iterdir())
    Database(tmp_path / "models.db").close()
    assert told(look_at_databases(tmp_path)) == [("ok", None)]


def damage(path: Path) -> None:
    """Spoil a table's pages, and leave the header as it is."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TABLE t AS WITH n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 9999) SELECT i FROM n"
        )
        connection.commit()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 40_000)


def of_another(path: Path, pragma: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA {pragma}").close()
        connection.execute("CREATE TABLE t(x)")
        connection.commit()


@pytest.mark.parametrize(
    ("name", "spoil", "command"),
    [
        ("models.db", damage, "tsr db check"),
        ("gallery.db", damage, "tsr images reindex"),
        ("jobs.db", lambda path: path.write_bytes(b"no database at all" * 99), "mv {path} {path}.damaged"),
        ("models.db", lambda path: path.mkdir(), "tsr db check"),
        ("models.db", lambda path: of_another(path, "application_id = 7"), "tsr db check"),
        ("models.db", lambda path: of_another(path, "user_version = 99"), "pipx upgrade tensors"),
    ],
    ids=["damaged library", "damaged index", "no database", "folder", "another program's", "newer"],
)
def test_what_is_wrong_with_a_database(name: str, spoil: Callable[[Path], None], command: str, tmp_path: Path) -> None:
    path = tmp_path / name
    spoil(path)
    before = path.read_bytes() if path.is_file() else b""
    (found,) = look_at_databases(tmp_path)
    assert (found.state, found.command) == ("error", command.format(path=path)), found.message
    assert str(path) in found.message
    assert not path.is_file() or path.read_bytes() == before


# CivitAI and the clock

ME = answering(200, b'{"id": 1, "username": "ann"}')
SET_KEY = "tsr config set api.civitai_key KEY"


def asked(civitai: FakeCivitai, key: str | None = None) -> dict[str, Finding]:
    """What is found, by check; there is one of each."""
    found = sites.look(civitai.url, key)
    assert [finding.check for finding in found] == ["civitai", "civitai.key", "clock"]
    return {finding.check: finding for finding in found}


def test_without_a_key_the_site_answers_and_downloads_need_one(civitai: FakeCivitai) -> None:
    found = asked(civitai)
    assert [finding.state for finding in found.values()] == ["ok", "warning", "ok"]
    assert found["civitai.key"].command == SET_KEY
    assert civitai.asked() == 1


def test_a_key_is_that_of_somebody(civitai: FakeCivitai) -> None:
    civitai.order(ME)
    found = asked(civitai, " secret ")
    assert found["civitai.key"].message == "the key is that of ann"
    assert [request.path for request in civitai.requests] == ["/api/v1/me"]
    assert civitai.requests[0].headers["authorization"] == "Bearer secret"


def test_a_key_that_is_not_taken(civitai: FakeCivitai) -> None:
    civitai.keys = {"other"}
    found = asked(civitai, "secret")
    assert (found["civitai"].state, found["civitai.key"].state) == ("ok", "error")
    assert found["civitai.key"].command == SET_KEY
    assert civitai.asked() == 1


@pytest.mark.parametrize(
    ("fault", "states"),
    [
        (failing(503), ["warning", "skipped", "ok"]),
        (failing(429, retry_after="3600"), ["warning", "skipped", "ok"]),
        (page(), ["warning", "skipped", "ok"]),
        (page(404), ["warning", "skipped", "ok"]),
        (failing(404), ["ok", "skipped", "ok"]),
        (answering(200, b'{"id": 1}'), ["ok", "skipped", "ok"]),
        (answering(200, b"[[["), ["ok", "skipped", "ok"]),
        (hang_up, ["warning", "skipped", "skipped"]),
        (silent, ["warning", "skipped", "skipped"]),
        (answering(200, b" " * 3_000_000), ["warning", "skipped", "skipped"]),
    ],
    ids=["503", "429", "page", "404 page", "404", "no name", "no JSON", "hangs up", "silent", "endless"],
)
def test_a_site_that_is_out_of_order_is_asked_once(
    civitai: FakeCivitai, fault: Any, states: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sites, "SILENCE", 0.5)
    civitai.order(fault)
    assert [finding.state for finding in asked(civitai, "secret").values()] == states
    assert civitai.asked() == 1


def test_a_site_that_is_not_there_and_settings_that_are_none() -> None:
    assert [finding.state for finding in sites.look(NOBODY, None)] == ["warning", "skipped", "skipped"]
    assert told(sites.look("civitai", None)) == [("error", "tsr config unset api.civitai_url")]
    assert told(sites.look(NOBODY, "two words")) == [("error", SET_KEY)]


def test_a_proxy_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "gopher://somewhere")
    (found,) = sites.look("http://civitai.test", None)
    assert (found.state, found.command) == ("error", None)
    assert "HTTP_PROXY" in found.message


def test_the_proxy_of_the_environment_is_used(civitai: FakeCivitai, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", civitai.url)
    found = sites.look("http://civitai.test", None)
    assert found[0].message == "civitai.test answers"
    assert civitai.requests[0].headers["host"] == "civitai.test"


NOW = datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"date": "Mon, 23 Nov 2026 08:00:00 GMT"}, 0),
        ({"date": "Mon, 23 Nov 2026 07:50:00 GMT"}, 600),
        ({"date": "Mon, 23 Nov 2026 08:01:00 -0000"}, -60),
        ({"date": "Mon, 23 Nov 2026 07:50:00 GMT", "age": "590"}, 10),
        ({"date": "Mon, 23 Nov 2026 07:50:00 GMT", "age": "old"}, 600),
        ({"date": "yesterday"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_how_far_the_clock_is_ahead(headers: dict[str, str], seconds: float | None) -> None:
    assert clock.ahead(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("seconds", "state", "said"),
    [
        (0, "ok", "within 1 s"),
        (-300, "ok", "within 300 s"),
        (301, "error", "5 min ahead of"),
        (-301, "error", "5 min behind"),
        (86_400 * 365, "error", "8,760 h ahead of"),
        (None, "skipped", "does not say"),
    ],
)
def test_a_clock_is_judged(seconds: float | None, state: str, said: str) -> None:
    found = clock.judge(seconds, "civitai.com")
    assert (found.state, found.command) == (state, "sudo timedatectl set-ntp true" if state == "error" else None)
    assert said in found.message


def test_the_clock_of_a_site_is_compared(civitai: FakeCivitai, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Slow:
            return cls.fromtimestamp(datetime.now(tz).timestamp() - 3600, tz)

    monkeypatch.setattr(sites, "datetime", Slow)
    found = asked(civitai)["clock"]
    assert found.state == "error"
    assert "60 min behind 127.0.0.1's" in found.message
