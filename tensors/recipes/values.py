"""Single values out of other programs' records, which nobody promised anything about."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from tensors import fields
from tensors.document import BrokenRecord, opened
from tensors.errors import InvalidRequest
from tensors.samplers import sampler_and_scheduler
from tensors.types.recipe import Hash, Named

LARGEST = 2**64 - 1
_LONGEST_REST = 16_384
_MOST_REST = 500
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")
_HEX = re.compile(r"[0-9a-f]{8,64}")
_HASH_KINDS = {8: "autov1", 10: "autov2", 12: "autov3", 64: "sha256"}
_MODEL_EXTENSIONS = frozenset((".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx"))
_SAMPLERS = {
    "euler_ancestral": "euler_a",
    "dpm_2": "dpm2",
    "kdpm_2": "dpm2",
    "dpmpp_2m": "dpm++2m",
    "dpmpp_2": "dpm++2m",
    "dpmpp_2s_ancestral": "dpm++2s_a",
    "ddim": "ddim_trailing",
}
"""ComfyUI's, SwarmUI's and InvokeAI's names that differ from ours -> ours."""
_LONGEST_NAME = 100
_NO_FILES = frozenset(("None", "Automatic", "Default (model)", "Baked VAE", "baked VAE"))
"""What programs write instead of a file's name."""


def document(text: str) -> object:
    """What a text says as JSON, NaN and the like left out; None where it is no JSON."""
    try:
        return opened(text.encode("utf-8", "replace"))[0]
    except BrokenRecord:
        return None


def table(text: str) -> dict[str, object]:
    """A JSON object; an empty one for anything else."""
    return fields.table(document(text))


def words(value: object) -> str | None:
    """A text with its line breaks, without what a terminal would obey."""
    return fields.harmless(value) if isinstance(value, str) else None


def line(value: object) -> str | None:
    """A text in one line; None for an empty one and anything else."""
    return fields.line(value)


def integer(value: object) -> int | None:
    """An integer between -2**64 and 2**64, also written as text or as a float without a fraction."""
    if isinstance(value, str):
        text = value.strip()
        value = int(text) if _INTEGER.fullmatch(text) else number(text)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST:
        return None
    return value


def natural(value: object) -> int | None:
    """An integer from 0 to 2**64 - 1."""
    found = integer(value)
    return found if found is not None and found >= 0 else None


def positive(value: object) -> int | None:
    """An integer from 1."""
    return natural(value) or None


def number(value: object) -> float | None:
    """A finite number, also written as text."""
    if isinstance(value, str):
        text = value.strip()
        value = float(text) if _NUMBER.fullmatch(text) else None
    return fields.number(value)


def single(value: object) -> float | None:
    """A number that was a 32-bit float once: 0.800000011920929 is 0.8."""
    found = number(value)
    return None if found is None else float(f"{found:.7g}")


def size(value: object) -> tuple[int | None, int | None]:
    """Width and height out of `512x768`."""
    width, _, height = value.partition("x") if isinstance(value, str) else ("", "", "")
    return positive(width), positive(height)


def file_name(value: object) -> str | None:
    """The name of a model file without its folder and extension, whichever system wrote the path."""
    text = line(value)
    if text is None or text in _NO_FILES:
        return None
    path = PurePosixPath(text.replace("\\", "/"))
    return (path.stem if path.suffix.lower() in _MODEL_EXTENSIONS else path.name) or None


def file_hash(value: object, *, kind: str | None = None) -> Hash | None:
    """A hash with its kind, which its length tells where it is not said. `0x...` and `blake3:...` are understood."""
    text = line(value)
    if text is None:
        return None
    said, colon, digits = text.lower().rpartition(":")
    digits = digits.strip().removeprefix("0x")
    if not _HEX.fullmatch(digits):
        return None
    if colon:
        kind = next((known for known in ("blake3", "sha256") if said.startswith(known)), "unknown")
    return Hash(kind=kind or _HASH_KINDS.get(len(digits), "unknown"), value=digits)


def _known(sampler: str | None, scheduler: str | None) -> tuple[str | None, str | None] | None:
    try:
        return sampler_and_scheduler(sampler, scheduler)
    except InvalidRequest:
        return None


def _scheduler(written: str) -> Named:
    found = _known(None, written)
    return Named(written=written, name=found[1] if found else None)


def sampling(sampler: object, scheduler: object = None) -> tuple[Named | None, Named | None]:
    """Sampler and scheduler, also where one name says both ('DPM++ 2M Karras')."""
    method, schedule = line(sampler), line(scheduler)
    named_schedule = _scheduler(schedule[:_LONGEST_NAME]) if schedule else None
    if method is None:
        return None, named_schedule
    method = method[:_LONGEST_NAME]
    name, behind = _known(_SAMPLERS.get(method.lower(), method), None) or (None, None)
    if name is None:
        # Also beside a sampler that tsr has not, the last word may be a scheduler that it has.
        behind = _scheduler(method.rpartition(" ")[2]).name
    if named_schedule is None and behind:
        named_schedule = Named(written=method, name=behind)
    return Named(written=method, name=name), named_schedule


def rest(values: Mapping[str, object], *, without: Iterable[str] = ()) -> dict[str, str]:
    """What is not empty, as text: the first 500 of them, each up to 16,384 characters."""
    left_out = frozenset(without)
    found: dict[str, str] = {}
    for key, value in values.items():
        if key in left_out or value is None or value in ("", [], {}):
            continue
        if len(found) == _MOST_REST:
            break
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        found[fields.harmless(key)[:_LONGEST_NAME]] = fields.harmless(text)[:_LONGEST_REST]
    return found
