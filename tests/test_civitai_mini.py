"""CivitAI's small record of a version: what is asked, and what is kept of any answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fake_civitai import FakeCivitai, Fault, answering, failing, half, page
from hypothesis import given
from hypothesis import strategies as st

from tensors.civitai.client import LARGEST_ID, Civitai
from tensors.civitai.permission import BrokenRecord, Permission, permission_of
from tensors.errors import CatalogError, CatalogRefused, CatalogUnreachable, NotInCatalog, TsrError

ENDS = "2026-12-01T12:00:00.000Z"
MINI: dict[str, Any] = {
    "air": "urn:air:sdxl:lora:civitai:7@9",
    "versionName": "v1",
    "modelName": "Some Model",
    "baseModel": "Pony",
    "availability": "EarlyAccess",
    "size": 1024.5,
    "fileType": "Model",
    "fileName": "some.safetensors",
    "hashes": {"SHA256": "AB" * 32},
    "downloadUrls": ["https://civitai.com/api/download/models/9"],
    "format": "SafeTensor",
    "canGenerate": True,
    "requireAuth": True,
    "checkPermission": True,
    "earlyAccessEndsAt": ENDS,
}
"""In the shape that the site's source describes, not a recorded answer."""


@pytest.fixture
def client(civitai: FakeCivitai) -> Iterator[Civitai]:
    client = Civitai(civitai.url, timeout=20, sleep=lambda seconds: None)
    yield client
    client.close()


def test_all_that_is_told_is_read() -> None:
    assert permission_of(json.dumps(MINI).encode()) == Permission(
        require_auth=True,
        check_permission=True,
        early_access_ends_at=ENDS,
        availability="EarlyAccess",
        download_url="https://civitai.com/api/download/models/9",
        air="urn:air:sdxl:lora:civitai:7@9",
        file_name="some.safetensors",
        file_type="Model",
        size=1_049_088,
        format="SafeTensor",
        hashes=(("sha256", "ab" * 32),),
    )


def test_nothing_needs_to_be_told() -> None:
    assert permission_of(b"{}") == permission_of({}) == Permission()


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"downloadUrls": [None, 5, "file:///etc/passwd", "https://a/b"]}, "https://a/b"),
        ({"downloadUrls": "https://a/b"}, None),
        ({"downloadUrl": "https://a/b"}, "https://a/b"),
        ({"downloadUrls": []}, None),
    ],
)
def test_the_first_url_that_is_one_is_taken(fields: dict[str, Any], url: str | None) -> None:
    assert permission_of(fields).download_url == url


@pytest.mark.parametrize("raw", [b"[]", b"null", b"5", b"{", b""])
def test_what_is_no_record_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(BrokenRecord):
        permission_of(raw)


@given(
    st.dictionaries(
        st.sampled_from(sorted(MINI)),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text() | st.integers()),
    )
)
def test_any_value_in_any_field_is_a_record(fields: dict[str, Any]) -> None:
    found = permission_of({**MINI, **fields})
    assert found.require_auth in (True, False, None)
    assert found.check_permission in (True, False, None)
    assert found.size is None or 0 <= found.size < 2**63
    assert found.download_url is None or found.download_url.startswith(("http://", "https://"))
    assert "\n" not in (found.early_access_ends_at or "")


# --- the question -----------------------------------------------------------------------------------------------------


def test_a_recorded_version(civitai: FakeCivitai, client: Civitai) -> None:
    found = client.mini(1144)
    assert (found.check_permission, found.early_access_ends_at, found.availability) == (False, None, "Public")
    assert found.download_url == f"{civitai.url}/api/download/models/1144"
    assert ("autov2", "dc4c67171e") in found.hashes
    assert (found.file_name, found.size) == (client.version(1144).files[0].name, client.version(1144).files[0].size)
    assert civitai.requests[0].path == "/api/v1/model-versions/mini/1144"


def test_early_access_is_told(civitai: FakeCivitai, client: Civitai) -> None:
    civitai.add_version({"id": 9_000_001, "modelId": 7, "earlyAccessEndsAt": ENDS, "files": [{"id": 1, "name": "a"}]})
    found = client.mini(9_000_001)
    assert (found.check_permission, found.early_access_ends_at) == (True, ENDS)


@pytest.mark.parametrize("more", [{"status": "Draft", "files": [{"id": 1}]}, {"files": []}])
def test_what_is_not_published_or_has_no_files_is_not_told(
    civitai: FakeCivitai, client: Civitai, more: dict[str, Any]
) -> None:
    civitai.add_version({"id": 9_000_001, "modelId": 7, **more})
    with pytest.raises(NotInCatalog, match=r"^CivitAI \(127\.0\.0\.1\) has no version 9000001, or not any more$"):
        client.mini(9_000_001)


@pytest.mark.parametrize(("number", "asked"), [(5, 1), (LARGEST_ID, 1), (0, 0), (-1, 0), (LARGEST_ID + 1, 0)])
def test_what_civitai_does_not_know(civitai: FakeCivitai, client: Civitai, number: int, asked: int) -> None:
    with pytest.raises(NotInCatalog, match=f"has no version {number}, or not any more"):
        client.mini(number)
    assert civitai.asked() == asked


@pytest.mark.parametrize(
    ("fault", "error", "tries"),
    [
        (failing(503), CatalogUnreachable, 5),
        (half, CatalogUnreachable, 5),
        (page(), CatalogError, 1),
        (failing(401), CatalogRefused, 1),
        (answering(200, b"[1]"), CatalogError, 1),
    ],
    ids=["503", "half", "page", "401", "no record"],
)
def test_every_fault_is_one_clear_error(
    civitai: FakeCivitai, client: Civitai, fault: Fault, error: type[TsrError], tries: int
) -> None:
    civitai.order(fault, times=tries)
    with pytest.raises(error) as caught:
        client.mini(1144)
    assert type(caught.value) is error
    assert civitai.asked() == tries
