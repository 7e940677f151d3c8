"""Texts of others in a terminal, and numbers for people."""

from __future__ import annotations

import json
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tensors.cli._app import App, as_json, table
from tensors.cli._errors import show_error
from tensors.cli._text import amount, duration, first_words, listed, plain, plain_lines, shortened, size, width
from tensors.errors import InvalidRequest

ANY_TEXT = st.text(st.characters(exclude_categories=[]))
REORDERING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


@given(ANY_TEXT)
@example("\x1b]0;title\x07\x9b2J\u202e\udcff\ud800\u2028")
def test_what_is_plain_does_nothing_to_a_terminal_and_can_be_written(text: str) -> None:
    done = plain(text)
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in done)
    assert not REORDERING & set(done)
    assert "\n" not in done.encode().decode()
    assert plain(done) == done


@given(st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" ")))
def test_an_ordinary_text_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\r\nc\u2028d", "a b  c d"),
        ("\x00\x1b[0m\x7f\x9b", r"\x00\x1b[0m\x7f\x9b"),
        ("caf\udce9.gguf", r"caf\xe9.gguf"),
        ("\ud83d", r"\ud83d"),
        ("a\u202eb", r"a\u202eb"),
        ("👩\u200d🎨 日本語 é", "👩\u200d🎨 日本語 é"),
    ],
)
def test_what_could_play_with_a_terminal_is_seen_as_what_it_is(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_lines_stay_lines() -> None:
    assert plain_lines("\na\x1b\nb\r") == "\na\\x1b\nb "


def test_all_that_is_printed_for_people_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    app = App()
    app.show(["a\x1b[2J\nb"], lambda rows: rows)
    app.say("c\x1b[2J\nd")
    show_error(InvalidRequest("e\x1b[2J", hint="f\x1b[2J"), as_json=False)
    out, err = capsys.readouterr()
    assert out == "a\\x1b[2J b\n"
    assert err == "c\\x1b[2J\nd\nerror: e\\x1b[2J\nhint:  f\\x1b[2J\n"


@given(st.lists(ANY_TEXT, max_size=3))
@example(["caf\udce9.gguf"])
def test_json_takes_any_name_and_loses_nothing(names: list[str]) -> None:
    encoded = as_json({"names": names})
    assert json.loads(encoded) == {"names": names}
    assert b"\n" not in encoded


@pytest.mark.parametrize("form", [False, True], ids=["plain", "json"])
def test_an_argument_that_is_no_text_is_refused_and_no_defect(capsys: pytest.CaptureFixture[str], form: bool) -> None:
    with pytest.raises(UnicodeEncodeError) as raised:
        "caf\udce9".encode()
    assert show_error(raised.value, as_json=form) == 2
    out, err = capsys.readouterr()
    said = "what was typed contains bytes that are not UTF-8"
    assert (out, err) == (
        (f'{{"error":{{"code":"invalid_request","message":"{said}"}}}}\n', "") if form else ("", f"error: {said}\n")
    )


@given(st.lists(st.tuples(ANY_TEXT, st.integers(), ANY_TEXT), min_size=1, max_size=6))
def test_columns_begin_and_end_below_each_other(rows: list[tuple[str, int, str]]) -> None:
    lines = list(table(rows, right=(1,)))
    assert len(lines) == len(rows)
    wide = max(width(plain(first)) for first, _, _ in rows)
    digits = max(len(str(number)) for _, number, _ in rows)
    for line, (first, number, last) in zip(lines, rows, strict=True):
        head = f"{plain(first)}{' ' * (wide - width(plain(first)))}  {number:>{digits}}  "
        assert line == (head + plain(last)).rstrip()


def test_a_table_may_have_no_rows() -> None:
    assert list(table([])) == []


@pytest.mark.parametrize(("text", "columns"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("ﾊ", 1), ("🎨", 2), ("", 0)])
def test_width_counts_columns_not_characters(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (6_938_041_050, "6.94 GB"),
        (500 * 10**9, "500 GB"),
        (10**15, "1.00 PB"),
        (10**21, "1,000,000 PB"),
    ],
)
def test_sizes_have_three_digits(count: int, shown: str) -> None:
    assert size(count) == shown


@given(st.integers(0, 10**18 - 10**15))
def test_a_size_is_within_half_a_percent_and_never_four_digits(count: int) -> None:
    number, unit = size(count).split()
    factor = {"B": 0, "kB": 1, "MB": 2, "GB": 3, "TB": 4, "PB": 5}[unit]
    assert re.fullmatch(r"\d{1,3}|\d\d\.\d|\d\.\d\d", number)
    assert abs(float(number) * 1000**factor - count) <= count / 200


@pytest.mark.parametrize(
    ("count", "shown"), [(1, "1"), (999, "999"), (12_345, "12.3 K"), (860_000_000, "860 M"), (2_567_463_684, "2.57 B")]
)
def test_amounts_of_parameters(count: int, shown: str) -> None:
    assert amount(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0 s"), (99.4, "99 s"), (100, "2 min"), (3600, "60 min"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@given(st.text(max_size=120), st.integers(9, 100))
def test_what_is_shortened_keeps_both_ends(text: str, most: int) -> None:
    done = shortened(text, most)
    if len(text) <= most:
        assert done == text
    else:
        assert len(done) == most
        head, dots, tail = done.partition("...") if "..." not in text else ("", "...", "")
        assert text.startswith(head)
        assert dots
        assert text.endswith(tail)


@pytest.mark.parametrize(
    ("text", "shown"), [("a\n b", "a b"), ("0123456789", "0123456789"), ("012345 789x", "012345..."), ("", "")]
)
def test_the_first_words_are_one_line(text: str, shown: str) -> None:
    assert first_words(text, 10) == shown


def test_what_there_is_none_of_is_not_listed() -> None:
    assert listed([(1200, "new"), (0, "gone"), (1, "back")]) == "1,200 new, 1 back"
