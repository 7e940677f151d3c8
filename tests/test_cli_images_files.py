"""Pictures into the gallery and out of it, the same here and with --remote; what files tell; pictures drawn again."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import Commands
from conftest import Server
from fake_tensors import FakeTensors
from galleries import (
    A1111,
    CAT,
    IDS,
    PHOTO,
    SKETCH,
    Galleries,
    empty_galleries,
    lay_out,
    picture,
    put,
)
from library_samples import NASTY, NASTY_SHOWN, a_job
from test_cli_images import DRAWN

from tensors.cli.images_files import MOST_IDS
from tensors.cli.images_import import _AT_ONCE
from tensors.errors import ImageNotFound, InvalidRequest, JobFailed, LoraNotFound, ServerUnreachable, TsrError
from tensors.types.gallery import Imported
from tensors.types.generation import GenerateRequest
from tensors.types.jobs import ErrorInfo, JobEvent
from tensors.types.remake import Difference, MissingPart, Remake

BROKEN = picture(text=A1111)[:-20]


@pytest.fixture
def galleries(
    capsys: pytest.CaptureFixture[str], fake_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Galleries:
    """Commands run in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return empty_galleries(capsys, fake_server, monkeypatch)


@pytest.fixture
def filled(galleries: Galleries, tmp_path: Path) -> Galleries:
    return galleries.fill(tmp_path / "made")


@pytest.fixture
def tsr(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.chdir(tmp_path)
    return Commands(capsys)


# Import


def test_a_folder_is_imported_whatever_its_files_are_called(galleries: Galleries, tmp_path: Path) -> None:
    files = lay_out(tmp_path / "made")
    put(tmp_path / "made" / "notes.png", b"no picture")
    for hidden in (".c.png", ".thumbnails/c.webp", "sub/.trash/c.png"):
        put(tmp_path / "made" / hidden, picture(colour="green"))
    done = galleries.same("import", "made", "--tag", "a b", "-t", "c")
    assert done.out.splitlines() == [
        f"imported  {CAT}  made/a.png",
        f"imported  {PHOTO}     made/sub/b.dat",
        f"imported  {SKETCH}     made/sub/c",
    ]
    assert (done.code, done.err) == (0, "3 imported; 1 other file passed over\n")
    for image_id, file in files.items():
        image = galleries.document("show", image_id)
        assert (image["tags"], image["created"]) == (["a b", "c"], f"2023-11-14T22:13:2{IDS.index(image_id)}.000Z")
        assert Path(image["path"]).read_bytes() == file.read_bytes()
        assert Path(image["path"]).suffix == {CAT: ".png", PHOTO: ".jpg", SKETCH: ".webp"}[image_id]


def test_what_is_here_is_not_imported_again(filled: Galleries, tmp_path: Path) -> None:
    put(tmp_path / "made" / "more.png", picture(colour="green"), 3)
    done = filled.same("import", "made", "made/more.png", str(tmp_path / "made" / "sub"))
    assert (done.code, done.err) == (0, "1 imported, 3 were here already\n")
    assert [row.split()[0] for row in done.out.splitlines()] == ["was", "imported", "was", "was"]
    assert len(filled.listed()) == 4


def test_the_same_file_under_several_names_is_stored_once(galleries: Galleries, tmp_path: Path) -> None:
    """Several are on their way at once, so which of them is the first is not known."""
    for number in range(2 * _AT_ONCE):
        put(tmp_path / "made" / str(number), picture())
    for more in ((), ("--remote", galleries.server.url)):
        done = galleries.commands("images", "import", "made", *more, check=True)
        assert done.err == f"1 imported, {2 * _AT_ONCE - 1} were here already\n"
    assert len(galleries.listed()) == 1


def test_what_cannot_be_imported_is_told_at_the_end_and_the_rest_is_done(galleries: Galleries, tmp_path: Path) -> None:
    lay_out(tmp_path / "made")
    put(tmp_path / "made" / "a-broken", BROKEN)
    put(tmp_path / "made" / "text", b"no picture")
    done = galleries.same("import", "gone.png", "made", "made/text", "made/a.png")
    assert (done.code, len(done.out.splitlines())) == (1, 3)
    problems = done.err.splitlines()
    assert problems[0] == f"gone.png: {os.strerror(errno.ENOENT)}"
    assert problems[1].startswith("made/a-broken: the picture is no whole picture")
    assert problems[2:] == ["made/text: is no PNG, JPEG or WebP picture", "3 imported, 3 with a problem"]
    (answer,) = (json.loads(galleries.same("import", "made", "gone.png", "--json").out),)
    assert answer["items"][0] == {"path": "made/a.png", "id": CAT, "new": False}
    assert [problem["path"] for problem in answer["problems"]] == ["made/a-broken", "gone.png"]
    assert answer["others"] == 1


def test_a_dry_run_imports_nothing(galleries: Galleries, tmp_path: Path) -> None:
    lay_out(tmp_path / "made")
    done = galleries.same("import", "made", "--dry-run")
    assert (done.code, done.err) == (0, "3 to import\n")
    assert done.out.splitlines() == [f"to import  made/{name}" for name in ("a.png", "sub/b.dat", "sub/c")]
    assert galleries.listed() == []


@pytest.mark.parametrize(
    ("made", "said"), [((), "no pictures there\n"), (("x",), "no pictures there; 1 other file passed over\n")]
)
def test_a_folder_without_pictures_is_no_error(tsr: Commands, tmp_path: Path, made: tuple[str, ...], said: str) -> None:
    (tmp_path / "made").mkdir()
    for name in made:
        put(tmp_path / "made" / name, b"")
    done = tsr("images", "import", "made", check=True)
    assert (done.out, done.err) == ("", said)


def test_bad_tags_are_refused_before_the_first_file(tsr: Commands, fake: FakeTensors, tmp_path: Path) -> None:
    put(tmp_path / "a.png", picture())
    done = tsr("images", "import", "a.png", "--tag", "")
    assert (done.code, fake.calls) == (2, [])


def test_files_are_sent_several_at_once_and_told_in_their_order(
    tsr: Commands, fake: FakeTensors, tmp_path: Path
) -> None:
    """Each waits until all that may be on their way are: were there fewer, this would not end."""
    names = [f"made/{number}" for number in range(_AT_ONCE * 2)]
    for number, name in enumerate(names):
        put(tmp_path / name, picture(width=number + 1))
    together = threading.Barrier(_AT_ONCE, timeout=20)

    def store(data: bytes, **_options: Any) -> Imported:
        together.wait()
        return Imported(image=replace(DRAWN, id=str(len(data))), new=True)

    fake.answers["images.import_file"] = store
    done = tsr("images", "import", "made", check=True)
    assert [row.split()[2] for row in done.out.splitlines()] == names
    assert {options["created"] for _, options in fake.called("images.import_file")} == {"2023-11-14T22:13:20.000Z"}


def test_ctrl_c_ends_an_import_and_says_how_far_it_was(tsr: Commands, fake: FakeTensors, tmp_path: Path) -> None:
    for number in range(20):
        put(tmp_path / "made" / f"{number:02}", picture(width=number + 1))
    count = iter(range(20))

    def store(_data: bytes, **_options: Any) -> Imported:
        if next(count) == 5:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return Imported(image=DRAWN, new=True)

    fake.answers["images.import_file"] = store
    done = tsr("images", "import", "made")
    assert (done.code, done.out) == (130, "")
    assert done.err.startswith("error: interrupted\nhint:  ")
    assert done.err.endswith(" imported; the same command goes on from there\n")
    assert 6 <= next(count) <= 6 + 2 * _AT_ONCE


def test_a_server_that_goes_away_ends_an_import(tsr: Commands, fake: FakeTensors, tmp_path: Path) -> None:
    lay_out(tmp_path / "made")
    fake.answers["images.import_file"] = ServerUnreachable("gone")
    done = tsr("images", "import", "made")
    assert (done.code, done.out, done.err) == (6, "", "error: gone\n")


@pytest.mark.parametrize(("seconds", "shown"), [(0.1, False), (0.6, True)])
def test_somebody_who_waits_longer_than_a_second_sees_how_far_it_is(
    tsr: Commands,
    fake: FakeTensors,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    seconds: float,
    shown: bool,
) -> None:
    """Each look at the clock is that much later: at the beginning, then after each of three files."""
    lay_out(tmp_path / "made")
    moments = itertools.count(0, seconds)
    monkeypatch.setattr("tensors.cli._pace.time", SimpleNamespace(monotonic=lambda: next(moments)))
    monkeypatch.setattr("tensors.cli._app.App.interactive", True)
    # Makes a terminal of what is none.
    monkeypatch.setenv("FORCE_COLOR", "1")
    fake.answers["images.import_file"] = Imported(image=DRAWN, new=True)
    done = tsr("images", "import", "made", check=True)
    assert ("importing, 2 of 3 files, b.dat" in done.err) == shown
    assert done.err.endswith("3 imported\n")


# Export and download


def entries(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_pictures_are_exported_with_their_records(filled: Galleries, tmp_path: Path) -> None:
    done = filled.same("export", "-o", "new/all.zip", "--force")
    assert (done.code, done.out, done.err[:12]) == (0, "new/all.zip\n", "3 pictures, ")
    inside = entries((tmp_path / "new/all.zip").read_bytes())
    assert inside.pop(f"{PHOTO}.jpg") == (tmp_path / "made/sub/b.dat").read_bytes()
    assert json.loads(inside.pop(f"{CAT}.json"))["settings"]["prompt"] == "a cat on a mat"
    assert sorted(inside) == [f"{CAT}.png", f"{PHOTO}.json", f"{SKETCH}.json", f"{SKETCH}.webp"]
    assert os.listdir(tmp_path / "new") == ["all.zip"]


@pytest.mark.parametrize(
    ("typed", "found"), [((CAT, PHOTO, CAT), 2), (("-",), 1), (("cat",), 0), (("--search", "cat"), 1)]
)
def test_what_is_named_or_found_is_exported(filled: Galleries, typed: tuple[str, ...], found: int) -> None:
    done = filled.same("export", *typed, "-o", "some.zip", "--force", "--json", piped=PHOTO)
    if found:
        assert json.loads(done.out)["images"] == found
    else:
        assert (done.code, json.loads(done.out)["error"]["code"]) == (3, "image_not_found")


def test_an_export_to_a_dash_is_the_file_and_nothing_else(filled: Galleries) -> None:
    command = [sys.executable, "-m", "tensors", "images", "export", CAT, "-o", "-"]
    runs = [subprocess.run([*command, *more], capture_output=True, timeout=60, check=False)
            for more in ((), ("--remote", filled.server.url))]  # fmt: skip
    for done in runs:
        assert (done.returncode, done.stderr) == (0, b"")
        assert set(entries(done.stdout)) == {f"{CAT}.png", f"{CAT}.json"}


REFUSED = {
    "there": (2, "all.zip is there already", "-o", "all.zip"),
    "folder": (2, "made is a folder: name the file", "-o", "made"),
    "both": (2, "either IMAGE_ID... or options that search, not both", "a", "--tag", "b", "-o", "x.zip"),
    "json": (2, "-o - writes the zip file and nothing else", "-o", "-", "--json"),
    "no-ids": (3, "there is no picture to export: no ids on standard input", "-", "-o", "x.zip"),
    "too-many": (2, f"those are {MOST_IDS + 1:,} pictures", *map(str, range(MOST_IDS + 1)), "-o", "x.zip"),
    "filter": (2, "rating must be at most 5, not 6", "--rating", "6", "-o", "x.zip"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_an_export_that_cannot_be_is_refused_before_it_begins(
    tsr: Commands, fake: FakeTensors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[Any, ...]
) -> None:
    code, said, *typed = case
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    (tmp_path / "made").mkdir()
    (tmp_path / "all.zip").write_text("mine")
    done = tsr("images", "export", *typed)
    assert done.code == code
    assert said in done.out + done.err
    assert (fake.calls, (tmp_path / "all.zip").read_text()) == ([], "mine")


@pytest.mark.parametrize("failure", [ServerUnreachable("gone"), OSError(errno.ENOSPC, "No space left on device"), None])
def test_an_export_that_breaks_off_leaves_what_was_there(
    tsr: Commands, fake: FakeTensors, tmp_path: Path, failure: Exception | None
) -> None:
    def chunks(*_arguments: Any, **_options: Any) -> Iterator[bytes]:
        yield b"PK\3\4 the beginning"
        if failure:
            raise failure

    fake.answers["images.export"] = lambda *arguments, **options: chunks(*arguments, **options)
    (tmp_path / "all.zip").write_text("mine")
    done = tsr("images", "export", "-o", "all.zip", "--force")
    assert (done.code, done.out) == (6 if isinstance(failure, TsrError) else 2, "")
    assert "Traceback" not in done.err
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"all.zip": "mine"}


def test_a_file_that_comes_meanwhile_is_not_replaced(tsr: Commands, fake: FakeTensors, tmp_path: Path) -> None:
    def chunks(*_arguments: Any, **_options: Any) -> Iterator[bytes]:
        out = io.BytesIO()
        zipfile.ZipFile(out, "w").close()
        (tmp_path / "all.zip").write_text("theirs")
        yield out.getvalue()

    fake.answers["images.export"] = lambda *arguments, **options: chunks(*arguments, **options)
    done = tsr("images", "export", "-o", "all.zip")
    assert (done.code, done.err) == (2, "error: all.zip is there already\nhint:  --force replaces it\n")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"all.zip": "theirs"}


def test_a_download_is_called_as_what_it_is(filled: Galleries, tmp_path: Path) -> None:
    done = filled.same("download", "-", PHOTO, "-o", "saved/", piped=f"{CAT}\n{SKETCH}\n")
    files = [f"saved/{name}" for name in (f"{CAT}.png", f"{SKETCH}.webp", f"{PHOTO}.jpg")]
    assert (done.code, done.out.splitlines()) == (0, files)
    assert (tmp_path / files[2]).read_bytes() == (tmp_path / "made/sub/b.dat").read_bytes()
    done = filled.same("download", "-", "-o", "-", piped=f"{CAT}\n{SKETCH}\n")
    assert (done.code, done.err) == (2, "error: -o - writes one picture, and standard input names 2\n")


# What files tell


def test_a_file_tells_how_it_was_made(tsr: Commands, tmp_path: Path) -> None:
    put(tmp_path / "a.jpg", picture(text=A1111))
    done = tsr("images", "info", "a.jpg", check=True)
    assert dict(row.split("  ", 1) for row in done.out.splitlines()) == {
        "program": "        a1111",
        "prompt": "         a cat on a mat",
        "negative prompt": "a dog",
        "model": "          dreamer",
        "model hash": "     abcdef1234 (autov2)",
        "size": "           64x48",
        "seed": "           1234",
        "steps": "          20",
        "CFG scale": "      7.0",
        "sampler": "        DPM++ 2M Karras (dpm++2m, karras)",
        "LoRAs": "          ink (0.8)",
    }
    assert tsr.json("images", "info", "a.jpg")["recipe"]["seed"] == 1234


def test_several_files_tell_what_they_can(tsr: Commands, tmp_path: Path) -> None:
    put(tmp_path / NASTY, picture(text=A1111))
    put(tmp_path / "b.png", picture())
    put(tmp_path / "c.txt", b"no picture")
    done = tsr("images", "info", NASTY, "b.png", "c.txt", "gone")
    assert done.code == 1
    assert [line for line in done.out.splitlines() if line[:1] != " "] == [NASTY_SHOWN, "", "b.png"]
    assert done.out.splitlines()[-1] == "  it does not say how it was made, or in no way that is understood"
    assert done.err == (
        "c.txt: no picture: neither PNG nor JPEG nor WebP\ngone: cannot be read: No such file or directory\n"
    )
    told = json.loads(tsr("images", "info", "b.png", "c.txt", "--json").out)
    assert [(each["file"], each["recipe"]) for each in told] == [("b.png", None), ("c.txt", None)]
    alone = tsr("images", "info", "c.txt")
    assert (alone.code, alone.err) == (2, "error: c.txt: no picture: neither PNG nor JPEG nor WebP\n")


# Drawn again

REQUEST = GenerateRequest(prompt="a cat", seed=7)
NEWER = Difference(what="engine", then="1", now="2", says="The engine was 1 and is 2.")


def replays(
    fake: FakeTensors, monkeypatch: pytest.MonkeyPatch, again: bytes, *, error: ErrorInfo | None = None
) -> list[GenerateRequest]:
    """A picture and what is drawn instead; what is asked for."""
    asked: list[GenerateRequest] = []
    job = a_job("generate")
    new = replace(DRAWN, id="new", width=int.from_bytes(again[16:20], "big"), height=48)
    state = "failed" if error else "succeeded"

    def generate(request: GenerateRequest) -> Any:
        asked.append(request)
        return job

    monkeypatch.setattr(fake, "generate", generate, raising=False)
    fake.answers |= {
        "images.remake": Remake(request=REQUEST, image="old", differences=(NEWER,)),
        "images.read": lambda image_id: {"old": picture(text=A1111), "new": again}[image_id],
        "images.get": lambda image_id: {"old": replace(DRAWN, id="old", height=48), "new": new}[image_id],
        "jobs.events": lambda _id: iter([JobEvent(seq=1, job=job.id, state=state, images=("new",), error=error)]),
    }
    return asked


@pytest.mark.parametrize(
    ("again", "said", "code"),
    [
        (picture(), "the same picture, pixel for pixel", 0),
        (picture(colour="blue"), "not the same picture: 100.0 % of its pixels differ", 1),
        (picture(width=65), "another picture: of 65x48 pixels, and it was of 64x48", 1),
    ],
    ids=["same", "colour", "size"],
)
def test_a_picture_is_drawn_again_and_compared(
    tsr: Commands, fake: FakeTensors, monkeypatch: pytest.MonkeyPatch, again: bytes, said: str, code: int
) -> None:
    asked = replays(fake, monkeypatch, again)
    done = tsr("images", "replay", "old", check=True)
    assert done.out.split()[0] == "new"
    assert done.err == f"{NEWER.says}\n{said}\n"
    assert asked == [REQUEST]
    as_json = tsr("images", "replay", "old", "--check", "--json")
    answer = json.loads(as_json.out)
    assert (as_json.code, as_json.err) == (code, "")
    assert answer["comparison"]["same_pixels"] == (code == 0)
    assert (answer["original"], answer["image"]["id"], answer["differences"][0]["what"]) == ("old", "new", "engine")


def test_what_is_missing_is_an_error_with_the_way_to_it(
    tsr: Commands, fake: FakeTensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replays(fake, monkeypatch, picture())
    part = MissingPart(kind="lora", name="ink", version_id=9001, command="tsr dl --version 9001")
    fake.answers["images.remake"] = Remake(request=REQUEST, missing=(part,))
    done = tsr("images", "replay", "old")
    assert (done.code, done.out, asked) == (LoraNotFound.exit_code, "", [])
    assert "ink" in done.err
    way = "with something else: tsr generate --from old, and --model, --lora or --init-image"
    assert done.err.endswith(f"hint:  tsr dl --version 9001\n       {way}\n")


@pytest.mark.parametrize("error", [ImageNotFound("none"), InvalidRequest("it does not tell")])
def test_a_picture_that_cannot_be_drawn_again_is_an_error(
    tsr: Commands, fake: FakeTensors, monkeypatch: pytest.MonkeyPatch, error: TsrError
) -> None:
    replays(fake, monkeypatch, picture(), error=ErrorInfo(code="job_failed", message="no"))
    assert tsr("images", "replay", "old").code == JobFailed.exit_code
    fake.answers["images.remake"] = error
    assert tsr("images", "replay", "old").code == error.exit_code
