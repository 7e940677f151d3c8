"""Names that others chose: whatever they are, what comes out is a safe one, or nothing."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tensors.downloads.names import LONGEST, is_confined, is_model_name, safe_name, second_name
from tensors.errors import DownloadRefused

FALLBACK = "version-1318.safetensors"
RESERVED = {
    *("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"),
    *(f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789\u00b9\u00b2\u00b3"),
}

NASTY = [
    *("/", "\\", "..", ".", " ", "<", ">", ":", '"', "|", "?", "*", "%", "~", "-", "\0", "\n", "\x1b[2J", "\x7f"),
    *("\u202e", "\u2066", "\u200b", "\ufeff", "\ud800", "\uffff", "\u2028", "\u3000", "e\u0301", "\u0338", "\u1100"),
    *("\u1161", "\U0001f600", "\u0130", "\u017f", "CON", "nul", "COM1", "LPT\u00b2", "a" * 120, "\u6f22" * 90),
    *(".safetensors", ".GGUF", ".part", ".ckpt", "safetensor"),
]
names = st.lists(st.sampled_from(NASTY) | st.text(max_size=8), max_size=8).map("".join)


def check_safe(name: str) -> None:
    """What is asked of a name here, on a Mac and on Windows."""
    assert len(name.encode()) <= LONGEST
    assert name.endswith((".safetensors", ".gguf"))
    assert name[0] not in ". -"
    assert ".." not in name
    assert not set(name) & set('/\\<>:"|?*')
    assert name == unicodedata.normalize("NFC", name)
    assert not {unicodedata.category(char) for char in name} & {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}
    stem = name.rpartition(".")[0]
    assert stem == stem.strip(" .")
    assert stem.partition(".")[0].rstrip().upper() not in RESERVED


@given(said=names | st.none(), fallback=names)
@example(said="a" * 239 + "\u0301.gguf", fallback="")
@example(said="x/.safetensors", fallback="-.gguf")
@example(said="a\u200b.\u200b.b.gguf", fallback="")
@example(said="<\u200b\u0338.gguf", fallback="")
def test_any_text_becomes_a_safe_name_or_none(said: str | None, fallback: str) -> None:
    try:
        name = safe_name(said, fallback)
    except DownloadRefused:
        return
    check_safe(name)
    assert safe_name(name, fallback) == name


@given(names.map(lambda text: f"{text}x.safetensors"))
def test_a_file_can_be_made_under_any_name_that_comes_out(tmp_path_factory: pytest.TempPathFactory, said: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "names"
    folder.mkdir(exist_ok=True)
    path = folder / f"{safe_name(said, FALLBACK)}.part"
    path.touch()
    assert path.resolve().parent == folder.resolve()
    assert path.name in os.listdir(folder)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("ponyDiffusionV6XL.safetensors", "ponyDiffusionV6XL.safetensors"),
        ("v1.5 (pruned) [fp16], é 漢字 😀.safetensors", "v1.5 (pruned) [fp16], é 漢字 😀.safetensors"),
        ("Model.SafeTensors", "Model.safetensors"),
        ("model.GGUF", "model.gguf"),
        ("../../etc/passwd.safetensors", "passwd.safetensors"),
        ("C:\\Windows\\x.safetensors", "x.safetensors"),
        ("C:x.safetensors", "C_x.safetensors"),
        ('a<b>c:"d|e?f*.gguf', "a_b_c__d_e_f_.gguf"),
        (".hidden.safetensors", "hidden.safetensors"),
        ("--help.safetensors", "help.safetensors"),
        ("a..b...c.safetensors", "a.b.c.safetensors"),
        ("a\nb\tc\x00\x1b.safetensors", "a b c.safetensors"),
        ("sroten\u202esrosnetefas.gguf", "srotensrosnetefas.gguf"),
        ("e\u0301.gguf", "\u00e9.gguf"),
        ("name . .safetensors. ", "name.safetensors"),
        ("model.safetensors ..", "model.safetensors"),
        ("CON.safetensors", "_CON.safetensors"),
        ("nul .x.safetensors", "_nul .x.safetensors"),
        ("com1.v2.gguf", "_com1.v2.gguf"),
        ("COM10.gguf", "COM10.gguf"),
        ("model.ckpt.safetensors", "model.ckpt.safetensors"),
    ],
)
def test_a_name_keeps_what_is_harmless(said: str, name: str) -> None:
    assert safe_name(said, FALLBACK) == name


@pytest.mark.parametrize(
    "said", [None, "", "  ", "..", "a/", ".safetensors", " . ", "-.gguf", "\u202e", "\0", "a/../.."]
)
def test_where_nothing_is_left_the_fallback_is_taken(said: str | None) -> None:
    assert safe_name(said, FALLBACK) == FALLBACK


@pytest.mark.parametrize(
    "said",
    [
        *("model.ckpt", "model.pt", "model.safetensors.zip", "login.html", "model", "safetensors", "model.safetensor"),
        *("model.\u017fafetensors", "model.safetensors.part", "model.safetensors_", "model.safetensors\\x.exe"),
    ],
)
def test_other_extensions_are_refused_whatever_the_fallback(said: str) -> None:
    with pytest.raises(DownloadRefused, match=r"is not taken$") as refused:
        safe_name(said, FALLBACK)
    assert refused.value.hint == "only .safetensors and .gguf; others can run any code"


def test_a_long_name_is_cut_at_a_character_and_keeps_its_end() -> None:
    assert safe_name("a" * 300 + ".safetensors", FALLBACK) == "a" * (LONGEST - 12) + ".safetensors"
    cut = safe_name("\u6f22" * 300 + ".gguf", FALLBACK)
    assert safe_name("a" * 227 + " . b" * 9 + ".safetensors", FALLBACK) == "a" * 227 + ".safetensors"
    assert cut == "\u6f22" * ((LONGEST - 5) // 3) + ".gguf"


@given(said=names, version=st.integers(1, 2**31), file=st.none() | st.integers(1, 2**31))
def test_a_second_name_is_another_safe_one(said: str, version: int, file: int | None) -> None:
    name = safe_name(f"{said}x.gguf", FALLBACK)
    second = second_name(name, version, file)
    check_safe(second)
    assert second != name
    assert second == second_name(name, version, file)
    assert second.endswith(f".V{version}.gguf" if file is None else f".V{version}-F{file}.gguf")


def test_a_second_name_is_told_from_the_first() -> None:
    assert second_name("name.v2.safetensors", 1318) == "name.v2.V1318.safetensors"
    assert second_name("name.safetensors", 1318, 55) == "name.V1318-F55.safetensors"
    assert second_name("a" * 228 + ".safetensors", 1318) == "a" * 222 + ".V1318.safetensors"


@pytest.mark.parametrize("path", ["model.safetensors", "vae/model.fp16.safetensors", "a b/...x/é漢.gguf", "-x/.y"])
def test_paths_that_stay_in_their_repository(path: str) -> None:
    assert is_confined(path)


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/etc/passwd", "a//b", "a/", "..", "../a", "a/../b", "a/.", "a\\b", "a\nb", "a\u202eb", "a\0"),
        *("a?token=x", "a#b", "a\ufffd", " a", "a /b", "a/ ..", "a" * 1025, "\ud800"),
    ],
)
def test_paths_that_lead_elsewhere_or_are_no_line(path: str) -> None:
    assert not is_confined(path)


def test_what_a_model_file_is_called() -> None:
    assert all(map(is_model_name, ("a.safetensors", "A.GGUF", "x/y.SafeTensors")))
    assert not any(
        map(is_model_name, ("safetensors", "a.safetensors.bin", "a.gguf\n", "a.\u017fafetensors", Path().name))
    )
