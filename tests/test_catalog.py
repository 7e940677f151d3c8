"""Asking a site: patience with what passes, one clear error for what does not, a key that stays where it belongs."""

from __future__ import annotations

import email.utils
import gzip
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fake_civitai import (
    FakeCivitai,
    Fault,
    answering,
    dripping,
    failing,
    fine,
    half,
    hang_up,
    moved,
    page,
    silent,
    trickling,
)

from tensors import __version__, catalog
from tensors.catalog import CatalogHttp, Site, is_within
from tensors.errors import (
    CatalogError,
    CatalogRefused,
    CatalogUnreachable,
    ConfigError,
    JobCancelled,
    NotInCatalog,
    TsrError,
)

SITE = Site("The Site", "api.site", "https://site.example/keys")
KEY = "sesame-0123456789"
PATH = "/api/v1/models/1102"


@dataclass
class Asking:
    """A client of the stand-in that does not sleep."""

    fake: FakeCivitai
    slept: list[float] = field(default_factory=list)
    opened: list[CatalogHttp] = field(default_factory=list)

    def open(self, url: str | None = None, **options: Any) -> CatalogHttp:
        http = CatalogHttp(SITE, url or self.fake.url, **{"timeout": 20.0, "sleep": self.slept.append, **options})
        self.opened.append(http)
        return http

    def fails(self, error: type[TsrError], **options: Any) -> TsrError:
        """Ask once; the answer must be this error and no subclass of it."""
        with pytest.raises(error) as caught:
            self.open(**options).get(PATH)
        assert type(caught.value) is error
        return caught.value


@pytest.fixture
def asking(civitai: FakeCivitai) -> Iterator[Asking]:
    asking = Asking(civitai)
    yield asking
    for http in asking.opened:
        http.close()


def sentence(error: TsrError) -> str:
    return f"{error.message} | {error.hint}"


# --- what passes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [failing(429), failing(500), failing(502), failing(503), failing(408), page(503), half, hang_up,
     answering(200, b'{"id": 1', "application/json"), answering(200, b""),
     answering(200, b"no gzip", content_encoding="gzip")],
    ids=["429", "500", "502", "503", "408", "page", "half", "hang up", "cut off", "empty", "packed wrongly"],
)  # fmt: skip
def test_what_passes_is_waited_for(asking: Asking, fault: Fault) -> None:
    asking.fake.order(fault, times=4)
    answer = asking.open().get(PATH)
    assert answer.status == 200
    assert asking.fake.asked() == 5
    assert len(asking.slept) == 4


@pytest.mark.parametrize(
    ("fault", "tries", "message"),
    [
        (failing(429, "slow down"), 5, "is too busy (429), also after 5 tries: slow down"),
        (failing(500, "oh no"), 5, "has a fault of its own (500), also after 5 tries: oh no"),
        (page(503), 5, "has a fault of its own (503), also after 5 tries"),
        (half, 5, "cannot be reached: peer closed connection without sending complete message body"),
        (hang_up, 5, "cannot be reached: Server disconnected without sending a response"),
        (answering(200, b"[1, 2"), 5, "ended in the middle of its answer"),
        (silent, 2, "did not answer within 0.2 s"),
        (dripping, 2, "did not finish its answer within 0.8 s"),
        (trickling, 2, "did not finish its answer within 0.8 s"),
    ],
    ids=["429", "500", "503", "half", "hang up", "cut off", "silent", "dripping", "trickling"],
)
def test_what_does_not_pass_ends_after_some_tries(asking: Asking, fault: Fault, tries: int, message: str) -> None:
    asking.fake.order(fault, times=20)
    timeout = 0.2 if tries == 2 else 20
    start = time.monotonic()
    error = asking.fails(CatalogUnreachable, timeout=timeout)
    assert time.monotonic() - start < 15
    assert f"The Site (127.0.0.1) {message}" in error.message
    assert error.hint
    assert asking.fake.asked() == tries
    assert len(asking.slept) == tries - 1


def test_after_a_fault_the_same_client_goes_on(asking: Asking) -> None:
    http = asking.open(timeout=0.2)
    asking.fake.order(dripping, dripping, fine, trickling, half, fine)
    with pytest.raises(CatalogUnreachable):
        http.get(PATH)
    assert [http.get(PATH).status, http.get(PATH).status] == [200, 200]


@pytest.mark.parametrize(
    ("fault", "network"), [(failing(429), False), (failing(500), False), (half, True), (hang_up, True)]
)
def test_an_error_of_the_network_has_a_cause_and_words_of_the_site_have_none(
    asking: Asking, fault: Fault, network: bool
) -> None:
    asking.fake.order(fault, times=5)
    assert isinstance(asking.fails(CatalogUnreachable).__cause__, httpx.HTTPError) is network


def test_back_off_grows_from_one_second_and_has_jitter(asking: Asking) -> None:
    for _ in range(5):
        asking.fake.order(failing(500), times=5)
        asking.fails(CatalogUnreachable)
    rounds = [asking.slept[start : start + 4] for start in range(0, 20, 4)]
    for waits in rounds:
        for exponent, wait in enumerate(waits):
            assert 2**exponent <= wait <= min(1.5 * 2**exponent, 30)
    assert len({waits[0] for waits in rounds}) > 1


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [("7", 7, 7), ("0", 1, 1), ("-5", 1, 1), ("3600", 60, 60), ("1.5", 1.5, 1.5), ("inf", 60, 60), ("soon", 1, 1.5),
     ("nan", 1, 1.5), ("", 1, 1.5), ("Fri, 31 Dec 1999 23:59:59 GMT", 1, 1), ("date", 20, 30)],
)  # fmt: skip
def test_retry_after_is_kept_to_within_bounds(asking: Asking, said: str, least: float, most: float) -> None:
    moment = email.utils.formatdate(time.time() + 30, usegmt=True) if said == "date" else said
    asking.fake.order(failing(429, retry_after=moment))
    asking.open().get(PATH)
    [wait] = asking.slept
    assert least <= wait <= most


def test_nobody_there_is_told_soon(asking: Asking) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = asking.fails(CatalogUnreachable, url=f"http://127.0.0.1:{port}")
    assert "The Site (127.0.0.1) cannot be reached: [Errno 111] Connection refused" in error.message
    assert len(asking.slept) == 2
    assert sum(asking.slept) <= 4.5


def test_a_host_that_does_not_exist(asking: Asking) -> None:
    error = asking.fails(CatalogUnreachable, url="http://no-such-host.invalid")
    assert "The Site (no-such-host.invalid) cannot be reached" in error.message
    assert "api.site_url" in str(error.hint)


# --- what is final ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (failing(404, "No model with id 5"), NotInCatalog, "does not know this: No model with id 5"),
        (page(404), CatalogError, "answered 404"),
        (answering(404, b""), CatalogError, "refuses the request (404)"),
        (failing(400, "Invalid id"), CatalogError, "refuses the request (400: Invalid id)"),
        (answering(400, b'{"message": "m", "code": "BAD"}'), CatalogError, "refuses the request (400: m)"),
        (answering(400, b'{"error": {"issues": [{"message": "a"}, 5, {"message": "b"}]}}'), CatalogError, "400: a; b)"),
        (answering(400, b'{"error": {"message": "c"}}'), CatalogError, "(400: c)"),
        (answering(418, b"teapot"), CatalogError, "refuses the request (418)"),
        (answering(204, b""), CatalogError, "answered 204"),
        (page(), CatalogError, "answered with a web page, not data"),
        (answering(200, b" \n<html>", "application/json"), CatalogError, "answered with a web page, not data"),
        (answering(304, b""), CatalogError, "answered 304"),
    ],
)  # fmt: skip
def test_what_is_final_is_asked_once(asking: Asking, fault: Fault, error: type[TsrError], message: str) -> None:
    asking.fake.order(fault)
    assert message in asking.fails(error).message
    assert asking.fake.asked() == 1
    assert asking.slept == []


@pytest.mark.parametrize("status", [401, 403])
def test_without_a_key_the_message_says_how_to_get_one(asking: Asking, status: int) -> None:
    asking.fake.order(failing(status, "Unauthorized"))
    error = asking.fails(CatalogRefused)
    assert error.message == f"The Site (127.0.0.1) wants a key for this ({status}: Unauthorized)"
    assert error.hint == "make one at https://site.example/keys, then: tsr config set api.site_key KEY"


def test_a_key_that_is_not_taken(asking: Asking) -> None:
    asking.fake.keys = {"another"}
    error = asking.fails(CatalogRefused, api_key=KEY)
    assert error.message == "The Site (127.0.0.1) does not take the key (401: Unauthorized)"
    assert "tsr config set api.site_key KEY" in str(error.hint)
    asking.fake.order(failing(403, "no"))
    assert "refuses this, also with the key (403: no)" in asking.fails(CatalogRefused, api_key=KEY).message


def test_an_answer_has_a_largest_size(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "LARGEST_ANSWER", 100_000)
    plain, packed = b"[" + b" " * 99_998 + b"]", gzip.compress(b"[" + b" " * 5_000_000 + b"]")
    asking.fake.order(answering(200, plain), answering(200, plain + b" "))
    http = asking.open()
    assert len(http.get(PATH).body) == 100_000
    asking.fake.order(answering(200, packed, content_encoding="gzip"), answering(500, plain * 2))
    for _ in range(3):
        with pytest.raises(CatalogError, match="sends more than 100,000 bytes"):
            http.get(PATH)
    assert http.get(PATH).status == 200
    assert asking.slept == []


def test_packed_twice_is_not_unpacked(asking: Asking) -> None:
    bomb = gzip.compress(gzip.compress(b"[]"))
    asking.fake.order(answering(200, bomb, content_encoding="gzip, gzip"), times=5)
    assert "packed more than once" in asking.fails(CatalogUnreachable).message


# --- the request ------------------------------------------------------------------------------------------------------


def test_what_is_sent(asking: Asking) -> None:
    http = asking.open(api_key=f" {KEY}\n")
    http.get("/api/v1/models", [("ids", "1,2"), ("baseModels", "A B"), ("baseModels", "C&D")])
    http.post("/api/v1/model-versions/by-hash/ids", ["a" * 64])
    first, second = asking.fake.requests
    assert first.query == {"ids": ["1,2"], "baseModels": ["A B", "C&D"]}
    assert first.headers["user-agent"] == f"tsr/{__version__}"
    assert first.headers["authorization"] == second.headers["authorization"] == f"Bearer {KEY}"
    assert first.headers["accept"] == first.headers["content-type"] == "application/json"
    assert (second.method, second.json) == ("POST", ["a" * 64])


@pytest.mark.parametrize("key", [None, "", "  "])
def test_without_a_key_there_is_no_word_of_one(asking: Asking, key: str | None) -> None:
    asking.open(api_key=key).get(PATH)
    assert "authorization" not in asking.fake.requests[0].headers


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "ключ", "k" * 2000, "nul\0"])
def test_what_cannot_be_a_key_is_refused_without_showing_it(asking: Asking, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        asking.open(api_key=key)
    assert key not in sentence(caught.value)
    assert "api.site_key" in caught.value.message


@pytest.mark.parametrize(
    "url", ["civitai.com", "ftp://civitai.com", "http://", "http://x?y", "http://[::1", "http://a b"]
)
def test_what_is_no_url_is_refused(asking: Asking, url: str) -> None:
    with pytest.raises(ConfigError, match=r"api\.site_url is") as caught:
        asking.open(url)
    assert caught.value.hint == "tsr config unset api.site_url"


def test_one_connection_for_many_requests(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = []
    connected = asking.fake.connected
    monkeypatch.setattr(
        asking.fake, "connected", lambda line, **more: (more or connections.append(line), connected(line, **more))
    )
    http = asking.open()
    for _ in range(5):
        http.get(PATH)
    assert len(connections) == 1


def test_several_threads_may_share_it(asking: Asking) -> None:
    http = asking.open()
    bodies: list[bytes] = []

    def ask() -> None:
        for _ in range(5):
            bodies.append(http.get(PATH).body)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bodies) == 20
    assert len(set(bodies)) == 1


def test_nothing_is_opened_before_it_is_needed(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "Exchange", None)
    asking.open().close()
    assert asking.fake.asked() == 0


# --- the key stays where it belongs -----------------------------------------------------------------------------------


@pytest.fixture
def stranger() -> Iterator[FakeCivitai]:
    """Another host: the same machine, another port."""
    fake = FakeCivitai()
    yield fake
    fake.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_never_follows_to_another_host(asking: Asking, stranger: FakeCivitai, status: int) -> None:
    asking.fake.order(moved(f"{stranger.url}{PATH}", status))
    error = asking.fails(CatalogError, api_key=KEY)
    assert "leads to another host, 127.0.0.1: refused" in error.message
    assert stranger.requests == []
    assert asking.slept == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_within_the_host_is_followed_with_the_key(asking: Asking, status: int) -> None:
    asking.fake.order(moved("/api/v1/models/4201", status))
    answer = asking.open(api_key=KEY).get(PATH)
    assert b'"id": 4201' in answer.body
    assert [request.headers["authorization"] for request in asking.fake.requests] == [f"Bearer {KEY}"] * 2


@pytest.mark.parametrize(("status", "posts"), [(307, 2), (308, 2), (301, 1), (303, 1)])
def test_a_question_is_sent_on_whole_or_not_at_all(asking: Asking, status: int, posts: int) -> None:
    path = "/api/v1/model-versions/by-hash/ids"
    asking.fake.order(moved(path, status))
    if posts == 2:
        assert asking.open().post(path, ["a" * 64]).body == b"[]"
    else:
        with pytest.raises(CatalogError, match="leads from one address to the next"):
            asking.open().post(path, ["a" * 64])
    assert [request.json for request in asking.fake.requests] == [["a" * 64]] * posts


def test_redirects_without_end(asking: Asking) -> None:
    asking.fake.order(moved(PATH), times=20)
    assert "leads from one address to the next" in asking.fails(CatalogError).message
    assert asking.fake.asked() == 4


def test_a_redirect_to_a_login_is_a_web_page(asking: Asking) -> None:
    asking.fake.order(moved("/login?reason=download-auth"), page())
    assert "answered with a web page" in asking.fails(CatalogError).message


def test_a_redirect_to_nonsense(asking: Asking) -> None:
    asking.fake.order(moved("http://[::1"), times=5)
    assert "Invalid URL in location header" in asking.fails(CatalogUnreachable).message


@pytest.mark.parametrize(
    ("url", "target", "within"),
    [
        ("https://a.com/x", "https://a.com/y", True),
        ("https://a.com/x", "https://a.com:443/y", True),
        ("http://a.com/x", "https://a.com/y", True),
        ("https://a.com/x", "http://a.com/y", False),
        ("https://a.com/x", "https://www.a.com/y", False),
        ("https://a.com/x", "https://a.com.evil.com/y", False),
        ("https://a.com/x", "https://a.com@evil.com/y", False),
        ("https://a.com/x", "https://a.com:8443/y", False),
        ("http://a.com:8080/x", "https://a.com/y", False),
        ("http://a.com:8080/x", "http://a.com:8081/y", False),
        ("https://a.com/x", "ftp://a.com/y", False),
    ],
)
def test_what_is_the_same_host(url: str, target: str, within: bool) -> None:
    assert is_within(httpx.URL(url), httpx.URL(target)) is within


def told(error: BaseException | None) -> Iterator[str]:
    """All that an error and what led to it say."""
    while error is not None:
        yield f"{error} {error!r} {getattr(error, 'hint', '')} {getattr(error, 'details', '')}"
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    "fault",
    [failing(400, f"bad token {KEY}"), failing(401, f"Bearer {KEY}?"), failing(500, KEY), failing(404, KEY),
     moved(f"http://other.invalid/?token={KEY}"), answering(200, KEY.encode()), page(), half],
)  # fmt: skip
def test_no_message_has_the_key_in_it(asking: Asking, fault: Fault) -> None:
    asking.fake.order(fault, times=5)
    with pytest.raises(TsrError) as caught:
        asking.open(api_key=KEY).get(PATH)
    for text in told(caught.value):
        assert KEY not in text


def test_no_message_has_the_password_of_the_url(asking: Asking) -> None:
    asking.fake.order(page())
    url = asking.fake.url.replace("http://", "http://me:geheim@")
    assert "geheim" not in sentence(asking.fails(CatalogError, url=url))


def test_texts_of_the_site_cannot_play_with_the_terminal(asking: Asking) -> None:
    asking.fake.order(failing(400, "a\x1b[2J\nb" + "c" * 5000))
    message = asking.fails(CatalogError).message
    assert message.isprintable()
    assert "a[2J bccc" in message
    assert len(message) < 500


# --- the environment --------------------------------------------------------------------------------------------------


def test_a_proxy_of_the_environment_is_used(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", asking.fake.url)
    answer = asking.open("http://civitai.invalid").get(PATH)
    assert b'"id": 1102' in answer.body
    assert asking.fake.requests[0].headers["host"] == "civitai.invalid"


@pytest.mark.parametrize(("name", "value"), [("HTTPS_PROXY", "ftp://x"), ("SSL_CERT_FILE", "/no/such/file")])
def test_an_environment_that_cannot_be_used(
    asking: Asking, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert "proxy or certificate settings" in asking.fails(ConfigError).message


# --- stopping ---------------------------------------------------------------------------------------------------------


def test_stop_is_asked_before_a_request(asking: Asking) -> None:
    asking.fails(JobCancelled, stop=lambda: True)
    assert asking.fake.asked() == 0


def test_stop_is_asked_while_waiting(asking: Asking) -> None:
    asking.fake.order(failing(429, retry_after="60"), times=5)
    asking.fails(JobCancelled, stop=lambda: len(asking.slept) >= 3)
    assert asking.slept == [0.5] * 3
    assert asking.fake.asked() == 1


def test_who_is_not_stopped_waits_as_long_as_asked(asking: Asking) -> None:
    asking.fake.order(failing(429, retry_after="2.2"))
    asking.open(stop=lambda: False).get(PATH)
    assert sum(asking.slept) == pytest.approx(2.2)
    assert max(asking.slept) == 0.5
