"""`tsr search`, `tsr get` and `tsr info`: what is asked for and what is shown."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from commands import Commands
from fake_tensors import FakeTensors
from hypothesis import given
from hypothesis import strategies as st
from library_samples import FOUND, MODEL, NASTY, NASTY_SHOWN, NEW_VERSION, OLD_VERSION, bare, details

from tensors.errors import CatalogUnreachable, NotFound, NotInCatalog, OutsideFolders
from tensors.references import Reference, read_reference
from tensors.types.base import Page

ASKED = {"provider": "civitai", "type": None, "base_model": None, "tag": None, "creator": None}
ASKED |= {"sort": None, "period": None, "nsfw": None, "limit": 20, "cursor": None}


@pytest.fixture
def tsr(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


# search


def test_what_was_found_is_listed_with_a_star_before_what_is_here(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["catalog.search"] = Page(items=(*FOUND, replace(FOUND[0], name=NASTY, here=0)))
    done = tsr("search", "dream")
    name = max(len("someone/some-model"), len(NASTY_SHOWN))
    assert done.out.splitlines() == [
        f"*  {'DreamShaper':{name}}  Checkpoint  -  12  Lykon  4384",
        f"   {'someone/some-model':{name}}  -           -   0  -      hf:someone/some-model",
        f"   {NASTY_SHOWN:{name}}  Checkpoint  -  12  Lykon  4384",
    ]
    assert (done.code, done.err) == (0, "")
    assert fake.called("catalog.search") == [("dream", ASKED)]


@pytest.mark.parametrize(
    ("command", "query", "asked"),
    [
        (("pony",), "pony", {}),
        (("dream", "shaper 8", "-P", "hf", "-n", "5"), "dream shaper 8", {"provider": "huggingface", "limit": 5}),
        (("x", "--provider", "huggingface"), "x", {"provider": "huggingface"}),
        (("x", "--nsfw"), "x", {"nsfw": True}),
        (("x", "--no-nsfw"), "x", {"nsfw": False}),
        (
            ("x", "--type", "LORA", "--base-model", "Flux.1 D", "--tag", "a b", "--creator", "c"),
            "x",
            {"type": "LORA", "base_model": "Flux.1 D", "tag": "a b", "creator": "c"},
        ),
        (("x", "--sort", "Most Downloaded", "--period", "Week"), "x", {"sort": "Most Downloaded", "period": "Week"}),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else "",
)
def test_the_hint_at_the_next_page_asks_for_the_same_with_the_cursor(
    tsr: Commands, fake: FakeTensors, command: tuple[str, ...], query: str, asked: dict[str, Any]
) -> None:
    fake.answers["catalog.search"] = Page(items=FOUND, next_cursor="1|a b")
    hint = tsr("search", *command, check=True).err
    tsr(*shlex.split(hint.removeprefix("more: tsr ")), check=True)
    assert fake.called("catalog.search") == [(query, {**ASKED, **asked, "cursor": at}) for at in (None, "1|a b")]


def test_nothing_found_is_no_error(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["catalog.search"] = Page(items=())
    done = tsr("search", "xyzzy")
    assert (done.code, done.out, done.err) == (0, "", "nothing found\n")


# get


def test_a_model_is_shown_with_all_versions(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers |= {"catalog.model": MODEL, "db.model": MODEL}
    done = tsr("get", "4384")
    assert (done.code, done.err, fake.called("catalog.model")) == (0, "", [4384])
    # The page looks the same as that of a model that is kept.
    assert done.out == tsr("db", "show", "--model", "4384").out


@pytest.mark.parametrize(
    "named", ["4384@128713", "https://civitai.com/models/4384/dreamshaper?modelVersionId=128713&x=1"]
)
def test_one_version_is_shown_alone(tsr: Commands, fake: FakeTensors, named: str) -> None:
    fake.answers["catalog.model"] = MODEL
    done = tsr("get", named)
    assert (done.code, fake.called("catalog.model")) == (0, [4384])
    assert "4384@128713  8  SD 1.5  2023-07-29\n" in done.out
    assert "4384@9" not in done.out
    shown = tsr.json("get", named)
    assert shown == json.loads(msgspec.json.encode(replace(MODEL, all_versions=(OLD_VERSION,))))


def test_a_version_that_is_none_of_the_model_is_not_found(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["catalog.model"] = MODEL
    done = tsr("get", "4384@5")
    assert (done.code, done.out, done.err) == (3, "", "error: model 4384 has no version 5\nhint:  tsr get 4384\n")


def test_early_access_is_told_until_it_is_over(tsr: Commands, fake: FakeTensors) -> None:
    over = replace(NEW_VERSION, id=10, early_access_until="2024-01-31T00:00:00.000Z")
    odd = replace(NEW_VERSION, id=11, early_access_until=None, availability="Private", base_model="Pony")
    fake.answers["catalog.model"] = replace(MODEL, all_versions=(NEW_VERSION, over, odd))
    assert tsr("get", "4384").out.split("\n\n")[1:] == [
        "4384@9  9 early  early access until 2999-01-31",
        "4384@10  9 early",
        "4384@11  9 early  Pony  Private\n",
    ]


# How a model is named


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1102", (1102, None)),
        (" 1102@1318 ", (1102, 1318)),
        ("civitai:1102@1318", (1102, 1318)),
        ("urn:air:sd1:checkpoint:civitai:1102@1318", (1102, 1318)),
        ("urn:air:sd1:checkpoint:civitai:1102@1318+55", (1102, 1318)),
        ("https://civitai.com/models/1102", (1102, None)),
        ("https://civitai.com/models/1102/", (1102, None)),
        ("https://civitai.com/models/1102/some-name", (1102, None)),
        ("https://civitai.com/models/1102?modelVersionId=1318", (1102, 1318)),
        ("https://civitai.com/models/1102/n?dialog=x&modelVersionId=1318&y=2#comments", (1102, 1318)),
        ("http://www.civitai.red/models/1102/n?x=1", (1102, None)),
        ("civitai.green/models/1102#x", (1102, None)),
        ("HTTPS://CivitAI.com/models/1102", (1102, None)),
    ],
)
def test_a_model_is_named_in_several_ways(text: str, meant: tuple[int, int | None]) -> None:
    assert read_reference(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "0", "-1", "1102@", "@1318", "1102@0", "1102@x", "1.5", "11 02", "1" * 16, "\u0661\u0661"),
        "https://example.com/models/1102",
        "https://civitai.com/images/1102",
        "https://civitai.com/models/",
        "https://civitai.com/models/1102abc",
        "https://civitai.com/models/1102 x",
        "https://civitai.com/api/download/models/1318",
        "https://civitai.com.example.com/models/1102",
        "urn:air:sd1:checkpoint:huggingface:a/b",
        "hf:someone/some-model",
    ],
)
def test_what_names_no_model_is_refused_before_anybody_is_asked(tsr: Commands, fake: FakeTensors, text: str) -> None:
    assert read_reference(text) is None
    done = tsr("get", "--", text)
    assert (done.code, fake.calls) == (2, [])
    assert f"{text!r} is no model of CivitAI: 1102, 1102@1318 or https://civitai.com/models/1102" in done.err


@given(st.builds(Reference, st.integers(1, 10**15 - 1), st.none() | st.integers(1, 10**15 - 1)))
def test_a_reference_is_read_as_it_is_written(reference: Reference) -> None:
    assert read_reference(str(reference)) == reference


@given(st.text(max_size=40) | st.text("1@:/?=&civta.omdelsVrnIdhp ", max_size=60))
def test_reading_a_reference_never_fails(text: str) -> None:
    found = read_reference(text)
    assert found is None or found.model > 0


# info


def test_a_file_tells_what_it_is(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["db.info"] = details(id=None, link=None, hashes=(), sidecars=(), words=(), description=None)
    done = tsr("info", "../loras/style.safetensors")
    assert (done.code, done.err, fake.called("db.info")) == (0, "", ["../loras/style.safetensors"])
    about, metadata = done.out.split("\n\n")
    assert about.splitlines()[:4] == [
        "name        style",
        "file        /models/loras/style.safetensors",
        "kind        lora (from its tensors)",
        "family      pony (a guess from its name)",
    ]
    assert "parameters  2.57 B" in about.splitlines()
    assert metadata.splitlines() == [
        "metadata, 2 keys:",
        "  modelspec.title   My Style",
        f"  ss_tag_frequency  {'{' + 'x' * 68}...",
    ]


def test_metadata_is_shown_in_full_when_asked_for(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["db.info"] = details()
    assert f"  ss_tag_frequency  {'{' + 'x' * 500 + '}'}\n" in tsr("info", "x", "--metadata").out


def test_without_metadata_there_is_no_heading(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["db.info"] = bare()
    assert "metadata" not in tsr("info", "x").out


# All three

ANSWERED: dict[str, tuple[tuple[str, ...], str, Any]] = {
    "search": (("search", "x"), "catalog.search", Page(items=FOUND, next_cursor="c")),
    "get": (("get", "4384"), "catalog.model", MODEL),
    "info": (("info", "x"), "db.info", details()),
}


@pytest.mark.parametrize("case", ANSWERED.values(), ids=ANSWERED)
def test_as_json_the_whole_answer_is_printed_and_nothing_else(
    tsr: Commands, fake: FakeTensors, case: tuple[tuple[str, ...], str, Any]
) -> None:
    command, operation, answer = case
    fake.answers[operation] = answer
    done = tsr(*command, "--json")
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    assert json.loads(done.out) == json.loads(msgspec.json.encode(answer))


@pytest.mark.parametrize("case", ANSWERED.values(), ids=ANSWERED)
@pytest.mark.parametrize(
    "error",
    [CatalogUnreachable("CivitAI does not answer", hint="later"), NotInCatalog(), NotFound("no x"), OutsideFolders()],
    ids=lambda error: error.code,
)
def test_a_failure_is_told_with_its_exit_code(
    tsr: Commands, fake: FakeTensors, case: tuple[tuple[str, ...], str, Any], error: Any
) -> None:
    command, operation, _ = case
    fake.answers[operation] = error
    done = tsr(*command)
    hint = f"hint:  {error.hint}\n" if error.hint else ""
    assert (done.code, done.out, done.err) == (error.exit_code, "", f"error: {error.message}\n{hint}")
    assert json.loads(tsr(*command, "--json").out) == error.to_wire()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("search",), "Missing argument 'QUERY...'"),
        (("search", "x", "-P", "example"), "Invalid value for '--provider' / '-P'"),
        (("search", "x", "-n", "y"), "Invalid value for '--limit' / '-n'"),
        (("get",), "Missing argument 'ID'"),
        (("info",), "Missing argument 'FILE'"),
        (("info", "a", "b"), "Got unexpected extra argument"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else "",
)
def test_a_slip_is_told_before_anything_is_asked(
    tsr: Commands, fake: FakeTensors, command: tuple[str, ...], said: str
) -> None:
    done = tsr(*command)
    assert (done.code, done.out, fake.calls) == (2, "", [])
    assert done.err.startswith(f"error: {said}")
