"""Finding kept models: which, in what order, page by page."""

from __future__ import annotations

import json
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensors.civitai.records import ModelRecord, VersionRecord
from tensors.db.catalog import delete_model, store_models
from tensors.db.database import Database
from tensors.db.search import search_models
from tensors.errors import InvalidRequest
from tensors.types.catalog import Model

WHEN = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "models.db") as database:
        yield database


def model(
    model_id: int,
    name: str = "",
    *,
    text: str | None = None,
    words: Sequence[str] = (),
    base_models: Sequence[str | None] = (),
    versions: Sequence[str] = (),
    **fields: Any,
) -> ModelRecord:
    """A model; `words` are its first version's."""
    count = max(len(base_models), len(versions), bool(words))
    made = tuple(
        VersionRecord(
            id=model_id * 10 + place,
            model_id=model_id,
            position=place,
            name=versions[place] if place < len(versions) else "",
            base_model=base_models[place] if place < len(base_models) else None,
            trained_words=() if place else tuple(words),
        )
        for place in range(count)
    )
    return ModelRecord(id=model_id, name=name, description=text, versions=made, document=b"{}", **fields)


def keep(database: Database, *records: ModelRecord) -> None:
    store_models(database, records, fetched_at=WHEN)


def ids(database: Database, query: str | None, **options: Any) -> list[int]:
    return [found.id for found in search_models(database, query, **options).items]


def pages(database: Database, query: str | None, *, limit: int, **options: Any) -> list[list[int]]:
    """Page after page, until there is none."""
    found, cursor = [], None
    while True:
        page = search_models(database, query, limit=limit, cursor=cursor, **options)
        found.append([item.id for item in page.items])
        cursor = page.next_cursor
        if cursor is None:
            return found


# Which models are found


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ("pony", True),
        ("PONY", True),
        ("onydif", True),
        ("ponydiffusionv6xl", True),
        ("diffusion", True),
        ("xl", True),
        ("v6", True),
        ("po", True),
        ("ny", False),
        ("v", False),
        ("7", True),
        ("6", False),
        ("麦橘写实", True),
        ("麦橘", True),
        ("橘写", True),
        ("实", True),
        ("橘麦", False),
        ("橘写x", False),
        ("麦橘mix", True),
        ("mix麦橘写实", True),
        ("cafe", True),
        ("CAFÉ", True),
        ("cafe\u0301", True),
        ("ｃａｆｅ", True),  # noqa: RUF001 - wide letters are what is tested
        ("и", True),
        ("straße", True),
        ("STRASSE", True),
        ("ガール", True),
        ("カール", False),
        ("♥", True),
        ("trigger_word", True),
        ("trigger-word!", True),
        ("word trigger", True),
        ("triggerword", False),
        ("maker pony", True),
        ("described", True),
        ("describe", False),
        ("pony described", True),
        ("described tagged maker pony", True),
        ("said in version", True),
        ("pony absent", False),
        ("absent", False),
        ("说明", True),
        ("明书", True),
        ("书", True),
        ("书说", False),
    ],
)
def test_a_model_is_found_by_words_anywhere(library: Database, query: str, is_found: bool) -> None:
    wanted = model(
        5,
        "ponyDiffusionV6XL 7 [麦橘写实MIX] Café й Straße ガール ♥",
        creator="The_Maker",
        tags=("tagged",),
        words=("trigger word",),
        versions=("said",),
        text="Fully described, in a version. 说明书",
    )
    keep(library, wanted, model(6, "else"))
    assert ids(library, query) == ([5] if is_found else [])


@pytest.mark.parametrize(
    "query",
    [
        *(
            '"',
            '""',
            '"pony',
            'pony"',
            "pony*",
            "*",
            "-pony",
            "^pony",
            "pony AND",
            "AND",
            "OR",
            "NOT pony",
            "NEAR(pony)",
        ),
        *("pony + x", "names:pony", "{names}: pony", "(pony", "pony)", "'", "';--", "\\", "%", "_", "pony\0", "\0"),
        *("pony\ud800", "\udcff", "pony\nx", "ponies' OR 1=1"),
    ],
)
def test_nothing_in_a_query_is_an_operator(library: Database, query: str) -> None:
    keep(library, model(1, "pony"), model(2, "x and or not near names"))
    bare = "".join(letter if letter.isalnum() else " " for letter in query).lower().split()
    names = {1: ["pony"], 2: ["x", "and", "or", "not", "near", "names"]}
    expected = [
        number
        for number, words in names.items()
        if bare
        and all(any(word in name if len(word) > 2 else name.startswith(word) for name in words) for word in bare)
    ]
    assert ids(library, query) == expected


@pytest.mark.parametrize("query", ["", "  \n", None])
def test_without_a_query_all_are_listed(library: Database, query: str | None) -> None:
    keep(library, model(1, "a", download_count=1), model(2, "b", download_count=3), model(3, "c", download_count=2))
    assert ids(library, query) == [2, 3, 1]


def test_a_query_without_a_word_finds_nothing(library: Database) -> None:
    keep(library, model(1, "a"))
    assert search_models(library, "*** ...").items == ()


@pytest.mark.parametrize("query", ["x" * 1001, " ".join(f"w{number}" for number in range(51))])
def test_endless_queries_are_refused(library: Database, query: str) -> None:
    with pytest.raises(InvalidRequest, match="50 words and 1000 letters at the most"):
        search_models(library, query)
    assert ids(library, query[:-10]) == []


def test_long_words_and_many_words_are_searched_for(library: Database) -> None:
    keep(library, model(1, "w" * 5000, text=" ".join(f"w{number}" for number in range(100))))
    assert ids(library, "w" * 999) == [1]
    assert ids(library, " ".join(f"w{number}" for number in range(50, 100))) == [1]


# Order and pages


def test_names_come_before_texts_and_in_each_the_popular_first(library: Database) -> None:
    keep(
        library,
        model(1, "pony", download_count=1),
        model(2, "x", text="a pony", download_count=900),
        model(3, "my ponytail", download_count=5),
        model(4, "x", tags=("pony",), text="a pony too", download_count=3),
        model(5, "x", text="pony pony", download_count=901),
        model(6, "ponyx", download_count=5),
    )
    assert ids(library, "pony") == [3, 6, 4, 1, 5, 2]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("query", ["pony", "pony blue", None])
def test_pages_have_each_model_once_and_in_order(library: Database, limit: int, query: str | None) -> None:
    records = [
        model(
            number,
            ("pony blue", "pony", "red")[number % 3],
            text=(None, "pony and blue", "pony", "blue")[number % 4],
            download_count=number % 5,
        )
        for number in range(1, 40)
    ]
    keep(library, *records)
    whole = ids(library, query, limit=500)
    found = pages(library, query, limit=limit)
    assert [number for page in found for number in page] == whole
    assert len(set(whole)) == len(whole) > 7
    assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
    assert found[-1]


def test_a_page_goes_on_where_the_last_one_ended_though_models_came_and_went(library: Database) -> None:
    keep(library, *(model(number, "pony", download_count=100 - number) for number in range(1, 9)))
    first = search_models(library, "pony", limit=3)
    assert [item.id for item in first.items] == [1, 2, 3]
    delete_model(library, 3)
    delete_model(library, 5)
    keep(library, model(50, "pony", download_count=1000))
    second = search_models(library, "pony", limit=10, cursor=first.next_cursor)
    assert [item.id for item in second.items] == [4, 6, 7, 8]


@pytest.mark.parametrize(
    "cursor", ["", "n", "x1", "n-1", "n01", "n1 ", f"n{2**63}", "n99999999999999999999", "a5", "1", "N1", "n٣"]
)
def test_foreign_cursors_are_refused(library: Database, cursor: str) -> None:
    keep(library, model(1, "pony"))
    with pytest.raises(InvalidRequest, match="is not a cursor of this list"):
        search_models(library, "pony", cursor=cursor)


def test_a_cursor_of_a_search_is_none_of_the_whole_list(library: Database) -> None:
    keep(library, model(1, "pony"), model(2, "pony"))
    cursor = search_models(library, "pony", limit=1).next_cursor
    with pytest.raises(InvalidRequest):
        search_models(library, None, cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_limits_outside_are_refused(library: Database, limit: int) -> None:
    with pytest.raises(InvalidRequest, match=f"between 1 and 500, not {limit}"):
        search_models(library, None, limit=limit)


# Filters


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"type": "lora"}, [1, 2]),
        ({"type": "LoR"}, []),
        ({"base_model": "pony"}, [1, 3]),
        ({"base_model": "SDXL 1.0"}, [1, 2]),
        ({"base_model": "SDXL"}, []),
        ({"tag": "ANIME"}, [2, 3]),
        ({"tag": "ani"}, []),
        ({"creator": "MAKER"}, [1, 3]),
        ({"creator": "make"}, []),
        ({"type": "LORA", "base_model": "Pony"}, [1]),
        ({"tag": "anime", "creator": "maker", "type": "Checkpoint", "base_model": "pony"}, [3]),
        ({"type": ""}, []),
        ({"tag": "\ud800"}, []),
        ({"creator": "x' OR '1'='1"}, []),
    ],
)
@pytest.mark.parametrize("query", [None, "same", "told"])
@pytest.mark.parametrize("few", [1000, 1, 0])
def test_filters_are_exact_but_for_case(
    library: Database,
    monkeypatch: pytest.MonkeyPatch,
    filters: dict[str, str],
    expected: list[int],
    query: str,
    few: int,
) -> None:
    """Few models that pass a filter are looked up, many are tested one by one: the answer is the same."""
    monkeypatch.setattr("tensors.db.search._FEW", few)
    keep(
        library,
        model(1, "same", text="told", type="LORA", base_models=["Pony", "SDXL 1.0", "Pony"], creator="Maker"),
        model(
            2, "same", text="told", type="Lora", base_models=["sdxl 1.0", None], creator="Other", tags=("a", "anime")
        ),
        model(3, "same", text="told", type="Checkpoint", base_models=["Pony"], creator="Maker", tags=("Anime",)),
        model(4, "same", text="told"),
    )
    assert ids(library, query, **filters) == expected
    assert [number for page in pages(library, query, limit=1, **filters) for number in page] == expected


# What is told of a model


def test_a_model_in_a_list_has_all_its_fields(library: Database) -> None:
    keep(
        library,
        model(
            7,
            "Name",
            type="LORA",
            creator="Maker",
            tags=("b", "a"),
            base_models=["Pony", None, "SDXL 1.0", "Pony"],
            download_count=12,
            nsfw=True,
        ),
        model(8),
    )
    page = search_models(library, None, site="https://civitai.example")
    assert page.items == (
        Model(
            id=7,
            name="Name",
            type="LORA",
            creator="Maker",
            tags=("b", "a"),
            base_models=("Pony", "SDXL 1.0"),
            versions=4,
            downloads=12,
            nsfw=True,
            url="https://civitai.example/models/7",
        ),
        Model(id=8, name="", url="https://civitai.example/models/8"),
    )
    assert page.next_cursor is None


def test_long_lists_take_no_more_queries_than_short_ones(library: Database) -> None:
    keep(library, *(model(number, "pony", tags=("a",), base_models=["Pony"], creator="c") for number in range(1, 300)))

    def statements(limit: int) -> int:
        seen: list[str] = []
        library.connection.set_trace_callback(seen.append)
        assert len(ids(library, "pony", limit=limit, tag="a")) == limit
        library.connection.set_trace_callback(None)
        return len([sql for sql in seen if not sql.startswith("--")])

    assert statements(1) == statements(250) <= 6


# Against the plainest implementation


@dataclass(frozen=True)
class Plain:
    """A model as the plain search sees it."""

    id: int
    downloads: int
    names: tuple[str, ...]
    texts: tuple[str, ...]


def is_spaceless(letter: str) -> bool:
    return any(name in unicodedata.name(letter, "") for name in ("CJK UNIFIED", "HIRAGANA", "KATAKANA"))


def bare(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text)
    return unicodedata.normalize("NFKC", "".join(letter for letter in apart if not "\u0300" <= letter <= "\u036f"))


def split(text: str, *, at_borders: bool = False) -> list[str]:
    """Words, letter by letter."""
    found, last = [""], " "
    letters = bare(text)
    for place, letter in enumerate(letters):
        following = letters[place + 1 : place + 2]
        border = is_spaceless(letter) != is_spaceless(last)
        if at_borders and letter.isascii() and last.isascii():
            border |= last.islower() and letter.isupper()
            border |= last.isdigit() and letter.isalpha()
            border |= last.isupper() and letter.isupper() and following.isascii() and following.islower()
        if border:
            found.append("")
        if unicodedata.category(letter)[0] in "PZC" or (letter.isascii() and not letter.isalnum()):
            found.append("")
        elif unicodedata.category(letter)[0] == "S":
            found += [letter, ""]
        else:
            found[-1] += letter
        last = letter
    return [word.casefold() for word in found if word]


def plainly(models: Sequence[Plain], query: str) -> list[int]:
    asked = split(query)

    def in_names(word: str, found: Plain) -> bool:
        whole = [name for text in found.names for name in split(text)]
        if len(word) > 2 or is_spaceless(word[0]):
            return any(word in name for name in whole)
        parts = whole + [name for text in found.names for name in split(text, at_borders=True)]
        return any(name == word or (len(word) == 2 and name.startswith(word)) for name in parts)

    def in_texts(word: str, found: Plain) -> bool:
        whole = [name for text in (*found.names, *found.texts) for name in split(text)]
        if is_spaceless(word[0]):
            pieces = [word[place : place + 2] for place in range(max(1, len(word) - 1))]
            return all(any(piece in name for name in whole) for piece in pieces)
        return word in whole or any(word in split(text, at_borders=True) for text in found.names)

    ordered = sorted(models, key=lambda found: (-found.downloads, found.id))
    first = [found.id for found in ordered if asked and all(in_names(word, found) for word in asked)]
    second = [found.id for found in ordered if asked and all(in_texts(word, found) for word in asked)]
    return first + [number for number in second if number not in first]


PIECES = (
    *(
        "pony",
        "Pony",
        "Diffusion",
        "V6",
        "XL",
        "xl",
        "v6",
        "3D",
        "a",
        "A",
        "1",
        "girl",
        "style",
        "sty",
        "dark",
        "ß",
        "é",
    ),
    *(
        "e\u0301",
        "麦",
        "麦橘",
        "橘写",
        "写实",
        "ガ",
        "カ",
        "さくら",
        "ｘｌ",  # noqa: RUF001 - wide letters are what is tested
        "Ω",
        "й",
        "♥",
        "😀",
        "№",
        "ﬁ",
        "İ",
        "AND",
        "NEAR",
    ),
)
SEPARATORS = ("", "", " ", " ", "-", "_", "(", '"', "、", "・", "\u200b", "\n", "'")
text = st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(SEPARATORS)), max_size=4).map(
    lambda parts: "".join(piece + separator for piece, separator in parts)
)
names = st.lists(text, max_size=2)
catalogs = st.lists(st.tuples(st.integers(0, 2), text, names, names, text), min_size=1, max_size=6)


@settings(max_examples=150)
@given(catalog=catalogs, queries=st.lists(text, min_size=3, max_size=8), limit=st.integers(1, 4))
def test_search_is_what_its_description_says(
    catalog: list[tuple[int, str, list[str], list[str], str]], queries: list[str], limit: int
) -> None:
    records, plain = [], []
    for number, (downloads, name, tags, words, description) in enumerate(catalog, start=1):
        tags, words = list(dict.fromkeys(tags)), list(dict.fromkeys(words))
        fields = {"text": description, "words": words, "tags": tuple(tags), "download_count": downloads}
        records.append(model(number, name, **fields))
        plain.append(Plain(number, downloads, (name, *tags, *words), (description,)))
    with tempfile.TemporaryDirectory() as folder, Database(Path(folder) / "models.db") as database:
        keep(database, *records)
        for query in filter(str.strip, queries):
            found = [number for page in pages(database, query, limit=limit) for number in page]
            assert found == plainly(plain, query), json.dumps(query)
