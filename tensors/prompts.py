"""Files with many things to draw: what stands in them, and the requests that come of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from tensors.errors import InvalidRequest
from tensors.types.generation import GenerateRequest, Hires, Lora

MOST_BYTES = 16 * 1024 * 1024
"""Of a file with prompts."""
MOST_ENTRIES = 10_000
"""Of one file."""
_MOST_TOLD = 100
"""Problems that an error lists one by one."""
_FORMS = {".txt": "txt", ".json": "json", ".jsonl": "jsonl", ".yaml": "yaml", ".yml": "yaml"}
_PICTURES = ("init_image", "mask")
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "fields with values",
    "null": "nothing",
}
_MISMATCH = re.compile(r"Expected `(\w+)[^`]*`, got `(\w+)[^`]*`(?: - at `\$\.(.+)`)?")
_MISSING = re.compile(r"Object missing required field `(\w+)`(?: - at `\$\.(.+)`)?")


@dataclass(frozen=True, slots=True)
class Entry:
    """What one entry says. `where` it stands: `entry 3`, `line 12`."""

    where: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prompts:
    """The entries of a file, and what holds for all that do not say otherwise. `name`: the file's."""

    name: str
    entries: tuple[Entry, ...]
    defaults: Mapping[str, Any]


def form_of(name: str) -> str:
    """`txt`, `json`, `jsonl` or `yaml`, as the file's name ends; standard input (`-`) is `txt`.

    Raises `InvalidRequest` for any other ending.
    """
    ending = f".{name.rpartition('.')[2].lower()}"
    if name != "-" and ending not in _FORMS:
        raise InvalidRequest(f"{name} is no file with prompts: its name ends in {', '.join(_FORMS)}")
    return "txt" if name == "-" else _FORMS[ending]


def read_prompts(data: bytes, *, name: str) -> Prompts:
    """What stands in a file with prompts.

    `.txt`: a prompt in each line, without empty lines and those that begin with `#`. `.jsonl`: a text, or the fields of
    a `GenerateRequest`, in each line. `.json`, `.yaml`: a list of these, or `{defaults: {...}, prompts: [...]}`.

    Raises `InvalidRequest` for what is none of this, for more than 16 MiB or 10,000 entries, and for no entry at all.
    """
    form = form_of(name)
    if len(data) > MOST_BYTES:
        raise InvalidRequest(f"{name} is too long: {len(data):,} bytes and at most {MOST_BYTES:,} allowed")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name} is not UTF-8: byte {error.start}") from None
    defaults: Mapping[str, Any] = {}
    found: list[tuple[str, object]]
    if form == "txt":
        found = [(where, line) for where, line in _lines(text) if not line.startswith("#")]
    elif form == "jsonl":
        found = [(where, _json(line, f"{name}, {where}")) for where, line in _lines(text)]
    else:
        document = _json(text, name) if form == "json" else _yaml(text, name)
        defaults, listed = _parts(document, name)
        found = [(f"entry {number}", value) for number, value in enumerate(listed, 1)]
    if not found:
        raise InvalidRequest(f"{name} has no prompts")
    if len(found) > MOST_ENTRIES:
        raise InvalidRequest(f"{name} has too many prompts: {len(found):,} and at most {MOST_ENTRIES:,} allowed")
    return Prompts(name, tuple(_entry(where, value, name) for where, value in found), defaults)


def _lines(text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"line {number}", line.strip()


def _json(text: str, name: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{name} is not valid JSON: {error}") from None


def _yaml(text: str, name: str) -> object:
    import yaml

    try:
        # Not the loader in C, though it takes a tenth of the time: brackets nested deeply enough end the process.
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{name} is not valid YAML: {error}") from None


def _parts(document: object, name: str) -> tuple[Mapping[str, Any], list[object]]:
    """The defaults and the entries of a document."""
    if isinstance(document, list):
        return {}, document
    if not isinstance(document, dict) or "prompts" not in document:
        raise InvalidRequest(f"{name} must hold a list, or 'prompts' with a list")
    defaults, listed = document.get("defaults") or {}, document["prompts"]
    if unknown := [key for key in document if key not in ("defaults", "prompts")]:
        raise InvalidRequest(f"{name} has {unknown[0]!r} beside 'defaults' and 'prompts'")
    if not isinstance(listed, list):
        raise InvalidRequest(f"{name}: prompts must be a list")
    if not isinstance(defaults, dict):
        raise InvalidRequest(f"{name}: defaults must be fields with values")
    return defaults, listed


def _entry(where: str, value: object, name: str) -> Entry:
    if isinstance(value, str):
        return Entry(where, {"prompt": value})
    if isinstance(value, dict):
        return Entry(where, value)
    raise InvalidRequest(f"{name}, {where}: must be a text or fields with values, not {value!r:.40}")


def requests_of(
    prompts: Prompts, given: Mapping[str, Any], *, read_picture: Callable[[str], str]
) -> tuple[GenerateRequest, ...]:
    """A request for each entry. The entry's own values win, then those `given`, then the file's defaults.

    `read_picture`: the base64 of a picture at a path as it stands in the file; it raises `OSError`.

    Raises `InvalidRequest` with everything that is wrong with any of them, and in which.
    """
    made: list[GenerateRequest] = []
    problems = [("defaults", field, said) for field, said in _unknown(prompts.defaults, GenerateRequest)]
    defaults = {} if problems else prompts.defaults
    for entry in prompts.entries:
        wrong = list(_unknown(entry.values, GenerateRequest))
        if not wrong:
            own = {name: value for name, value in defaults.items() if name not in given} | dict(entry.values)
            outcome = _made({**given, **own}, [name for name in _PICTURES if name in own], read_picture)
            if isinstance(outcome, GenerateRequest):
                made.append(outcome)
                continue
            wrong = outcome
        problems += [(entry.where, field, said) for field, said in wrong]
    if problems:
        raise _refusal(prompts.name, problems)
    return tuple(made)


def _refusal(name: str, problems: list[tuple[str, str, str]]) -> InvalidRequest:
    where, field, said = problems[0]
    more = f" (and {len(problems) - 1:,} more)" if len(problems) > 1 else ""
    rows = [{"entry": where, "field": field, "message": said} for where, field, said in problems[:_MOST_TOLD]]
    return InvalidRequest(f"{name}, {where}: {field} {said}{more}", details={"fields": rows})


def _unknown(values: Mapping[str, Any], kind: type) -> Iterator[tuple[str, str]]:
    """Names that a type does not have, in what it consists of too."""
    known = {field.name for field in fields(kind)}
    yield from ((str(name), "is not a field of this request") for name in values if name not in known)
    parts: list[tuple[str, object, type]] = []
    if kind is GenerateRequest:
        loras = values.get("loras")
        parts = [("hires", values.get("hires"), Hires)]
        parts += [(f"loras[{n}]", lora, Lora) for n, lora in enumerate(loras if isinstance(loras, list) else ())]
    for prefix, part, below in parts:
        if isinstance(part, dict):
            yield from ((f"{prefix}.{name}", said) for name, said in _unknown(part, below))


def _made(
    values: dict[str, Any], pictures: Iterable[str], read_picture: Callable[[str], str]
) -> GenerateRequest | list[tuple[str, str]]:
    """The request, or the fields that are wrong with what is wrong with each."""
    import msgspec

    for name in pictures:
        if isinstance(path := values[name], str):
            try:
                values[name] = read_picture(path)
            except OSError as error:
                return [(name, f"cannot be read from {path}: {error.strerror}")]
    try:
        return msgspec.convert(values, GenerateRequest)
    except InvalidRequest as error:
        return [(row["field"], row["message"]) for row in error.details["fields"]]
    except msgspec.ValidationError as error:
        return [_in_words(str(error))]


def _in_words(said: str) -> tuple[str, str]:
    """A field, and what is wrong with it, out of msgspec's message."""
    if mismatch := _MISMATCH.match(said):
        wanted, got, field = mismatch.groups()
        return field, f"must be {_KINDS.get(wanted, wanted)}, not {_KINDS.get(got, f'a {got}')}"
    if missing := _MISSING.match(said):
        name, above = missing.groups()
        return f"{above}.{name}" if above else name, "is required"
    return "the entry", f"is not valid: {said[:1].lower()}{said[1:]}"
