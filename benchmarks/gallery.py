"""How long pages and searches of a gallery of 100,000 pictures take, and making its index from the files.

The pictures are real files: a PNG of 1 KB and its sidecar. Prompts have the words that people write most often, and
rare ones. The baselines: the same sidecars only read and decoded; SQLite alone.
"""

from __future__ import annotations

import base64
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from benchmarks._measure import Report, finish, interleaved, parser, scratch
from tensors.clock import from_epoch_ms
from tensors.gallery import Gallery
from tensors.pictures import records, search
from tensors.pictures.names import candidates
from tensors.pictures.store import Store
from tensors.png import with_text
from tensors.types.gallery import Image, ImageQuery
from tensors.types.generation import Settings, UsedLora, UsedModel

PICTURES = 100_000
PAGE = 50
PAGE_LIMIT, SEARCH_LIMIT = 2.0, 20.0
ANEW_LIMIT = 15.0
QUERIES = 400
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC")
BYTES = 1024
"""Of each PNG, with its infotext inside."""
WORDS = """
    masterpiece best quality highly detailed 1girl solo portrait cinematic lighting photo realistic sharp focus
    cat dog forest mountain sunset night city street rain snow castle dragon knight robot space ocean beach flower
    blue red green golden hair eyes dress armor smile looking at viewer wide shot close up anime oil painting
    watercolor
"""
COMMON = WORDS.split()
FIRST = ("ka", "mo", "ri", "ze", "tu", "ba", "ly", "no", "sha", "fi", "go", "ve")
SECOND = ("lo", "mi", "ra", "ne", "du", "sti", "pha", "cre", "xo", "wy")
LAST = ("n", "sk", "r", "th", "x", "lia", "ton", "mus", "quar", "ze", "bly", "dor", "vik", "sa", "um")
RARE = ["".join(parts) for parts in product(FIRST, SECOND, LAST)]
MODELS = ("pony_v6", "juggernautXL_v9", "dreamshaper_8", "illustriousXL", "flux1-dev-Q4", "realvisXL", "shapes")
LORAS = [f"style-{number}" for number in range(60)]
TAGS = [f"tag-{number}" for number in range(40)]
SIZES = ((512, 512), (832, 1216), (1024, 1024), (1216, 832), (1536, 1024))


def settings(chance: random.Random) -> Settings:
    """What a job asks for."""
    weights = [1 / (place + 3) for place in range(len(COMMON))]
    name = chance.choices(MODELS, weights=(40, 25, 15, 10, 5, 4, 1))[0]
    width, height = chance.choice(SIZES)
    return Settings(
        prompt=" ".join([*chance.choices(COMMON, weights, k=22), *chance.choices(RARE, k=6)]),
        negative_prompt="blurry, low quality, bad hands",
        model=UsedModel(name=name, family="sdxl", sha256=f"{MODELS.index(name):064x}"),
        width=width,
        height=height,
        steps=28,
        cfg_scale=5.5,
        sampler="euler_a",
        scheduler="karras",
        seed=chance.randrange(2**31 - 4),
        loras=tuple(UsedLora(name=name, weight=0.8) for name in chance.sample(LORAS, chance.choice((0, 0, 1, 2)))),
    )


def pictures(count: int) -> Iterator[Image]:
    """Synthetic records: batches of four of one moment, over three years."""
    chance = random.Random(20260801)
    moment, asked = 1_700_000_000_000, settings(chance)
    for number in range(count):
        if number % 4 == 0:
            moment += chance.randrange(8_000_000)
            asked = settings(chance)
        yield Image(
            id="",
            created=from_epoch_ms(moment),
            job=f"{number // 4:032x}",
            index=number % 4,
            width=asked.width,
            height=asked.height,
            settings=replace(asked, seed=asked.seed + number % 4),
            engine="sd-server master-123",
            tsr="0.1.0",
            path="",
            tags=tuple(chance.sample(TAGS, chance.choice((0, 0, 0, 1, 2)))),
            rating=chance.choice((None,) * 8 + (3, 5)),
            favourite=chance.random() < 0.02,
        )


def write(folder: Path, count: int) -> list[str]:
    """The files of a gallery, as it writes them but not synced, or this would take an hour. Returns sorted ids."""
    folder.mkdir()
    names = []
    for image in pictures(count):
        name = next(candidates(image.created, image.settings.seed))
        named = replace(image, id=name, path=str(folder / f"{name}.png"))
        inside = records.texts(named)
        # With the record, too, it would have two kilobytes.
        png = with_text(PNG, {"parameters": inside["parameters"]})
        (folder / f"{name}.png").write_bytes(png + bytes(max(0, BYTES - len(png))))
        (folder / f"{name}.json").write_bytes(records.encode(named))
        names.append(name)
    return sorted(names)


def queries(some: Sequence[Image]) -> list[ImageQuery]:
    """What people look for: words, common and rare, beginnings, and all the filters, alone and together."""
    chance = random.Random(7)

    def one() -> Image:
        return chance.choice(some)

    def day() -> str:
        return one().created[:10]

    kinds: tuple[Callable[[], ImageQuery], ...] = (
        lambda: ImageQuery(text=chance.choice(COMMON)),
        lambda: ImageQuery(text=chance.choice(RARE)),
        lambda: ImageQuery(text=f"{chance.choice(COMMON)} {chance.choice(COMMON)}"),
        lambda: ImageQuery(text=f"{chance.choice(COMMON)} {chance.choice(RARE)[:4]}*"),
        lambda: ImageQuery(text=f"{chance.choice(COMMON)} -{chance.choice(COMMON)}"),
        lambda: ImageQuery(text=f"-{chance.choice(COMMON)}", rating=3),
        lambda: ImageQuery(text=f"{chance.choice(RARE)[:2]}*"),
        lambda: ImageQuery(text="nobodyhasthis", model=chance.choice(MODELS)),
        lambda: ImageQuery(text=chance.choice(COMMON), model=chance.choice(MODELS), rating=5),
        lambda: ImageQuery(text=chance.choice(COMMON), tags=(chance.choice(TAGS),), lora=chance.choice(LORAS)),
        lambda: ImageQuery(model=chance.choice(MODELS)),
        lambda: ImageQuery(model=chance.choice(MODELS), favourite=True, min_side=832),
        lambda: ImageQuery(lora=chance.choice(LORAS), model=chance.choice(MODELS)),
        lambda: ImageQuery(tags=tuple(chance.sample(TAGS, 2))),
        lambda: ImageQuery(seed=one().settings.seed),
        lambda: ImageQuery(job=one().job),
        lambda: ImageQuery(since=day(), until=day()),
        lambda: ImageQuery(until=day(), text=chance.choice(COMMON), rating=5),
        lambda: ImageQuery(width=1024, height=1024, favourite=True),
        # Nothing fits: all are gone through.
        lambda: ImageQuery(min_side=2000, model=MODELS[0]),
    )
    return [kind() for _ in range(QUERIES // len(kinds)) for kind in kinds]


def milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def made_anew(report: Report, folder: Path, count: int, rounds: int) -> Gallery:
    """The index from nothing; the baseline: the same sidecars, only read and decoded."""
    read, made = [], []
    sidecars = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    gallery = Gallery(folder)
    for _ in range(rounds):
        read.append(milliseconds(lambda: [records.decode(path.read_bytes()) for path in sidecars]) / 1000)
        made.append(milliseconds(gallery.reindex) / 1000)
    report.add(f"{count:,} sidecars, only read and decoded", read, "s")
    report.bar(
        f"index of {PICTURES:,} pictures from their files", [t * PICTURES / count for t in made], ANEW_LIMIT, "s"
    )
    size = sum(path.stat().st_size for path in folder.parent.glob("gallery.db*"))
    report.add("the index on disk", [size / 1e6], "MB")
    return gallery


def pages(report: Report, gallery: Gallery, names: Sequence[str], rounds: int) -> None:
    """The newest page and one far behind, in turns; and what SQLite alone takes for the latter."""
    deep = names[-PAGE * 999] if len(names) > PAGE * 1000 else names[len(names) // 2]
    store = Store(gallery.directory.with_name("gallery.db"))

    def in_sql() -> object:
        with store.reading() as connection:
            return search.ranks(connection, search.EVERYTHING, before=deep, limit=PAGE)

    found = interleaved(
        rounds * 20,
        sql=lambda: milliseconds(in_sql),
        first=lambda: milliseconds(lambda: gallery.list(limit=PAGE, cursor=None)),
        deep=lambda: milliseconds(lambda: gallery.list(limit=PAGE, cursor=deep)),
    )
    store.close()
    report.add("which pictures page 1,000 has, in SQL", found["sql"], "ms")
    report.bar(f"page 1, {PAGE} pictures", found["first"], PAGE_LIMIT, "ms")
    report.bar(f"page 1,000, {PAGE} pictures", found["deep"], PAGE_LIMIT, "ms")


def searches(report: Report, gallery: Gallery, count: int, rounds: int) -> None:
    """Each query once in each round; the first round warms up and does not count."""
    some = [image for number, image in enumerate(pictures(count)) if number % 97 == 0]
    asked = queries(some)
    every: list[float] = []
    tails = []
    for number in range(rounds + 1):
        found = sorted(milliseconds(lambda: gallery.find(query, limit=PAGE, cursor=None)) for query in asked)  # noqa: B023
        if number:
            every += found
            tails.append(found[len(found) * 95 // 100])
    report.add(f"search, {PAGE} results", every, "ms")
    report.bar("search, 95 of 100 queries", tails, SEARCH_LIMIT, "ms")


def looks(report: Report, gallery: Gallery, rounds: int) -> None:
    """All files after somebody else changed the folder: one more each time."""
    strange = gallery.directory / "notes.txt"
    took = []
    for _ in range(rounds):
        strange.write_text("")
        took.append(milliseconds(Gallery(gallery.directory).count))
        strange.unlink()
    report.add("look at all files, when the folder changed", took, "ms")


def main() -> int:
    options = parser((__doc__ or "").partition("\n")[0], rounds=5)
    options.add_argument("--pictures", type=int, default=PICTURES, metavar="N", help=f"how many there are ({PICTURES})")
    given = options.parse_args()
    report = Report("gallery")
    with scratch() as folder:
        names = write(folder / "gallery", given.pictures)
        gallery = made_anew(report, folder / "gallery", given.pictures, max(3, given.rounds // 2))
        pages(report, gallery, names, given.rounds)
        searches(report, gallery, given.pictures, given.rounds)
        looks(report, gallery, given.rounds)
        gallery.close()
    return finish(report, given)


if __name__ == "__main__":
    sys.exit(main())
