"""Searching Hugging Face: what is asked, how pages are followed, and what of an answer is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fake_civitai import FakeCivitai, answering, failing, half, page
from hypothesis import given
from hypothesis import strategies as st

from tensors.config import load_config
from tensors.errors import CatalogError, CatalogRefused, CatalogUnreachable
from tensors.huggingface import HuggingFace, RepoRecord, _cursor

REPO = {
    "_id": "64bfcd5ff462a99a04fd1ec8",
    "id": "org/Some-Model_v1.0",
    "modelId": "org/Some-Model_v1.0",
    "author": "org",
    "downloads": 12345,
    "likes": 678,
    "tags": ["diffusers", "safetensors", "text-to-image"],
    "lastModified": "2025-10-30T14:03:27.000Z",
    "gated": "auto",
    "private": False,
    "pipeline_tag": "text-to-image",
    "siblings": [{"rfilename": "model.safetensors"}],
}
"""In the shape that the documentation of the API describes, not a recorded answer."""


@pytest.fixture
def site() -> Iterator[FakeCivitai]:
    """A host that answers with what it is told to; it has no API of its own."""
    site = FakeCivitai()
    yield site
    site.close()


@pytest.fixture
def client(site: FakeCivitai) -> Iterator[HuggingFace]:
    client = HuggingFace(site.url, sleep=lambda seconds: None, timeout=20)
    yield client
    client.close()


def repos(*found: Any, **headers: str) -> Any:
    return answering(200, json.dumps(found).encode(), **headers)


def test_a_page_of_repositories(site: FakeCivitai, client: HuggingFace) -> None:
    site.order(repos(REPO))
    records, following = client.search("some model")
    assert records == (
        RepoRecord(
            id="org/Some-Model_v1.0",
            author="org",
            downloads=12345,
            likes=678,
            tags=("diffusers", "safetensors", "text-to-image"),
            last_modified="2025-10-30T14:03:27.000Z",
            gated=True,
            pipeline_tag="text-to-image",
            url=f"{site.url}/org/Some-Model_v1.0",
        ),
    )
    assert following is None
    assert site.requests[0].path == "/api/models"
    assert site.requests[0].query == {"search": ["some model"], "limit": ["20"], "full": ["true"]}


def test_filters_and_bounds(site: FakeCivitai, client: HuggingFace) -> None:
    site.order(repos(), times=3)
    client.search("a&b", tags=["text-to-image", "lora"], limit=5, cursor="abc==")
    client.search(limit=5000)
    client.search(limit=0)
    assert site.requests[0].query == {
        "search": ["a&b"],
        "filter": ["text-to-image", "lora"],
        "limit": ["5"],
        "full": ["true"],
        "cursor": ["abc=="],
    }
    assert [request.query["limit"] for request in site.requests[1:]] == [["1000"], ["1"]]
    assert "search" not in site.requests[1].query


def test_pages_are_followed_by_the_cursor_of_the_link(site: FakeCivitai, client: HuggingFace) -> None:
    link = '<https://huggingface.co/api/models?search=x&limit=1&full=true&cursor=eyJ4IjoxfQ%3D%3D>; rel="next"'
    site.order(repos(REPO, link=link), repos({**REPO, "id": "org/other"}))
    first, cursor = client.search("x", limit=1)
    assert cursor == "eyJ4IjoxfQ=="
    second, end = client.search("x", limit=1, cursor=cursor)
    assert ([repo.id for repo in (*first, *second)], end) == (["org/Some-Model_v1.0", "org/other"], None)
    assert site.requests[1].query["cursor"] == ["eyJ4IjoxfQ=="]
    # Where the link leads does not matter: the next request goes to the configured host all the same.
    assert all(request.path == "/api/models" for request in site.requests)


def test_a_page_that_leads_to_itself_is_the_last(site: FakeCivitai, client: HuggingFace) -> None:
    site.order(repos(link='<https://x/api/models?cursor=same>; rel="next"'))
    assert client.search("x", cursor="same") == ((), None)


@pytest.mark.parametrize(
    ("header", "cursor"),
    [
        ('<https://x/y?cursor=a>; rel="next"', "a"),
        ("<https://x/y?cursor=a>; rel=next", "a"),
        ('<https://x/y?cursor=p>; rel="prev", <https://x/y?a=1&cursor=n>; rel="next"', "n"),
        ('<https://x/y?cursor=p>; rel="prev"', None),
        ('<https://x/y>; rel="next"', None),
        ('<https://[x?cursor=a>; rel="next"', None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_links(header: str, cursor: str | None) -> None:
    assert _cursor(header) == cursor


@given(st.text(st.sampled_from('<>;="nextrl,? &cursoa%'), max_size=80))
def test_any_link_header_is_a_cursor_or_none(header: str) -> None:
    found = _cursor(header)
    assert found is None or found


def test_only_the_id_is_needed_and_the_old_name_of_it_will_do(site: FakeCivitai, client: HuggingFace) -> None:
    site.order(repos({"id": "gpt2"}, {"modelId": "org/old"}))
    records, _ = client.search("x")
    assert records == (
        RepoRecord(id="gpt2", url=f"{site.url}/gpt2"),
        RepoRecord(id="org/old", author="org", url=f"{site.url}/org/old"),
    )


@pytest.mark.parametrize(
    "broken",
    [
        5,
        None,
        {},
        {"id": 5},
        {"id": "a/b/c"},
        {"id": "../x"},
        {"id": "a b"},
        {"id": "/x"},
        {"id": "a/"},
        {"id": "a/\x1b[m"},
    ],
)
def test_a_broken_record_does_not_take_the_rest_with_it(site: FakeCivitai, client: HuggingFace, broken: Any) -> None:
    site.order(repos({"id": "a/b"}, broken, {"id": "a/c"}, {"id": "a/b"}))
    records, _ = client.search("x")
    assert [repo.id for repo in records] == ["a/b", "a/c"]
    assert client.broken == (broken is not None)


@given(
    st.dictionaries(
        st.sampled_from(sorted(REPO)),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text() | st.integers()),
    )
)
def test_any_value_in_any_field_breaks_the_record_at_most(fields: dict[str, Any]) -> None:
    client = HuggingFace("https://huggingface.invalid")
    record = client._repo({**REPO, **fields})
    assert (record is None) == (client.broken == 1)
    if record is not None:
        assert record.url == f"https://huggingface.invalid/{record.id}"
        assert isinstance(record.gated, bool)
        assert 0 <= record.downloads < 2**63
        assert all(tag.strip() == tag and "\0" not in tag for tag in record.tags)


@pytest.mark.parametrize(
    ("said", "gated"), [(False, False), ("auto", True), ("manual", True), (True, True), (None, False), ("false", False)]
)
def test_gated_is_a_flag_or_how_it_is_opened(site: FakeCivitai, client: HuggingFace, said: Any, gated: bool) -> None:
    site.order(repos({"id": "a/b", "gated": said}))
    assert [repo.gated for repo in client.search("x")[0]] == [gated]


def test_faults_are_named_for_hugging_face(site: FakeCivitai, client: HuggingFace) -> None:
    site.order(failing(401, "Invalid credentials"), page(), answering(200, b"{}"), *[failing(503)] * 5, *[half] * 5)
    with pytest.raises(CatalogRefused, match=r"^Hugging Face \(127\.0\.0\.1\) wants a key") as refused:
        client.search("x")
    assert "tsr config set api.huggingface_key KEY" in str(refused.value.hint)
    with pytest.raises(CatalogError, match="web page"):
        client.search("x")
    with pytest.raises(CatalogError, match="cannot be read: not a list"):
        client.search("x")
    for _ in range(2):
        with pytest.raises(CatalogUnreachable):
            client.search("x")
    assert site.asked() == 13


def test_settings(site: FakeCivitai, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_config()["api.huggingface_url"] == "https://huggingface.co"
    monkeypatch.setenv("TSR_HUGGINGFACE_URL", site.url)
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    config = load_config()
    site.order(repos())
    client = HuggingFace(config["api.huggingface_url"], api_key=config["api.huggingface_key"])
    client.search("x")
    client.close()
    assert site.requests[0].headers["authorization"] == "Bearer hf_token"
