"""What an answer to a request for a file means when it is no file.

What is said here about the sites is from CivitAI's own source (`/api/download/models/[modelVersionId]` in
github.com/civitai/civitai) and that of Hugging Face's client (`utils/_http.py` in
github.com/huggingface/huggingface_hub); nothing of it was tried against the sites themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlsplit

from tensors.document import BrokenRecord, opened
from tensors.downloads.gates import early_access, needs_key
from tensors.downloads.site import CIVITAI, HUGGING_FACE, Source
from tensors.errors import DownloadRefused
from tensors.fields import line, table

MOST_BODY = 64 * 1024
"""Bytes of a body that are looked at."""

_LONGEST_SAID = 200
_WHOLE = (200, 206)
_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (408, 416, 425, 429)
"""Of the refusals, those that may be over soon, and the one of a range."""
_DOCUMENTS = (
    *("text/html", "application/xhtml+xml", "text/xml", "application/xml"),
    *("application/json", "application/problem+json"),
)
_MARKUP = re.compile(rb"[\s\xef\xbb\xbf]*<(?:!doctype|html|head|body|\?xml|!--)", re.IGNORECASE)
_JSON = re.compile(rb"[\s\xef\xbb\xbf]*[{\[]")
_LOGIN = re.compile(r"(?:/.*)?/(?:login|sign-?in)/?", re.IGNORECASE)
_MODEL_PAGE = re.compile(r"/(?:models|model-versions)/\d+/?")

Header = Callable[[str], str | None]
"""Looks up a header of an answer by its name in lower case."""


def refused(
    source: Source,
    status: int,
    header: Header,
    body: bytes = b"",
    *,
    what: str,
    page: str,
    key: str | None = None,
) -> DownloadRefused | None:
    """What an answer of a site means that is no file; None when it may be one, leads to one, or may be better later.

    For answers of the site itself: a 401 or 403 of its storage says that a signed address has expired. `body`: its
    beginning, a few KB are enough. `what`: the file, and `page`: where a person looks at it, for messages. `key`: the
    one that was sent. `details["reason"]` is one of `needs_key`, `key_refused`, `early_access`, `generation_only`,
    `archived`, `gated`, `forbidden`, `not_found`, `gone`, `legal`, `no_file` and `refused`.
    """
    answer = _Answer(source, status, header, body[:MOST_BODY], what, page, key)
    if status in _REDIRECTS:
        return answer.of_redirect()
    if status in _WHOLE:
        return answer.of_success()
    if not 400 <= status < 500 or status in _PASSING:
        return None
    return (answer.of_hugging_face() if source == HUGGING_FACE else answer.of_civitai()) or answer.of_status()


def is_document(content_type: str | None, body: bytes) -> bool:
    """Whether this is a web page, XML or JSON, and so no model, whatever its sender calls it. `body`: its beginning."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind in _DOCUMENTS:
        return True
    # A safetensors file begins with a length of eight bytes, which may look like `{` but ends in zeros.
    return b"\0" not in body[:8] and bool(_MARKUP.match(body) or _JSON.match(body))


def said(body: bytes, key: str | None = None) -> str:
    """What an answer says for people, in one short line without the key; empty when it says nothing."""
    try:
        fields = table(opened(body)[0])
    except BrokenRecord:
        if _MARKUP.match(body):
            return ""
        text = line(body.decode(errors="replace"))
    else:
        # CivitAI has a kind of error in `error`, and in `message` what it means.
        parts = (fields.get("message"), fields.get("error"), table(fields.get("error")).get("message"))
        text = next(filter(None, map(line, parts)), None)
    return _without(text or "", key)[:_LONGEST_SAID].strip()


@dataclass(frozen=True, slots=True)
class _Answer:
    source: Source
    status: int
    header: Header
    body: bytes
    what: str
    page: str
    key: str | None

    def of_redirect(self) -> DownloadRefused | None:
        try:
            target = urlsplit(self.header("location") or "")
            reason = parse_qs(target.query).get("reason", [""])[0]
        except ValueError:
            # Where it leads is checked by whoever follows it.
            return None
        # Browsers, and what is taken for one, are sent to the page where access is sold.
        if reason == "early-access" or (self.source == CIVITAI and _MODEL_PAGE.fullmatch(target.path)):
            return early_access(self.what, self.page, None)
        if reason == "download-auth" or _LOGIN.fullmatch(target.path):
            return self._key_wanted("leads to its login page")
        return None

    def of_success(self) -> DownloadRefused | None:
        if not is_document(self.header("content-type"), self.body):
            return None
        if self.key is None and self.source == CIVITAI:
            return needs_key(self.source, self.what)
        hint = f"a login page as a rule: does {self.page} show the file, and is the key right? {self.source.keys}"
        return self._error("no_file", "answered with a web page or a text in place of {}", hint)

    def of_civitai(self) -> DownloadRefused | None:
        text = said(self.body).casefold()
        deadline = line(self._fields().get("deadline"))
        if self.status in (401, 403) and "disabled downloads" in text:
            hint = f"another version may do: {self.page}"
            return self._error("generation_only", "does not give {} out: its creator disabled downloads", hint)
        if self.status in (401, 403) and (deadline or "early access" in text or self._kind() == "early access"):
            return early_access(self.what, self.page, deadline)
        if self.status == 410:
            return self._error("archived", "has archived {}: its files are not given out any more", self._look())
        return None

    def of_hugging_face(self) -> DownloadRefused | None:
        code = self.header("x-error-code") or self._code_by_words()
        if code == "GatedRepo":
            hint = f"accept them at {self.page}"
            hint += f", with the account of the token: {self.source.keys}" if self.key else f"; {self.source.make_key}"
            return self._error("gated", "gives {} only to those who accepted its conditions", hint)
        if code in ("RepoNotFound", "RevisionNotFound", "EntryNotFound"):
            noun = {"RepoNotFound": "repository", "RevisionNotFound": "revision", "EntryNotFound": "file"}[code]
            return self._error("not_found", f"knows no such {noun}, or does not show it: {{}}", self._look())
        if self.status == 401 and self.key is None:
            # Said of what is private, gated or not there at all.
            hint = f"is {self.page} right? For what is private: {self.source.make_key}"
            return self._error("needs_key", "does not show {} to everybody, or has no such repository", hint)
        return None

    def _code_by_words(self) -> str | None:
        """What the header `X-Error-Code` would say."""
        text = said(self.body).casefold()
        words = {
            "GatedRepo": "access to model",
            "EntryNotFound": "entry not found",
            "RevisionNotFound": "invalid rev id",
            "RepoNotFound": "repository not found",
        }
        return next((code for code, begins in words.items() if text.startswith(begins)), None)

    def of_status(self) -> DownloadRefused:
        if self.status == 401:
            return self._key_wanted("does not take the key for {}")
        if self.status == 403:
            hint = f"what the key may do is set at {self.source.keys}; what the file needs is told at {self.page}"
            return self._error("forbidden", "refuses to give {}", hint if self.key else self.source.make_key)
        if self.status == 404:
            return self._error("not_found", "does not have {}, or not any more", self._look())
        if self.status == 410:
            return self._error("gone", "does not have {} any more", self._look())
        if self.status == 451:
            return self._error("legal", "may not give {} for legal reasons", self._look())
        return self._error("refused", "refuses the request for {}", self._look())

    def _key_wanted(self, why: str) -> DownloadRefused:
        if self.key is None:
            return needs_key(self.source, self.what)
        hint = f"is the key still good, and may its owner have the file? {self.source.keys} and {self.page}"
        return self._error("key_refused", why, hint)

    def _error(self, reason: str, why: str, hint: str) -> DownloadRefused:
        """`why` has `{}` where the file is named."""
        text = said(self.body, self.key) or _without(line(self.header("x-error-message")) or "", self.key)
        quoted = f": {text[:_LONGEST_SAID]}" if text else ""
        named = why.replace("{}", self.what) if "{}" in why else f"{why} for {self.what}"
        message = f"{self.source.name} {named} ({self.status}{quoted})"
        return DownloadRefused(message, hint=hint, details={"reason": reason, "status": self.status})

    def _look(self) -> str:
        return f"look at {self.page}"

    def _fields(self) -> dict[str, object]:
        try:
            return table(opened(self.body)[0])
        except BrokenRecord:
            return {}

    def _kind(self) -> str:
        return (line(self._fields().get("error")) or "").casefold()


def _without(text: str, key: str | None) -> str:
    """The text without the key, as it is and as URLs have it."""
    for form in (key, quote(key, safe="")) if key else ():
        text = text.replace(form, "***")
    return text
