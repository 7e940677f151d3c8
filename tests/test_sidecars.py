"""Notes and pictures that other tools wrote beside a model file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensors.sidecars import MAX_SIZE, PREVIEW, Note, claims, parse_note, read_note

SHA256 = "9aba26abdfcd46073e0a1d42027a3a3bcc969f562d58a03637bf0a0ded6586c9"
OTHER = "0" * 64
MODEL = "style.safetensors"
VERSION = {
    "id": 128713,
    "modelId": 4201,
    "trainedWords": ["mystyle", "flat colour, thick lines", "mystyle", " "],
    "model": {"name": "My style", "type": "LORA"},
    "files": [
        {"name": "style.safetensors", "hashes": {"SHA256": SHA256.upper(), "AutoV2": SHA256[:10]}},
        {"name": "style_pruned.safetensors", "hashes": {"SHA256": OTHER}},
    ],
}
TOOLS = ("civitai-helper", "lora-manager", "stability-matrix", "a1111")


def parsed(document: object, tool: str, model: str = MODEL) -> Note:
    return parse_note(json.dumps(document).encode(), tool, model)


def test_civitai_helper_keeps_the_version_as_the_site_sent_it() -> None:
    assert parsed(VERSION, "civitai-helper") == Note(
        "civitai-helper", 4201, 128713, SHA256, ("mystyle", "flat colour, thick lines")
    )


def test_of_several_files_none_is_taken_for_one_of_another_name() -> None:
    assert parsed(VERSION, "civitai-helper", "renamed.safetensors").sha256 is None
    only = {**VERSION, "files": VERSION["files"][:1]}  # type: ignore[index]
    assert parsed(only, "civitai-helper", "renamed.safetensors").sha256 == SHA256


def test_civitai_helper_writes_an_empty_object_for_what_the_site_does_not_know() -> None:
    assert parsed({}, "civitai-helper") == Note("civitai-helper")


def test_browser_plus_writes_the_whole_model_of_which_the_file_is_one_version() -> None:
    other = {"id": 5, "trainedWords": ["no"], "files": [{"name": "other.safetensors", "hashes": {}}]}
    version = {name: VERSION[name] for name in ("id", "trainedWords", "files")}
    model = {"id": 4201, "name": "My style", "modelVersions": [other, version]}
    assert parsed(model, "civitai-helper") == parsed(VERSION, "civitai-helper")
    unknown = parsed(model, "civitai-helper", "renamed.safetensors")
    assert (unknown.model_id, unknown.version_id, unknown.words) == (4201, None, ())


def test_lora_manager_has_its_own_fields_around_the_version() -> None:
    document = {
        "file_name": "style",
        "sha256": OTHER,
        "notes": "good at 0.7\n",
        "civitai": VERSION,
        "tags": ["style"],
        "usage_tips": "{}",
    }
    assert parsed(document, "lora-manager") == Note(
        "lora-manager", 4201, 128713, OTHER, ("mystyle", "flat colour, thick lines"), "good at 0.7"
    )
    assert parsed({"sha256": "", "civitai": None}, "lora-manager") == Note("lora-manager")


def test_stability_matrix_writes_its_names_in_its_own_way() -> None:
    document = {
        "ModelId": 4201,
        "ModelName": "My style",
        "VersionId": 128713,
        "TrainedWords": ["mystyle"],
        "Hashes": {"SHA256": SHA256.upper(), "BLAKE3": "x"},
    }
    assert parsed(document, "stability-matrix") == Note("stability-matrix", 4201, 128713, SHA256, ("mystyle",))
    assert parsed({"ModelName": "4x", "Hashes": {}}, "stability-matrix") == Note("stability-matrix")


def test_a_card_of_a1111_has_the_words_as_one_text() -> None:
    card = {
        "description": "A style.",
        "sd version": "SDXL",
        "activation text": "mystyle, (thick lines, flat:1.2)",
        "preferred weight": 0.7,
        "negative text": "photo",
        "notes": "Mine.",
    }
    assert parsed(card, "a1111") == Note(
        "a1111",
        words=("mystyle, (thick lines, flat:1.2)",),
        notes="A style.\nMine.\npreferred weight: 0.7\nnegative prompt: photo",
    )
    assert parsed({**card, "preferred weight": 0, "negative text": ""}, "a1111").notes == "A style.\nMine."


def test_browser_plus_adds_what_it_knows_to_the_card() -> None:
    card = {"activation text": "", "sha256": SHA256.upper(), "modelId": "4201", "modelVersionId": 128713}
    assert parsed(card, "a1111") == Note("a1111", 4201, 128713, SHA256)


def test_json_of_something_else_is_no_card() -> None:
    assert parsed({"architectures": ["UNet"], "in_channels": 4}, "a1111") == Note("unknown")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *((7, 7), ("7", 7), (0, None), (-7, None), (True, None), (7.5, None), ("x", None), ("", None), ("٣", None)),
        *((10**30, None), ("9" * 5000, None), (None, None), ([7], None), ({"id": 7}, None)),
    ],
)
def test_a_number_may_be_written_as_text_and_nothing_else_is_one(value: object, number: int | None) -> None:
    assert parsed({"id": value}, "civitai-helper").version_id == number


@pytest.mark.parametrize("value", ["", "abc", SHA256[:10], SHA256 + "0", "g" * 64, 5, None, [SHA256]])
def test_only_a_whole_sha256_is_one(value: object) -> None:
    assert parsed({"sha256": value}, "lora-manager").sha256 is None


def test_endless_texts_are_cut() -> None:
    note = parsed({"notes": "n" * 100_000, "civitai": {"trainedWords": [f"w{i}" for i in range(9999)]}}, "lora-manager")
    assert note.notes is not None
    assert len(note.notes) == 20_000
    assert len(note.words) == 200


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is no valid JSON"),
        (b"{", "is no valid JSON"),
        (b'{"id": NaN}', "is no valid JSON"),
        (b"\xff\xfe{\x00}\x00", "is no valid JSON"),
        (b'{"notes": "\xff"}', "is no valid JSON"),
        (b"[" * 100_000, "is no valid JSON"),
        (b"[]", "is no JSON object"),
        (b"null", "is no JSON object"),
    ],
)
def test_broken_notes_say_what_is_wrong(tool: str, data: bytes, problem: str) -> None:
    note = parse_note(data, tool, MODEL)
    assert note.problem is not None
    assert note.problem.startswith(problem)
    assert note == Note(tool, problem=note.problem)


def test_notes_of_windows_begin_with_a_mark() -> None:
    assert parse_note(b"\xef\xbb\xbf" + json.dumps(VERSION).encode(), "civitai-helper", MODEL).version_id == 128713


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
FIELDS = """id modelId trainedWords files hashes name modelVersions civitai sha256 notes ModelId VersionId TrainedWords
    Hashes SHA256 activation_text preferred_weight description"""
fields = st.sampled_from([name.replace("_", " ") for name in FIELDS.split()])
documents = st.recursive(
    st.dictionaries(fields, values),
    lambda inner: st.dictionaries(fields, inner | st.lists(inner, max_size=3) | values),
    max_leaves=6,
)


@given(documents, st.sampled_from(TOOLS))
def test_any_value_in_any_field_is_read_or_left_out(document: dict[str, object], tool: str) -> None:
    note = parsed(document, tool)
    assert note.tool in (tool, "unknown")
    assert note.problem is None
    assert all(
        isinstance(number, int) and number > 0 for number in (note.model_id, note.version_id) if number is not None
    )
    # All of it can be stored.
    json.dumps([note.words, note.notes, note.sha256], ensure_ascii=False).encode()
    assert "\0" not in "".join((*note.words, note.notes or ""))


@given(st.binary())
def test_any_bytes_give_a_note(data: bytes) -> None:
    assert parse_note(data, "a1111", MODEL).tool in (*TOOLS, "unknown")


@pytest.mark.parametrize(
    ("name", "stems"),
    [
        ("a.civitai.info", [("a", "civitai-helper")]),
        ("a.CIVITAI.INFO", [("a", "civitai-helper")]),
        ("a.metadata.json", [("a.metadata", "a1111"), ("a", "lora-manager")]),
        ("a.cm-info.json", [("a.cm-info", "a1111"), ("a", "stability-matrix")]),
        ("a.json", [("a", "a1111")]),
        ("v1.5.json", [("v1.5", "a1111")]),
        ("a.info", []),
        ("a.png", [("a", PREVIEW)]),
        ("a.JPEG", [("a", PREVIEW)]),
        ("a.preview.webp", [("a.preview", PREVIEW), ("a", PREVIEW)]),
        ("a.preview.mp4", [("a.preview", PREVIEW), ("a", PREVIEW)]),
    ],
)
def test_the_name_says_whose_note_it_may_be(name: str, stems: list[tuple[str, str]]) -> None:
    assert claims(name) == stems


def test_a_note_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    assert read_note(str(tmp_path / "gone.json"), "a1111", MODEL).problem == "cannot be read: No such file or directory"


def test_a_note_of_endless_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "style.json"
    with path.open("wb") as file:
        os.truncate(file.fileno(), MAX_SIZE + 1)
    assert read_note(str(path), "a1111", MODEL).problem == "is larger than 16 MiB"
    os.truncate(path, MAX_SIZE)
    assert "JSON" in (read_note(str(path), "a1111", MODEL).problem or "")


def test_reading_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "style.civitai.info"
    path.write_text(json.dumps(VERSION), "utf-8")
    before = (path.read_bytes(), path.stat().st_mtime_ns, sorted(os.listdir(tmp_path)))
    assert read_note(str(path), "civitai-helper", MODEL).version_id == 128713
    assert (path.read_bytes(), path.stat().st_mtime_ns, sorted(os.listdir(tmp_path))) == before
