"""Files with prompts: what stands in them, what wins, and how a slip is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tensors.errors import InvalidRequest
from tensors.prompts import MOST_BYTES, MOST_ENTRIES, read_prompts, requests_of
from tensors.types.generation import GenerateRequest, Hires, Lora


def no_pictures(path: str) -> str:
    raise FileNotFoundError(2, "No such file or directory", path)


def drawn_from(
    data: bytes | str, name: str, options: Mapping[str, Any] | None = None, read: Any = no_pictures
) -> tuple[GenerateRequest, ...]:
    """The requests of a file with these bytes."""
    raw = data if isinstance(data, bytes) else data.encode()
    return requests_of(read_prompts(raw, name=name), options or {}, read_picture=read)


def refused(data: bytes | str, name: str, options: Mapping[str, Any] | None = None) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        drawn_from(data, name, options)
    return caught.value


LINES = "\ufeff# of a Sunday\n\n  a red circle \r\n#no\na star, # not a comment\n"


@pytest.mark.parametrize("name", ["p.txt", "P.TXT", "-"])
def test_a_text_has_a_prompt_in_each_line(name: str) -> None:
    assert [request.prompt for request in drawn_from(LINES, name)] == ["a red circle", "a star, # not a comment"]
    assert [entry.where for entry in read_prompts(LINES.encode(), name=name).entries] == ["line 3", "line 5"]


WHOLE = {
    "prompt": "a heart",
    "seed": 3,
    "cfg_scale": 4,
    "loras": [{"name": "x", "weight": 0.5}],
    "hires": {"scale": 2},
    "tags": ["one"],
    "steps": None,
}
SAME = GenerateRequest(
    prompt="a heart", seed=3, cfg_scale=4.0, loras=(Lora(name="x", weight=0.5),), hires=Hires(scale=2.0), tags=("one",)
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.json", json.dumps(["a circle", WHOLE])),
        ("p.json", json.dumps({"prompts": ["a circle", WHOLE], "defaults": None})),
        ("p.jsonl", f'"a circle"\n\n{json.dumps(WHOLE)}\n'),
        ("p.yaml", yaml.safe_dump(["a circle", WHOLE])),
        ("p.yml", "prompts:\n- a circle\n- " + json.dumps(WHOLE)),
    ],
)
def test_entries_are_texts_or_fields(name: str, text: str) -> None:
    assert drawn_from(text, name) == (GenerateRequest(prompt="a circle"), SAME)


def test_an_entry_wins_over_options_and_options_over_the_defaults_of_the_file() -> None:
    document = {
        "defaults": {"steps": 1, "width": 64, "sampler": "heun", "tags": ["d"]},
        "prompts": [{"prompt": "a", "steps": 3, "height": None}, {"cfg_scale": 2}],
    }
    options = {"prompt": "o", "steps": 2, "sampler": "euler", "height": 128, "loras": (Lora(name="x"),)}
    first, second = drawn_from(json.dumps(document), "p.json", options)
    assert (first.prompt, first.steps, first.sampler, first.width, first.height) == ("a", 3, "euler", 64, None)
    assert (second.prompt, second.steps, second.cfg_scale, second.height) == ("o", 2, 2.0, 128)
    assert first.tags == second.tags == ("d",)
    assert first.loras == second.loras == (Lora(name="x"),)


@given(st.lists(st.fixed_dictionaries({"prompt": st.just("x")}, optional={"steps": st.integers(1, 9)}), min_size=1),
       st.dictionaries(st.sampled_from(["steps", "seed"]), st.integers(1, 9)),
       st.dictionaries(st.sampled_from(["steps", "seed"]), st.integers(1, 9)))  # fmt: skip
def test_every_entry_has_each_field_from_who_comes_first(
    entries: list[dict[str, Any]], options: dict[str, int], defaults: dict[str, int]
) -> None:
    requests = drawn_from(json.dumps({"defaults": defaults, "prompts": entries}), "p.json", options)
    for entry, request in zip(entries, requests, strict=True):
        assert request == GenerateRequest(**{**defaults, **options, **entry})


def test_pictures_are_read_from_paths_in_the_file_and_options_are_taken_as_they_are() -> None:
    asked: list[str] = []

    def read(path: str) -> str:
        asked.append(path)
        return f"<{path}>"

    document = {"defaults": {"mask": "m.png"}, "prompts": [{"prompt": "a", "init_image": "i.png"}, "b"]}
    first, second = drawn_from(json.dumps(document), "p.json", {"init_image": "base64"}, read)
    assert (first.init_image, first.mask, second.init_image, second.mask) == ("<i.png>", "<m.png>", "base64", "<m.png>")
    assert asked == ["i.png", "m.png", "m.png"]
    (third,) = drawn_from('{"defaults": {"mask": "m.png"}, "prompts": ["b"]}', "p.json",
                          {"init_image": "base64", "mask": "own"})  # fmt: skip
    assert third.mask == "own"


SLIPS = {
    "type": ({"prompt": "x", "steps": "ten"}, "steps must be a whole number, not text"),
    "fraction": ({"prompt": "x", "steps": 1.5}, "steps must be a whole number, not a number"),
    "yaml-word": ({"prompt": False}, "prompt must be text, not true or false"),
    "nothing": ({"prompt": None}, "prompt must be text, not nothing"),
    "no-list": ({"prompt": "x", "tags": "a"}, "tags must be a list, not text"),
    "deep": ({"prompt": "x", "hires": {"scale": "big"}}, "hires.scale must be a number, not text"),
    "lora": ({"prompt": "x", "loras": ["a:1"]}, "loras[0] must be fields with values, not text"),
    "lora-name": ({"prompt": "x", "loras": [{}]}, "loras[0].name is required"),
    "lora-field": ({"prompt": "x", "loras": [{"name": "a", "wight": 1}]}, "loras[0].wight is not a field"),
    "hires-field": ({"prompt": "x", "hires": {"scal": 1}}, "hires.scal is not a field of this request"),
    "field": ({"prompt": "x", "stepz": 1}, "stepz is not a field of this request"),
    "required": ({"steps": 3}, "prompt is required"),
    "bound": ({"prompt": "x", "steps": 0}, "steps must be at least 1, not 0"),
    "empty": ({"prompt": " "}, "prompt must not be empty"),
    "file": ({"prompt": "x", "init_image": "no.png"}, "init_image cannot be read from no.png: No such file"),
    "mask": ({"prompt": "x", "strength": 1}, "strength needs an init_image to start from"),
}


@pytest.mark.parametrize(("entry", "said"), SLIPS.values(), ids=SLIPS)
@pytest.mark.parametrize("ending", ["json", "yaml"])
def test_a_slip_is_told_with_file_entry_and_field(entry: dict[str, Any], said: str, ending: str) -> None:
    dump = json.dumps if ending == "json" else yaml.safe_dump
    error = refused(dump(["fine", entry]), f"my/p.{ending}")
    assert error.message.startswith(f"my/p.{ending}, entry 2: {said}")
    (row,) = error.details["fields"]
    assert (row["entry"], f"{row['field']} {row['message']}") == ("entry 2", error.message.partition(": ")[2])


def test_all_entries_are_checked() -> None:
    error = refused('{"prompt": "x", "steps": 0, "width": 65}\n"fine"\n\n{"a": 1}\n', "p.jsonl")
    assert error.message == "p.jsonl, line 1: width must be a multiple of 8, not 65: 64 or 72 (and 2 more)"
    assert [(row["entry"], row["field"]) for row in error.details["fields"]] == [
        *(("line 1", "width"), ("line 1", "steps"), ("line 4", "a")),
    ]
    assert len(refused("[{}]".replace("{}", ", ".join(['{"a": 1}'] * 500)), "p.json").details["fields"]) == 100


def test_a_slip_in_the_defaults_is_told_as_theirs() -> None:
    error = refused('{"defaults": {"stepz": 1}, "prompts": ["x"]}', "p.json")
    assert error.message == "p.json, defaults: stepz is not a field of this request"


BROKEN = {
    "ending": ("p.md", "x", "p.md is no file with prompts: its name ends in .txt, .json, .jsonl, .yaml, .yml"),
    "no-ending": ("txt/p", "x", "txt/p is no file with prompts"),
    "bytes": ("p.txt", b"caf\xe9", "p.txt is not UTF-8: byte 3"),
    "json": ("p.json", '["a",\n b]', "p.json is not valid JSON: Expecting value: line 2 column 2"),
    "json-line": ("p.jsonl", '"a"\n{', "p.jsonl, line 2 is not valid JSON: "),
    "json-deep": ("p.json", "[" * 100_000, "p.json is not valid JSON: "),
    "json-digits": ("p.json", f"[{'9' * 5000}]", "p.json is not valid JSON: "),
    "yaml": ("p.yaml", "- a\n- 'b", "p.yaml is not valid YAML: "),
    "yaml-deep": ("p.yaml", "[" * 100_000, "p.yaml is not valid YAML: "),
    "yaml-code": ("p.yaml", "- !!python/object/apply:os.getcwd []", "p.yaml is not valid YAML: could not determine"),
    "yaml-nul": ("p.yaml", "- a\0", "p.yaml is not valid YAML: "),
    "yaml-date": ("p.yaml", "- 2020-13-45", "p.yaml is not valid YAML: "),
    "text": ("p.json", '"a"', "p.json must hold a list, or 'prompts' with a list"),
    "other-keys": ("p.yaml", "prompts: [a]\nsteps: 3", "p.yaml has 'steps' beside 'defaults' and 'prompts'"),
    "no-list": ("p.yaml", "prompts: a", "p.yaml: prompts must be a list"),
    "no-defaults": ("p.yaml", "prompts: [a]\ndefaults: [b]", "p.yaml: defaults must be fields with values"),
    "number": ("p.json", '["a", 3]', "p.json, entry 2: must be a text or fields with values, not 3"),
    "itself": ("p.yaml", "&a [x, *a]", "p.yaml, entry 2: must be a text or fields with values, not ['x', [...]]"),
    "none": ("p.txt", "\n# a\n", "p.txt has no prompts"),
    "none-json": ("p.json", "[]", "p.json has no prompts"),
    "none-yaml": ("p.yaml", "", "p.yaml must hold a list"),
    "many": ("p.txt", "a\n" * (MOST_ENTRIES + 1), "p.txt has too many prompts: 10,001 and at most 10,000 allowed"),
    "long": ("p.txt", b"a" * (MOST_BYTES + 1), "p.txt is too long: 16,777,217 bytes"),
}


@pytest.mark.parametrize(("name", "data", "said"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_file_with_prompts_is_refused(name: str, data: bytes | str, said: str) -> None:
    assert refused(data, name).message.startswith(said)


def read_or_refused(data: bytes | str, name: str) -> tuple[GenerateRequest, ...] | None:
    """The requests; None when they were refused, with the file's name."""
    try:
        return drawn_from(data, name)
    except InvalidRequest as refusal:
        told = refusal.message
    assert told.startswith(name)
    return None


@given(st.binary(max_size=200), st.sampled_from(["p.txt", "p.json", "p.jsonl", "p.yaml"]))
def test_any_bytes_are_read_or_refused(data: bytes, name: str) -> None:
    assert read_or_refused(data, name) != ()


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_VALUES = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner))
_FIELDS = st.sampled_from(["prompt", "steps", "loras", "hires", "tags", "seed", "cfg_scale", "force", "init_image"])


@given(st.lists(st.dictionaries(_FIELDS, _VALUES) | _VALUES, min_size=1, max_size=4))
def test_any_document_is_read_or_refused(document: list[Any]) -> None:
    requests = read_or_refused(json.dumps(document), "p.json")
    assert requests is None or len(requests) == len(document)
