"""CivitAI: whether it answers, takes the key, and what time it has. One request, and no second try."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus

import httpx
import msgspec

from tensors.catalog import CatalogHttp
from tensors.civitai.client import CIVITAI
from tensors.decoding import NOT_THAT_JSON
from tensors.doctoring import clock
from tensors.doctoring.finding import error, ok, shell, skipped, warning
from tensors.errors import ConfigError
from tensors.exchange import Answer, Exchange, TooLarge, TooSlow
from tensors.fields import line, table
from tensors.types.doctor import Finding

SILENCE = 5.0
"""Seconds without a word after which it counts as unreachable; the whole may take four times as long."""
_LARGEST = 2_000_000
_WITH_KEY, _WITHOUT = "/api/v1/me", "/api/v1/enums"
"""The smallest answers. The first is for whoever has a key, and refused to others (github.com/civitai/civitai,
`src/pages/api/v1/me.ts`); the second is for all, and does not look at keys."""


def look(url: str, key: str | None) -> list[Finding]:
    """Ask CivitAI, through the proxy of the environment if there is one. Takes up to 20 s."""
    try:
        # Its checks of the settings; it is not asked.
        CatalogHttp(CIVITAI, url, api_key=key).close()
        answer = _ask(url.rstrip("/") + (_WITH_KEY if key else _WITHOUT), key)
    except ConfigError as wrong:
        command = wrong.hint if wrong.hint and wrong.hint.startswith("tsr ") else None
        return [error("civitai", wrong.message, command)]
    except (httpx.HTTPError, httpx.InvalidURL, TooLarge, TooSlow) as failure:
        return _unreachable(httpx.URL(url).copy_with(userinfo=b""), failure)
    host = httpx.URL(url).host
    return [_site(host, answer), _key(answer, key), clock.judge(clock.ahead(answer.headers, datetime.now(UTC)), host)]


def _ask(url: str, key: str | None) -> Answer:
    headers = {b"Accept": b"application/json", b"Content-Type": b"application/json"}
    if key:
        headers[b"Authorization"] = b"Bearer " + key.strip().encode()
    exchange = Exchange(url, silence=SILENCE, largest=_LARGEST)
    try:
        return exchange.send("GET", httpx.URL(url), headers, None)
    finally:
        exchange.close()


def _unreachable(site: httpx.URL, failure: Exception) -> list[Finding]:
    said = f"{site.host} cannot be reached: {str(failure) or type(failure).__name__}; what is here works without"
    return [
        warning("civitai", said, shell("curl", "-I", str(site))),
        skipped("civitai.key", "not tried"),
        skipped("clock", f"not compared: {site.host} does not answer"),
    ]


def _site(host: str, answer: Answer) -> Finding:
    if answer.is_page:
        said = f"{host} answers with a web page ({answer.status}): is something between, or api.civitai_url wrong?"
        return warning("civitai", said, "tsr config unset api.civitai_url")
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return warning("civitai", f"{host} answers, but is out of order or too busy ({answer.status}); try again later")
    return ok("civitai", f"{host} answers")


def _key(answer: Answer, key: str | None) -> Finding:
    set_one = "tsr config set api.civitai_key KEY"
    if not key:
        return warning("civitai.key", f"there is no key, and downloads need one: make one at {CIVITAI.keys}", set_one)
    if answer.status == HTTPStatus.UNAUTHORIZED:
        return error("civitai.key", f"the key is not taken: make a new one at {CIVITAI.keys}", set_one)
    name = _name(answer) if answer.status == HTTPStatus.OK and not answer.is_page else None
    if name is None:
        return skipped("civitai.key", f"there is a key; whether it is taken was not said ({answer.status})")
    return ok("civitai.key", f"the key is that of {name}")


def _name(answer: Answer) -> str | None:
    try:
        return line(table(msgspec.json.decode(answer.body)).get("username"))
    except NOT_THAT_JSON:
        return None
