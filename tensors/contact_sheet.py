"""Many pictures on one, in rows and columns with their names, so that they can be compared."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from tensors.errors import NotFound

MOST_SIDE = 8000
"""Pixels of a sheet, in width and in height."""
MOST_ROWS = 200
"""Rows and columns of a sheet: with more, nothing on it could be made out."""
_SMALLEST = 4
"""Pixels of a cell's side."""
_LEAST_WIDTH = 160
"""Pixels of a column, where there is room: what stands above small pictures has to be read too."""
_WIDEST_ASIDE = 220
"""Pixels for the headings of rows, where the columns are narrower than that."""
_GAP = 8
_BETWEEN = 4
"""Pixels between the pictures of one cell."""
_MARGIN = 24
_LINES = 3
"""Of a heading; one where there are many."""
_MANY = 30
_PAPER, _INK, _PALE, _FAILED = "#ffffff", "#1a1a1a", "#6b6b6b", "#d0d0d0"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to be shown: its size in pixels, and its file when it is wanted."""

    width: int
    height: int
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands at one place: pictures, or why there are none."""

    heading: str
    pictures: tuple[Picture, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Cells side by side, as many in each row; the last rows may have fewer."""

    heading: str
    cells: tuple[Cell, ...]


def rows_of(cells: Sequence[Cell], columns: int, headings: Sequence[str]) -> tuple[Row, ...]:
    """Cells that follow each other, in rows of so many columns.

    A single long row without a heading becomes several, which together are about a square.
    """
    if len(headings) == 1 and not headings[0] and columns > 6:
        columns = math.ceil(math.sqrt(columns))
    starts = range(0, len(cells), columns)
    headings = headings if len(headings) == len(starts) else [""] * len(starts)
    return tuple(
        Row(heading, tuple(cells[start : start + columns])) for heading, start in zip(headings, starts, strict=True)
    )


def contact_sheet(title: Sequence[str], rows: Sequence[Row], texts: Mapping[str, str]) -> bytes:
    """A PNG of at most 8,000 pixels a side with every picture at its place, and these texts in it.

    The first line of the title is larger than the others. Each file is read when its turn comes and let go again.
    Raises `ValueError` for more than `MOST_ROWS` rows or columns.
    """
    sheet = _Sheet(tuple(title), tuple(rows))
    info = PngImagePlugin.PngInfo()
    for keyword, text in texts.items():
        info.add_itxt(keyword, text)
    out = io.BytesIO()
    sheet.draw().save(out, "PNG", pnginfo=info, compress_level=3)
    return out.getvalue()


class _Sheet:
    """Where everything goes, and putting it there."""

    def __init__(self, title: tuple[str, ...], rows: tuple[Row, ...]) -> None:
        self._title = title
        self._rows = rows
        self._columns = max(len(row.cells) for row in rows)
        if max(len(rows), self._columns) > MOST_ROWS:
            raise ValueError(f"{len(rows)} rows of {self._columns} do not fit on one sheet")
        self._heads = [i == 0 or _heads(row) != _heads(rows[i - 1])[: len(row.cells)] for i, row in enumerate(rows)]
        cells = [cell for row in rows for cell in row.cells]
        sizes = [_natural(cell) for cell in cells if cell.pictures] or [(256, 256)]
        self._wide, self._high = max(wide for wide, _ in sizes), max(high for _, high in sizes)
        self._fit()

    def _fit(self) -> None:
        """Find the largest scale at which all of it stays within the bound."""
        scale = 1.0
        self._measure(scale)
        while max(self.size) > MOST_SIDE and max(self._cell) > _SMALLEST:
            # What stands around the pictures gets smaller with them, so that this comes to an end soon.
            across = MOST_SIDE - (self.size[0] - self._columns * self._cell[0])
            down = MOST_SIDE - (self.size[1] - len(self._rows) * self._cell[1])
            fits = min(across / (self._columns * self._wide), down / (len(self._rows) * self._high))
            scale = max(0.0, min(fits, scale) * 0.99)
            self._measure(scale)

    def _measure(self, scale: float) -> None:
        self._scale = scale
        self._cell = max(_SMALLEST, round(self._wide * scale)), max(_SMALLEST, round(self._high * scale))
        room = (MOST_SIDE - 2 * _MARGIN - _WIDEST_ASIDE) // self._columns - _GAP
        self._column = max(self._cell[0], min(_LEAST_WIDTH, room))
        self._points = max(11, min(40, self._column // 12))
        aside = [row.heading for row in self._rows if row.heading]
        widest = max((_width(text, self._points) for text in aside), default=0)
        self._aside = min(widest, max(self._column, _WIDEST_ASIDE - _GAP)) + _GAP if aside else 0
        above = [lines for i, row in enumerate(self._rows) if self._heads[i] for lines in self._above(row)]
        self._head = self._line * max(map(len, above), default=0) + _GAP

    @property
    def _line(self) -> int:
        return round(self._points * 1.3)

    def _above(self, row: Row) -> Iterator[tuple[str, ...]]:
        most = 1 if sum(self._heads) > _MANY else _LINES
        yield from (_wrapped(cell.heading, self._column, self._points, most) for cell in row.cells)

    @property
    def _inner(self) -> int:
        return max(self._aside + self._columns * (self._column + _GAP) - _GAP, 480)

    @property
    def size(self) -> tuple[int, int]:
        """Pixels of the whole."""
        heads = sum(self._heads) * self._head
        height = 2 * _MARGIN + self._title_height + heads + len(self._rows) * (self._cell[1] + _GAP)
        return self._inner + 2 * _MARGIN, height

    @property
    def _title_points(self) -> list[int]:
        large = max(18, min(48, self._inner // 40))
        return [large, *(round(large * 0.7) for _ in self._title[1:])]

    @property
    def _title_lines(self) -> list[tuple[str, int]]:
        return [
            (line, points)
            for text, points in zip(self._title, self._title_points, strict=True)
            for line in _wrapped(text, self._inner, points)
        ]

    @property
    def _title_height(self) -> int:
        return sum(round(points * 1.3) for _, points in self._title_lines) + 2 * _GAP

    def draw(self) -> Image.Image:
        """The sheet."""
        paper = Image.new("RGB", self.size, _PAPER)
        pen = ImageDraw.Draw(paper)
        top = _MARGIN
        for position, (line, points) in enumerate(self._title_lines):
            pen.text(
                (_MARGIN, top), line, _PALE if position and points < self._title_points[0] else _INK, _font(points)
            )
            top += round(points * 1.3)
        top = _MARGIN + self._title_height
        for position, row in enumerate(self._rows):
            if self._heads[position]:
                self._write_above(pen, row, top)
                top += self._head
            self._write_aside(pen, row, top)
            for left, cell in zip(self._lefts, row.cells, strict=False):
                self._place(paper, pen, cell, left + (self._column - self._cell[0]) // 2, top)
            top += self._cell[1] + _GAP
        return paper

    @property
    def _lefts(self) -> range:
        first, step = _MARGIN + self._aside, self._column + _GAP
        return range(first, first + self._columns * step, step)

    def _write_above(self, pen: ImageDraw.ImageDraw, row: Row, top: int) -> None:
        bottom = top + self._head - _GAP
        for left, lines in zip(self._lefts, self._above(row), strict=False):
            self._write(pen, lines, left + self._column // 2, bottom - len(lines) * self._line, "ma")

    def _write_aside(self, pen: ImageDraw.ImageDraw, row: Row, top: int) -> None:
        if row.heading:
            lines = _wrapped(row.heading, self._aside - _GAP, self._points)
            middle = top + (self._cell[1] - len(lines) * self._line) // 2
            self._write(pen, lines, _MARGIN + self._aside - _GAP, middle, "ra")

    def _write(self, pen: ImageDraw.ImageDraw, lines: Sequence[str], x: int, y: int, anchor: str) -> None:
        for number, line in enumerate(lines):
            pen.text((x, y + number * self._line), line, _INK, _font(self._points), anchor=anchor)

    def _place(self, paper: Image.Image, pen: ImageDraw.ImageDraw, cell: Cell, left: int, top: int) -> None:
        width, height = self._cell
        if not cell.pictures:
            pen.rectangle((left, top, left + width - 1, top + height - 1), _FAILED)
            most = max(1, (height - 2 * _GAP) // self._line)
            lines = _wrapped(cell.problem, width - 2 * _GAP, self._points, most)
            middle = top + (height - len(lines) * self._line) // 2
            self._write(pen, lines, left + width // 2, middle, "ma")
            return
        across, down = _grid(len(cell.pictures))
        between = _BETWEEN if len(cell.pictures) > 1 else 0
        for number, picture in enumerate(cell.pictures):
            row, column = divmod(number, across)
            box = (left + column * width // across, top + row * height // down)
            room = (width // across - between, height // down - between)
            try:
                self._paste(paper, picture, box, room)
            except (NotFound, OSError):
                # Deleted or broken meanwhile: the others are worth a sheet.
                pen.rectangle((*box, box[0] + max(1, room[0]) - 1, box[1] + max(1, room[1]) - 1), _FAILED)

    def _paste(self, paper: Image.Image, picture: Picture, box: tuple[int, int], room: tuple[int, int]) -> None:
        with Image.open(io.BytesIO(picture.read())) as opened:
            shown = opened.convert("RGB")
        scale = min(room[0] / shown.width, room[1] / shown.height, 1)
        size = max(1, round(shown.width * scale)), max(1, round(shown.height * scale))
        if size != shown.size:
            shown = shown.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        paper.paste(shown, (box[0] + (room[0] - size[0]) // 2, box[1] + (room[1] - size[1]) // 2))


def _heads(row: Row) -> list[str]:
    return [cell.heading for cell in row.cells]


def _grid(count: int) -> tuple[int, int]:
    """Columns and rows for the pictures of one cell."""
    across = math.ceil(math.sqrt(count))
    return across, math.ceil(count / across)


def _natural(cell: Cell) -> tuple[int, int]:
    """Pixels of a cell in which its pictures keep their size."""
    across, down = _grid(len(cell.pictures))
    between = _BETWEEN if len(cell.pictures) > 1 else 0
    width, height = max(one.width for one in cell.pictures), max(one.height for one in cell.pictures)
    return across * (width + between), down * (height + between)


@cache
def _font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own: a sheet looks the same on every machine."""
    return ImageFont.load_default(points)


def _width(text: str, points: int) -> int:
    return math.ceil(_font(points).getlength(text))


@lru_cache(2048)
def _wrapped(text: str, width: int, points: int, most: int = _LINES) -> tuple[str, ...]:
    """The text in lines of at most that width; what does not fit into so many lines ends with dots."""
    lines: list[str] = []
    rest = " ".join(text.split())[:2000]
    while rest and len(lines) < most:
        fits = _fitting(rest, width, points)
        if fits == len(rest):
            return (*lines, rest)
        if len(lines) == most - 1:
            return (*lines, f"{rest[: _fitting(rest, width - _width('...', points), points)].rstrip()}...")
        space = rest.rfind(" ", 0, fits + 1)
        cut = space if space > 0 else fits
        lines.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return tuple(lines)


def _fitting(text: str, width: int, points: int) -> int:
    """How many characters of it fit; one at least."""
    # No letter is narrower than a sixth of its height.
    low, high = 1, max(1, min(len(text), 6 * width // points))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _width(text[:middle], points) <= width else (low, middle - 1)
    return low
