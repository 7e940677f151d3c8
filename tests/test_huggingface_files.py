"""Files of a Hugging Face repository: what is asked, how pages are followed, and what of a listing is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from fake_civitai import FakeCivitai, answering, failing, half, page
from hypothesis import given
from hypothesis import strategies as st

from tensors import huggingface
from tensors.errors import CatalogError, CatalogRefused, CatalogUnreachable, InvalidRequest, NotInCatalog
from tensors.huggingface import HuggingFace
from tensors.huggingface_files import RepoFile, download_url, file_of

SHA256 = "ab" * 32
MODEL = {
    "type": "file",
    "oid": "f2c7f6b5d3a1e0f9c8b7a6d5e4f3a2b1c0d9e8f7",
    "size": 6_938_040_682,
    "path": "unet/model.fp16.safetensors",
    "lfs": {"oid": SHA256, "size": 6_938_040_682, "pointerSize": 135},
    "xetHash": "cd" * 32,
}
CONFIG = {"type": "file", "oid": "0" * 40, "size": 543, "path": "model_index.json"}
FOLDER = {"type": "directory", "oid": "1" * 40, "size": 0, "path": "unet"}
"""In the shape that the source of the site's own client describes, not recorded answers."""
FOUND = RepoFile(path="unet/model.fp16.safetensors", size=6_938_040_682, sha256=SHA256)


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


def tree(*entries: Any, following: str | None = None) -> Any:
    link = {"link": f'<https://huggingface.co/api/models/x/tree/main?cursor={following}>; rel="next"'}
    return answering(200, json.dumps(entries).encode(), **(link if following else {}))


# --- listings ---------------------------------------------------------------------------------------------------------


def test_files_with_size_and_hash_and_no_folders(site: FakeCivitai, client: HuggingFace) -> None:
    site.order(tree(FOLDER, MODEL, CONFIG))
    assert client.files("org/Some-Model_v1.0") == (RepoFile(path="model_index.json", size=543), FOUND)
    assert site.requests[0].path == "/api/models/org/Some-Model_v1.0/tree/main"
    assert site.requests[0].query == {"recursive": ["true"]}


def test_all_pages_are_read(site: FakeCivitai, client: HuggingFace) -> None:
    site.order(tree(MODEL, following="a%3D%3D"), tree({**CONFIG, "path": "b"}, following="c"), tree(CONFIG))
    assert [file.path for file in client.files("a/b", "v1")] == ["b", CONFIG["path"], MODEL["path"]]
    assert [request.query.get("cursor") for request in site.requests] == [None, ["a=="], ["c"]]
    # Where the link leads does not matter: the next request goes to the configured host all the same.
    assert {request.path for request in site.requests} == {"/api/models/a/b/tree/v1"}


def test_pages_in_a_circle_end(site: FakeCivitai, client: HuggingFace) -> None:
    site.order(tree(MODEL, following="a"), tree(CONFIG, following="b"), tree(MODEL, following="a"))
    assert len(client.files("a/b")) == 2
    assert site.asked() == 3


def test_a_listing_without_end_is_an_error(
    site: FakeCivitai, client: HuggingFace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface, "MOST_FILES", 3)
    site.order(*(tree({"path": f"{n}a"}, {"path": f"{n}b"}, following=str(n)) for n in range(3)))
    with pytest.raises(CatalogError, match=r"lists more than 3 files in a/b$"):
        client.files("a/b")
    assert site.asked() == 2


@pytest.mark.parametrize("revision", ["refs/pr/1", "v1 0#?%"])
def test_a_revision_is_one_part_of_the_address(site: FakeCivitai, client: HuggingFace, revision: str) -> None:
    site.order(tree())
    assert client.files("a/b", revision) == ()
    assert unquote(site.requests[0].path) == f"/api/models/a/b/tree/{revision}"
    assert site.requests[0].path.count("/") == 6


@pytest.mark.parametrize("revision", ["", ".", "..", "a..b", "../x", ".x", " main", "a\nb", "a\x1b[m", "x" * 2000])
def test_a_revision_that_cannot_be_one_is_not_asked_for(site: FakeCivitai, client: HuggingFace, revision: str) -> None:
    with pytest.raises(InvalidRequest, match="is no branch, tag or commit"):
        client.files("a/b", revision)
    assert site.asked() == 0


@pytest.mark.parametrize("repo", ["", "a/b/c", "../x", "a/..", "a b", "/x", "a/", "a/b?c", "a%2Fb", "ä/b"])
def test_a_repository_that_cannot_be_one_is_not_asked_for(site: FakeCivitai, client: HuggingFace, repo: str) -> None:
    for ask in (client.files, client.repo, lambda name: client.download_url(name, "main", "x")):
        with pytest.raises(InvalidRequest, match="is no repository of Hugging Face"):
            ask(repo)
    assert site.asked() == 0


# --- odd records ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"lfs": {"sha256": SHA256.upper()}}, RepoFile(path="x", sha256=SHA256)),
        ({"lfs": {"oid": f"sha256:{SHA256}", "size": 7}, "size": 5}, RepoFile(path="x", size=7, sha256=SHA256)),
        ({"lfs": {"oid": "short", "size": "7"}, "size": 5}, RepoFile(path="x", size=5)),
        ({"lfs": {"oid": SHA256, "size": 0}}, RepoFile(path="x", size=0, sha256=SHA256)),
        ({"lfs": [SHA256], "oid": SHA256}, RepoFile(path="x")),
        ({"size": -1}, RepoFile(path="x")),
        ({"size": 2**64}, RepoFile(path="x")),
        ({"type": "file", "new": {}}, RepoFile(path="x")),
        ({"type": "directory"}, None),
        ({"type": "submodule"}, None),
    ],
)
def test_fields_of_another_kind_are_missing(fields: dict[str, Any], expected: RepoFile | None) -> None:
    assert file_of({"path": "x", **fields}) == expected


@pytest.mark.parametrize(
    "broken",
    [
        5,
        [],
        {},
        {"path": 5},
        {"path": ""},
        {"path": "/etc/passwd"},
        {"path": "../x"},
        {"path": "a/../../x"},
        {"path": "a//b"},
        {"path": "a/./b"},
        {"path": "a/"},
        {"path": "a\x1b[m"},
        {"path": "a\nb"},
        {"path": "x" * 2000},
    ],
)
def test_a_broken_record_does_not_take_the_rest_with_it(site: FakeCivitai, client: HuggingFace, broken: Any) -> None:
    site.order(tree(MODEL, broken, CONFIG))
    assert [file.path for file in client.files("a/b")] == [CONFIG["path"], MODEL["path"]]
    assert client.broken == 1


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.text())


@given(
    st.dictionaries(
        st.sampled_from(["type", "oid", "size", "path", "lfs"]),
        VALUES | st.dictionaries(st.sampled_from(["oid", "sha256", "size"]), VALUES),
    )
)
def test_any_listing_is_files_that_stay_inside(fields: dict[str, Any]) -> None:
    client = HuggingFace("https://huggingface.invalid")
    files = list(client._files(json.dumps([{**MODEL, **fields}, CONFIG]).encode()))
    assert files[-1].path == CONFIG["path"]
    for file in files:
        assert file.size is None or 0 <= file.size < 2**63
        assert file.sha256 is None or len(file.sha256) == 64
        url = urlsplit(client.download_url("a/b", "main", file.path))
        assert unquote(url.path) == f"/a/b/resolve/main/{file.path}"
        assert (url.query, url.fragment) == ("", "")


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("revision", "path", "expected"),
    [
        ("main", "unet/x.safetensors", "main/unet/x.safetensors"),
        ("refs/pr/1", "a b.gguf", "refs%2Fpr%2F1/a%20b.gguf"),
        ("main", "a#b?c%d&e+f.gguf", "main/a%23b%3Fc%25d%26e%2Bf.gguf"),
        ("main", "ä\\b.gguf", "main/%C3%A4%5Cb.gguf"),
    ],
)
def test_a_download_is_quoted(revision: str, path: str, expected: str) -> None:
    found = download_url("https://huggingface.co/", "org/name", revision, path)
    assert found == f"https://huggingface.co/org/name/resolve/{expected}"


@pytest.mark.parametrize("path", ["", "/x", "../x", "a/../x", "a//b", "a\r\nb"])
def test_a_path_that_leads_elsewhere_is_refused(client: HuggingFace, path: str) -> None:
    with pytest.raises(InvalidRequest, match="is no path of a file"):
        client.download_url("a/b", "main", path)


# --- one repository, and what is not there ----------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "gated"), [("auto", True), ("manual", True), (False, False), (None, False)])
def test_a_gated_repository_is_recognised(site: FakeCivitai, client: HuggingFace, said: Any, gated: bool) -> None:
    site.order(answering(200, json.dumps({"id": "org/name", "gated": said}).encode()))
    found = client.repo("org/name")
    assert (found.id, found.gated, found.url) == ("org/name", gated, f"{site.url}/org/name")
    assert site.requests[0].path == "/api/models/org/name"


def test_what_hugging_face_does_not_know(site: FakeCivitai, client: HuggingFace) -> None:
    site.order(failing(404, "Repository not found"), failing(404, "Invalid rev id: v9"))
    with pytest.raises(NotInCatalog, match=r"^Hugging Face \(127\.0\.0\.1\) has no a/b, or not this revision of it$"):
        client.repo("a/b")
    with pytest.raises(NotInCatalog):
        client.files("a/b", "v9")


def test_what_is_private_looks_like_what_is_not_there(site: FakeCivitai, client: HuggingFace) -> None:
    site.order(failing(401, "Invalid username or password."))
    with pytest.raises(CatalogRefused, match=r"wants a key.*a/b may be private, gated or not there at all") as caught:
        client.files("a/b")
    assert "tsr config set api.huggingface_key KEY" in str(caught.value.hint)


def test_faults_are_named_for_hugging_face(site: FakeCivitai, client: HuggingFace) -> None:
    site.order(page(), answering(200, b"{}"), answering(200, b"{}"), *[failing(503)] * 5, *[half] * 5)
    with pytest.raises(CatalogError, match="web page"):
        client.files("a/b")
    with pytest.raises(CatalogError, match="cannot be read: not a list"):
        client.files("a/b")
    with pytest.raises(CatalogError, match="cannot be read: a repository without a usable name"):
        client.repo("a/b")
    for _ in range(2):
        with pytest.raises(CatalogUnreachable):
            client.files("a/b")
    assert site.asked() == 13
