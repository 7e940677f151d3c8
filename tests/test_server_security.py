"""Who may talk to the server: names, web pages, API keys, and where it binds."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from commands import Commands
from conftest import FAKE_ENGINE, Tsr
from serving import RED_ON_BLUE, SMALL, Api, serving

from tensors.client import TsrClient
from tensors.config import load_config
from tensors.errors import ConfigError, Unauthorized
from tensors.server.run import check_bind

KEYS = ("key-of-the-laptop-7f3a", "Schlüssel-des-Telefons-91cc")
SECRET_PATHS = ("/api/status", "/api/version", "/api/jobs", "/api/images", "/api/images/x", "/nothing")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keyed")


@pytest.fixture(scope="module")
def keyed(root: Path) -> Iterator[Api]:
    """A server with two keys, one named host besides its own, and its log in a file."""
    settings = {"api_keys": list(KEYS), "allowed_hosts": ["gallery.example"]}
    (root / "config.toml").write_text("[server]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in settings.items()))
    ours = os.dup(2)
    with (root / "server.log").open("wb") as log:
        os.dup2(log.fileno(), 2)
    try:
        with serving(root) as api:
            os.dup2(ours, 2)
            yield api
    finally:
        os.dup2(ours, 2)
        os.close(ours)


@pytest.fixture(scope="module")
def page(keyed: Api) -> Iterator[httpx.Client]:
    """Somebody with a right key."""
    with httpx.Client(base_url=keyed.server.url, headers={"X-API-Key": KEYS[0]}, trust_env=False) as http:
        yield http


def refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == code
    return error


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example@127.0.0.1.evil.example",
        "",
        "[",
        "[::1",
        "xn--locahost-c6a",
    ],
)
def test_a_foreign_host_name_is_refused(page: httpx.Client, host: str) -> None:
    """A name that somebody's DNS turned into this machine's address (rebinding)."""
    error = refused(page.get("/api/health", headers={"Host": host}), 403, "forbidden")
    assert error["message"].startswith("this server does not answer to the name")
    assert "server.allowed_hosts" in error["hint"]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:9", "[::1]:8080", "192.168.1.7", socket.gethostname()]
)
def test_its_own_names_and_bare_addresses_are_answered(page: httpx.Client, host: str) -> None:
    assert page.get("/api/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://evil.example:8080",
        "null",
        "",
        "http://[",
        "file://",
        "http://127.0.0.1:1",
        "http://192.168.1.7",
        "http://localhost.evil.example",
    ],
)
def test_a_foreign_page_is_refused(page: httpx.Client, origin: str) -> None:
    before = page.get("/api/jobs").json()
    body = {"prompt": RED_ON_BLUE, **SMALL, "wait": False}
    for response in (
        page.get("/api/status", headers={"Origin": origin}),
        page.post("/api/generate", json=body, headers={"Origin": origin}),
    ):
        error = refused(response, 403, "forbidden")
        assert error["message"].startswith("requests from pages of")
        assert "access-control-allow-origin" not in response.headers
    assert page.get("/api/jobs").json() == before


def test_its_own_pages_are_answered(page: httpx.Client, keyed: Api) -> None:
    assert page.get("/api/status", headers={"Origin": keyed.server.url}).status_code == 200
    port = keyed.server.url.rpartition(":")[2]
    own = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}
    assert page.get("/api/status", headers=own).status_code == 200


def test_a_host_that_the_owner_listed_is_answered(keyed: Api) -> None:
    headers = {"Host": "gallery.example", "Origin": "https://Gallery.Example", "X-API-Key": KEYS[0]}
    assert keyed.http.get("/api/status", headers=headers).status_code == 200
    error = keyed.http.get("/api/status", headers={**headers, "Host": "evil.example"})
    refused(error, 403, "forbidden")


@pytest.mark.parametrize("path", SECRET_PATHS)
def test_without_a_key_nothing_is_told(keyed: Api, path: str) -> None:
    error = refused(keyed.http.get(path), 401, "unauthorized")
    assert error == {
        "code": "unauthorized",
        "message": "this server wants an API key",
        "hint": "tsr remote add NAME URL --api-key KEY",
    }


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {KEYS[0]}x"},
        {"Authorization": f"Bearer {KEYS[0][:-1]}"},
        {"Authorization": f"Bearer {','.join(KEYS)}"},
        {"Authorization": KEYS[0]},
        {"Authorization": f"Basic {KEYS[0]}"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong", "X-API-Key": KEYS[0]},
        {"X-API-Key": "wrong"},
        {"X-API-Key": KEYS[0].upper()},
        {"X-API-Key": ""},
        {"X-API-Key": "schlüssel"},
        {"Cookie": f"key={KEYS[0]}"},
    ],
    ids=str,
)
def test_a_wrong_key_is_refused(keyed: Api, headers: dict[str, str]) -> None:
    sent = {name: value.encode() for name, value in headers.items()}
    refused(keyed.http.get("/api/status", headers=sent), 401, "unauthorized")
    body = {"prompt": RED_ON_BLUE, **SMALL, "wait": False}
    refused(keyed.http.post("/api/generate", json=body, headers=sent), 401, "unauthorized")
    assert keyed.sent() == []


def test_a_key_in_the_url_is_none(keyed: Api) -> None:
    """URLs end up in logs and histories."""
    for name in ("key", "api_key", "token", "access_token", "x-api-key"):
        refused(keyed.http.get("/api/status", params={name: KEYS[0]}), 401, "unauthorized")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_a_right_key_is_let_in(keyed: Api, header: str, key: str) -> None:
    value = f"bearer  {key}" if header == "Authorization" else key
    for path in ("/api/status", "/api/version", "/api/jobs", "/api/images"):
        assert keyed.http.get(path, headers={header: value.encode()}).status_code == 200
    client = TsrClient(keyed.server.url, api_key=key)
    assert client.status().mode == "server"
    client.close()


def test_a_page_gives_the_key_once_and_has_a_cookie(keyed: Api) -> None:
    """For pictures on it, which a browser asks for without headers."""
    assert keyed.get("/api/session") == {"needed": True, "valid": False}
    refused(keyed.http.post("/api/session"), 401, "unauthorized")
    refused(keyed.http.post("/api/session", headers={"X-API-Key": "wrong"}), 401, "unauthorized")
    for key in KEYS:
        with httpx.Client(base_url=keyed.server.url, trust_env=False) as browser:
            opened = browser.post("/api/session", headers={"Authorization": f"Bearer {key}".encode()})
            assert opened.status_code == 204
            said = opened.headers["set-cookie"]
            assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(said.split("; "))
            assert key not in said
            for path in ("/api/status", "/api/images", "/api/session"):
                assert browser.get(path).status_code == 200
            assert browser.get("/api/session").json() == {"needed": True, "valid": True}
            # A cookie is sent by pages of others too, where a browser is old.
            refused(browser.get("/api/status", headers={"Origin": "https://evil.example"}), 403, "forbidden")
            assert browser.delete("/api/session").status_code == 204
            refused(browser.get("/api/status"), 401, "unauthorized")


@pytest.mark.parametrize("cookie", ["", "x", KEYS[0], "0" * 64, "ü"])
def test_a_wrong_cookie_is_refused(keyed: Api, cookie: str) -> None:
    sent = {"Cookie": f"tsr_session={cookie}".encode()}
    refused(keyed.http.get("/api/status", headers=sent), 401, "unauthorized")
    assert keyed.http.get("/api/session", headers=sent).json() == {"needed": True, "valid": False}


def test_the_page_itself_needs_no_key(keyed: Api) -> None:
    response = keyed.http.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert keyed.http.get("/favicon.svg").headers["content-type"] == "image/svg+xml"
    refused(keyed.http.get("/", headers={"Host": "evil.example"}), 403, "forbidden")
    for path in ("/assets/", "/assets/../index.html", "/assets/%2e%2e/index.html", "/index.html"):
        assert keyed.http.get(path, headers={"X-API-Key": KEYS[0]}).status_code == 404


def test_a_client_with_a_wrong_key_gets_the_error_itself(keyed: Api) -> None:
    client = TsrClient(keyed.server.url, api_key="wrong")
    with pytest.raises(Unauthorized, match="the API key is not valid"):
        client.status()
    client.close()


def test_health_needs_no_key(keyed: Api) -> None:
    assert keyed.get("/api/health") == {"status": "ok"}
    refused(keyed.http.get("/api/health", headers={"Host": "evil.example"}), 403, "forbidden")


def test_commands_on_the_same_machine_need_no_key(keyed: Api, tsr: Tsr) -> None:
    """They may read what the server left for them, which nobody else may."""
    here = {"TSR_DATA_DIR": str(keyed.server.data_dir)}
    assert json.loads(tsr("status", "--json", check=True, **here).stdout)["mode"] == "server"
    record = keyed.server.data_dir / "run" / "server.json"
    assert record.stat().st_mode & 0o077 == 0
    assert not any(key in record.read_text() for key in KEYS)


def test_keys_are_in_no_log_and_no_file(keyed: Api, root: Path) -> None:
    """Not when they are right, not when they are wrong, not when a request fails."""
    shown = ""
    keys = (*KEYS, "a-key-that-is-wrong")
    for key in keys:
        for headers in ({"Authorization": f"Bearer {key}".encode()}, {"X-API-Key": key.encode()}):
            for path in (*SECRET_PATHS, f"/api/jobs?limit={key[:3]}", "/api/jobs?cursor=1.1"):
                shown += keyed.http.get(path, headers=headers).text
            shown += keyed.http.post("/api/generate", json={"prompt": "", "x": 1}, headers=headers).text
            shown += keyed.http.post("/api/generate", json={"prompt": RED_ON_BLUE, **SMALL}, headers=headers).text
    written = {file: file.read_bytes() for file in root.rglob("*") if file.is_file() and file.name != "config.toml"}
    assert root / "server.log" in written
    assert sum(file.suffix == ".png" for file in written) == 4
    for key in keys:
        assert key not in shown
        assert [file for file, data in written.items() if key.encode() in data] == []


def test_a_public_address_without_a_key_is_refused(tsr: Tsr, capsys: pytest.CaptureFixture[str]) -> None:
    done = tsr("serve", "--host", "0.0.0.0", "--port", "0", TSR_ENGINE=str(FAKE_ENGINE))
    assert (done.returncode, done.stdout) == (2, "")
    assert "anybody who reaches 0.0.0.0 could use this machine: serving it needs an API key" in done.stderr
    (hint,) = (line for line in done.stderr.splitlines() if line.startswith("hint:"))
    assert "tsr config set server.api_keys " in hint
    assert len(hint.rpartition(" ")[2]) >= 32
    # The command that the refusal names opens the way.
    Commands(capsys)(*hint.split()[2:], check=True)
    check_bind(load_config().with_values(server__host="0.0.0.0"))
    assert load_config()["server.api_keys"] == (hint.rpartition(" ")[2],)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "junkpile", "localhost.evil.example", ""])
def test_other_machines_are_served_with_a_key_only(host: str) -> None:
    config = load_config().with_values(server__host=host)
    with pytest.raises(ConfigError, match="serving it needs an API key"):
        check_bind(config)
    check_bind(config.with_values(server__api_keys=("key",)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_is_served_without_a_key(host: str) -> None:
    check_bind(load_config().with_values(server__host=host))
