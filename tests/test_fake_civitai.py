"""The stand-in for CivitAI keeps the site's rules, as its documentation and its source tell them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fake_civitai import (
    ENUMS,
    PAGE,
    FakeCivitai,
    answering,
    dripping,
    failing,
    fine,
    half,
    hang_up,
    moved,
    page,
    recorded,
    silent,
    slow,
    trickling,
)

SHA256 = "DC4C67171E2EB64B1A79DA7FDE1CB3FCBEF65364B12C8F5E30A0141FD8C88233"
"""Of version 1144 of model 1102."""
BLAKE3 = "02B54CF802A83AEE4DC531E13DA29EEA6DD26FAFFB73E706A0B073FA2304A8F9"


@pytest.fixture
def http(civitai: FakeCivitai) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{civitai.url}/api/v1", trust_env=False, timeout=10) as client:
        yield client


def get(http: httpx.Client, path: str, **parameters: Any) -> Any:
    response = http.get(path, params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


def ids(document: Any) -> list[int]:
    return [model["id"] for model in document["items"]]


# --- what it knows ----------------------------------------------------------------------------------------------------


def test_it_tells_the_recorded_answers(http: httpx.Client) -> None:
    assert get(http, "/models/1102") == recorded("model-1102.json")
    assert get(http, "/model-versions/1318") == recorded("model-version-1318.json")
    assert get(http, "/creators") == recorded("creators.json")
    assert get(http, "/tags") == recorded("tags.json")
    expected = sorted(recorded("models-page.json")["items"], key=lambda model: model["id"])
    assert get(http, "/models", types="Checkpoint")["items"] == [recorded("model-1102.json"), *expected]
    assert get(http, "/enums") == ENUMS


def test_a_version_on_its_own_says_what_its_model_is(http: httpx.Client) -> None:
    version = get(http, "/model-versions/1144")
    inside = recorded("model-1102.json")["modelVersions"][0]
    model = {"name": "SynthwavePunk", "type": "Checkpoint", "nsfw": False, "poi": False}
    assert version == {**inside, "model": model}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/models/5", "No model with id 5"),
        ("/model-versions/5", "Model not found"),
        (f"/model-versions/by-hash/{'0' * 64}", "Model not found"),
    ],
)
def test_what_is_unknown_is_a_404_with_a_text(http: httpx.Client, path: str, message: str) -> None:
    response = http.get(path)
    assert (response.status_code, response.json()) == (404, {"error": message})


def test_an_address_that_is_none_is_a_404_with_a_page(http: httpx.Client) -> None:
    response = http.get("/nothing")
    assert (response.status_code, response.content) == (404, PAGE)
    assert response.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("path", ["/models/x", "/models/0", f"/models/{2**31}", "/model-versions/-1"])
def test_an_id_that_cannot_be_one_is_a_400(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 400


def test_a_model_that_was_removed_is_gone_everywhere(civitai: FakeCivitai, http: httpx.Client) -> None:
    civitai.remove(1102)
    assert http.get("/models/1102").status_code == 404
    assert http.get("/model-versions/1144").status_code == 404
    assert http.get(f"/model-versions/by-hash/{SHA256}").status_code == 404
    assert http.post("/model-versions/by-hash/ids", json=[SHA256]).json() == []


# --- hashes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["27EA8C02", "dc4c67171e", SHA256.lower(), "a72626db", BLAKE3],
    ids=["AutoV1", "AutoV2", "SHA256", "CRC32", "BLAKE3"],
)
def test_a_version_is_found_by_any_hash_in_any_case(http: httpx.Client, value: str) -> None:
    assert get(http, f"/model-versions/by-hash/{value}")["id"] == 1144


def test_many_hashes_in_any_case_and_the_unknown_left_out(http: httpx.Client) -> None:
    asked = [SHA256.lower(), "f" * 64]
    assert http.post("/model-versions/by-hash/ids", json=asked).json() == [{"modelVersionId": 1144, "hash": SHA256}]
    assert [version["id"] for version in http.post("/model-versions/by-hash", json=asked).json()] == [1144]


@pytest.mark.parametrize(("path", "most"), [("/model-versions/by-hash", 100), ("/model-versions/by-hash/ids", 10_000)])
def test_one_hash_too_many_is_a_400_for_the_whole_call(http: httpx.Client, path: str, most: int) -> None:
    hashes = [f"{number:064X}" for number in range(most + 1)]
    assert http.post(path, json=hashes[:most]).json() == []
    refused = http.post(path, json=hashes)
    assert refused.status_code == 400
    assert "Too many hashes" in refused.json()["error"]


@pytest.mark.parametrize("path", ["/model-versions/by-hash", "/model-versions/by-hash/ids"])
@pytest.mark.parametrize("wrong", ["x" * 64, "0" * 63, "0" * 65, "", None, 5])
def test_one_hash_that_is_none_is_a_400_for_the_whole_call(http: httpx.Client, path: str, wrong: Any) -> None:
    assert http.post(path, json=[SHA256, wrong]).status_code == 400


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b'"x"'])
def test_a_body_that_is_no_list_is_a_400(http: httpx.Client, body: bytes) -> None:
    assert http.post("/model-versions/by-hash/ids", content=body).status_code == 400


def test_a_question_for_many_is_a_post(http: httpx.Client) -> None:
    assert http.get("/model-versions/by-hash/ids").status_code != 200
    assert http.post("/models").status_code == 405


# --- lists ------------------------------------------------------------------------------------------------------------


def add(civitai: FakeCivitai, count: int, **more: Any) -> list[int]:
    numbers = list(range(900_001, 900_001 + count))
    for number in numbers:
        civitai.add({"id": number, "name": f"Added {number}", "type": "LORA", "tags": ["added"], **more})
    return numbers


def test_pages_are_followed_by_cursors_to_the_last(civitai: FakeCivitai, http: httpx.Client) -> None:
    numbers = add(civitai, 25)
    found, cursor = [], {}
    while True:
        document = get(http, "/models", query="added", limit=10, **cursor)
        found.append(ids(document))
        if "nextCursor" not in document["metadata"]:
            break
        assert "nextPage" in document["metadata"]
        cursor = {"cursor": document["metadata"]["nextCursor"]}
    assert [len(part) for part in found] == [10, 10, 5]
    assert [number for part in found for number in part] == numbers


def test_pages_by_number(civitai: FakeCivitai, http: httpx.Client) -> None:
    numbers = add(civitai, 25)
    document = get(http, "/models", tag="added", limit=10, page=3)
    assert ids(document) == numbers[20:]
    assert document["metadata"] == {"currentPage": 3, "pageSize": 10}


@pytest.mark.parametrize(
    ("status", "parameters"),
    [
        (400, {"query": "x", "page": 1}),
        (429, {"limit": 100, "page": 11}),
        (400, {"limit": 101}),
        (400, {"limit": "many"}),
        (400, {"page": 0}),
        (400, {"cursor": "made up"}),
        (400, {"cursor": "10|5"}),
        (400, {"types": "Sculpture"}),
        (400, {"sort": "Prettiest"}),
        (400, {"period": "Century"}),
    ],
)
def test_a_question_against_the_rules(http: httpx.Client, status: int, parameters: dict[str, Any]) -> None:
    refused = http.get("/models", params=parameters)
    assert refused.status_code == status
    assert "error" in refused.json()


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"ids": "1102,5,4201"}, [1102, 4201]),
        ({"query": "SYNTHWAVE"}, [1102]),
        ({"username": "justmaier"}, [1102]),
        ({"tag": "Anime"}, [4468, 7371, 36520]),
        ({"baseModels": "SD 1.5", "ids": "1102"}, [1102]),
        ({"baseModels": "Pony"}, []),
        ({"types": ["LORA", "VAE"]}, []),
        ({"limit": 0}, []),
    ],
)
def test_filters(http: httpx.Client, parameters: dict[str, Any], expected: list[int]) -> None:
    assert ids(get(http, "/models", **parameters)) == expected


@pytest.mark.parametrize(
    ("more", "by_default", "with_nsfw"),
    [
        ({"nsfwLevel": 1}, True, True),
        ({"nsfwLevel": 16}, False, True),
        ({"nsfw": True}, False, True),
        ({"nsfwLevel": 1, "poi": True}, False, False),
        ({"nsfwLevel": 1, "mode": "Archived"}, False, False),
    ],
)
def test_lists_leave_out_what_a_single_answer_tells(
    civitai: FakeCivitai, http: httpx.Client, more: dict[str, Any], by_default: bool, with_nsfw: bool
) -> None:
    [number] = add(civitai, 1, **more)
    assert ids(get(http, "/models", ids=number)) == [number] * by_default
    assert ids(get(http, "/models", ids=number, nsfw="true")) == [number] * with_nsfw
    assert get(http, f"/models/{number}")["id"] == number


# --- keys, notes and faults -------------------------------------------------------------------------------------------


def test_a_wrong_key_is_refused_and_none_is_fine(civitai: FakeCivitai, http: httpx.Client) -> None:
    assert http.get("/models/1102", headers={"Authorization": "Bearer any"}).status_code == 200
    civitai.keys = {"right"}
    statuses = [
        http.get("/models/1102", headers={"Authorization": f"Bearer {key}"} if key else {}).status_code
        for key in ("right", "wrong", None)
    ]
    assert statuses == [200, 401, 200]


def test_requests_are_noted(civitai: FakeCivitai, http: httpx.Client) -> None:
    http.get("/models", params={"types": ["LORA", "VAE"]}, headers={"X-Thing": "thing"})
    http.post("/model-versions/by-hash/ids", json=[SHA256])
    http.get("/models/1102")
    first, second, _ = civitai.requests
    assert (first.method, first.path, first.query) == ("GET", "/api/v1/models", {"types": ["LORA", "VAE"]})
    assert first.headers["x-thing"] == "thing"
    assert (second.method, second.json) == ("POST", [SHA256])
    assert (civitai.asked(), civitai.asked("/models"), civitai.asked("/tags")) == (3, 1, 0)
    assert civitai.counts() == {
        "/api/v1/models": 1,
        "/api/v1/model-versions/by-hash/ids": 1,
        "/api/v1/models/*": 1,
    }


def test_faults_come_one_for_each_request_in_their_order(civitai: FakeCivitai, http: httpx.Client) -> None:
    civitai.order(failing(429, "slow down", retry_after="7"), times=2)
    civitai.order(fine, page(), page(404), moved("/elsewhere"), answering(200, b"[]", x_thing="y"), slow(0.01))
    answers = [http.get("/models/1102") for _ in range(9)]
    assert [answer.status_code for answer in answers] == [429, 429, 200, 200, 404, 307, 200, 200, 200]
    assert answers[0].json() == {"error": "slow down"}
    assert answers[0].headers["retry-after"] == "7"
    assert answers[3].content == answers[4].content == PAGE
    assert answers[5].headers["location"] == "/elsewhere"
    assert (answers[6].json(), answers[6].headers["x-thing"]) == ([], "y")
    assert answers[2].json() == answers[7].json() == answers[8].json() == recorded("model-1102.json")
    assert len(civitai.requests) == 9


def test_hanging_up_in_the_middle_and_at_once(civitai: FakeCivitai, http: httpx.Client) -> None:
    civitai.order(half, hang_up)
    with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
        http.get("/models/1102")
    with pytest.raises(httpx.RemoteProtocolError, match="without sending"):
        http.get("/models/1102")
    assert http.get("/models/1102").json() == recorded("model-1102.json")


@pytest.mark.parametrize(
    ("fault", "begins"), [(silent, b""), (dripping, b"HTTP/1.1 200 OK\r\nxx"), (trickling, b"HTTP/1.1 200 OK")]
)
def test_endless_answers_end_when_the_stand_in_is_closed(fault: Any, begins: bytes) -> None:
    fake = FakeCivitai()
    fake.order(fault)
    with socket.create_connection(fake.url.removeprefix("http://").split(":"), timeout=30) as connection:
        connection.sendall(b"GET /api/v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        fake.wait_for(1)
        heard = b""
        while len(heard) < len(begins):
            heard += connection.recv(100)
        fake.close()
        while part := connection.recv(1000):
            heard += part
    assert heard.startswith(begins)
    assert fake.asked() == 1


def test_it_ends_although_a_client_stays() -> None:
    fake = FakeCivitai()
    with httpx.Client(trust_env=False) as client:
        assert client.get(f"{fake.url}/api/v1/enums").status_code == 200
        fake.close()
        with pytest.raises(httpx.TransportError):
            client.get(f"{fake.url}/api/v1/enums")
