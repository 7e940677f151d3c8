"""Asking CivitAI, over real sockets: what is asked, in how many calls, and what comes of each answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fake_civitai import ENUMS, FakeCivitai, Fault, answering, failing, fine, half, hang_up, page, recorded, silent
from hypothesis import given
from hypothesis import strategies as st

from tensors.civitai.client import LARGEST_ID, Civitai, _chunks
from tensors.civitai.records import BrokenRecord, model_of, version_of
from tensors.config import load_config
from tensors.errors import (
    CatalogError,
    CatalogRefused,
    CatalogUnreachable,
    InvalidRequest,
    JobCancelled,
    NotInCatalog,
    TsrError,
)

SHA256 = "dc4c67171e2eb64b1a79da7fde1cb3fcbef65364b12c8f5e30a0141fd8c88233"
"""Of version 1144 of model 1102."""
RECORDED = sorted([1102, *(model["id"] for model in recorded("models-page.json")["items"])])


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def client(civitai: FakeCivitai, slept: list[float]) -> Iterator[Civitai]:
    client = Civitai(civitai.url, timeout=20, sleep=slept.append)
    yield client
    client.close()


def add(civitai: FakeCivitai, first: int, count: int, **more: Any) -> list[int]:
    """Models with one version and one file each."""
    numbers = list(range(first, first + count))
    for number in numbers:
        version = {"id": number, "files": [{"id": number, "hashes": {"SHA256": sha256(number).upper()}}]}
        civitai.add({"id": number, "name": f"Model {number}", "type": "LORA", "modelVersions": [version], **more})
    return numbers


def sha256(number: int) -> str:
    return f"{number:064x}"


# --- one model, one version -------------------------------------------------------------------------------------------


def test_a_model(client: Civitai) -> None:
    record = client.model(1102)
    expected = model_of(recorded("model-1102.json"))
    assert (record.id, record.name, record.versions) == (1102, "SynthwavePunk", expected.versions)
    assert json.loads(record.document) == recorded("model-1102.json")


def test_a_version(client: Civitai) -> None:
    record = client.version(1318)
    expected = version_of(recorded("model-version-1318.json"))
    assert (record.files, record.images, record.model_name) == (expected.files, expected.images, "froggy style")


@pytest.mark.parametrize("number", [5, LARGEST_ID])
def test_what_civitai_does_not_know(client: Civitai, number: int) -> None:
    with pytest.raises(NotInCatalog, match=rf"^CivitAI \(127\.0\.0\.1\) has no model {number}, or not any more$"):
        client.model(number)
    with pytest.raises(NotInCatalog, match=f"has no version {number}, or"):
        client.version(number)


@pytest.mark.parametrize("number", [0, -1, LARGEST_ID + 1, 2**63])
def test_an_id_that_cannot_be_one_is_not_asked_for(civitai: FakeCivitai, client: Civitai, number: int) -> None:
    with pytest.raises(NotInCatalog):
        client.model(number)
    with pytest.raises(NotInCatalog):
        client.version(number)
    assert list(client.models([number])) == []
    assert civitai.asked() == 0


def test_a_record_without_a_usable_id_is_an_error(civitai: FakeCivitai, client: Civitai) -> None:
    civitai.order(answering(200, b'{"id": "seven"}'), times=2)
    with pytest.raises(CatalogError, match="cannot be read: a model whose id is 'seven'") as caught:
        client.model(7)
    # By this one tells an odd record from a site that fails.
    assert isinstance(caught.value.__cause__, BrokenRecord)
    with pytest.raises(CatalogError, match="cannot be read: version 'seven' does not say"):
        client.version(7)


# --- many models ------------------------------------------------------------------------------------------------------


def test_many_models_a_hundred_in_one_call(civitai: FakeCivitai, client: Civitai) -> None:
    numbers = add(civitai, 1_000_001, 250)
    assert sorted(record.id for record in client.models(numbers)) == numbers
    assert [len(request.query["ids"][0].split(",")) for request in civitai.requests] == [100, 100, 50]
    assert {request.path for request in civitai.requests} == {"/api/v1/models"}


def test_each_model_is_told_once_and_what_is_missing_left_out(civitai: FakeCivitai, client: Civitai) -> None:
    found = [record.id for record in client.models([1102, 5, 4201, 1102, 4201])]
    assert found == [1102, 4201]
    assert civitai.counts() == {"/api/v1/models": 1, "/api/v1/models/*": 1}
    assert list(client.models([])) == []


@pytest.mark.parametrize(
    ("more", "calls"),
    [({"mode": "Archived"}, 2), ({"poi": True}, 2), ({"nsfwLevel": 16}, 1), ({"nsfw": True}, 1), ({}, 1)],
)
def test_models_that_lists_leave_out_are_found(
    civitai: FakeCivitai, client: Civitai, more: dict[str, Any], calls: int
) -> None:
    [number] = add(civitai, 1_000_001, 1, **more)
    assert sorted(record.id for record in client.models([number, 1102])) == [1102, number]
    assert civitai.asked() == calls


def test_an_answer_in_several_pages(civitai: FakeCivitai, client: Civitai, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {"items": [{"id": 1}, {"id": 2}], "metadata": {"nextCursor": "a"}}
    second = {"items": [{"id": 3}], "metadata": {"nextCursor": "a"}}
    civitai.order(*(answering(200, json.dumps(part).encode()) for part in (first, second)))
    assert [record.id for record in client.models([1, 2, 3])] == [1, 2, 3]
    assert [request.query.get("cursor") for request in civitai.requests] == [None, ["a"]]


def test_a_mirror_that_does_not_look_at_ids_ends_too(civitai: FakeCivitai, client: Civitai) -> None:
    others = json.dumps({"items": [{"id": 99}], "metadata": {"nextCursor": "more"}}).encode()
    civitai.order(answering(200, others), times=1)
    assert [record.id for record in client.models([1102])] == [1102]
    assert civitai.counts() == {"/api/v1/models": 1, "/api/v1/models/*": 1}


def test_a_broken_record_is_left_out_and_counted(civitai: FakeCivitai, client: Civitai) -> None:
    civitai.order(answering(200, b'{"items": [{"id": 1}, {"id": null}, {"id": 2}, 5], "metadata": {}}'))
    records, cursor = client.search("x")
    assert ([record.id for record in records], cursor, client.broken) == ([1, 2], None, 2)
    civitai.order(answering(200, b'[{"id": 1, "modelId": 1}, {"id": 2}, null]'))
    assert [[version.id for version in part] for part in client.versions_by_sha256([SHA256])] == [[1]]
    assert client.broken == 3


# --- by hash ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["27EA8C02", "dc4c67171e", SHA256, SHA256.upper(), f" {SHA256}\n", "a72626db",
     "02b54cf802a83aee4dc531e13da29eea6dd26faffb73e706a0b073fa2304a8f9"],
)  # fmt: skip
def test_a_version_by_any_hash(client: Civitai, value: str) -> None:
    found = client.version_by_hash(value)
    assert found is not None
    assert (found.id, found.model_id, found.model_name) == (1144, 1102, "SynthwavePunk")


def test_a_version_by_autov3(client: Civitai) -> None:
    found = client.version_by_hash("5376065129aa")
    assert found is not None
    assert found.id == 221343


def test_an_unknown_hash_is_none(client: Civitai) -> None:
    assert client.version_by_hash("f" * 64) is None


@pytest.mark.parametrize("value", ["", "x" * 64, "../models", "0" * 65, "1234567", "12 34 56 78", "ids"])
def test_what_is_no_hash_is_not_asked_for(civitai: FakeCivitai, client: Civitai, value: str) -> None:
    with pytest.raises(InvalidRequest, match="is no hash"):
        client.version_by_hash(value)
    assert civitai.asked() == 0


def test_ids_ten_thousand_in_one_call(civitai: FakeCivitai, client: Civitai) -> None:
    known = add(civitai, 1_000_001, 3)
    hashes = [sha256(number) for number in (*range(1, 10_000), *known)]
    assert list(client.ids_by_sha256(iter(hashes))) == [
        {sha256(known[0]): known[0]},
        {sha256(number): number for number in known[1:]},
    ]
    assert [len(request.json) for request in civitai.requests] == [10_000, 2]


def test_what_is_no_sha256_does_not_spoil_the_call(civitai: FakeCivitai, client: Civitai) -> None:
    hashes = ["", "x" * 64, SHA256.upper(), SHA256, f" {SHA256} ", "dc4c67171e", SHA256 + "0", "f" * 64, "\u0661" * 64]
    assert list(client.ids_by_sha256(hashes)) == [{SHA256: 1144}]
    assert civitai.requests[0].json == [SHA256.upper(), "F" * 64]
    assert list(client.ids_by_sha256(["nothing", "usable"])) == []
    assert list(client.versions_by_sha256(["nothing", "usable"])) == []
    assert civitai.asked() == 1


def test_of_several_versions_with_one_file_it_is_the_oldest(civitai: FakeCivitai, client: Civitai) -> None:
    for number in (2_000_005, 2_000_001, 2_000_009):
        civitai.add_version({"id": number, "modelId": 1, "files": [{"id": 1, "hashes": {"SHA256": sha256(1)}}]})
    assert list(client.ids_by_sha256([sha256(1)])) == [{sha256(1): 2_000_001}]
    assert [[version.id for version in part] for part in client.versions_by_sha256([sha256(1)])] == [
        [2_000_005, 2_000_001, 2_000_009]
    ]


@pytest.mark.parametrize(
    "body",
    [b'[5, null, {"hash": 5}, {"modelVersionId": 1}, {"hash": "HASH", "modelVersionId": "1"}, {"hash": "ff"}]', b"[]"],
)
def test_odd_entries_among_ids_are_left_out(civitai: FakeCivitai, client: Civitai, body: bytes) -> None:
    civitai.order(answering(200, body.replace(b"HASH", SHA256.encode())))
    assert list(client.ids_by_sha256([SHA256])) == [{}]


@pytest.mark.parametrize("body", [b"{}", b'{"error": "no"}', b"[nonsense]"])
def test_an_answer_that_is_no_list_is_an_error(civitai: FakeCivitai, client: Civitai, body: bytes) -> None:
    civitai.order(answering(200, body), times=2)
    with pytest.raises(CatalogError, match="cannot be read"):
        list(client.ids_by_sha256([SHA256]))
    with pytest.raises(CatalogError, match="cannot be read"):
        list(client.versions_by_sha256([SHA256]))


def test_versions_a_hundred_in_one_call(civitai: FakeCivitai, client: Civitai) -> None:
    known = add(civitai, 1_000_001, 150)
    parts = list(client.versions_by_sha256(sha256(number) for number in known))
    assert [[version.id for version in part] for part in parts] == [known[:100], known[100:]]
    assert [len(request.json) for request in civitai.requests] == [100, 50]
    assert parts[0][0].files[0].hashes == (("sha256", sha256(known[0])),)


def test_nothing_is_asked_before_it_is_wanted(civitai: FakeCivitai, client: Civitai) -> None:
    parts = client.versions_by_sha256(sha256(number) for number in range(1, 301))
    assert civitai.asked() == 0
    next(parts)
    assert civitai.asked() == 1


def test_what_was_done_stays_done(civitai: FakeCivitai, client: Civitai) -> None:
    known = add(civitai, 1_000_001, 250)
    civitai.order(fine, *[failing(500)] * 5)
    done: list[int] = []
    with pytest.raises(CatalogUnreachable):
        done.extend(record.id for record in client.models(known))
    assert done == known[:100]


# --- search -----------------------------------------------------------------------------------------------------------


def test_search_follows_cursors(civitai: FakeCivitai, client: Civitai) -> None:
    numbers = add(civitai, 1_000_001, 45)
    found: list[int] = []
    cursor = None
    while True:
        records, cursor = client.search("model 1", cursor=cursor)
        found += [record.id for record in records]
        if cursor is None:
            break
    assert found == numbers
    assert civitai.asked() == 3
    assert not any("page" in request.query for request in civitai.requests)


def test_every_filter_reaches_the_site(civitai: FakeCivitai, client: Civitai) -> None:
    client.search(
        "a b&c",
        types=["LORA", "DoRA"],
        base_models=["SD 1.5", "Flux.1 D"],
        tag="style",
        username="me",
        sort="Newest",
        period="Week",
        nsfw=True,
        limit=7,
    )
    client.search(nsfw=False, limit=1000)
    client.search(limit=0)
    first, second, third = civitai.requests
    assert first.query == {
        "query": ["a b&c"],
        "types": ["LORA", "DoRA"],
        "baseModels": ["SD 1.5", "Flux.1 D"],
        "tag": ["style"],
        "username": ["me"],
        "sort": ["Newest"],
        "period": ["Week"],
        "nsfw": ["true"],
        "limit": ["7"],
    }
    assert second.query == {"nsfw": ["false"], "limit": ["100"]}
    assert third.query == {"limit": ["1"]}


def test_search_without_anything_lists_what_there_is(client: Civitai) -> None:
    records, cursor = client.search()
    assert ([record.id for record in records], cursor) == (RECORDED, None)


def test_a_filter_that_civitai_does_not_know(client: Civitai) -> None:
    with pytest.raises(CatalogError, match=r"refuses the request \(400: Invalid option: expected one of Checkpoint"):
        client.search(types=["Sculpture"])


def test_a_page_that_leads_to_itself_is_the_last(civitai: FakeCivitai, client: Civitai) -> None:
    civitai.order(answering(200, b'{"items": [], "metadata": {"nextCursor": "same"}}'), times=2)
    assert client.search(cursor="other") == ((), "same")
    assert client.search(cursor="same") == ((), None)


def test_enums(civitai: FakeCivitai, client: Civitai) -> None:
    assert client.enums() == {name: tuple(values) for name, values in ENUMS.items()}
    civitai.order(answering(200, b'{"New": ["a", 5, "b"], "Odd": 5, "Empty": []}'), answering(200, b"[1]"))
    assert client.enums() == {"New": ("a", "b")}
    assert client.enums() == {}


# --- faults -----------------------------------------------------------------------------------------------------------

CALLS = {
    "model": lambda client: client.model(1102),
    "version": lambda client: client.version(1318),
    "models": lambda client: list(client.models([1102])),
    "by hash": lambda client: client.version_by_hash(SHA256),
    "ids": lambda client: list(client.ids_by_sha256([SHA256])),
    "versions": lambda client: list(client.versions_by_sha256([SHA256])),
    "search": lambda client: client.search("x"),
    "enums": lambda client: client.enums(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize(
    ("fault", "error", "tries"),
    [
        (failing(429), CatalogUnreachable, 5),
        (failing(429, retry_after="3"), CatalogUnreachable, 5),
        (failing(500), CatalogUnreachable, 5),
        (half, CatalogUnreachable, 5),
        (hang_up, CatalogUnreachable, 5),
        (page(), CatalogError, 1),
        (page(404), CatalogError, 1),
        (failing(401), CatalogRefused, 1),
        (failing(403), CatalogRefused, 1),
        (answering(200, b'{"id": }'), CatalogError, 1),
    ],
    ids=["429", "429 with Retry-After", "500", "half", "hang up", "page", "404 page", "401", "403", "no JSON"],
)
def test_every_fault_of_every_call_is_one_clear_error(
    civitai: FakeCivitai,
    client: Civitai,
    slept: list[float],
    call: Any,
    fault: Fault,
    error: type[TsrError],
    tries: int,
) -> None:
    civitai.order(fault, times=tries)
    with pytest.raises(error) as caught:
        call(client)
    assert type(caught.value) is error
    assert caught.value.message.startswith("CivitAI (127.0.0.1) ")
    assert civitai.asked() == tries
    assert len(slept) == tries - 1
    # And then it is over.
    call(client)


def test_silence_is_one_clear_error(civitai: FakeCivitai) -> None:
    civitai.order(silent, times=2)
    client = Civitai(civitai.url, timeout=0.2, sleep=lambda seconds: None)
    with pytest.raises(CatalogUnreachable, match=r"^CivitAI \(127\.0\.0\.1\) did not answer within 0\.2 s$"):
        client.model(1102)
    client.close()


def test_stop_ends_a_long_list_between_two_calls(civitai: FakeCivitai) -> None:
    known = add(civitai, 1_000_001, 250)
    done: list[int] = []
    client = Civitai(civitai.url, stop=lambda: len(done) >= 150)
    with pytest.raises(JobCancelled, match="cancelled while CivitAI was asked"):
        done.extend(record.id for record in client.models(known))
    client.close()
    assert done == known[:200]


def test_the_key_comes_from_the_settings(civitai: FakeCivitai, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIVITAI_TOKEN", "my-token")
    config = load_config()
    client = Civitai(config["api.civitai_url"], api_key=config["api.civitai_key"])
    client.model(1102)
    client.close()
    assert civitai.requests[0].headers["authorization"] == "Bearer my-token"
    monkeypatch.setenv("CIVITAI_API_KEY", "first")
    assert load_config()["api.civitai_key"] == "first"


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 7))
def test_chunks_hold_different_items_in_their_order(items: list[int], most: int) -> None:
    chunks = list(_chunks(items, most))
    assert all(0 < len(chunk) <= most and len(set(chunk)) == len(chunk) for chunk in chunks)
    assert all(len(chunk) == most for chunk in chunks[:-1])
    told = [item for chunk in chunks for item in chunk]
    assert list(dict.fromkeys(told)) == list(dict.fromkeys(items))
