"""Asking a site on the internet that knows models: patience with what passes, one clear error for what does not."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import httpx
import msgspec

from tensors import __version__
from tensors.config import checked_url
from tensors.decoding import NOT_THAT_JSON
from tensors.errors import (
    CatalogError,
    CatalogRefused,
    CatalogUnreachable,
    ConfigError,
    JobCancelled,
    NotInCatalog,
)
from tensors.exchange import Answer, Exchange, TooLarge, TooSlow
from tensors.fields import entries, line, lines, table
from tensors.waiting import asked_wait, back_off

LARGEST_ANSWER = 64 * 1024 * 1024
"""Bytes. A page of a hundred models with all their versions has some 5 MB."""
TRIES = 5
_TRIES_TO_CONNECT = 3
"""Who is offline should not wait long for being told."""
_TRIES_OF_SILENCE = 2
_WAIT_STEP = 0.5
_REDIRECTS_OF_ALL = (307, 308)
"""Of questions with a body too."""
_REDIRECTS = (301, 302, 303, *_REDIRECTS_OF_ALL)
_MOST_REDIRECTS = 3
_LATER = "try again later; what was done until now is kept"
_KEY = re.compile(r"[!-~]{1,1024}")

Parameters = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Site:
    """What messages about a site say."""

    name: str
    setting: str
    """Beginning of the names of its settings: `api.civitai` for `api.civitai_url` and `api.civitai_key`."""
    keys: str
    """Where a person makes a key for it."""


class _Passing(Exception):
    """A failure that may be over soon."""

    def __init__(self, error: CatalogError, *, tries: int = TRIES, wait: float | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.tries = tries
        self.wait = wait
        """Seconds the site asks for."""


class CatalogHttp:
    """A site's API over HTTP. Its key goes to its own host only.

    Methods raise `CatalogUnreachable` after several tries, `CatalogRefused`, `NotInCatalog` for a 404, `CatalogError`
    for anything else that is no use, and `JobCancelled` soon after `stop` says so. A `CatalogUnreachable` has a cause
    when the network failed, and none when the site answered that it cannot.
    """

    def __init__(
        self,
        site: Site,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        """`timeout`: seconds of silence. Raises `ConfigError` for a URL or a key that cannot be one."""
        self.url = _checked(site, url)
        self._site = site
        self._base = httpx.URL(self.url)
        self._key = _checked_key(site, api_key)
        self._timeout = timeout
        self._sleep = sleep
        self._stop = stop
        self._lock = threading.Lock()
        self._exchange: Exchange | None = None
        self.name = f"{site.name} ({self._base.host})"

    def get(self, path: str, parameters: Parameters = ()) -> Answer:
        """`path` begins with a slash and is quoted already."""
        return self._ask("GET", path, tuple(parameters), None)

    def post(self, path: str, document: object) -> Answer:
        """Send a document as JSON. For questions only: it may be sent again."""
        return self._ask("POST", path, (), msgspec.json.encode(document))

    def unusable(self, why: object) -> CatalogError:
        """The error for an answer that is JSON and yet no use."""
        return CatalogError(f"{self.name} answered with something that cannot be read: {why}", hint=_LATER)

    def close(self) -> None:
        """End the connection."""
        if self._exchange:
            self._exchange.close()

    def _ask(self, method: str, path: str, parameters: tuple[tuple[str, str], ...], content: bytes | None) -> Answer:
        url = httpx.URL(self.url + path, params=parameters) if parameters else httpx.URL(self.url + path)
        tries = 0
        while True:
            self._check_stop()
            tries += 1
            try:
                return self._judged(self._followed(method, url, content))
            except _Passing as failure:
                if tries >= failure.tries:
                    raise failure.error from failure.__cause__
                self._wait(back_off(tries) if failure.wait is None else failure.wait)

    def _followed(self, method: str, url: httpx.URL, content: bytes | None) -> Answer:
        """The answer, after redirects within the site."""
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._sent(method, url, content)
            location = answer.headers.get("location")
            if answer.status not in _REDIRECTS or location is None:
                return answer
            if content is not None and answer.status not in _REDIRECTS_OF_ALL:
                break
            url = self._own(url, location)
        raise CatalogError(f"{self.name} leads from one address to the next", hint=self._other_url())

    def _own(self, url: httpx.URL, location: str) -> httpx.URL:
        """Where a redirect leads. The key goes with it, so it must be the same host, and no less safe."""
        target = url.join(location)
        if not is_within(url, target):
            raise CatalogError(f"{self.name} leads to another host, {target.host}: refused", hint=self._other_url())
        return target

    def _sent(self, method: str, url: httpx.URL, content: bytes | None) -> Answer:
        # The content type is for CivitAI: without it, maintenance is a redirect to the front page and no 503.
        headers = {b"User-Agent": f"tsr/{__version__}".encode(), b"Accept": b"application/json"}
        headers[b"Content-Type"] = b"application/json"
        if self._key:
            headers[b"Authorization"] = b"Bearer " + self._key.encode()
        exchange = self._opened()
        try:
            return exchange.send(method, url, headers, content)
        except TooLarge as error:
            raise CatalogError(
                f"{self.name} sends more than {LARGEST_ANSWER:,} bytes", hint=self._other_url()
            ) from error
        except TooSlow as error:
            raise self._silent(f"did not finish its answer within {exchange.seconds:g} s") from error
        except httpx.ConnectTimeout as error:
            raise self._unreachable("no connection within the time for it", _TRIES_TO_CONNECT) from error
        except httpx.TimeoutException as error:
            raise self._silent(f"did not answer within {self._timeout:g} s") from error
        except (httpx.ConnectError, httpx.ProxyError) as error:
            raise self._unreachable(error, _TRIES_TO_CONNECT) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error, TRIES) from error

    def _opened(self) -> Exchange:
        """Made with the first request: reading the certificates takes longer than many a command."""
        with self._lock:
            if self._exchange is None:
                self._exchange = Exchange(self.url, silence=self._timeout, largest=LARGEST_ANSWER)
            return self._exchange

    def _judged(self, answer: Answer) -> Answer:
        """The answer, if it is one. Raises what it means otherwise."""
        status = answer.status
        if status in (408, 425, 429) or status >= 500:
            raise self._busy(answer)
        if status in (401, 403):
            raise self._refused(answer)
        if status == 404 and not answer.is_page and _is_whole_json(answer.body):
            # A page, or nothing, does not come from the API: then it is the address that is wrong, not the model.
            raise NotInCatalog(f"{self.name} does not know this{self._said(answer)}")
        if 400 <= status < 500 and not answer.is_page:
            raise CatalogError(f"{self.name} refuses the request ({status}{self._said(answer)})")
        if status != 200:
            raise CatalogError(f"{self.name} answered {status}{self._said(answer)}", hint=self._other_url())
        if answer.is_page:
            raise CatalogError(f"{self.name} answered with a web page, not data", hint=self._other_url())
        if not _is_whole_json(answer.body):
            raise _Passing(CatalogUnreachable(f"{self.name} ended in the middle of its answer", hint=_LATER))
        return answer

    def _busy(self, answer: Answer) -> _Passing:
        status = answer.status
        what = "is too busy" if status == 429 else "has a fault of its own"
        error = CatalogUnreachable(
            f"{self.name} {what} ({status}), also after {TRIES} tries{self._said(answer)}", hint=_LATER
        )
        return _Passing(error, wait=asked_wait(answer.headers.get("retry-after")))

    def _refused(self, answer: Answer) -> CatalogRefused:
        key, site = f"{self._site.setting}_key", self._site
        if self._key is None:
            what, hint = "wants a key for this", f"make one at {site.keys}, then: tsr config set {key} KEY"
        elif answer.status == 401:
            what, hint = "does not take the key", f"make a new one at {site.keys}, then: tsr config set {key} KEY"
        else:
            what, hint = "refuses this, also with the key", f"what the key may do is set at {site.keys}"
        return CatalogRefused(f"{self.name} {what} ({answer.status}{self._said(answer)})", hint=hint)

    def _unreachable(self, reason: object, tries: int) -> _Passing:
        said = self._shown(str(reason) or type(reason).__name__)
        hint = f"is this machine online, and {self._site.setting}_url right? What is here works without"
        return _Passing(CatalogUnreachable(f"{self.name} cannot be reached: {said}", hint=hint), tries=tries)

    def _silent(self, what: str) -> _Passing:
        return _Passing(CatalogUnreachable(f"{self.name} {what}", hint=_LATER), tries=_TRIES_OF_SILENCE)

    def _said(self, answer: Answer) -> str:
        """What the site says itself, after a colon."""
        try:
            text = _reason(table(msgspec.json.decode(answer.body)))
        except NOT_THAT_JSON:
            return ""
        return f": {self._shown(text)}" if text else ""

    def _shown(self, text: str) -> str:
        """A text of others in one line, without the key."""
        if self._key:
            text = text.replace(self._key, "***")
        return (line(text) or "no reason given")[:300]

    def _other_url(self) -> str:
        # A password in the URL is nobody's business.
        shown = self._base.copy_with(userinfo=b"")
        return f"is {self._site.setting}_url right? It is {shown}; tsr config unset {self._site.setting}_url"

    def _wait(self, seconds: float) -> None:
        if self._stop is None:
            self._sleep(seconds)
            return
        while seconds > 0:
            self._check_stop()
            self._sleep(min(seconds, _WAIT_STEP))
            seconds -= _WAIT_STEP

    def _check_stop(self) -> None:
        if self._stop is not None and self._stop():
            raise JobCancelled(f"cancelled while {self._site.name} was asked")


def is_within(url: httpx.URL, target: httpx.URL) -> bool:
    """Whether a redirect stays with the host it came from, and is no less safe."""
    if (target.scheme, target.host, target.port) == (url.scheme, url.host, url.port):
        return True
    return target.scheme == "https" and target.host == url.host and target.port is None and url.port is None


def _checked(site: Site, url: str) -> str:
    try:
        return checked_url(url)
    except ConfigError as error:
        raise ConfigError(
            f"{site.setting}_url is {url!r}, which is no URL", hint=f"tsr config unset {site.setting}_url"
        ) from error


def _checked_key(site: Site, key: str | None) -> str | None:
    key = (key or "").strip()
    if key and not _KEY.fullmatch(key):
        raise ConfigError(
            f"{site.setting}_key has characters that no key has", hint=f"tsr config set {site.setting}_key KEY"
        )
    return key or None


def _reason(document: dict[str, object]) -> str | None:
    """The text of `{"error": text}`, `{"message": text}` or `{"error": {"issues": [{"path", "message"}]}}`."""
    error = document.get("error")
    for part in (table(error), document):
        issues = ["; ".join(map(str, lines(issue.get("message")))) for issue in map(table, entries(part.get("issues")))]
        if text := "; ".join(filter(None, issues)):
            return text
    return line(error) or line(table(error).get("message")) or line(document.get("message"))


def _is_whole_json(body: bytes) -> bool:
    """Whether it begins and ends like an object or a list: the middle is somebody else's to read."""
    text = body.strip()
    return (text[:1], text[-1:]) in ((b"{", b"}"), (b"[", b"]"))
