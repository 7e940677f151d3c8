"""What other tools wrote beside a model file: notes as JSON, and preview pictures. Read, never written.

=====================  ==========================  ====================================================================
beside `NAME.EXT`      tool                        what is in it
=====================  ==========================  ====================================================================
`NAME.civitai.info`    Civitai Helper              CivitAI's record of the version; `{}` when CivitAI does not know the
                                                   file. Civitai Browser+ writes the record of the whole model there.
`NAME.metadata.json`   ComfyUI LoRA Manager        `sha256`, `notes`; CivitAI's record of the version in `civitai`
`NAME.cm-info.json`    Stability Matrix            `ModelId`, `VersionId`, `TrainedWords`, `Hashes.SHA256`
`NAME.json`            A1111's and Forge's cards   `activation text`, `notes`, `description`, `preferred weight`,
                                                   `negative text`; Civitai Browser+ adds `modelId`, `modelVersionId`
                                                   and `sha256`
`NAME[.preview].png`   all of them                 a picture, or a short video
=====================  ==========================  ====================================================================

From the sources of Stable-Diffusion-Webui-Civitai-Helper (`ch_lib/civitai.py`), sd-civitai-browser-plus
(`civitai_file_manage.py`), ComfyUI-Lora-Manager (`py/utils/models.py`, `constants.py`), StabilityMatrix
(`ConnectedModelInfo.cs`) and stable-diffusion-webui (`ui_edit_user_metadata.py`, `ui_extra_networks.py`).

People edit these files and versions differ: a field with another value than it should have counts as absent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import msgspec

from tensors.decoding import NOT_THAT_JSON

MAX_SIZE = 16 * 1024 * 1024
"""Bytes; larger notes are not read."""
PREVIEW = "preview"
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".webm")
ENDINGS = (".info", ".json", *_PICTURES)
"""What the names of all of them end in, in lower case."""

_MAX_ID = 2**53
_MAX_WORDS = 200
_MAX_WORD = 2_000
_MAX_NOTES = 20_000
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BOM = b"\xef\xbb\xbf"

Fields = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Note:
    """What one sidecar says."""

    tool: str
    """`civitai-helper`, `lora-manager`, `stability-matrix`, `a1111`, or `unknown` for JSON of none of them."""
    model_id: int | None = None
    version_id: int | None = None
    sha256: str | None = None
    words: tuple[str, ...] = ()
    notes: str | None = None
    problem: str | None = None
    """Why it cannot be used, in words that follow its name."""


def claims(name: str) -> list[tuple[str, str]]:
    """(stem, tool) of the model files that a sidecar of this name may belong to, by its name alone.

    `a.metadata.json` is the LoRA Manager's for `a`, or the card of `a.metadata`.
    """
    stem, ending = os.path.splitext(name)
    lower = ending.lower()
    if lower in _PICTURES:
        shorter, middle = os.path.splitext(stem)
        return [(stem, PREVIEW), *([(shorter, PREVIEW)] if middle.lower() == ".preview" else [])]
    found = [] if lower == ".info" else [(stem, "a1111")]
    shorter, middle = os.path.splitext(stem)
    tool = _TOOLS.get(middle.lower() + lower)
    return [*found, (shorter, tool)] if tool else found


def read_note(path: str, tool: str, model: str) -> Note:
    """Read one sidecar of a model file named `model` (with its extension). Never raises for what is in it."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        return Note(tool, problem=f"cannot be read: {error.strerror}")
    if len(data) > MAX_SIZE:
        return Note(tool, problem=f"is larger than {MAX_SIZE // 1024**2} MiB")
    return parse_note(data, tool, model)


def parse_note(data: bytes, tool: str, model: str) -> Note:
    """See `read_note`."""
    try:
        document = msgspec.json.decode(data.removeprefix(_BOM))
    except NOT_THAT_JSON as error:
        return Note(tool, problem=f"is no valid JSON: {error}")
    if not isinstance(document, dict):
        return Note(tool, problem="is no JSON object")
    return _READERS[tool](document, model)


def _civitai_helper(document: Fields, model: str) -> Note:
    versions = document.get("modelVersions")
    if not isinstance(versions, list):
        return _from_version("civitai-helper", document, model)
    note = _from_version("civitai-helper", _version_with(versions, model), model)
    return replace(note, model_id=_id(document.get("id")))


def _lora_manager(document: Fields, model: str) -> Note:
    note = _from_version("lora-manager", _object(document.get("civitai")), model)
    sha256 = _sha256(document.get("sha256")) or note.sha256
    return replace(note, sha256=sha256, notes=_text(document.get("notes")))


def _stability_matrix(document: Fields, model: str) -> Note:
    return Note(
        "stability-matrix",
        model_id=_id(document.get("ModelId")),
        version_id=_id(document.get("VersionId")),
        sha256=_sha256(_object(document.get("Hashes")).get("SHA256")),
        words=_words(document.get("TrainedWords")),
    )


def _a1111(document: Fields, model: str) -> Note:
    if not _CARD_FIELDS & document.keys():
        return Note("unknown")
    told = [_text(document.get("description")), _text(document.get("notes"))]
    weight, negative = document.get("preferred weight"), _text(document.get("negative text"))
    if isinstance(weight, int | float) and weight:
        told.append(f"preferred weight: {weight:g}")
    if negative:
        told.append(f"negative prompt: {negative}")
    return Note(
        "a1111",
        model_id=_id(document.get("modelId")),
        version_id=_id(document.get("modelVersionId")),
        sha256=_sha256(document.get("sha256")),
        words=_words(document.get("activation text")),
        notes=_text("\n".join(filter(None, told))),
    )


_CARD_FIELDS = frozenset(
    {"activation text", "description", "modelId", "negative text", "notes", "preferred weight", "sd version", "sha256"}
)
_READERS: Mapping[str, Callable[[Fields, str], Note]] = {
    "civitai-helper": _civitai_helper,
    "lora-manager": _lora_manager,
    "stability-matrix": _stability_matrix,
    "a1111": _a1111,
}
_TOOLS = {
    ".civitai.info": "civitai-helper",
    ".metadata.json": "lora-manager",
    ".cm-info.json": "stability-matrix",
}


def _from_version(tool: str, version: Fields, model: str) -> Note:
    """What CivitAI's record of a version says about the file named `model`."""
    return Note(
        tool,
        model_id=_id(version.get("modelId")),
        version_id=_id(version.get("id")),
        sha256=_sha256(_object(_file_named(version, model).get("hashes")).get("SHA256")),
        words=_words(version.get("trainedWords")),
    )


def _version_with(versions: Iterable[object], model: str) -> Fields:
    """Of a whole model's record the version that the file is: the one with a file of that name, or the only one."""
    records = [_object(version) for version in versions]
    named = [record for record in records if _has_file(record, model)]
    candidates = named or records
    return candidates[0] if len(candidates) == 1 else {}


def _files(version: Fields) -> list[Fields]:
    files = version.get("files")
    return [_object(file) for file in files] if isinstance(files, list) else []


def _has_file(version: Fields, model: str) -> bool:
    return any(file.get("name") == model for file in _files(version))


def _file_named(version: Fields, model: str) -> Fields:
    """The version's file of that name, or its only one: of several others it cannot be told which."""
    files = _files(version)
    named = [file for file in files if file.get("name") == model]
    candidates = named or files
    return candidates[0] if len(candidates) == 1 else {}


def _object(value: object) -> Fields:
    return value if isinstance(value, dict) else {}


def _id(value: object) -> int | None:
    """A number of CivitAI's: tools write it as a number or as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 17:
        value = int(value)
    return value if type(value) is int and 0 < value <= _MAX_ID else None


def _sha256(value: object) -> str | None:
    lower = value.strip().lower() if isinstance(value, str) else ""
    return lower if _SHA256.fullmatch(lower) else None


def _text(value: object, most: int = _MAX_NOTES) -> str | None:
    cleaned = value.replace("\0", "").strip() if isinstance(value, str) else ""
    return cleaned[:most] or None


def _words(value: object) -> tuple[str, ...]:
    """Trigger words, each once; an entry may be a whole phrase with commas, and stays one."""
    listed = value if isinstance(value, list) else [value]
    cleaned = (_text(entry, _MAX_WORD) for entry in listed[:_MAX_WORDS])
    return tuple(dict.fromkeys(word for word in cleaned if word))
