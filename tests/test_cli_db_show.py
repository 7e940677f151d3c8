"""`tsr db show` and `tsr db triggers`: what is known of one file, or of one model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from commands import Commands
from fake_tensors import FakeTensors
from library_samples import MODEL, NASTY, NASTY_SHOWN, SHA256, bare, details

from tensors.types.files import Triggers


@pytest.fixture
def tsr(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


def values(out: str) -> list[tuple[str, str]]:
    """The lines of a description: names and values."""
    return [tuple(part.strip() for part in row.split("  ", 1)) for row in out.splitlines()]  # type: ignore[misc]


def test_a_file_is_shown_with_all_that_is_known(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["db.file"] = details()
    done = tsr("db", "show", "style")
    assert (done.code, done.err, fake.called("db.file")) == (0, "", ["style"])
    assert values(done.out) == [
        ("name", "style"),
        ("number", "2"),
        ("file", "/models/loras/style.safetensors"),
        ("kind", "lora (from its tensors)"),
        ("family", "pony (a guess from its name)"),
        ("variant", "v-prediction"),
        ("adapter", "dora"),
        ("format", "safetensors"),
        ("precision", "bf16"),
        ("parameters", "2.57 B"),
        ("size", "144 MB (144,000,001 bytes)"),
        ("modified", "2026-11-22T18:49:01.123Z"),
        ("trigger words", "in my style, by me"),
        ("trained on", ", ".join(f"tag{n} ({2000 - n:,})" for n in range(12)) + " and 2 more"),
        ("CivitAI", "DreamShaper (8), Checkpoint, SD 1.5, Lykon"),
        ("link", "4384@128713, by its SHA256"),
        ("page", "https://civitai.com/models/4384?modelVersionId=128713"),
        ("sha256", SHA256),
        ("crc32", "deadbeef"),
        ("beside it", "style.civitai.info (civitai-helper), 4384@?, nice with rain"),
        ("beside it", "style.json (a1111), is no JSON"),
        ("description", "Draws in my style."),
    ]
    assert len({len(row) - len(row.split("  ", 1)[1].lstrip()) for row in done.out.splitlines()}) == 1


def test_of_a_file_nothing_is_shown_that_is_not_known(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["db.file"] = bare(state="broken", problem="is no safetensors", asked="2026-01-02T03:04:05.000Z")
    assert values(tsr("db", "show", "x").out) == [
        ("name", "x"),
        ("file", "/x.gguf"),
        ("state", "broken: is no safetensors"),
        ("kind", "unknown"),
        ("family", "unknown"),
        ("size", "999 B (999 bytes)"),
        ("modified", "2026-11-22T18:49:01.123Z"),
        ("CivitAI", "did not know it on 2026-01-02"),
    ]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("user", "you said so"),
        ("tensors", "from its tensors"),
        ("metadata", "from its metadata"),
        ("civitai", "from CivitAI"),
        ("folder", "a guess from its folder"),
        ("name", "a guess from its name"),
        ("what a newer server may say", "what a newer server may say"),
    ],
)
def test_how_something_is_known_is_said(tsr: Commands, fake: FakeTensors, source: str, shown: str) -> None:
    fake.answers["db.file"] = bare(kind="vae", kind_from=source)
    assert ("kind", f"vae ({shown})") in values(tsr("db", "show", "x").out)


def test_a_model_is_shown_with_its_versions(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["db.model"] = MODEL
    done = tsr("db", "show", "--model", "https://civitai.com/models/4384/dreamshaper")
    assert (done.code, done.err, fake.called("db.model")) == (0, "", [4384])
    assert done.out.splitlines() == [
        "name         DreamShaper",
        "number       4384",
        "type         Checkpoint",
        "creator      Lykon",
        "downloads    1,234,567",
        "tags         anime, photorealistic",
        "page         https://civitai.com/models/4384",
        "fetched      2026-11-22",
        "description  Draws everything.",
        "",
        "4384@9  9 early  early access until 2999-01-31",
        "",
        "4384@128713  8  SD 1.5  2023-07-29",
        "  here           dreamshaper_8",
        "  trigger words  dreamshaper, ds style",
        "  about          Better at hands.",
        "  dreamshaper_8.safetensors  2.13 GB  SafeTensor, pruned, fp16, main file",
        "  dreamshaper_8.yaml               -  Config",
    ]


def test_of_a_model_known_in_part_the_rest_is_a_command_away(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["db.model"] = replace(MODEL, complete=False, mode="TakenDown", nsfw=True)
    done = tsr("db", "show", "--model", "4384")
    assert done.err == "only a part of its versions is kept; all of them: tsr db cache 4384\n"
    assert {("mode", "TakenDown"), ("adult", "yes")} < set(values(done.out.split("\n\n")[0]))


def triggers(source: str | None = "civitai", **changes: Any) -> Triggers:
    return replace(Triggers(file="style", lora="<lora:style:1>", words=("a b", "c"), source=source), **changes)


@pytest.mark.parametrize(
    ("found", "more", "out", "err"),
    [
        (triggers(), (), "a b, c\n", ""),
        (triggers(), ("--lora",), "<lora:style:1>, a b, c\n", ""),
        (triggers(words=(" x, ", "y\nz,,", "", ",")), (), "x, y z\n", ""),
        (triggers(words=(NASTY,)), (), f"{' '.join(NASTY_SHOWN.split())}\n", ""),
        (triggers(None, words=()), ("--lora",), "<lora:style:1>\n", "no trigger words of style are known; "),
        (
            triggers(None, words=()),
            (),
            "",
            "no trigger words of style are known; what is known: tsr db show 'my style'\n",
        ),
        (triggers(lora=None), ("--lora",), "a b, c\n", "style is no LoRA\n"),
        (triggers("sidecar"), (), "a b, c\n", ""),
        (triggers("training"), (), "a b, c\n", "these are the tags style was trained on most; "),
    ],
)
def test_trigger_words_are_one_line_for_a_prompt(
    tsr: Commands, fake: FakeTensors, found: Triggers, more: tuple[str, ...], out: str, err: str
) -> None:
    fake.answers["db.triggers"] = found
    done = tsr("db", "triggers", "my style", *more)
    assert (done.code, done.out) == (0, out)
    assert done.err == err or (err and done.err.startswith(err))
    assert fake.called("db.triggers") == ["my style"]
