"""CivitAI's records: nothing of a recorded answer is lost, and nothing that is odd breaks more than itself."""

from __future__ import annotations

import contextlib
import copy
import json
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fake_civitai import RECORDED, recorded
from hypothesis import given, settings
from hypothesis import strategies as st

from tensors.civitai.markup import MOST_TEXT, text_of
from tensors.civitai.records import (
    BrokenRecord,
    FileRecord,
    ImageRecord,
    ModelRecord,
    VersionRecord,
    model_of,
    models_page,
    version_of,
    versions_list,
)
from tensors.document import opened, page
from tensors.fields import LONGEST, line

Json = dict[str, Any]

MODELS = [*recorded("models-page.json")["items"], recorded("model-1102.json")]
BY_ID = {model["id"]: model for model in MODELS}
PAIRS = [(model, version) for model in MODELS for version in model["modelVersions"]]


def encoded(document: object) -> bytes:
    """As JSON, with anything Python takes for a text in it."""
    return json.dumps(document).encode()


# --- recorded answers, field by field ---------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model["id"]))
def test_a_recorded_model_without_loss(model: Json) -> None:
    record = model_of(encoded(model))
    assert (record.id, record.name, record.type) == (model["id"], model["name"], model["type"])
    assert (record.nsfw, record.nsfw_level) == (model["nsfw"], model.get("nsfwLevel"))
    assert (record.creator, record.creator_image) == (model["creator"]["username"], model["creator"]["image"])
    assert record.tags == tuple(tag["name"] if isinstance(tag, dict) else tag for tag in model["tags"])
    assert record.download_count == model["stats"]["downloadCount"]
    assert record.thumbs_up_count == model["stats"].get("thumbsUpCount", 0)
    assert record.rating == model["stats"]["rating"]
    assert (record.poi, record.no_credit) == (model["poi"], model["allowNoCredit"])
    assert (record.derivatives, record.different_license) == (model["allowDerivatives"], model["allowDifferentLicense"])
    uses = model["allowCommercialUse"]
    assert record.commercial_use == tuple(uses if isinstance(uses, list) else [uses])
    assert [version.id for version in record.versions] == [version["id"] for version in model["modelVersions"]]
    assert [version.position for version in record.versions] == list(range(len(model["modelVersions"])))
    assert record.broken == 0
    assert json.loads(record.document) == model


@pytest.mark.parametrize(("model", "version"), PAIRS, ids=lambda part: str(part["id"]))
def test_a_recorded_version_without_loss(model: Json, version: Json) -> None:
    record = next(found for found in model_of(model).versions if found.id == version["id"])
    check_version(record, version)
    assert record.model_id == version["modelId"] == model["id"]
    # On its own it says the same, but for what only the model's list tells.
    alone = version_of(encoded(version))
    check_version(alone, version)
    assert json.loads(alone.document) == version


def check_version(record: VersionRecord, version: Json) -> None:
    assert (record.id, record.name, record.base_model) == (version["id"], version["name"], version["baseModel"])
    assert record.base_model_type == version.get("baseModelType")
    assert (record.created_at, record.updated_at) == (version.get("createdAt"), version.get("updatedAt"))
    assert (record.published_at, record.availability) == (version.get("publishedAt"), version.get("availability"))
    assert record.nsfw_level == version.get("nsfwLevel")
    assert record.download_url == version["downloadUrl"]
    assert record.download_count == version["stats"]["downloadCount"]
    assert record.trained_words == tuple(version["trainedWords"])
    assert [file.id for file in record.files] == [file["id"] for file in version["files"]]
    assert [image.url for image in record.images] == [image["url"] for image in version["images"]]
    for found, file in zip(record.files, version["files"], strict=True):
        check_file(found, file)
    for found, image in zip(record.images, version["images"], strict=True):
        check_image(found, image)
    assert record.broken == 0


def check_file(record: FileRecord, file: Json) -> None:
    assert (record.name, record.type, record.download_url) == (file["name"], file["type"], file["downloadUrl"])
    metadata = file["metadata"]
    assert (record.format, record.size_kind, record.precision) == (metadata["format"], metadata["size"], metadata["fp"])
    assert record.size is not None
    assert record.size / 1024 == pytest.approx(file["sizeKB"], abs=1e-6)
    assert record.primary == file.get("primary", False)
    assert (record.pickle_scan, record.virus_scan) == (file["pickleScanResult"], file["virusScanResult"])
    assert dict(record.hashes) == {kind.lower(): value.lower() for kind, value in file["hashes"].items()}


def check_image(record: ImageRecord, image: Json) -> None:
    assert (record.url, record.id, record.type) == (image["url"], image.get("id"), image.get("type"))
    assert (record.width, record.height, record.blurhash) == (image["width"], image["height"], image["hash"])
    assert (record.nsfw_level, record.nsfw) == (image.get("nsfwLevel"), image.get("nsfw"))


def test_the_recorded_version_on_its_own() -> None:
    record = version_of((RECORDED / "model-version-1318.json").read_bytes())
    check_version(record, recorded("model-version-1318.json"))
    assert (record.model_id, record.model_name, record.model_type) == (1244, "froggy style", "Checkpoint")
    assert (record.model_nsfw, record.model_mode, record.description) == (False, None, None)
    [file] = record.files
    assert file.size == 2_607_528_931
    assert dict(file.hashes)["sha256"] == "0df040c8cd48125174b54c251a87822e8ed61d529a92c42c1fa1bef483b10b0d"
    assert "autov3" not in dict(file.hashes)


def test_the_recorded_page() -> None:
    raw = (RECORDED / "models-page.json").read_bytes()
    records, cursor, broken = models_page(raw)
    assert [record.id for record in records] == [43331, 4468, 4201, 7371, 36520]
    assert (cursor, broken) == ("22138|364671|25494", 0)
    # The very bytes of each record, so that nothing is lost that is not understood today.
    assert all(record.document in raw for record in records)
    assert sum(len(version.files) for record in records for version in record.versions) == 98


def test_pages_of_creators_and_tags_can_be_opened() -> None:
    for name in ("creators.json", "tags.json"):
        items, metadata = page((RECORDED / name).read_bytes())
        assert [opened(item)[0] for item in items] == recorded(name)["items"]
        assert metadata == recorded(name)["metadata"]


def test_decoded_and_as_bytes_it_is_the_same() -> None:
    for model in MODELS:
        ours, theirs = model_of(model), model_of(encoded(model))
        assert {name: getattr(ours, name) for name in FIELDS} == {name: getattr(theirs, name) for name in FIELDS}
        assert json.loads(ours.document) == model


FIELDS = [name for name in ModelRecord.__dataclass_fields__ if name != "document"]


# --- one field at a time ----------------------------------------------------------------------------------------------


def model(**fields: Any) -> ModelRecord:
    return model_of({"id": 7, **fields})


def version(**fields: Any) -> VersionRecord:
    return version_of({"id": 8, "modelId": 7, **fields})


def file(**fields: Any) -> FileRecord:
    [found] = version(files=[{"id": 9, **fields}]).files
    return found


def image(**fields: Any) -> ImageRecord:
    [found] = version(images=[{"url": "https://x.y/z.jpeg", **fields}]).images
    return found


def test_only_the_ids_are_needed() -> None:
    assert model() == ModelRecord(id=7, document=b'{"id":7}')
    assert version() == VersionRecord(id=8, model_id=7, document=b'{"id":8,"modelId":7}')
    assert file() == FileRecord(id=9)
    assert image() == ImageRecord(url="https://x.y/z.jpeg")


@pytest.mark.parametrize("odd", [0, -1, True, False, 1.0, "7", None, [7], {}, 2**63, 10**30])
def test_an_id_is_a_positive_integer(odd: Any) -> None:
    with pytest.raises(BrokenRecord, match="a model whose id is"):
        model_of({"id": odd})
    with pytest.raises(BrokenRecord, match="a version whose id is"):
        version_of({"id": odd, "modelId": 7})
    with pytest.raises(BrokenRecord, match="does not say which model"):
        version_of({"id": 8, "modelId": odd})


@pytest.mark.parametrize(
    "raw", [b"", b"null", b"[]", b'"x"', b"5", b"{", b'{"id":', b"\xff", b"<html>", None, 5, "{}", []]
)
def test_what_is_no_record(raw: Any) -> None:
    for read in (model_of, version_of, models_page):
        with pytest.raises(BrokenRecord):
            read(raw)


def test_a_version_is_of_the_model_it_is_listed_under() -> None:
    record = model(modelVersions=[{"id": 8}, {"id": 9, "modelId": 1}])
    assert [(found.id, found.model_id) for found in record.versions] == [(8, 7), (9, 7)]


def test_which_model_a_version_is_of() -> None:
    assert version_of({"id": 8, "modelId": 1, "model": {"id": 2}}, 3).model_id == 1
    assert version_of({"id": 8, "model": {"id": 2}}, 3).model_id == 2
    assert version_of({"id": 8}, 3).model_id == 3


@pytest.mark.parametrize(
    ("said", "tags"),
    [
        (["a", "b"], ("a", "b")),
        ([{"name": "a"}, "b", {"name": None}, {}, 5, None, ["c"]], ("a", "b")),
        (["a", "a ", "", "A"], ("a", "A")),
        ("a", ("a",)),
        (None, ()),
        ({"name": "a"}, ()),
    ],
)
def test_tags_come_as_texts_or_as_objects(said: Any, tags: tuple[str, ...]) -> None:
    assert model(tags=said).tags == tags


@pytest.mark.parametrize(
    ("said", "uses"),
    [
        ("Sell", ("Sell",)),
        ("None", ()),
        (["Image", "RentCivit"], ("Image", "RentCivit")),
        ("{Image,RentCivit}", ("Image", "RentCivit")),
        ("{}", ()),
        ([], ()),
        (None, None),
        (True, None),
    ],
)
def test_commercial_use_comes_as_a_text_or_as_a_list(said: Any, uses: tuple[str, ...] | None) -> None:
    assert model(allowCommercialUse=said).commercial_use == uses


@pytest.mark.parametrize(
    ("said", "expected"),
    [(True, True), (False, False), ("Mature", True), ("X", True), ("None", False), ("false", False), ("", False),
     (None, False), (1, True), (0, False), ([], False), ({"a": 1}, False)],
)  # fmt: skip
def test_nsfw_comes_as_a_flag_or_as_a_text(said: Any, expected: bool) -> None:
    assert model(nsfw=said).nsfw is expected
    assert version(model={"nsfw": said}).model_nsfw is expected
    assert image(nsfw=said).nsfw is expected


@pytest.mark.parametrize(
    ("kib", "size"),
    [(2546414.971679688, 2_607_528_931), (1, 1024), (0, 0), (0.0009765625, 1), (-1, None), (True, None), ("5", None),
     (None, None), (1e308, None), (float("inf"), None), (float("nan"), None), (10**400, None)],
)  # fmt: skip
def test_a_size_in_kib_is_bytes(kib: Any, size: int | None) -> None:
    assert file(sizeKB=kib).size == size


@given(st.integers(0, 2**50))
def test_every_number_of_bytes_survives_being_told_in_kib(size: int) -> None:
    assert file(sizeKB=size / 1024).size == size


def test_hashes_are_lower_case_and_hexadecimal() -> None:
    sha256, blake3 = "AB" * 32, "0c" * 32
    said = {
        "SHA256": sha256,
        "BLAKE3": blake3,
        "AutoV1": "27EA8C02",
        "AutoV2": "too long for it",
        "AutoV3": "5376065129AA",
        "CRC32": None,
        "FUTURE": "0123456789",
        "sha256": "cd" * 32,
        "": "00",
        "odd kind!": "00",
    }
    assert file(hashes=said).hashes == (
        ("sha256", sha256.lower()),
        ("blake3", blake3),
        ("autov1", "27ea8c02"),
        ("autov3", "5376065129aa"),
        ("future", "0123456789"),
    )
    assert file(hashes={"SHA256": "ab" * 31, "BLAKE3": "xy" * 32}).hashes == ()
    assert file(hashes=["ab"]).hashes == file(hashes=None).hashes == ()


def test_unknown_values_are_kept() -> None:
    assert model(type="Hologram", mode="Haunted").type == "Hologram"
    assert version(baseModel="SD 9", availability="Rumoured", usageControl="Look").base_model == "SD 9"
    assert file(type="Smell", metadata={"format": "Papyrus", "fp": "fp3", "size": "huge"}).precision == "fp3"


def test_early_access_has_had_two_names() -> None:
    assert version(earlyAccessEndsAt="2026-01-01").early_access_ends_at == "2026-01-01"
    assert version(earlyAccessDeadline="2025-01-01").early_access_ends_at == "2025-01-01"
    assert version(earlyAccessEndsAt=None).early_access_ends_at is None


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "file:///etc/passwd", "//x.y", "https://", "https://x y", 5, None, ""]
)
def test_what_is_no_web_address_is_none(url: Any) -> None:
    assert version(downloadUrl=url).download_url is None
    assert version(images=[{"url": url}]).images == ()
    assert model(creator={"image": url, "username": "u"}).creator_image is None


def test_one_picture_twice_is_one_picture() -> None:
    url = "https://x.y/z.jpeg"
    assert version(images=[{"url": url, "id": 1}, {"url": url, "id": 2}, 5, None]).images == (
        ImageRecord(url=url, id=1),
    )


@pytest.mark.parametrize("stats", [None, [], "many", {}, {"downloadCount": "5", "rating": "good", "thumbsUpCount": -3}])
def test_stats_may_be_missing_or_odd(stats: Any) -> None:
    record = model(stats=stats, modelVersions=[{"id": 8, "stats": stats}])
    assert (record.download_count, record.thumbs_up_count, record.rating) == (0, 0, None)
    assert record.versions[0].download_count == 0


# --- texts that bite --------------------------------------------------------------------------------------------------

NASTY = "a\0b\x1b[31mc\x07d\x9be\u202ef\ud800g\r\nh\u2028i"


def texts(record: object) -> Iterator[str]:
    """Every text of a record, however deep."""
    if isinstance(record, str):
        yield record
    elif isinstance(record, tuple):
        for part in record:
            yield from texts(part)
    elif hasattr(record, "__dataclass_fields__"):
        for name in record.__dataclass_fields__:
            yield from texts(getattr(record, name))


def test_control_characters_reach_neither_database_nor_terminal() -> None:
    nasty = {"id": 9, "name": NASTY, "type": NASTY, "description": f"<p>{NASTY}</p>"}
    record = model_of(
        encoded(
            {
                **nasty,
                "id": 7,
                "tags": [NASTY],
                "creator": {"username": NASTY},
                "modelVersions": [{**nasty, "id": 8, "trainedWords": [NASTY], "files": [nasty]}],
            }
        )
    )
    assert record.name == "ab[31mcdef\N{REPLACEMENT CHARACTER}g h i"
    assert record.description == "ab[31mcdef\N{REPLACEMENT CHARACTER}g h i"
    found = list(texts(record))
    assert len(found) == 10
    for text in found:
        assert text.encode().isascii() is False
        assert text.replace("\N{REPLACEMENT CHARACTER}", "").isprintable(), text
    json.loads(record.document)


@given(st.text())
def test_any_text_fits_a_database_and_a_line(text: str) -> None:
    record = model(name=text, description=text, tags=[text])
    with sqlite3.connect(":memory:") as database:
        rows = database.execute("SELECT ?, ?", (record.name, record.description)).fetchall()
    database.close()
    assert rows == [(record.name, record.description)]
    assert len(record.name.splitlines()) <= 1
    assert "\0" not in record.name + (record.description or "")
    assert model_of(record.document).name == record.name


def test_plain_texts_stay_as_they_are() -> None:
    for text in ("majicMIX realistic 麦橘写实", "العربية", "👩‍🚀 ok", "a  b", "naïve — “quoted”", "1 < 2 & 3"):
        assert line(text) == text


@given(st.text(st.characters()))
def test_any_text_in_one_line_can_be_encoded_and_shown(text: str) -> None:
    found = line(text)
    if found is not None:
        found.encode()
        assert found == found.strip()
        assert len(found.splitlines()) == 1
        assert line(found) == found


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert line("a\ud800b") == "a\N{REPLACEMENT CHARACTER}b"


def test_a_text_has_a_bound() -> None:
    assert len(model(name="x" * 100_000).name) == LONGEST
    assert version(downloadUrl=f"https://x.y/{'z' * LONGEST}").download_url is None


# --- descriptions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>One <strong>two</strong></p><p>three<br/>four</p>", "One two\n\nthree\nfour"),
        ("<ul><li><p>a</p></li><li>b</li></ul><p>c</p>", "- a\n- b\n\nc"),
        ("<h2>Title</h2>text", "Title\n\ntext"),
        ("a &amp; b &lt;lora:x:1&gt; &nbsp; c&#233;s &hellip;", "a & b <lora:x:1> cés …"),
        ("<p>Use <lora:thing:0.8> and 1 < 2 <3</p>", "Use <lora:thing:0.8> and 1 < 2 <3"),
        ("before<script>alert('<p>x</p>')</script>after<style>p {}</style>", "before after"),
        ("<SCRIPT SRC=x>never closed", None),
        ("a<!-- hidden <p> -->b<!-- never closed", "a b"),
        ("plain\ntext\n\n\n\nkeeps its lines", "plain\ntext\n\nkeeps its lines"),
        ("<p>in markup\na break is a space</p>", "in markup a break is a space"),
        ('<a href="https://x.y" target="_blank">link</a><img src="x">', "link"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("&#27;[31m &#x202e;x &#0;", "[31m x \N{REPLACEMENT CHARACTER}"),
        ("<p></p>", None),
        ("   ", None),
        ("", None),
        (None, None),
        (5, None),
    ],
)
def test_a_description_is_readable_text(markup: Any, text: str | None) -> None:
    assert text_of(markup) == text


def test_a_recorded_description() -> None:
    text = model_of(BY_ID[1102]).description
    assert text is not None
    assert text.startswith("This is a 50/50 Merge of Synthwave and InkPunk you can use both")
    assert "\n\nI'm on the search for V3! Check out these potential candidates and let" in text
    assert "<" not in text


def test_a_description_has_a_bound() -> None:
    text = text_of("<p>é</p>" * 50_000)
    assert text is not None
    assert MOST_TEXT - 8 < len(text.encode()) <= MOST_TEXT


@pytest.mark.parametrize(
    "part", ["<!--", "<script>", "<a", "<", "\n ", " ", "&", "&#", "<![CDATA[", "</", "<a ", "<li>", "\0", "</script "]
)
def test_a_hostile_description_takes_no_time(part: str) -> None:
    """Time of the process, so that a busy machine does not matter; squared effort would be minutes."""
    hostile = part * (1_000_000 // len(part))
    start = time.process_time()
    text_of(hostile)
    assert time.process_time() - start < 5


@given(st.text(alphabet=st.sampled_from("<>/!-&;#x 0lip\n\0\"'a"), max_size=200))
def test_any_markup_becomes_clean_text(markup: str) -> None:
    text = text_of(markup)
    if text is not None:
        assert text == text.strip()
        assert "\0" not in text
        assert "\n\n\n" not in text


# --- what is broken, and what is not --------------------------------------------------------------------------------


def test_a_broken_version_or_file_is_left_out_and_counted() -> None:
    good = {"id": 8, "files": [{"id": 1}, {"id": "x"}, None, {"id": 2}]}
    record = model(modelVersions=[good, {"id": None}, 5, {"id": 9, "files": "none"}])
    assert [found.id for found in record.versions] == [8, 9]
    assert [found.position for found in record.versions] == [0, 3]
    assert [found.id for found in record.versions[0].files] == [1, 2]
    assert (record.broken, record.versions[0].broken, record.versions[1].broken) == (4, 2, 0)


def test_what_is_told_twice_counts_once() -> None:
    record = model(modelVersions=[{"id": 8, "name": "a", "files": [{"id": 1}, {"id": 1}]}, {"id": 8, "name": "b"}])
    assert [(found.name, len(found.files)) for found in record.versions] == [("a", 1)]
    assert record.broken == 0


BROKEN = {
    "no id": b'{"name": "x"}',
    "no object": b"5",
    "null": b"null",
    "half a surrogate pair": b'{"id": 0, "name": "\\ud800"}',
    "bytes that are no UTF-8": b'{"id": -1, "name": "\xff\xfe"}',
    "a number out of bounds": b'{"id": 1e999}',
    "NaN": b'{"id": NaN}',
    "a long number": b'{"id": ' + b"9" * 5000 + b"}",
    "a raw line break": b'{"id": 0, "name": "a\nb"}',
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_page_with_one_broken_record_keeps_the_rest(broken: bytes) -> None:
    good = [encoded(found) for found in MODELS]
    page = b'{"items": [' + b",".join([*good[:3], broken, *good[3:]]) + b'], "metadata": {"nextCursor": "next"}}'
    records, cursor, left_out = models_page(page)
    assert [record.id for record in records] == [found["id"] for found in MODELS]
    assert (cursor, left_out) == ("next", 1)
    assert [json.loads(record.document) for record in records] == MODELS


@pytest.mark.parametrize("name", [b"a\\ud800b", b"a\xffb"])
def test_a_bad_text_breaks_nothing_at_all(name: bytes) -> None:
    raw = b'{"id": 7, "name": "' + name + b'", "x": NaN, "y": 1e999, "modelVersions": [{"id": 8}]}'
    record = model_of(raw)
    assert record.name == "a\N{REPLACEMENT CHARACTER}b"
    assert [found.id for found in record.versions] == [8]
    # What is kept can be read by anybody.
    assert json.loads(record.document)["y"] is None
    assert model_of(record.document) == record


@pytest.mark.parametrize(
    ("metadata", "cursor"),
    [({"nextCursor": "a|b"}, "a|b"), ({"nextCursor": 1234}, "1234"), ({"nextCursor": None}, None), ({}, None),
     (None, None), ([], None), ({"nextCursor": ""}, None), ({"nextCursor": True}, None), ({"nextCursor": ["x"]}, None)],
)  # fmt: skip
def test_the_cursor_of_the_next_page(metadata: Any, cursor: str | None) -> None:
    assert models_page(encoded({"items": [], "metadata": metadata})) == ((), cursor, 0)
    assert models_page({"items": []}) == ((), None, 0)


@pytest.mark.parametrize("raw", [b"{}", b'{"items": null}', b'{"items": {}}', b"[]", b'{"error": "no"}'])
def test_what_is_no_page(raw: bytes) -> None:
    with pytest.raises(BrokenRecord, match="not a page"):
        models_page(raw)


def test_a_list_of_versions() -> None:
    raw = (RECORDED / "model-version-1318.json").read_bytes()
    found, broken = versions_list(
        b"[" + b",".join([raw, b"null", raw, b'{"id": 5}', b'{"id": 6, "modelId": 1}']) + b"]"
    )
    assert ([record.id for record in found], broken) == ([1318, 6], 1)
    decoded = [recorded("model-version-1318.json"), None, {"id": 5}, {"id": 6, "modelId": 1}]
    again, broken = versions_list(decoded)
    assert ([record.id for record in again], broken) == ([1318, 6], 1)
    bad = b'[{"id": 5, "modelId": 1, "name": "\\ud800"}, null, ' + raw + b"]"
    assert [record.id for record in versions_list(bad)[0]] == [5, 1318]
    with pytest.raises(BrokenRecord, match="not a list"):
        versions_list(b"{}")


def test_nested_too_deep_is_broken() -> None:
    for raw in (b'{"id": 7, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"[" * 100_000):
        with pytest.raises(BrokenRecord, match="not JSON"):
            model_of(raw)
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(BrokenRecord):
        model_of({"id": 7, "x": deep})


# --- anything anywhere ------------------------------------------------------------------------------------------------

SEEDS = [recorded("model-1102.json"), recorded("models-page.json")["items"][1]]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a document."""
    yield path
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from places(value, (*path, key))


def spoiled(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    document = copy.deepcopy(document)
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return document


def check_types(record: object) -> None:
    """Each field has one of the types it is declared with."""
    for name, declared in type(record).__annotations__.items():
        value = getattr(record, name)
        kinds = {part.strip().partition("[")[0] for part in declared.split("|")}
        assert (type(value).__name__ if value is not None else "None") in kinds, (name, value)
        for part in value if isinstance(value, tuple) else ():
            if hasattr(part, "__dataclass_fields__"):
                check_types(part)


@settings(max_examples=300)
@given(st.data())
def test_any_value_anywhere_breaks_the_record_at_most(data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(SEEDS))
    document = spoiled(seed, data.draw(st.sampled_from(list(places(seed)))), data.draw(JSON))
    for raw in (document, encoded(document)):
        try:
            record = model_of(raw)
        except BrokenRecord:
            assert not isinstance(document, dict) or document["id"] != seed["id"]
            continue
        check_types(record)
        json.loads(record.document.decode())
        for text in texts(record):
            text.encode()


@given(st.data())
def test_any_value_in_a_page_breaks_one_record_at_most(data: st.DataObject) -> None:
    page = {"items": SEEDS, "metadata": {"nextCursor": "x"}}
    path = data.draw(st.sampled_from([path for path in places(page) if len(path) > 2]))
    records, cursor, broken = models_page(encoded(spoiled(page, path, data.draw(JSON))))
    assert cursor == "x"
    assert len(records) + broken == 2
    assert broken <= 1


@given(st.binary(max_size=40) | JSON.map(encoded))
def test_any_bytes_are_a_record_or_broken(raw: bytes) -> None:
    for read in (model_of, version_of, models_page, versions_list):
        with contextlib.suppress(BrokenRecord):
            check_types_of(read(raw))


def check_types_of(answer: Any) -> None:
    for record in answer[0] if isinstance(answer, tuple) else [answer]:
        check_types(record)


def test_a_model_is_read_in_a_fraction_of_a_millisecond() -> None:
    """1,700 a second are to be read and stored. Time of the process, the best of ten: other work hardly matters."""
    small = {**BY_ID[1102], "modelVersions": BY_ID[1102]["modelVersions"][1:2]}
    assert [len(found["files"]) for found in small["modelVersions"]] == [2]
    raw = encoded(small)

    def seconds() -> float:
        start = time.process_time()
        for _ in range(50):
            model_of(raw)
        return (time.process_time() - start) / 50

    assert min(seconds() for _ in range(10)) < 0.0004
