"""The gallery over HTTP: lists, files, records, deletion, and ids that want to be somewhere else."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from serving import Api, serving

from tensors.errors import ImageNotFound

GONE = "20200101-000000-000_7"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("server")) as api:
        yield api


def new_images(api: Api, count: int) -> list[str]:
    """Ids of pictures drawn now, in the order of the list: newest first."""
    jobs = [api.generate(batch_size=2, steps=1) for _ in range(count // 2)]
    return [image["id"] for answer in reversed(jobs) for image in reversed(answer["images"])]


@pytest.mark.parametrize("limit", [1, 3, 4, 500])
def test_pages_together_are_the_whole_list_newest_first(api: Api, limit: int) -> None:
    made = new_images(api, 8)
    pages = list(api.pages("/api/images", limit=limit))
    listed = [image["id"] for page in pages for image in page]
    assert listed[:8] == made
    assert len(set(listed)) == len(listed) == api.get("/api/status")["images"]
    created = [image["created"] for page in pages for image in page]
    assert created == sorted(created, reverse=True)
    assert all(len(page) == limit for page in pages[:-1])
    assert 1 <= len(pages[-1]) <= limit


def test_pictures_drawn_or_deleted_between_pages_disturb_nothing(api: Api) -> None:
    made = new_images(api, 6)
    first = api.get("/api/images", limit=3)
    new_images(api, 2)
    assert api.http.delete(f"/api/images/{made[2]}").status_code == 200
    second = api.get("/api/images", limit=3, cursor=first["next_cursor"])
    assert [image["id"] for page in (first, second) for image in page["items"]] == made


def test_twenty_are_listed_when_nobody_says_how_many(api: Api) -> None:
    made = [image["id"] for image in reversed(api.generate(batch_size=22, steps=1)["images"])]
    page = api.get("/api/images")
    assert [image["id"] for image in page["items"]] == made[:20]
    assert page["next_cursor"] == made[19]


def test_a_file_comes_with_headers_for_a_browser(api: Api) -> None:
    (image,) = api.generate()["images"]
    response = api.http.get(f"/api/images/{image['id']}")
    assert response.headers["content-type"] == "image/png"
    assert int(response.headers["content-length"]) == len(response.content)
    assert "immutable" in response.headers["cache-control"]
    assert "private" in response.headers["cache-control"]
    with Image.open(io.BytesIO(response.content)) as picture:
        picture.load()
        assert (picture.format, picture.size) == ("PNG", (image["width"], image["height"]))
    assert response.content == Path(image["path"]).read_bytes()


def test_meta_list_and_answer_tell_the_same(api: Api) -> None:
    (image,) = api.generate(tags=["kept"])["images"]
    assert api.get(f"/api/images/{image['id']}/meta") == image
    assert api.get("/api/images", limit=1)["items"] == [image]


def test_a_deleted_picture_is_gone_everywhere(api: Api) -> None:
    gone, stays = api.generate(batch_size=2)["images"]
    assert api.http.delete(f"/api/images/{gone['id']}").json() == {"id": gone["id"]}
    for method, path in (("GET", ""), ("GET", "/meta"), ("DELETE", "")):
        response = api.http.request(method, f"/api/images/{gone['id']}{path}")
        assert (response.status_code, response.json()["error"]["code"]) == (404, "image_not_found")
    listed = {image["id"] for image in api.get("/api/images", limit=500)["items"]}
    assert gone["id"] not in listed
    assert stays["id"] in listed
    assert list(Path(gone["path"]).parent.glob(f"{gone['id']}*")) == []
    assert api.file(stays["id"])


@pytest.fixture(scope="module")
def outside(api: Api) -> Path:
    """A picture with its record, named as the gallery names them, in the folder above the gallery."""
    (image,) = api.generate()["images"]
    folder = api.server.data_dir
    for kind in (".png", ".json"):
        shutil.copy(Path(image["path"]).with_suffix(kind), folder / f"{GONE}{kind}")
    return folder


STRANGE_IDS = {
    "unknown": GONE,
    "no-id": "nope",
    "parent": f"..%2f{GONE}",
    "encoded-dots": f"%2e%2e%2f{GONE}",
    "twice-encoded": f"%252e%252e%252f{GONE}",
    "backslash": f"..%5c{GONE}",
    "absolute": f"%2f{GONE}",
    "dot-segment": f"x%2f..%2f..%2f{GONE}",
    "passwd": "..%2f..%2f..%2f..%2fetc%2fpasswd",
    "extension": f"{GONE}.png",
    "nul": f"{GONE}%00",
    "other-digits": "%D9%A2%D9%A0%D9%A2%D9%A0%D9%A0%D9%A1%D9%A0%D9%A1-000000-000_7",
    "invalid-utf8": "%ff%fe",
    "long": "1" * 8000,
    "space": "%20",
}


@pytest.mark.parametrize("strange", STRANGE_IDS.values(), ids=STRANGE_IDS)
@pytest.mark.parametrize(("method", "tail"), [("GET", ""), ("GET", "/meta"), ("DELETE", "")])
def test_an_id_of_no_picture_is_not_found(api: Api, outside: Path, method: str, tail: str, strange: str) -> None:
    before = sorted(outside.rglob("*.png"))
    response = api.http.request(method, f"/api/images/{strange}{tail}")
    assert response.status_code == 404, response.text
    error = response.json()["error"]
    assert (error["code"], error["hint"]) == (ImageNotFound.code, "tsr images list")
    assert error["message"].startswith("image ")
    assert sorted(outside.rglob("*.png")) == before


@pytest.mark.parametrize("path", ["/api/images/../status", "/api/images/%2e%2e/status", "/api/images/x/../../status"])
def test_dot_segments_of_a_path_lead_nowhere(api: Api, path: str) -> None:
    """Sent as they are, by a client that does not resolve them as browsers do."""
    response = api.http.send(api.http.build_request("GET", "/", extensions={"target": path.encode()}))
    assert (response.status_code, response.json()["error"]["code"]) == (404, ImageNotFound.code)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "limit must be between 1 and 500, not 0"),
        ("limit=-1", "limit must be between 1 and 500, not -1"),
        ("limit=501", "limit must be between 1 and 500, not 501"),
        ("limit=99999999999999999999", "limit must be between 1 and 500, not 99999999999999999999"),
        ("limit=ten", "limit is not valid"),
        ("limit=", "limit is not valid"),
        ("cursor=..", "'..' is not a cursor of this list"),
        ("cursor=%2e%2e%2fetc", "'../etc' is not a cursor of this list"),
        ("cursor=", "'' is not a cursor of this list"),
    ],
)
def test_a_list_that_cannot_be_is_refused(api: Api, query: str, said: str) -> None:
    response = api.http.get(f"/api/images?{query}")
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")
    assert response.json()["error"]["message"].startswith(said)


def test_a_cursor_of_a_deleted_picture_still_holds_its_place(api: Api) -> None:
    made = new_images(api, 4)
    page = api.get("/api/images", limit=2)
    assert api.http.delete(f"/api/images/{page['next_cursor']}").status_code == 200
    after = api.get("/api/images", limit=2, cursor=page["next_cursor"])
    assert [image["id"] for image in after["items"]] == made[2:]
