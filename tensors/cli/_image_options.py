"""Which pictures a command is about: their ids, typed or piped, and what they are searched by."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from tensors.cli._app import size_of
from tensors.cli._complete import complete_checkpoints, complete_loras, complete_tags
from tensors.errors import InvalidRequest
from tensors.types.gallery import ImageQuery

F = TypeVar("F", bound=Callable[..., Any])

STANDARD_INPUT = "-"
_AGO = re.compile(r"([0-9]{1,4})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_DAYS = {"today": 0, "yesterday": 1}


def listed_ids(values: Iterable[str]) -> tuple[str, ...]:
    """The ids that were typed, each once; for a `-` those on standard input, one in each line."""
    ids = [each for value in values for each in (_piped() if value == STANDARD_INPUT else [value])]
    return tuple(dict.fromkeys(ids))


def _piped() -> list[str]:
    try:
        lines = sys.stdin.buffer.read().decode().splitlines()
    except UnicodeDecodeError:
        raise InvalidRequest("what is on standard input is not UTF-8") from None
    return [line.strip() for line in lines if line.strip()]


def moment(text: str, now: datetime) -> str:
    """A time as the gallery reads it: `7d`, `12h`, `2w` are so long ago, `today` and `yesterday` days in UTC."""
    word = text.strip().lower()
    if ago := _AGO.fullmatch(word):
        then = now - int(ago[1]) * _UNITS[ago[2]]
        return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if word in _DAYS:
        return (now - timedelta(days=_DAYS[word])).date().isoformat()
    return text


def _moment(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    return value and moment(value, datetime.now(UTC))


_FILTERS = (
    click.option("--search", "-s", metavar="WORDS", help="Words of the prompt or the notes: 'cat photo* -dog'."),
    click.option(
        "--model", "-m", metavar="NAME", shell_complete=complete_checkpoints, help="Drawn with this checkpoint."
    ),
    click.option("--lora", "-l", metavar="NAME", shell_complete=complete_loras, help="Drawn with this LoRA."),
    click.option("--seed", type=int, metavar="N", help="Drawn with this seed."),
    click.option(
        "--tag",
        "-t",
        "tags",
        multiple=True,
        metavar="TAG",
        shell_complete=complete_tags,
        help="With this tag; repeatable: with all of them.",
    ),
    click.option("--size", metavar="WxH", callback=size_of, help="Of exactly this size, such as 832x1216."),
    click.option("--min-side", type=int, metavar="PIXELS", help="Whose shorter side is at least so long."),
    click.option("--max-side", type=int, metavar="PIXELS", help="Whose longer side is at most so long."),
    click.option(
        "--since",
        metavar="TIME",
        callback=_moment,
        help="Made then or later: 2026-11-22, 2026-11-22T18:49 (UTC), yesterday, 12h, 7d, 2w.",
    ),
    click.option("--until", metavar="TIME", callback=_moment, help="Made before that time, or on that day or before."),
    click.option("--rating", type=int, metavar="1-5", help="Rated so or better."),
    click.option("--favourite/--no-favourite", default=None, help="Favourites only, or all others."),
    click.option("--job", metavar="JOB_ID", help="Drawn by this job."),
)


def filter_options(command: F) -> F:
    """What pictures can be searched by, as options; `query_of` has them as a query."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def query_of(filters: Mapping[str, Any], words: Iterable[str] = ()) -> ImageQuery:
    """A query with these filters; `words` are searched for too. Raises `InvalidRequest`."""
    rest = dict(filters)
    size, search = rest.pop("size") or (None, None), rest.pop("search")
    text = " ".join(filter(None, [*words, search]))
    return ImageQuery(text=text, width=size[0], height=size[1], **rest)
