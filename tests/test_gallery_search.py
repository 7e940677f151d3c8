"""Searches find exactly what fits, newest first, whatever they go through; and any page of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

import msgspec
import pytest
from gallery_samples import PNG, image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tensors.clock import from_epoch_ms
from tensors.errors import InvalidRequest
from tensors.gallery import Gallery
from tensors.pictures import search
from tensors.types.gallery import Image, ImageQuery
from tensors.types.generation import UsedLora, UsedModel

DAY = 86_400_000
BEGIN = 1_767_225_600_000
"""2026-01-01."""
WORDS = ("cat", "dog", "catalogue", "Café", "blue-eyed", "麦橘", "masterpiece", "photo", "photograph", "3d")
COUNT = 120


def some_image(chance: random.Random, number: int) -> Image:
    made = image(f"job-{number % 40}", number % 3, created=from_epoch_ms(BEGIN + number % 30 * DAY // 4))
    loras = chance.sample(("Ink", "pixel", "film"), chance.choice((0, 1, 2)))
    changed = replace(
        made.settings,
        prompt=" ".join(chance.sample(WORDS, chance.randrange(1, 5))),
        seed=chance.choice((1, 2, 3, 2**64 - 1)),
        model=UsedModel(name=chance.choice(("Pony", "flux", "shapes")), family="sdxl"),
        loras=tuple(UsedLora(name=name, weight=1.0) for name in loras),
    )
    return replace(
        made,
        width=chance.choice((512, 768, 1024)),
        height=chance.choice((512, 768, 1024)),
        settings=changed,
        tags=tuple(chance.sample(("red", "Été", "wip"), chance.choice((0, 1, 2)))),
        notes=chance.choice(("", "", "keep this cat")),
        rating=chance.choice((None, 1, 3, 5)),
        favourite=chance.random() < 0.2,
    )


@dataclass(repr=False)
class Samples:
    """A gallery and all that is in it, newest first."""

    gallery: Gallery
    every: list[Image]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samples]:
    """A gallery written by hand: a hundred synced files would take seconds."""
    chance = random.Random(20261123)
    folder = tmp_path_factory.mktemp("search") / "gallery"
    folder.mkdir()
    made = []
    for number in range(COUNT):
        one = some_image(chance, number)
        stem = f"{one.created[:10].replace('-', '')}-{one.created[11:19].replace(':', '')}-{one.created[20:23]}"
        name = f"{stem}_{number}"
        (folder / f"{name}.png").write_bytes(PNG)
        (folder / f"{name}.json").write_bytes(msgspec.json.encode(one))
        made.append(replace(one, id=name, path=str(folder / f"{name}.png")))
    gallery = Gallery(folder)
    yield Samples(gallery, sorted(made, key=lambda one: one.id, reverse=True))
    gallery.close()


PARTS = {
    "cat": {"cat"},
    "dog": {"dog"},
    "catalogue": {"catalogue"},
    "Café": {"cafe"},
    "blue-eyed": {"blue", "eyed"},
    "麦橘": {"麦橘", "麦", "橘"},
    "masterpiece": {"masterpiece"},
    "photo": {"photo"},
    "photograph": {"photograph"},
    "3d": {"3d"},
    "keep": {"keep"},
    "this": {"this"},
}


def words_of(one: Image) -> set[str]:
    return {part for word in f"{one.settings.prompt} {one.notes}".split() for part in PARTS[word]}


def has(one: Image, piece: str) -> bool:
    begun = piece.endswith("*")
    return any(word.startswith(piece[:-1]) if begun else word == piece for word in words_of(one))


def fits(one: Image, asked: ImageQuery) -> bool:
    """What a search should find, in as plain words as possible."""
    tests: dict[str, Callable[[Any], bool]] = {
        "text": lambda text: all(
            not has(one, piece[1:]) if piece.startswith("-") else has(one, piece) for piece in text.split()
        ),
        "model": lambda name: one.settings.model.name.lower() == name.lower(),
        "lora": lambda name: name.lower() in {lora.name.lower() for lora in one.settings.loras},
        "seed": lambda seed: one.settings.seed == seed,
        "tags": lambda tags: {tag.lower() for tag in tags} <= {tag.lower() for tag in one.tags},
        "width": lambda width: one.width == width,
        "height": lambda height: one.height == height,
        "min_side": lambda side: min(one.width, one.height) >= side,
        "max_side": lambda side: max(one.width, one.height) <= side,
        "since": lambda day: one.created[: len(day)] >= day,
        "until": lambda day: one.created[: len(day)] <= day,
        "rating": lambda rating: one.rating is not None and one.rating >= rating,
        "favourite": lambda favourite: one.favourite == favourite,
        "job": lambda job: one.job == job,
    }
    given = {field.name: getattr(asked, field.name) for field in fields(asked)}
    assert given.keys() == tests.keys()
    return all(tests[name](value) for name, value in given.items() if value not in (None, ()))


PIECES = st.sampled_from(
    ["cat", "dog", "cat*", "ph*", "-cat", "-dog", "cafe", "麦", "blue", "3d", "-photo*", "keep", "m*"]
)
DAYS = st.integers(1, 9).map(lambda day: f"2026-01-{day:02}")
QUERIES = st.builds(
    ImageQuery,
    text=st.lists(PIECES, max_size=3).map(" ".join),
    model=st.none() | st.sampled_from(["pony", "FLUX", "shapes", "none"]),
    lora=st.none() | st.sampled_from(["ink", "Pixel", "nobody"]),
    seed=st.none() | st.sampled_from([1, 2, 2**64 - 1, 2**63]),
    tags=st.lists(st.sampled_from(["red", "été", "WIP", "none"]), max_size=2).map(tuple),
    width=st.none() | st.sampled_from([512, 768]),
    height=st.none() | st.sampled_from([512, 1024]),
    min_side=st.none() | st.sampled_from([513, 768]),
    max_side=st.none() | st.sampled_from([768, 1023]),
    since=st.none() | DAYS,
    until=st.none() | DAYS,
    rating=st.none() | st.integers(1, 5),
    favourite=st.none() | st.booleans(),
    job=st.none() | st.sampled_from(["job-1", "job-39", "job-40"]),
)
SPARSE = st.builds(
    lambda query, kept: replace(ImageQuery(), **{name: getattr(query, name) for name in kept}),
    QUERIES,
    st.sets(st.sampled_from([field.name for field in fields(ImageQuery)]), max_size=3),
)
"""Of all filters at once hardly anything is left."""


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=SPARSE | QUERIES,
    limit=st.integers(1, 30),
    few=st.sampled_from([1, 10, 2000]),
    very=st.sampled_from([0, 5, 500]),
)
def test_a_search_finds_what_fits_page_by_page(
    pictures: Samples, query: ImageQuery, limit: int, few: int, very: int
) -> None:
    gallery, every = pictures.gallery, pictures.every
    found: list[Image] = []
    cursor = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_FEW", few)
        patch.setattr(search, "_VERY_FEW", very)
        while True:
            page = gallery.find(query, limit=limit, cursor=cursor)
            found.extend(page.items)
            assert len(page.items) == limit or page.next_cursor is None
            cursor = page.next_cursor
            if cursor is None:
                break
            assert len(found) <= len(every)
    assert found == [one for one in every if fits(one, query)]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("2026-01-03T06:00:00Z", 4),
        ("2026-01-03T07:00:00+01:00", 4),
        ("2026-01-03 06:00", 4),
        ("2026-01-03T06:00:00.001Z", 8),
    ],
)
def test_a_time_is_exact_and_until_does_not_include_it(pictures: Samples, text: str, count: int) -> None:
    gallery, every = pictures.gallery, pictures.every
    until = gallery.find(ImageQuery(since="2026-01-03", until=text), limit=500, cursor=None).items
    since = gallery.find(ImageQuery(since=text), limit=500, cursor=None).items
    assert len(until) == count
    assert {one.created for one in until} <= {"2026-01-03T00:00:00.000Z", "2026-01-03T06:00:00.000Z"}
    before = gallery.find(ImageQuery(until="2026-01-02"), limit=500, cursor=None).items
    assert [*since, *until, *before] == every


def test_of_several_words_without_a_space_the_last_may_be_a_beginning(pictures: Samples) -> None:
    def found(text: str) -> list[Image]:
        return list(pictures.gallery.find(ImageQuery(text=text), limit=500, cursor=None).items)

    assert found("blue-ey*") == [one for one in pictures.every if has(one, "blue")] != []
    assert found("bl-eyed*") == []


@pytest.mark.parametrize("until", ["9999-12-31", "2199-12-31", "2200-01-01T00:00:00Z"])
def test_far_dates_are_no_limit(pictures: Samples, until: str) -> None:
    gallery, every = pictures.gallery, pictures.every
    assert gallery.find(ImageQuery(since="0001-01-01", until=until), limit=500, cursor=None).items == tuple(every)
    assert gallery.find(ImageQuery(since=until), limit=500, cursor=None).items == ()


REFUSED: dict[str, dict[str, Any]] = {
    "since 'yesterday' is no date": {"since": "yesterday"},
    "until '2026-02-30' is no date": {"until": "2026-02-30"},
    "since '9999-12-31T23:59-12:00' is no date": {"since": "9999-12-31T23:59-12:00"},
    "has no word to look for": {"text": "?! -"},
    "at most 50 words": {"text": " ".join(f"w{number}" for number in range(51))},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_understood_is_refused(pictures: Samples, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message.replace("?", r"\?")):
        pictures.gallery.find(ImageQuery(**REFUSED[message]), limit=5, cursor=None)


@pytest.mark.parametrize(
    "bad", [{"rating": 6}, {"rating": 0}, {"seed": -1}, {"seed": 2**64}, {"width": 0}, {"model": ""}]
)
def test_bounds_of_a_query_are_checked(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(bad))):
        ImageQuery(**bad)


@given(text=st.text(max_size=60) | st.text('"*-() ^:+ANDORNT', max_size=30))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_is_taken_for_a_command(pictures: Samples, text: str) -> None:
    with suppress(InvalidRequest):
        pictures.gallery.find(ImageQuery(text=text), limit=5, cursor=None)
