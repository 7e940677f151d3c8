"""Contact sheets: every picture at its place, at any number and size, within the bound."""

from __future__ import annotations

import io
from collections import Counter
from typing import NoReturn

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from tensors.contact_sheet import MOST_ROWS, MOST_SIDE, Cell, Picture, Row, _Sheet, contact_sheet, rows_of
from tensors.errors import ImageNotFound
from tensors.png import read_text

PAPER, FAILED = (255, 255, 255), (208, 208, 208)
LONG = "a very long heading of many words and lines " * 5
Colour = tuple[int, int, int]


def colour_of(number: int) -> Colour:
    """A colour of its own for each number, and none of the sheet's."""
    return 10 + 7 * (number % 30), 20 + 11 * (number // 30 % 20), 200


def picture(colour: Colour, width: int = 100, height: int = 100) -> Picture:
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, "PNG")
    return Picture(width, height, out.getvalue)


def sheet_of(rows: list[Row], title: tuple[str, ...] = ("a title",)) -> Image.Image:
    opened = Image.open(io.BytesIO(contact_sheet(title, rows, {})))
    return opened.convert("RGB")


def counted(sheet: Image.Image) -> Counter[Colour]:
    """How many pixels have each colour."""
    return Counter({colour: count for count, colour in sheet.getcolors(1 << 24) or ()})  # type: ignore[misc]


def middles(sheet: Image.Image) -> dict[Colour, tuple[float, float]]:
    """Where the middle of each picture is: from the top, from the left."""
    found = {}
    for colour in counted(sheet):
        if colour[2] == 200 and colour != (200, 200, 200):
            others = ImageChops.difference(sheet, Image.new("RGB", sheet.size, colour)).split()
            same = ImageChops.invert(ImageChops.lighter(ImageChops.lighter(*others[:2]), others[2]))
            box = same.point([0] * 255 + [255]).getbbox()
            assert box
            found[colour] = (box[1] + box[3]) / 2, (box[0] + box[2]) / 2
    return found


@settings(max_examples=8, phases=(Phase.generate,))
@given(st.integers(1, 4), st.integers(1, 4), st.integers(20, 200), st.integers(20, 200))
def test_every_picture_is_in_its_row_and_column(columns: int, rows: int, width: int, height: int) -> None:
    cells = [
        [Cell(f"steps {x}", (picture(colour_of(y * columns + x), width, height),)) for x in range(columns)]
        for y in range(rows)
    ]
    found = middles(sheet_of([Row(f"row {y}", tuple(row)) for y, row in enumerate(cells)]))
    assert len(found) == columns * rows
    for y in range(rows):
        for x in range(columns):
            at = found[colour_of(y * columns + x)]
            assert at[0] == found[colour_of(y * columns)][0]
            assert at[1] == found[colour_of(x)][1]
            assert x == 0 or at[1] - found[colour_of(y * columns + x - 1)][1] >= width
            assert y == 0 or at[0] - found[colour_of((y - 1) * columns + x)][0] >= height


def test_pictures_that_fit_keep_their_pixels() -> None:
    rows = [Row("", (Cell("a", (picture(colour_of(1), 100, 50),)), Cell("b", (picture(colour_of(2), 30, 90),))))]
    pixels = counted(sheet_of(rows))
    assert (pixels[colour_of(1)], pixels[colour_of(2)]) == (100 * 50, 30 * 90)


def test_the_pictures_of_a_batch_stand_together() -> None:
    cells = tuple(Cell(str(x), tuple(picture(colour_of(4 * x + n), 100, 60) for n in range(4))) for x in range(2))
    found = middles(sheet_of([Row("", cells)]))
    assert len(found) == 8
    (top, left), (right, below) = found[colour_of(0)], (found[colour_of(1)], found[colour_of(2)])
    assert right[0] == top
    assert below[1] == left
    assert below[0] - top == 64
    assert max(found[colour_of(n)][1] for n in range(4)) < min(found[colour_of(4 + n)][1] for n in range(4))
    assert counted(sheet_of([Row("", cells)]))[colour_of(3)] == 100 * 60


def gone() -> NoReturn:
    raise ImageNotFound


@pytest.mark.parametrize(
    "cell",
    [Cell("b", problem="the engine failed"), Cell("b", (Picture(80, 80, gone),)), Cell("b", (Picture(80, 80, bytes),))],
    ids=["failed", "deleted", "broken"],
)
def test_a_picture_that_is_not_there_leaves_a_grey_place(cell: Cell) -> None:
    sheet = sheet_of([Row("", (Cell("a", (picture(colour_of(0)),)), cell, Cell("c", (picture(colour_of(2)),))))])
    pixels = counted(sheet)
    assert 6_000 < pixels[FAILED] < 10_500
    found = middles(sheet)
    assert set(found) == {colour_of(0), colour_of(2)}
    at = {x for x in range(sheet.width) if sheet.getpixel((x, round(found[colour_of(0)][0]) + 45)) == FAILED}
    assert found[colour_of(0)][1] < min(at) < max(at) < found[colour_of(2)][1]


def test_why_a_picture_is_missing_fills_its_place() -> None:
    plain, short, long = (
        sheet_of([Row("", (Cell("a", problem=problem), Cell("b", (picture(colour_of(0), 300, 300),))))])
        for problem in ("", "the engine failed", "the engine failed " * 100)
    )
    boxes = [ImageChops.difference(plain, said).getbbox() for said in (short, long)]
    assert boxes[0]
    assert boxes[1]
    assert 10 < boxes[0][3] - boxes[0][1] < 60
    assert 200 < boxes[1][3] - boxes[1][1] < 300
    assert 200 < boxes[1][2] - boxes[1][0] < 300


@settings(max_examples=12, phases=(Phase.explicit, Phase.generate))
@given(
    st.integers(1, MOST_ROWS),
    st.integers(1, MOST_ROWS),
    st.sampled_from([(64, 64), (1024, 1024), (8192, 64), (64, 8192), (832, 1216)]),
    st.integers(1, 256),
    st.sampled_from(["", "x", LONG, "W" * 300]),
    st.booleans(),
)
@example(columns=1, rows=MOST_ROWS, size=(64, 64), batch=1, heading=LONG, differ=True)
@example(columns=MOST_ROWS, rows=MOST_ROWS, size=(1024, 1024), batch=4, heading=LONG, differ=False)
def test_a_sheet_is_never_larger_than_allowed(
    columns: int, rows: int, size: tuple[int, int], batch: int, heading: str, differ: bool
) -> None:
    shown = (Picture(*size, bytes),) * batch
    made = [
        Row(heading, tuple(Cell(f"{heading}{y if differ else ''}", shown) for _ in range(columns))) for y in range(rows)
    ]
    sheet = _Sheet((heading or "a prompt", heading), tuple(made))
    assert max(sheet.size) <= MOST_SIDE


def test_large_pictures_are_made_smaller_evenly() -> None:
    wide = [Row("", tuple(Cell(str(x), (picture(colour_of(x), 4096, 2048),)) for x in range(4)))]
    sheet = sheet_of(wide)
    assert MOST_SIDE * 0.9 < sheet.width <= MOST_SIDE
    pixels = counted(sheet)
    sizes = [pixels[colour_of(x)] for x in range(4)]
    side = sheet.width / 4 * 0.95
    assert all(side * side / 2 * 0.95 < pixels < (sheet.width / 4) ** 2 / 2 for pixels in sizes)


def test_too_many_rows_or_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="1 rows of 201 do not fit on one sheet"):
        contact_sheet(("x",), [Row("", (Cell("a"),) * (MOST_ROWS + 1))], {})


@pytest.mark.parametrize("count", [1, 6, 7, 10, 100, 10_000])
def test_one_long_row_becomes_about_a_square(count: int) -> None:
    cells = [Cell(str(number)) for number in range(count)]
    rows = rows_of(cells, count, [""])
    assert [cell for row in rows for cell in row.cells] == cells
    widest = len(rows[0].cells)
    assert all(len(row.cells) == widest for row in rows[:-1])
    assert (len(rows) == 1) if count <= 6 else (widest - 1 <= len(rows) + 1 and len(rows) <= widest)


def test_rows_with_headings_stay_as_they_are() -> None:
    cells = [Cell(str(number % 20)) for number in range(40)]
    assert rows_of(cells, 20, ["a", "b"]) == (Row("a", tuple(cells[:20])), Row("b", tuple(cells[20:])))
    assert rows_of(cells[:20], 20, ["a"]) == (Row("a", tuple(cells[:20])),)


def test_each_row_of_different_columns_has_its_own_headings() -> None:
    def tall(headings: list[str]) -> int:
        shown = picture(colour_of(0))
        return sheet_of([Row("", (Cell(heading, (shown,)),)) for heading in headings]).height

    assert tall(["a", "a", "b"]) - tall(["a", "a", "a"]) == tall(["a", "b", "b"]) - tall(["b", "b", "b"]) > 10
    assert tall(["a", "b", "a"]) - tall(["a", "a", "a"]) == 2 * (tall(["a", "a", "b"]) - tall(["a", "a", "a"]))


def test_words_in_any_script_and_texts_of_any_kind_are_written() -> None:
    texts = {"parameters": "青い背景\nSteps: 3", "a": "x" * 100_000}
    png = contact_sheet(
        ("青い \x1b[31m\n\nred", "", "\u202e"), [Row("\t", (Cell("é", (picture(colour_of(0)),)),))], texts
    )
    assert read_text(png) == texts
    assert colour_of(0) in middles(Image.open(io.BytesIO(png)).convert("RGB"))


def test_headings_stand_beside_their_row_and_above_their_column() -> None:
    def sheet(row: str, column: str) -> Image.Image:
        cells = [[picture(colour_of(2 * y + x)) for x in range(2)] for y in range(2)]
        rows = [
            Row(words, (Cell("a", (a,)), Cell(column, (b,))))
            for words, (a, b) in zip(("wwww", row), cells, strict=True)
        ]
        return sheet_of(rows)

    plain = sheet("m", "b")
    found = middles(plain)
    aside = ImageChops.difference(plain, sheet("n", "b")).getbbox()
    assert aside
    assert found[colour_of(2)][0] - 50 < aside[1] < aside[3] < found[colour_of(2)][0] + 50
    assert aside[2] < found[colour_of(2)][1] - 50
    above = ImageChops.difference(plain, sheet("m", "c")).getbbox()
    assert above
    assert found[colour_of(1)][1] - 80 < above[0] < above[2] < found[colour_of(1)][1] + 80
    assert above[3] < found[colour_of(1)][0] - 50
