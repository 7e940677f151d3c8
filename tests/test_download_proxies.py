"""Files through the proxies of the environment: real sockets, real TLS, and nothing that a proxy could read."""

from __future__ import annotations

import hashlib
import json
import random
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hostile_server as hostile
import httpx
import pytest
import trustme
from fake_proxy import Break, FakeProxy, Say, Wait, proxying, status
from fetching import fetched
from hostile_server import HostileServer, serving
from hypothesis import example, given
from hypothesis import strategies as st

from tensors.downloads import fetch as fetching
from tensors.downloads.addresses import Guard
from tensors.downloads.connection import Connection
from tensors.downloads.fetch import TRIES, Fetched, Wanted
from tensors.downloads.tunnel import ProxyFailed, tunnel
from tensors.errors import ConfigError, DownloadError, DownloadRefused, JobCancelled
from tensors.exchange import Exchange
from tensors.proxies import Proxy, proxy_for

KEY = "key-that-no-proxy-may-see"
LOGIN = "who:pass@word"
SITE, STORAGE = "models.example", "bucket.r2.cloudflarestorage.com"
PUBLIC = "93.184.215.14"


def _model() -> bytes:
    header = json.dumps({"a": {"dtype": "U8", "shape": [300_000], "data_offsets": [0, 300_000]}}).encode()
    return len(header).to_bytes(8, "little") + header + random.Random(8).randbytes(300_000)


CONTENT = _model()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class SafeServer(HostileServer):
    """The same, with TLS."""

    certificate: Path = field(kw_only=True)

    def __post_init__(self) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate)
        super().__post_init__()

    def _serve(self, line: socket.socket) -> None:
        # Who does not trust it hangs up.
        with suppress(OSError):
            super()._serve(self._context.wrap_socket(line, server_side=True))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key with its certificate for both names, and who signed it."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    authority = trustme.CA()
    authority.issue_cert(SITE, STORAGE).private_key_and_cert_chain_pem.write_to_path(file)
    authority.cert_pem.write_to_path(file, append=True)
    return file


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProxy]:
    """A proxy for everything."""
    with proxying() as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        yield proxy


@pytest.fixture
def site(proxy: FakeProxy, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SafeServer]:
    """`SITE`, which only the proxy knows how to reach."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = SafeServer(CONTENT, certificate=certificate)
    proxy.ways[f"{SITE}:443"] = proxy.ways[f"{STORAGE}:443"] = server.port
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are not waited after."""
    monkeypatch.setattr(fetching, "back_off", lambda _failures: 0.0)


def unknown(_host: str, _port: int) -> Sequence[str]:
    """As DNS is behind many a proxy."""
    raise OSError("no such name")


def fetch(folder: Path, base: str = f"https://{SITE}", path: str = "/file", **options: Any) -> Fetched:
    """One run; every URL of a proxy's world is unknown to DNS."""
    wanted = Wanted(url=base + path, target=folder / "a.safetensors", sha256=SHA256, size=len(CONTENT))
    guard = options.pop("guard", None) or Guard(base, resolve=unknown)
    done = fetched(wanted, guard, **{"refused": lambda *_: None, "key": KEY, "silence": 10.0, **options})
    assert done.path.read_bytes() == CONTENT
    return done


def direct(folder: Path, server: HostileServer) -> None:
    """Fetch from a server by its own address."""
    fetch(folder, server.url, guard=Guard(server.url))


# --- the ways ---------------------------------------------------------------------------------------------------------


def test_over_http_the_proxy_is_told_the_whole_address(proxy: FakeProxy, tmp_path: Path) -> None:
    with serving(CONTENT) as server:
        proxy.ways["models.example:8080"] = server.port
        fetch(tmp_path, "http://models.example:8080", "/file?a=b")
        assert proxy.targets() == ["GET http://models.example:8080/file?a=b"]
        assert server.requests[0].path == "/file?a=b"
        assert server.requests[0].headers["host"] == "models.example:8080"


def test_over_https_the_proxy_sees_a_name_and_nothing_else(proxy: FakeProxy, site: SafeServer, tmp_path: Path) -> None:
    fetch(tmp_path, path="/file?signature=secret")
    assert proxy.targets() == [f"CONNECT {SITE}:443"]
    assert site.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert site.requests[0].path == "/file?signature=secret"
    assert len(proxy.heard) > 300, "it did hear the TLS"
    for secret in (KEY, "authorization", "signature", "GET"):
        assert secret.encode() not in bytes(proxy.heard)


def test_the_name_in_the_certificate_is_checked_inside_the_tunnel(
    proxy: FakeProxy, site: SafeServer, tmp_path: Path
) -> None:
    proxy.ways["other.example:443"] = site.port
    with pytest.raises(DownloadError, match="certificate"):
        fetch(tmp_path, "https://other.example")
    assert site.requests == []


def test_a_redirect_to_another_host_goes_through_the_proxy_without_the_key(
    proxy: FakeProxy, site: SafeServer, tmp_path: Path
) -> None:
    site.acts.append(hostile.moved(f"https://{STORAGE}/signed?secret=1"))
    fetch(tmp_path, guard=Guard(f"https://{SITE}", resolve=unknown))
    assert proxy.targets() == [f"CONNECT {SITE}:443", f"CONNECT {STORAGE}:443"]
    assert [asked.headers["host"] for asked in site.requests] == [SITE, STORAGE]
    assert [asked.headers.get("authorization") for asked in site.requests] == [f"Bearer {KEY}", None]


def test_a_user_and_a_password_go_to_the_proxy_only(
    proxy: FakeProxy, site: SafeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.login = LOGIN
    monkeypatch.setenv("ALL_PROXY", f"who:pass%40word@{proxy.address}")
    with serving(CONTENT) as server:
        proxy.ways["models.example:8080"] = server.port
        fetch(tmp_path / "http", "http://models.example:8080")
        fetch(tmp_path / "https")
        assert len(server.requests) == len(site.requests) == 1
        assert "proxy-authorization" not in server.requests[0].headers | site.requests[0].headers


def test_lookups_take_the_same_way(proxy: FakeProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """httpx alone knows no networks in `NO_PROXY`."""
    proxy.login = LOGIN
    monkeypatch.setenv("ALL_PROXY", f"http://who:pass%40word@{proxy.address}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
    with serving(b"{}") as server:
        proxy.ways["models.example:8080"] = server.port
        for url in ("http://models.example:8080", server.url):
            exchange = Exchange(url, silence=10.0, largest=100)
            assert exchange.send("GET", httpx.URL(f"{url}/file"), {}, None).status == 200
            exchange.close()
        assert [asked.path for asked in server.requests] == ["/file", "/file"]
    assert proxy.targets() == ["GET http://models.example:8080/file"]


def test_what_no_proxy_lists_is_asked_directly_and_checked(
    proxy: FakeProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1, .huggingface.co")
    with serving(CONTENT) as server:
        direct(tmp_path, server)
        assert len(server.requests) == 1
    guard = Guard(f"https://{SITE}", resolve=lambda _host, _port: [PUBLIC, "10.0.0.1"])
    with pytest.raises(DownloadRefused, match=r"10\.0\.0\.1 is inside a private network"):
        guard.route("https://huggingface.co/file")
    assert proxy.asked == []


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_tunnel_that_breaks_is_gone_on_with_in_the_next(proxy: FakeProxy, site: SafeServer, tmp_path: Path) -> None:
    proxy.acts.extend([Break(150_000), Break(100_000)])
    seen: list[int] = []
    fetch(tmp_path, progress=lambda done, _total: seen.append(done))
    starts = [int(asked.headers.get("range", "bytes=0-")[6:-1]) for asked in site.requests]
    assert len(starts) == 3
    assert 0 == starts[0] < starts[1] < starts[2]
    assert seen == sorted(seen), "nothing is fetched twice"
    assert proxy.targets() == [f"CONNECT {SITE}:443"] * 3


@pytest.mark.parametrize(
    "act",
    [
        *(status(502), status(503), status(429), Say(b""), Say(b"\0what\r\n\r\n"), Say(b"HTTP/1.1 200 OK\r\n")),
        *(Say(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), Say(b"HTTP/1.1 302 Found\r\n\r\n")),
        *(Say(b"HTTP/1.1 200 OK\r\nA: " + b"a" * 40_000), Break(0)),
    ],
    ids=lambda act: repr(act)[:40],
)
def test_what_passes_is_tried_again(act: Any, proxy: FakeProxy, site: SafeServer, tmp_path: Path) -> None:
    proxy.acts.append(act)
    fetch(tmp_path)
    assert len(proxy.asked) == 2
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "made no way to [fd00::1]:443: it answered 502"),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", "made no way to [fd00::1]:443: it answered 302"),
        (b"\0what\r\n\r\n", "made no way to [fd00::1]:443: it speaks no HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nsurplus", "sends bytes that nobody asked for"),
        (b"HTTP/1.1 200 OK\r\n", "gave no answer: it hung up"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 40_000, "gave no answer: its head has no end"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_why_there_is_no_tunnel(answer: bytes, said: str) -> None:
    near, far = socket.socketpair()
    with near, far:
        far.sendall(answer)
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(ProxyFailed) as caught:
            tunnel(near, Proxy("http", "p", 1), "fd00::1", 443, seconds=20.0)
        assert str(caught.value) == f"the proxy http://p:1 {said}"
        assert far.recv(1000).startswith(b"CONNECT [fd00::1]:443 HTTP/1.1\r\nHost: [fd00::1]:443\r\n")


@pytest.mark.parametrize("piece", [b"", b"x"], ids=["silent", "dripping"])
def test_the_answer_of_a_proxy_is_not_waited_for_without_end(piece: bytes) -> None:
    near, far = socket.socketpair()
    ended = threading.Event()

    def drip() -> None:
        while not ended.wait(0.02):
            far.sendall(piece)

    dripping = threading.Thread(target=drip)
    with near, far:
        dripping.start()
        try:
            with pytest.raises(ProxyFailed, match=r"did not answer within 0\.2 seconds"):
                tunnel(near, Proxy("http", "p", 1), SITE, 443, seconds=0.2)
        finally:
            ended.set()
            dripping.join()


def test_a_proxy_that_fails_each_time_is_named(proxy: FakeProxy, tmp_path: Path) -> None:
    """It cannot reach the host."""
    proxy.ways["nowhere.example:443"] = closed_port()
    with pytest.raises(DownloadError) as caught:
        fetch(tmp_path, "https://nowhere.example")
    assert f"the proxy {proxy.url} made no way to nowhere.example:443: it answered 502" in str(caught.value)
    assert len(proxy.asked) == TRIES


def test_a_proxy_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{closed_port()}"
    monkeypatch.setenv("https_proxy", f"http://who:password@{address}")
    with pytest.raises(DownloadError, match=f"the proxy http://{address} cannot be reached: ") as caught:
        fetch(tmp_path)
    assert "password" not in f"{caught.value}{caught.value.hint}{caught.value.__cause__!r}"


@pytest.mark.parametrize("base", [f"https://{SITE}", "http://models.example:8080"])
@pytest.mark.parametrize(
    ("before", "said"), [("", "wants a user and a password"), ("a:word%40@", "does not take the user and the password")]
)
def test_407_says_what_to_do_and_is_not_tried_again(
    base: str, before: str, said: str, proxy: FakeProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.login = LOGIN
    monkeypatch.setenv("ALL_PROXY", f"http://{before}{proxy.address}")
    with pytest.raises(DownloadRefused, match=said) as caught:
        fetch(tmp_path, base)
    assert f"http://USER:PASSWORD@{proxy.address}" in str(caught.value.hint)
    assert "word@" not in f"{caught.value}{caught.value.hint}"
    assert len(proxy.asked) == 1


def test_a_proxy_that_refuses_a_host_has_the_last_word(proxy: FakeProxy, tmp_path: Path) -> None:
    proxy.acts.append(status(403))
    with pytest.raises(DownloadRefused, match=rf"refuses the way to {SITE}:443 \(403\)") as caught:
        fetch(tmp_path)
    assert "NO_PROXY" in str(caught.value.hint)
    assert len(proxy.asked) == 1


def test_a_proxy_that_says_nothing_is_waited_for_no_longer_than_silence(
    proxy: FakeProxy, site: SafeServer, tmp_path: Path
) -> None:
    proxy.acts.append(Wait())
    fetch(tmp_path, silence=0.3)
    assert len(proxy.asked) == 2


def test_cancelled_while_the_proxy_says_nothing_it_stops_at_once(proxy: FakeProxy, tmp_path: Path) -> None:
    proxy.acts.append(Wait())
    began = time.monotonic()
    with pytest.raises(JobCancelled):
        fetch(tmp_path, stop=proxy.waiting.is_set, silence=60.0)
    assert time.monotonic() - began < 30, "it does not wait for the silence to end"


def test_cut_in_the_middle_of_a_tunnel_it_ends(proxy: FakeProxy, site: SafeServer) -> None:
    site.acts.append(hostile.stalls(100_000))
    connection = Connection(Guard(f"https://{SITE}", resolve=unknown).route(f"https://{SITE}/file"), silence=60.0)
    connection.ask({})
    came, half = 0, threading.Event()

    def read() -> None:
        nonlocal came
        while piece := connection.read():
            came += len(piece)
            if came == 100_000:
                half.set()

    reading = threading.Thread(target=read)
    reading.start()
    assert half.wait(20)
    connection.cut()
    reading.join(20)
    assert not reading.is_alive()
    connection.close()
    assert came == 100_000


def test_cut_before_it_is_asked_it_does_not_begin(proxy: FakeProxy) -> None:
    connection = Connection(Guard(f"https://{SITE}", resolve=unknown).route(f"https://{SITE}/file"), silence=60.0)
    connection.cut()
    with pytest.raises(OSError, match="cut"):
        connection.ask({})
    connection.close()
    assert proxy.asked == []


# --- where it must not lead -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/file",
        "https://10.1.2.3/file",
        "https://169.254.169.254/latest",
        "https://[::1]/file",
        "https://2130706433/file",
        "https://example.org/file",
        "http://civitai.com/file",
        f"https://10.0.0.1 {STORAGE}/file",
        f"https://10.0.0.1%2f{STORAGE}/file",
        f"https://a..{STORAGE}/file",
        f"https://.{STORAGE}/file",
        f"https://{'a' * 64}.{STORAGE}/file",
    ],
)
def test_the_proxy_is_never_told_of_a_host_that_is_not_for_it(
    url: str, proxy: FakeProxy, site: SafeServer, tmp_path: Path
) -> None:
    site.acts.append(hostile.moved(url))
    with pytest.raises(DownloadRefused):
        fetch(tmp_path)
    assert proxy.targets() == [f"CONNECT {SITE}:443"]


@pytest.mark.parametrize(
    ("addresses", "refused"), [([PUBLIC], False), ([PUBLIC, "10.0.0.1"], False), (["10.0.0.1", "fd00::1"], True)]
)
def test_a_known_name_that_leads_inside_is_refused_through_a_proxy_too(
    addresses: list[str], refused: bool, proxy: FakeProxy
) -> None:
    guard = Guard(f"https://{SITE}", resolve=lambda _host, _port: addresses)
    if refused:
        with pytest.raises(DownloadRefused, match=r"10\.0\.0\.1 is inside a private network"):
            guard.route("https://huggingface.co/file")
    else:
        route = guard.route("https://huggingface.co/file")
        assert route.proxy is not None
        assert route.addresses == ()


def test_a_name_that_dns_does_not_know_is_asked_for_once(proxy: FakeProxy) -> None:
    """Where packets to the world are dropped, each time takes many seconds."""
    asked: list[str] = []

    def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        raise OSError

    guard = Guard(f"https://{SITE}", resolve=resolve)
    for _ in range(3):
        guard.route("https://huggingface.co/file")
    assert asked == ["huggingface.co"]


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "https"])
def test_a_proxy_of_another_kind_is_refused_clearly(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://who:password@proxy.example:1080")
    with pytest.raises(DownloadRefused, match=f"through {scheme}://proxy.example:1080: only through") as caught:
        Guard(f"https://{SITE}").route(f"https://{SITE}/file")
    assert caught.value.hint == f"set HTTPS_PROXY to http://HOST:PORT, or NO_PROXY to {SITE} if that is reached without"


@pytest.mark.parametrize(
    "address",
    [
        *("ftp://p:1", "http://", "http://p:port", "http://[::1", "http://p:1/path", "//"),
        *("http://who:pass/word@p:1", "http://who:1/word@p:1", "http://who:1#word@p:1", "http://who:1?word@p:1"),
    ],
)
def test_a_proxy_that_cannot_be_read_is_refused_and_not_shown(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)
    with pytest.raises(DownloadRefused, match="HTTPS_PROXY is not like http://HOST:PORT") as of_file:
        Guard(f"https://{SITE}").route(f"https://{SITE}/file")
    with pytest.raises(ConfigError, match="HTTPS_PROXY is not like http://HOST:PORT") as of_lookup:
        Exchange(f"https://{SITE}", silence=10.0, largest=100)
    assert "word@" not in f"{of_file.value}{of_lookup.value}"


# --- what the environment says ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "http", "https"),
    [
        ({}, None, None),
        ({"HTTP_PROXY": "http://a:1"}, "http://a:1", None),
        ({"HTTPS_PROXY": "a:1"}, None, "http://a:1"),
        ({"HTTPS_PROXY": "http://a/"}, None, "http://a:80"),
        ({"ALL_PROXY": "http://[fd00::1]:3"}, "http://[fd00::1]:3", "http://[fd00::1]:3"),
        ({"ALL_PROXY": "socks5://c"}, "socks5://c:1080", "socks5://c:1080"),
        ({"ALL_PROXY": "http://c:3", "HTTPS_PROXY": "http://b:2"}, "http://c:3", "http://b:2"),
        ({"HTTP_PROXY": "http://a:1", "http_proxy": "http://b:2"}, "http://b:2", None),
        ({"HTTP_PROXY": "http://a:1", "http_proxy": ""}, None, None),
        ({"HTTP_PROXY": "http://a:1", "REQUEST_METHOD": "GET"}, None, None),
        ({"http_proxy": "http://a:1", "REQUEST_METHOD": "GET"}, "http://a:1", None),
        ({"ALL_PROXY": "http://c:3", "NO_PROXY": "*"}, None, None),
        ({"ALL_PROXY": "http://c:3", "no_proxy": "other, *"}, None, None),
        ({"ALL_PROXY": "http://c:3", "NO_PROXY": "http://host.example"}, None, "http://c:3"),
        ({"ALL_PROXY": "http://c:3", "NO_PROXY": "host.example:443"}, "http://c:3", None),
    ],
)
def test_which_proxy(
    environment: dict[str, str], http: str | None, https: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = [proxy_for(scheme, "host.example") for scheme in ("http", "https")]
    assert [proxy and proxy.url for proxy in found] == [http, https]


@pytest.mark.parametrize(
    ("exceptions", "host", "port", "is_direct"),
    [
        ("example.com", "example.com", 443, True),
        ("EXAMPLE.com.", "www.example.com", 443, True),
        (".example.com", "example.com", 443, True),
        ("*.example.com", "www.example.com", 443, True),
        ("example.com", "notexample.com", 443, False),
        ("example.com", "example.com.org", 443, False),
        ("example.com:8080", "example.com", 8080, True),
        ("example.com:8080", "example.com", 443, False),
        ("a b,c", "b", 443, True),
        (", ,.", "b", 443, False),
        ("10.0.0.1", "10.0.0.1", 443, True),
        ("0.0.1", "10.0.0.1", 443, False),
        ("10.0.0.0/8", "10.2.3.4", 443, True),
        ("10.1.2.3/8", "10.2.3.4", 443, True),
        ("10.0.0.0/8", "11.2.3.4", 443, False),
        ("10.0.0.0/8", "10.example.com", 443, False),
        ("10.0.0.0/99", "10.0.0.0", 443, False),
        ("10.0.0.1:80", "10.0.0.1", 80, True),
        ("::1", "::1", 443, True),
        ("0:0::1", "::1", 443, True),
        ("[::1]", "::1", 443, True),
        ("[::1]:80", "::1", 443, False),
        ("fd00::/8", "fd12::1", 443, True),
        ("localhost", "127.0.0.1", 443, False),
        ("example.com", "example.com.", 443, True),
    ],
)
def test_which_hosts_are_asked_directly(
    exceptions: str, host: str, port: int, is_direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://c:3")
    monkeypatch.setenv("NO_PROXY", exceptions)
    assert (proxy_for("https", host, port) is None) == is_direct


LABEL = st.text("ab1-", min_size=1, max_size=3)
NAME = st.lists(LABEL, min_size=2, max_size=4).map(lambda labels: "x." + ".".join(labels) + ".y")


@given(names=st.lists(st.one_of(NAME, NAME.map(lambda name: f".{name}")), max_size=4), host=NAME, cut=st.integers(0, 4))
def test_for_names_it_is_what_the_standard_library_does(names: list[str], host: str, cut: int) -> None:
    names = [*names, ".".join([*host.split(".")[cut:-1], "y"])]
    exceptions = ",".join(names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALL_PROXY", "http://c:3")
        patch.setenv("NO_PROXY", exceptions)
        expected = urllib.request.proxy_bypass_environment(host)  # type: ignore[attr-defined]
        assert (proxy_for("https", host) is None) == bool(expected)


@example("host:" + "9" * 5000, "host")
@given(exceptions=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), host=NAME)
def test_no_text_in_no_proxy_is_an_error(exceptions: str, host: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALL_PROXY", "http://c:3")
        patch.setenv("NO_PROXY", exceptions)
        for asked in (host, "10.0.0.1", "::1"):
            found = proxy_for("https", asked)
            assert found is None or found.url == "http://c:3"


# --- helpers ----------------------------------------------------------------------------------------------------------


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
