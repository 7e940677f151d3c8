"""`tsr images`: finding, changing, deleting and looking after pictures, the same here and with --remote."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from commands import Commands
from conftest import Server, Tsr
from fake_tensors import FakeTensors
from galleries import CAT, IDS, PHOTO, SKETCH, Galleries, Piped, empty_galleries, lay_out
from library_samples import NASTY, NASTY_SHOWN, a_job

from tensors.cli._image_options import moment
from tensors.errors import ImageNotFound
from tensors.types.base import Page
from tensors.types.gallery import Cleaning, CleanupRequest, Garbage, GcRequest, Image, ImageEdit, ImageQuery
from tensors.types.generation import Settings, UsedModel
from tensors.types.jobs import JobEvent

NOW = datetime(2026, 11, 22, 18, 49, 1, 123_000, tzinfo=UTC)
DRAWN = Image(
    id="20261122-184901-123_7",
    created="2026-11-22T18:49:01.123Z",
    job="0123456789abcdef",
    index=0,
    width=64,
    height=64,
    settings=Settings(
        prompt=NASTY,
        negative_prompt="",
        model=UsedModel(name="shapes", family="shapes"),
        width=64,
        height=64,
        steps=10,
        cfg_scale=2.0,
        sampler="euler",
        scheduler="discrete",
        seed=7,
    ),
    engine="sd-server 0.4.7",
    tsr="0.1.0",
    path="/gallery/20261122-184901-123_7.png",
)


@pytest.fixture
def tsr_here(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


@pytest.fixture
def galleries(capsys: pytest.CaptureFixture[str], fake_server: Server, monkeypatch: pytest.MonkeyPatch) -> Galleries:
    return empty_galleries(capsys, fake_server, monkeypatch)


@pytest.fixture
def filled(galleries: Galleries, tmp_path: Path) -> Galleries:
    return galleries.fill(tmp_path / "made")


# Finding


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ((), {}),
        (("a", "red*", "--search", "'a circle' -dog"), {"text": "a red* 'a circle' -dog"}),
        (("--model", "shapes", "--lora", "ink", "--seed", "7"), {"model": "shapes", "lora": "ink", "seed": 7}),
        (("--tag", "a", "-t", "b c", "--rating", "3"), {"tags": ("a", "b c"), "rating": 3}),
        (
            (
                "--size",
                "64x48",
            ),
            {"width": 64, "height": 48},
        ),
        (("--min-side", "1", "--max-side", "2"), {"min_side": 1, "max_side": 2}),
        (("--since", "2026-11-22", "--until", "x"), {"since": "2026-11-22", "until": "x"}),
        (("--favourite", "--job", "abc"), {"favourite": True, "job": "abc"}),
        (("--no-favourite",), {"favourite": False}),
    ],
)
def test_what_was_typed_is_searched_for(
    tsr_here: Commands, fake: FakeTensors, tmp_path: Path, typed: tuple[str, ...], asked: dict[str, Any]
) -> None:
    fake.answers |= {"images.list": Page(items=()), "images.export": ImageNotFound("none")}
    tsr_here("images", "list", *typed, "-n", "7", "--cursor", "c", check=True)
    assert fake.called("images.list") == [(ImageQuery(**asked), {"limit": 7, "cursor": "c"})]
    if typed[:1] != ("a",):
        assert tsr_here("images", "export", *typed, "-o", str(tmp_path / "x.zip")).code == 3
        assert fake.called("images.export") == [(ImageQuery(**asked), {"ids": ()})]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("7d", "2026-11-15T18:49:01.123Z"),
        ("24H", "2026-11-21T18:49:01.123Z"),
        ("2w", "2026-11-08T18:49:01.123Z"),
        ("0d", "2026-11-22T18:49:01.123Z"),
        ("today", "2026-11-22"),
        (" Yesterday ", "2026-11-21"),
        ("2026-11-22", "2026-11-22"),
        ("7 days", "7 days"),
        ("99999w", "99999w"),
        ("\u0667d", "\u0667d"),
    ],
)
def test_times_may_be_told_from_now_on(typed: str, meant: str) -> None:
    assert moment(typed, NOW) == meant


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ((), (SKETCH, PHOTO, CAT)),
        (("cat", "mat"), (CAT,)),
        (("--search=-cat",), (SKETCH, PHOTO)),
        (("--size", "80x48"), (SKETCH,)),
        (("--max-side", "64", "--tag", "in"), (PHOTO, CAT)),
        (("--model", "dreamer", "--lora", "ink", "--seed", "1234"), (CAT,)),
        (("--until", "2023-11-14T22:13:21Z"), (CAT,)),
        (("--since", "9999w"), (SKETCH, PHOTO, CAT)),
        (("--since", "7d"), ()),
        (("--favourite",), ()),
        (("--tag", "other"), ()),
    ],
)
def test_pictures_are_found(filled: Galleries, typed: tuple[str, ...], found: tuple[str, ...]) -> None:
    done = filled.same("list", *typed)
    assert (done.code, [row.split()[0] for row in done.out.splitlines()]) == (0, list(found))
    assert done.err == ("" if found else "no such pictures\n")
    assert filled.listed("list", *typed) == list(found)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("--since", "soon"), "since 'soon' is no date or time"),
        (("--rating", "6"), "rating must be at most 5, not 6"),
        (("--seed", "-1"), "seed must be at least 0, not -1"),
        (("--tag", ""), "tags"),
        (("--size", "64"), "Invalid value for '--size': '64' is not WIDTHxHEIGHT"),
        (("-n", "501"), "limit must be between 1 and 500, not 501"),
    ],
)
def test_what_cannot_be_searched_for_is_told(galleries: Galleries, typed: tuple[str, ...], said: str) -> None:
    done = galleries.same("list", *typed)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {said}")


def test_an_empty_gallery_says_how_to_fill_it(galleries: Galleries) -> None:
    done = galleries.same("list")
    assert (done.code, done.out) == (0, "")
    assert done.err == "no pictures yet: tsr generate 'a red circle on a blue background'\n"


def test_marks_and_tags_are_seen_in_a_list(filled: Galleries) -> None:
    assert filled.same("list").out.splitlines() == [
        f"{SKETCH}     80x48  unknown                  [in]",
        f"{PHOTO}     64x48  unknown                  [in]",
        f"{CAT}  64x48  dreamer  a cat on a mat  [in]",
    ]
    assert filled.same("edit", CAT, "--rating", "2", "--favourite", "--tag", "my cat", "--add-tag", "x").code == 2
    assert filled.same("edit", CAT, "--rating", "2", "--favourite", "--add-tag", "my cat").code == 0
    assert filled.same("edit", PHOTO, "--rating", "5", "--no-tags").code == 0
    assert filled.same("list").out.splitlines() == [
        f"{SKETCH}     80x48  unknown                         [in]",
        f"{PHOTO}     64x48  unknown  ★★★★★",
        f"{CAT}  64x48  dreamer  ♥★★    a cat on a mat  [in, my cat]",
    ]


def test_nothing_that_a_picture_says_reaches_the_terminal(tsr_here: Commands, fake: FakeTensors) -> None:
    fake.answers |= {"images.list": Page(items=(DRAWN,), next_cursor=DRAWN.id), "images.get": DRAWN}
    done = tsr_here("images", "list", check=True)
    assert done.out.rstrip("\n").isprintable()
    assert done.err == f"more: tsr images list --cursor {DRAWN.id}\n"
    shown = tsr_here("images", "show", DRAWN.id, check=True)
    assert f"prompt     {NASTY_SHOWN}" in shown.out.splitlines()


def test_everything_about_a_picture_is_shown(filled: Galleries) -> None:
    filled.same("edit", CAT, "--rating", "4", "--favourite", "--notes", "the best", "--add-tag", "cat")
    shown = filled.same("show", CAT)
    rows = dict(row.split("  ", 1) for row in shown.out.splitlines())
    told = {name: value.strip() for name, value in rows.items() if name != "file"}
    assert told == {
        "id": CAT,
        "created": "2023-11-14T22:13:20.000Z",
        "size": "64x48",
        "favourite": "yes",
        "rating": "4 of 5",
        "tags": "in, cat",
        "notes": "the best",
        "prompt": "a cat on a mat",
        "negative prompt": "a dog",
        "model": "dreamer",
        "seed": "1234",
        "steps": "20",
        "CFG scale": "7.0",
        "sampler": "dpm++2m, karras",
        "LoRAs": "ink (0.8)",
        "engine": "a1111",
    }


def test_what_a_file_does_not_tell_is_not_shown(filled: Galleries) -> None:
    rows = [row.split()[0] for row in filled.same("show", PHOTO).out.splitlines()]
    assert rows == ["id", "created", "file", "size", "tags", "model", "engine"]


def test_one_picture_is_a_document_and_several_are_a_list(filled: Galleries) -> None:
    assert filled.document("show", CAT)["id"] == CAT
    assert [image["id"] for image in filled.document("show", CAT, PHOTO)] == [CAT, PHOTO]
    piped = f"{PHOTO}\n\n {PHOTO} \r\n"
    assert [image["id"] for image in filled.document("show", "-", piped=piped)] == [PHOTO]
    assert filled.same("show", "-", CAT, piped=piped).out.count("\n\n") == 1


# Changing


def test_what_is_named_is_changed_and_the_rest_stays(filled: Galleries) -> None:
    changed = filled.document("edit", *IDS, "--notes", "seen", "--rating", "3", "--tag", "b", "--tag", "a")
    assert [(image["id"], image["notes"], image["rating"], image["tags"]) for image in changed] == [
        (image_id, "seen", 3, ["b", "a"]) for image_id in IDS
    ]
    (once,) = filled.document("edit", CAT, "--add-tag", "c", "--add-tag", "a", "--remove-tag", "b", "--favourite")
    assert (once["tags"], once["favourite"], once["notes"], once["rating"]) == (["a", "c"], True, "seen", 3)
    (twice,) = filled.document("edit", CAT, "--no-tags", "--no-favourite", "--rating", "0", "--notes", "")
    assert (twice["tags"], twice["favourite"], twice["notes"], twice["rating"]) == ([], False, "", None)
    assert filled.document("show", PHOTO)["tags"] == ["b", "a"]


def test_a_wrong_id_among_right_ones_changes_nothing(filled: Galleries) -> None:
    for command in (("edit", "--rating", "1"), ("delete",)):
        done = filled.same(*command, CAT, "nope")
        assert (done.code, done.out) == (3, "")
        assert done.err.startswith("error: image 'nope' not found\n")
    assert filled.document("show", CAT)["rating"] is None


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ((), "say what to change: "),
        (("--tag", "a", "--add-tag", "b"), "--tag says what all tags are: "),
        (("--no-tags", "--remove-tag", "b"), "--tag says what all tags are: "),
        (("--rating", "6"), "rating must be at most 5, not 6"),
        (("--add-tag", "x" * 65), "tags"),
    ],
)
def test_an_edit_that_cannot_be_is_refused_before_any(
    tsr_here: Commands, fake: FakeTensors, typed: tuple[str, ...], said: str
) -> None:
    done = tsr_here("images", "edit", "a", *typed)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {said}")
    assert fake.calls == []


def test_tags_are_asked_for_only_where_they_change(tsr_here: Commands, fake: FakeTensors) -> None:
    fake.answers |= {"images.get": DRAWN, "images.edit": DRAWN}
    tsr_here("images", "edit", "a", "--rating", "0", check=True)
    assert fake.called("images.edit") == [(DRAWN.id, ImageEdit(rating=0))]


# Deleting


def test_what_was_deleted_can_be_restored(filled: Galleries) -> None:
    done = filled.same("delete", CAT, PHOTO, CAT, "--yes")
    assert (done.code, done.out) == (0, f"deleted {CAT}\ndeleted {PHOTO}\n")
    assert "tsr images restore" in done.err
    assert filled.listed() == [SKETCH]
    trash = filled.same("trash", "-n", "1")
    assert (trash.out.split()[0:2], trash.err[:29]) == ([PHOTO, "deleted"], "more: tsr images trash --curs")
    assert filled.listed("trash") == [PHOTO, CAT]
    done = filled.same("restore", CAT)
    assert (done.code, done.out) == (0, f"{CAT}  64x48  dreamer  a cat on a mat  [in]\n")
    assert filled.listed() == [SKETCH, CAT]
    again = filled.same("delete", CAT)
    assert again.err == f"bring it back: tsr images restore {CAT}\n"


def test_ids_come_from_a_pipe(filled: Galleries) -> None:
    piped = "\n".join(IDS)
    assert filled.document("delete", "-", piped=piped) == [{"id": image_id} for image_id in IDS]
    assert [image["id"] for image in filled.document("restore", "-", piped=piped)] == list(IDS)
    assert [image["rating"] for image in filled.document("edit", "-", "--rating", "1", piped=piped)] == [1, 1, 1]


@pytest.mark.parametrize("command", [("delete",), ("restore",), ("edit", "--rating", "1")], ids=lambda words: words[0])
def test_an_empty_pipe_changes_nothing(galleries: Galleries, command: tuple[str, ...]) -> None:
    done = galleries.same(*command, "-", piped="\n")
    assert (done.code, done.out, done.err) == (0, "", "no ids on standard input: nothing is changed\n")
    assert galleries.document(*command, "-") == []


def test_what_is_not_in_the_trash_keeps_nothing_else_there(filled: Galleries) -> None:
    filled.same("delete", CAT, PHOTO)
    done = filled.same("restore", CAT, "nope", SKETCH, PHOTO)
    assert (done.code, done.out) == (3, "")
    assert done.err == (
        f"error: not in the trash: nope, {SKETCH}\nhint:  2 other pictures are back; what is there: tsr images trash\n"
    )
    assert filled.listed() == [SKETCH, PHOTO, CAT]


def test_the_trash_is_emptied_only_on_purpose(filled: Galleries) -> None:
    filled.same("delete", CAT, PHOTO)
    done = filled.same("trash", "--empty")
    assert (done.code, done.out) == (2, "")
    assert done.err.endswith("hint:  tsr images trash --empty --yes does it\n")
    assert filled.listed("trash") == [PHOTO, CAT]
    done = filled.same("trash", "--empty", "--yes")
    assert (done.code, done.out.startswith("2 removed for good, ")) == (0, True)
    assert filled.same("trash").err == "the trash is empty\n"
    assert filled.same("trash", "--empty", "-y").out == "it was empty\n"
    assert filled.same("restore", CAT).code == 3


@pytest.mark.parametrize(("answer", "code", "asked"), [("y", 0, [True, False]), ("n", 130, [True])])
def test_somebody_at_a_terminal_is_asked(
    tsr_here: Commands,
    fake: FakeTensors,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
    asked: list[bool],
) -> None:
    class Terminal(Piped):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(f"{answer}\n"))
    monkeypatch.setattr("tensors.cli._app.App.interactive", True)
    _cleans(fake, Cleaning(trashed=(), removed=("a", "b"), freed=1_500_000, size=0))
    done = tsr_here("images", "trash", "--empty")
    assert done.code == code
    assert "Remove 2 pictures (1.50 MB) for good? [y/N]" in done.err
    assert fake.called("images.cleanup") == [CleanupRequest(empty_trash=True, dry_run=dry) for dry in asked]


# Looking after it


def _cleans(fake: FakeTensors, report: Cleaning) -> None:
    job = a_job("cleanup", cleanup=report)
    last = JobEvent(seq=1, job=job.id, kind="cleanup", state="succeeded")
    fake.answers |= {"images.cleanup": job, "jobs.events": lambda _id: iter([last]), "jobs.get": job}


def test_a_cleanup_says_what_became_of_each_picture(tsr_here: Commands, fake: FakeTensors) -> None:
    _cleans(fake, Cleaning(trashed=("a", "b"), removed=("c",), freed=45_600_000, size=1_200_000_000))
    done = tsr_here("images", "cleanup", check=True)
    assert done.out.splitlines() == [
        "2 pictures to the trash, 1 removed for good, 45.6 MB freed, 1.20 GB left",
        "  to the trash  a",
        "  to the trash  b",
        "  for good      c",
    ]
    assert done.err == ""
    dry = tsr_here("images", "cleanup", "--dry-run", check=True)
    assert (dry.out, dry.err) == (done.out, "nothing was removed: that was --dry-run\n")
    assert tsr_here.json("images", "cleanup")["cleanup"]["removed"] == ["c"]
    assert fake.called("images.cleanup")[:2] == [CleanupRequest(), CleanupRequest(dry_run=True)]


def test_litter_is_listed(tsr_here: Commands, fake: FakeTensors) -> None:
    fake.answers["images.gc"] = Garbage(
        temporary=("/g/.a.tmp",), sidecars=(), thumbnails=("/t/b", "/t/c"), inputs=(), bytes=1234
    )
    done = tsr_here("images", "gc", "--dry-run", check=True)
    assert done.out == "/g/.a.tmp\n/t/b\n/t/c\n"
    assert done.err == "1 half files, 2 thumbnails without a picture: 1.23 kB; nothing was removed\n"
    assert fake.called("images.gc") == [GcRequest(dry_run=True)]


def test_a_clean_gallery_has_nothing_to_remove(filled: Galleries) -> None:
    assert filled.same("gc").err == "there are none\n"
    assert filled.document("gc", "--dry-run")["bytes"] == 0
    done = filled.same("cleanup")
    assert (done.code, done.out.startswith("nothing to remove, "), done.err) == (0, True, "")
    assert filled.document("cleanup")["cleanup"]["removed"] == []
    assert filled.same("reindex").out == "3 pictures\n"
    assert filled.document("reindex") == {"images": 3}


# Completion


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tsr images restore ", {CAT}),
        ("tsr images show ", {PHOTO, SKETCH}),
        ("tsr images list --tag i", {"in"}),
        ("tsr images edit x --add-tag ", {"in", "one"}),
    ],
)
def test_pictures_and_tags_are_completed(
    tsr: Tsr, tsr_here: Commands, tmp_path: Path, line: str, offered: set[str]
) -> None:
    lay_out(tmp_path / "made")
    tsr_here("images", "import", str(tmp_path / "made"), "--tag", "in", check=True)
    tsr_here("images", "edit", PHOTO, "--add-tag", "one", check=True)
    tsr_here("images", "delete", CAT, check=True)
    done = tsr(_TSR_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(line.split(" ")) - 1))
    assert {row.partition(",")[2] for row in done.stdout.splitlines()} == offered
    assert done.stderr == ""


def test_a_dash_is_not_read_while_a_line_is_completed(tsr: Tsr) -> None:
    done = tsr(_TSR_COMPLETE="bash_complete", COMP_WORDS="tsr images delete - --js", COMP_CWORD="4")
    assert json.dumps(done.stdout) == json.dumps("plain,--json\n")
