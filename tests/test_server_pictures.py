"""Pictures over HTTP as browsers and scripts ask for them: in parts, on condition, small, imported, changed."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gallery_samples import JPEG, WHEN
from PIL import Image
from serving import Api, serving

Made = dict[str, Any]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("server")) as api:
        yield api


@pytest.fixture(scope="module")
def made(api: Api) -> Made:
    (image,) = api.generate(prompt="a fox in the snow", seed=11, tags=["kept"])["images"]
    return dict(image)


def test_what_a_browser_has_is_not_sent_again(api: Api, made: Made) -> None:
    for path in (f"/api/images/{made['id']}", f"/api/images/{made['id']}/thumbnail"):
        first = api.http.get(path)
        tag = first.headers["etag"]
        for known in (tag, f'"other", W/{tag}', "*"):
            again = api.http.get(path, headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        changed = api.http.get(path, headers={"If-None-Match": '"other"'})
        assert (changed.status_code, changed.content) == (200, first.content)
        assert "immutable" in first.headers["cache-control"]
        assert first.headers["x-content-type-options"] == "nosniff"


PARTS = {
    "bytes=0-9": (0, 10),
    "bytes=10-": (10, None),
    "bytes=-7": (-7, None),
    "bytes=5-5": (5, 6),
    "bytes=0-99999999": (0, None),
    "bytes=-99999999": (0, None),
}


@pytest.mark.parametrize("wanted", PARTS)
def test_a_part_of_a_file_comes_as_that_part(api: Api, made: Made, wanted: str) -> None:
    whole = api.http.get(f"/api/images/{made['id']}")
    first, end = PARTS[wanted]
    expected = whole.content[first:end]
    for more in ({}, {"If-Range": whole.headers["etag"]}):
        part = api.http.get(f"/api/images/{made['id']}", headers={"Range": wanted, **more})
        assert (part.status_code, part.content) == (206, expected)
        start = whole.content.index(expected)
        assert part.headers["content-range"] == f"bytes {start}-{start + len(expected) - 1}/{len(whole.content)}"
        assert part.headers["content-length"] == str(len(expected))
    changed = api.http.get(f"/api/images/{made['id']}", headers={"Range": wanted, "If-Range": '"other"'})
    assert (changed.status_code, changed.content) == (200, whole.content)


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-6", "bytes=9-3", "lines=1-2", "bytes=", "bytes=-", "bytes=a-b", "0-9"])
def test_a_range_that_is_none_brings_the_whole_file(api: Api, made: Made, wanted: str) -> None:
    whole = api.http.get(f"/api/images/{made['id']}", headers={"Range": wanted})
    assert (whole.status_code, len(whole.content)) == (200, int(whole.headers["content-length"]))


def test_a_range_behind_the_end_is_refused(api: Api, made: Made) -> None:
    size = int(api.http.get(f"/api/images/{made['id']}").headers["content-length"])
    for wanted in (f"bytes={size}-", "bytes=99999999-"):
        response = api.http.get(f"/api/images/{made['id']}", headers={"Range": wanted})
        assert (response.status_code, response.headers["content-range"]) == (416, f"bytes */{size}")


@pytest.mark.parametrize("size", [256, 512])
def test_a_thumbnail_is_small(api: Api, made: Made, size: int) -> None:
    response = api.http.get(f"/api/images/{made['id']}/thumbnail", params={"size": size})
    assert response.headers["content-type"] == "image/webp"
    with Image.open(io.BytesIO(response.content)) as picture:
        assert picture.format == "WEBP"
        assert max(picture.size) <= size


def test_of_another_size_there_is_none(api: Api, made: Made) -> None:
    response = api.http.get(f"/api/images/{made['id']}/thumbnail", params={"size": 300})
    assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request")


def ids(api: Api, **filters: Any) -> list[str]:
    return [image["id"] for page in api.pages("/api/images", limit=500, **filters) for image in page]


def test_filters_find_what_fits_and_only_that(api: Api, made: Made) -> None:
    (other,) = api.generate(prompt="a red barn", seed=12)["images"]
    fitting: list[dict[str, Any]] = [
        {"text": "fox snow"},
        {"seed": 11},
        {"tag": ["kept"]},
        {"text": "fox", "width": 64, "model": made["settings"]["model"]["name"]},
        {"job": made["job"]},
    ]
    for filters in fitting:
        assert ids(api, **filters) == [made["id"]], filters
    assert other["id"] in ids(api, text="barn -fox")
    assert ids(api, tag=["kept", "other"]) == []
    assert ids(api, until="2020-01-01") == []


def test_a_filter_out_of_bounds_is_refused_by_name(api: Api) -> None:
    for filters, field in (({"rating": 9}, "rating"), ({"since": "soon"}, "since"), ({"tag": [""]}, "tags")):
        response = api.http.get("/api/images", params=filters)
        assert response.status_code == 422, response.text
        assert field in response.json()["error"]["message"]


def test_an_edit_changes_what_it_names(api: Api) -> None:
    (image,) = api.generate(tags=["one"])["images"]
    path = f"/api/images/{image['id']}"
    edited = api.http.post(f"{path}/edit", json={"rating": 4, "notes": "dear"}).json()
    assert edited == {**image, "rating": 4, "notes": "dear"}
    edited = api.http.post(f"{path}/edit", json={"tags": ["two"], "rating": 0, "favourite": True}).json()
    assert edited == {**image, "tags": ["two"], "notes": "dear", "rating": None, "favourite": True}
    assert api.get(f"{path}/meta") == edited
    assert ids(api, tag=["two"]) == [image["id"]]
    refused = api.http.post(f"{path}/edit", json={"rating": 6, "colour": "red"})
    assert refused.status_code == 422
    assert api.get(f"{path}/meta") == edited


def test_what_was_deleted_lies_in_the_trash_until_it_is_restored_or_removed(api: Api) -> None:
    back, gone = api.generate(batch_size=2)["images"]
    for image in (back, gone):
        assert api.http.delete(f"/api/images/{image['id']}").status_code == 200
    trash = api.get("/api/images", deleted=True)["items"]
    assert [image["id"] for image in trash[:2]] == [gone["id"], back["id"]]
    assert all(image["deleted"] for image in trash)
    assert api.http.get("/api/images", params={"deleted": True, "text": "x"}).status_code == 422
    assert api.http.post(f"/api/images/{back['id']}/restore").json() == back
    assert api.http.post(f"/api/images/{back['id']}/restore").status_code == 404
    job = api.http.post("/api/images/cleanup", json={"empty_trash": True})
    assert job.status_code == 202
    assert [event["kind"] for event in api.events(job.json()["id"])][-1] == "cleanup"
    cleaning = api.get(f"/api/jobs/{job.json()['id']}")["cleanup"]
    assert gone["id"] in cleaning["removed"]
    assert cleaning["freed"] > 0
    assert api.get("/api/images", deleted=True)["items"] == []
    assert api.get(f"/api/images/{back['id']}/meta") == back


def test_a_picture_made_elsewhere_is_imported_once(api: Api) -> None:
    first = api.http.post("/api/images/import", content=JPEG, params={"created": WHEN, "tag": ["a", "b"]}).json()
    assert (first["new"], first["image"]["tags"], first["image"]["created"]) == (True, ["a", "b"], WHEN)
    again = api.http.post("/api/images/import", content=JPEG).json()
    assert again == {"image": first["image"], "new": False}
    response = api.http.get(f"/api/images/{first['image']['id']}")
    assert (response.headers["content-type"], response.content) == ("image/jpeg", JPEG)
    for content, parameters in ((b"GIF89a", {}), (b"", {}), (JPEG, {"created": "soon"}), (JPEG, {"tag": [""]})):
        refused = api.http.post("/api/images/import", content=content, params=parameters)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_request")


def test_an_export_has_files_and_records(api: Api, made: Made) -> None:
    (other,) = api.generate(prompt="a zebra")["images"]
    for parameters, wanted in (
        ({"id": [made["id"], other["id"]]}, [made, other]),
        ({"text": "zebra"}, [other]),
    ):
        response = api.http.get("/api/images/export", params=parameters)
        assert response.headers["content-type"] == "application/zip"
        with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == [f"{image['id']}{kind}" for image in wanted for kind in (".png", ".json")]
            for image in wanted:
                assert archive.read(f"{image['id']}.png") == Path(image["path"]).read_bytes()
                record = json.loads(archive.read(f"{image['id']}.json"))
                assert record["settings"] == image["settings"]
    for parameters in ({"id": [made["id"], "nope"]}, {"text": "nothing of this kind"}):
        response = api.http.get("/api/images/export", params=parameters)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "image_not_found")


def test_what_is_young_may_still_belong_to_something(api: Api, made: Made) -> None:
    half = Path(made["path"]).with_name(".20200101-000000-000_1.png.tmp")
    half.write_bytes(b"x")
    for dry_run in (True, False):
        nothing = {"temporary": [], "sidecars": [], "thumbnails": [], "inputs": [], "bytes": 0}
        assert api.http.post("/api/images/gc", json={"dry_run": dry_run}).json() == nothing
    assert half.exists()


def test_all_files_are_read_again(api: Api) -> None:
    count = api.get("/api/status")["images"]
    assert api.http.post("/api/images/reindex").json() == {"images": count}


def test_everything_that_happens_is_told(api: Api) -> None:
    with api.http.stream("GET", "/api/events") as response:
        lines = response.iter_lines()
        # The first frame: from here on nothing is missed.
        assert next(lines).startswith(":")
        (image,) = api.generate(prompt="an owl")["images"]
        path = f"/api/images/{image['id']}"
        api.http.post(f"{path}/edit", json={"favourite": True})
        api.http.delete(path)
        api.http.post(f"{path}/restore")
        told: list[tuple[str, Made]] = []
        name = ""
        while not told or told[-1][1].get("change") != "restored":
            line = next(lines)
            if line.startswith("event: "):
                name = line[7:]
            if line.startswith("data: "):
                told.append((name, json.loads(line[6:])))
                if name == "job":
                    assert api.http.get(f"/api/jobs/{told[-1][1]['job']}").status_code == 200
    states = [event["state"] for name, event in told if name == "job" and event["job"] == image["job"]]
    assert (states[0], states[-1]) == ("queued", "succeeded")
    changes = [(event["change"], event["image"]["id"]) for name, event in told if name == "image"]
    assert changes == [(change, image["id"]) for change in ("saved", "edited", "deleted", "restored")]


def test_a_file_that_changes_is_another_file(api: Api) -> None:
    """By hand, that is: tsr never changes one."""
    (image,) = api.generate()["images"]
    path = f"/api/images/{image['id']}"
    first = api.http.get(path)
    Path(image["path"]).write_bytes(first.content + b"more")
    changed = api.http.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (changed.status_code, changed.content) == (200, first.content + b"more")
    assert changed.headers["etag"] != first.headers["etag"]
    Path(image["path"]).write_bytes(b"")
    assert api.http.get(path).content == b""
    Path(image["path"]).unlink()
    assert api.http.get(path).status_code == 404


def test_a_file_that_is_cut_off_while_it_is_sent_breaks_one_connection(api: Api) -> None:
    (image,) = api.generate()["images"]
    size = 64 * 2**20
    with Path(image["path"]).open("r+b") as file:
        file.truncate(size)
    with api.http.stream("GET", f"/api/images/{image['id']}") as response:
        assert response.headers["content-length"] == str(size)
        parts = response.iter_raw()
        next(parts)
        with Path(image["path"]).open("r+b") as file:
            file.truncate(0)
        with pytest.raises(httpx.HTTPError):
            list(parts)
    assert api.get("/api/health") == {"status": "ok"}
    assert api.http.get(f"/api/images/{image['id']}").content == b""


def test_more_pictures_than_are_kept_at_hand_are_all_shown(api: Api) -> None:
    images = api.generate(batch_size=40, steps=1)["images"]
    for image in (*images, *images[:3]):
        response = api.http.get(f"/api/images/{image['id']}")
        assert response.content == Path(image["path"]).read_bytes()
    head = api.http.head(f"/api/images/{images[0]['id']}")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == Path(images[0]["path"]).stat().st_size
