"""What an answer means that is no file: a refusal, a login page, a redirect to one, a text that looks like a model."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from fake_civitai import PAGE
from hypothesis import given
from hypothesis import strategies as st

from tensors.downloads.refusals import is_document, refused, said
from tensors.downloads.site import CIVITAI, HUGGING_FACE, Source
from tensors.errors import DownloadRefused
from tensors.fields import harmless

LATER = "2026-12-01T18:30:00.000Z"
KEY = "0123456789abcdef/+secret"
PAGE_URL = "https://civitai.com/models/7?modelVersionId=9"


def answer(
    status: int,
    document: object = None,
    *,
    source: Source = CIVITAI,
    key: str | None = KEY,
    headers: Mapping[str, str] | None = None,
) -> DownloadRefused | None:
    """What an answer means. A document is sent as JSON, bytes as they are."""
    kind = {} if isinstance(document, bytes) or document is None else {"content-type": "application/json"}
    body = document if isinstance(document, bytes) else b"" if document is None else json.dumps(document).encode()
    sent = {**kind, **(headers or {})}
    return refused(source, status, sent.get, body, what="a.gguf", page=PAGE_URL, key=key)


EARLY = {"error": "Early Access", "deadline": LATER, "message": "This asset is in Early Access. You can use Buzz"}
LOGGED_IN = {
    "error": "Unauthorized",
    "message": "The creator of this asset requires you to be logged in to download it",
}
DISABLED = {"error": "Unauthorized", "message": "The creator of this asset has disabled downloads on this file"}


@pytest.mark.parametrize(
    ("status", "document", "key", "reason", "message"),
    [
        (401, LOGGED_IN, None, "needs_key", "CivitAI gives a.gguf only with a key, and none is set"),
        (401, LOGGED_IN, KEY, "key_refused", "CivitAI does not take the key for a.gguf (401: The creator of this"),
        (401, DISABLED, KEY, "generation_only", "CivitAI does not give a.gguf out: its creator disabled downloads"),
        (401, DISABLED, None, "generation_only", "CivitAI does not give a.gguf out: its creator disabled"),
        (403, EARLY, KEY, "early_access", "a.gguf is in early access until 2026-12-01 18:30 UTC"),
        (401, EARLY, None, "early_access", "a.gguf is in early access until 2026-12-01 18:30 UTC"),
        (403, {"error": "Early Access"}, KEY, "early_access", "a.gguf is in early access and its end is not told"),
        (403, {"error": "Early Access", "message": "x"}, KEY, "early_access", "a.gguf is in early access and its end"),
        (403, {"error": "Early Access", "deadline": 5}, KEY, "early_access", "a.gguf is in early access and its"),
        (403, {"error": "Forbidden"}, KEY, "forbidden", "CivitAI refuses to give a.gguf (403: Forbidden)"),
        (403, b"Forbidden", None, "forbidden", "CivitAI refuses to give a.gguf (403: Forbidden)"),
        (404, {"error": "File not found"}, KEY, "not_found", "CivitAI does not have a.gguf, or not any more (404"),
        (410, {"error": "Model archived"}, KEY, "archived", "CivitAI has archived a.gguf: its files are not given"),
        (451, None, KEY, "legal", "CivitAI may not give a.gguf for legal reasons (451)"),
        (400, {"error": "Invalid id"}, KEY, "refused", "CivitAI refuses the request for a.gguf (400: Invalid id)"),
        (200, PAGE, KEY, "no_file", "CivitAI answered with a web page or a text in place of a.gguf (200)"),
        (206, {"error": "no"}, KEY, "no_file", "CivitAI answered with a web page or a text in place of a.gguf (206"),
        (200, PAGE, None, "needs_key", "CivitAI gives a.gguf only with a key"),
    ],
)
def test_what_civitai_means(status: int, document: object, key: str | None, reason: str, message: str) -> None:
    error = answer(status, document, key=key)
    assert error is not None
    assert error.message.startswith(message)
    assert error.details["reason"] == reason
    assert error.hint is not None
    assert "https://civitai.com/" in error.hint


@pytest.mark.parametrize(
    ("location", "key", "reason"),
    [
        ("/login?returnUrl=%2Fmodel-versions%2F9&reason=download-auth", None, "needs_key"),
        ("https://auth.civitai.com/login?reason=download-auth", KEY, "key_refused"),
        ("/en/login", None, "needs_key"),
        ("/pricing?reason=early-access&returnUrl=%2Fmodels%2F7", KEY, "early_access"),
        ("/model-versions/9", KEY, "early_access"),
        ("https://civitai.com/models/7", KEY, "early_access"),
        ("https://civitai.com/models/7/a.gguf", KEY, None),
        ("https://x.r2.cloudflarestorage.com/model/9/a.gguf?X-Amz-Signature=login", KEY, None),
        ("https://b2.civitai.com/file/model/login.safetensors?Authorization=3_2026", KEY, None),
        ("/api/download/models/9?type=Model", KEY, None),
        ("https://[x?reason=download-auth", KEY, None),
        ("", KEY, None),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_where_a_redirect_leads(status: int, location: str, key: str | None, reason: str | None) -> None:
    error = answer(status, key=key, headers={"location": location})
    assert (error.details["reason"] if error else None) == reason


def test_a_redirect_that_leads_nowhere_is_for_whoever_follows_it() -> None:
    assert answer(302) is None


@pytest.mark.parametrize("status", [408, 416, 425, 429, 500, 502, 503, 529, 304, 100])
def test_what_passes_is_no_refusal(status: int) -> None:
    assert answer(status, {"error": "out of order"}) is None
    assert answer(status, PAGE, source=HUGGING_FACE) is None


@pytest.mark.parametrize(
    ("status", "code", "key", "reason", "message"),
    [
        (
            403,
            "GatedRepo",
            KEY,
            "gated",
            "gives a.gguf only to those who accepted its conditions (403: Access to",
        ),
        (
            401,
            "GatedRepo",
            None,
            "gated",
            "gives a.gguf only to those who accepted its conditions (401: Access to",
        ),
        (404, "EntryNotFound", KEY, "not_found", "knows no such file, or does not show it: a.gguf (404"),
        (404, "RevisionNotFound", KEY, "not_found", "knows no such revision, or does not show it: a.gguf (404"),
        (401, "RepoNotFound", None, "not_found", "knows no such repository, or does not show it: a.gguf (401"),
        (401, None, None, "needs_key", "does not show a.gguf to everybody, or has no such repository (401"),
        (401, None, KEY, "key_refused", "does not take the key for a.gguf (401"),
        (403, "NewCode", KEY, "forbidden", "refuses to give a.gguf (403"),
        (404, None, KEY, "not_found", "does not have a.gguf, or not any more (404"),
        (410, None, KEY, "gone", "does not have a.gguf any more (410"),
    ],
)
@pytest.mark.parametrize("in_header", [True, False])
def test_what_hugging_face_means(
    status: int, code: str | None, key: str | None, reason: str, message: str, in_header: bool
) -> None:
    text = "Access to it is restricted"
    headers = {"x-error-code": code} if code else {}
    if in_header:
        headers["x-error-message"] = text
    document = None if in_header else {"error": text}
    error = answer(status, document, source=HUGGING_FACE, key=key, headers=headers)
    assert error is not None
    assert error.message.startswith(f"Hugging Face {message}")
    assert error.message.endswith(f"{text})")
    assert error.details["reason"] == reason
    assert ("api.huggingface_key" in str(error.hint)) == (key is None and reason in ("gated", "needs_key"))


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (403, b"Access to model org/name is restricted and you are not in the authorized list.", "gated"),
        (404, b"Entry not found", "not_found"),
        (401, b'{"error": "Repository not found"}', "not_found"),
        (404, b'{"error": "Invalid rev id: v9"}', "not_found"),
        (401, b"Invalid username or password.", "key_refused"),
        (200, b"<html>", "no_file"),
    ],
)
def test_hugging_face_is_understood_without_its_header_too(status: int, body: bytes, reason: str) -> None:
    kind = {"content-type": "text/html" if status == 200 else "application/octet-stream"}
    error = refused(
        HUGGING_FACE, status, kind.get, body, what="a.gguf", page="https://huggingface.co/org/name", key=KEY
    )
    assert error is not None
    assert error.details == {"reason": reason, "status": status}
    assert error.message.startswith("Hugging Face ")
    assert "a.gguf" in error.message


def test_civitais_words_mean_nothing_from_hugging_face() -> None:
    error = answer(403, EARLY, source=HUGGING_FACE)
    assert error is not None
    assert error.details["reason"] == "forbidden"
    assert answer(302, source=HUGGING_FACE, headers={"location": "/models/7"}) is None


# --- files and what looks like one ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("text/html; charset=utf-8", b"\0" * 16, True),
        ("Application/JSON", b"", True),
        ("application/xml", b"", True),
        ("application/octet-stream", PAGE, True),
        ("application/octet-stream", b"\xef\xbb\xbf\r\n <HTML>", True),
        (None, b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', True),
        (None, b'{"error": "no"}', True),
        (None, b" [1]", True),
        ("text/plain", b"\x10\x02\0\0\0\0\0\0{}", False),
        # Headers of 8,827 and of 60 bytes: their length looks like the beginning of JSON and of a page.
        ("binary/octet-stream", b'{"\0\0\0\0\0\0{"__metadata__": {}}', False),
        ("binary/octet-stream", b'<\0\0\0\0\0\0\0{"__metadata__": {}}', False),
        (None, b"GGUF\3\0\0\0", False),
        (None, b"", False),
    ],
)
def test_pages_and_json_are_told_from_models(content_type: str | None, body: bytes, expected: bool) -> None:
    assert is_document(content_type, body) is expected
    headers = {"content-type": content_type} if content_type else {}
    assert (answer(200, body, headers=headers) is not None) is expected


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": "Unauthorized", "message": "Log in"}', "Log in"),
        (b'{"error": {"message": "Deep"}}', "Deep"),
        (b'{"error": ["odd"], "message": 5}', ""),
        (b"plain words", "plain words"),
        (b'{"error": "cut o', '{"error": "cut o'),
        (PAGE, ""),
        (b"", ""),
        (b"[1, 2]", ""),
        (b'{"message": "\\u001b[31mred\\u0007\\r\\nand\\u202eback"}', "[31mred andback"),
        (b"\xff\xfe\x1b]0;title\x07", "\ufffd\ufffd]0;title"),
        (json.dumps({"message": "long " * 100}).encode(), ("long " * 40).strip()),
    ],
)
def test_what_is_said_is_one_clean_short_line(body: bytes, text: str) -> None:
    assert said(body) == text


KEYS = (KEY, "0123456789abcdef%2F%2Bsecret", "0123\x07456789abcdef/+secret")


@given(
    st.sampled_from([CIVITAI, HUGGING_FACE]),
    st.integers(100, 599),
    st.text(max_size=300),
    st.sampled_from(KEYS),
    st.sampled_from(["error", "message", "deadline", "plain", "header", "location"]),
)
def test_the_key_is_in_no_error(source: Source, status: int, text: str, form: str, place: str) -> None:
    body: object = {place: f"{text}{form} {form}"}
    headers = {}
    if place == "plain":
        body = f"{text}{form}".encode(errors="replace")
    elif place == "header":
        body, headers = b"", {"x-error-message": f"{text}{form}"}
    elif place == "location":
        headers = {"location": f"/login?reason=download-auth&token={form}"}
    error = answer(status, body, source=source, headers=headers)
    if error is not None:
        shown = json.dumps(error.to_wire(), ensure_ascii=False)
        assert not any(key in shown for key in KEYS)
        assert harmless(error.message) == error.message
        assert "\n" not in error.message
