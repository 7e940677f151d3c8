"""`tsr generate` and what comes after it: where pictures go, prompts from a pipe, jobs that go on alone."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import Commands
from observe import PROMPT
from palette import colours
from serving import Api, serving

from tensors.png import SIGNATURE
from tensors.types.generation import MAX_STEPS

SMALL = ("--size", "64x64", "--steps", "2")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("server")) as api:
        yield api


@pytest.fixture
def at(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Commands go to the server, and run in a folder of their own."""
    monkeypatch.setenv("TSR_REMOTE", api.server.url)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tsr(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


@pytest.mark.parametrize("target", ["cat.png", "new/folder/cat.PNG"])
def test_a_file_gets_the_picture(api: Api, at: Path, tsr: Commands, target: str) -> None:
    done = tsr("generate", PROMPT, *SMALL, "-o", target, check=True)
    image = done.out.split()[0]
    assert done.err == f"saved {target}\n"
    assert (at / target).read_bytes() == api.file(image)
    assert colours((at / target).read_bytes()) == ("red", "blue")


@pytest.mark.parametrize("target", ["there", "there/", "new/", "new"])
def test_a_folder_gets_the_pictures_under_their_ids(api: Api, at: Path, tsr: Commands, target: str) -> None:
    (at / "there").mkdir()
    done = tsr("generate", PROMPT, *SMALL, "-b", "2", "-o", target, check=True)
    images = [row.split()[0] for row in done.out.splitlines()]
    assert len(images) == 2
    assert {file.name: file.read_bytes() for file in (at / target).iterdir()} == {
        f"{image}.png": api.file(image) for image in images
    }


def test_pictures_of_a_batch_get_numbers(api: Api, at: Path, tsr: Commands) -> None:
    answer = tsr.json("generate", PROMPT, *SMALL, "-b", "3", "-o", "my.cat.png")
    assert isinstance(answer, dict)
    for number, image in enumerate(answer["images"], 1):
        assert (at / f"my.cat-{number}.png").read_bytes() == api.file(image["id"])
    assert len(list(at.glob("*.png"))) == 3


def test_a_dash_writes_the_picture_and_nothing_else(api: Api, at: Path) -> None:
    """As processes, with the prompt from a pipe: bytes in, bytes out."""

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "tensors", *arguments]
        return subprocess.run(command, input=PROMPT.encode(), capture_output=True, timeout=60, check=False)

    done = run("generate", "-", *SMALL, "--seed", "77", "-o", "-")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(SIGNATURE)
    (image,) = api.get("/api/images", limit=1)["items"]
    assert (image["settings"]["seed"], image["settings"]["prompt"]) == (77, PROMPT)
    assert done.stdout == api.file(image["id"])
    assert run("images", "download", image["id"], "-o", "-").stdout == done.stdout


@pytest.mark.parametrize("options", [("-b", "2"), ("--json",), ("--detach",)], ids="".join)
def test_a_dash_takes_one_picture_alone(api: Api, at: Path, tsr: Commands, options: tuple[str, ...]) -> None:
    before = len(api.sent())
    done = tsr("generate", PROMPT, *SMALL, "-o", "-", *options)
    assert done.code == 2
    assert "-o - writes one picture and nothing else" in done.out + done.err
    assert len(api.sent()) == before


@pytest.mark.parametrize("arguments", [("one", "two"), ("one", "--json")], ids=" ".join)
def test_a_download_to_a_dash_takes_one_picture_alone(at: Path, tsr: Commands, arguments: tuple[str, ...]) -> None:
    done = tsr("images", "download", *arguments, "-o", "-")
    assert done.code == 2
    assert "-o - writes one picture and nothing else" in done.out + done.err


def test_a_place_that_cannot_be_written_is_named_and_the_picture_stays(api: Api, at: Path, tsr: Commands) -> None:
    (at / "file").write_text("")
    before = api.get("/api/status")["images"]
    done = tsr("generate", PROMPT, *SMALL, "-o", "file/cat.png")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: cannot write file/cat.png: ")
    assert api.get("/api/status")["images"] == before + 1


def test_a_file_that_is_there_is_replaced_whole(at: Path, tsr: Commands) -> None:
    (at / "cat.png").write_bytes(b"x" * 1_000_000)
    tsr("generate", PROMPT, *SMALL, "-o", "cat.png", check=True)
    assert colours((at / "cat.png").read_bytes()) == ("red", "blue")
    assert os.listdir(at) == ["cat.png"]


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Put something on standard input."""
    return lambda words: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(words)))


@pytest.mark.parametrize("around", ["%s", "  %s\n\n", "%s\r\n"])
def test_a_prompt_comes_from_a_pipe(
    api: Api, at: Path, tsr: Commands, pipe: Callable[[bytes], None], around: str
) -> None:
    words = "ein roter Kreis auf blauem Grund, 青い背景, 🎈"
    pipe((around % words).encode())
    tsr("generate", "-", *SMALL, check=True)
    assert api.sent()[-1]["prompt"] == words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (b"", "prompt must not be empty"),
        (b" \n", "prompt must not be empty"),
        (b"caf\xe9", "the prompt on standard input is not UTF-8"),
        (b"a\0b", "prompt contains a NUL character"),
    ],
)
def test_a_prompt_from_a_pipe_is_checked_too(
    at: Path, tsr: Commands, pipe: Callable[[bytes], None], words: bytes, said: str
) -> None:
    pipe(words)
    done = tsr("generate", "-", *SMALL)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {said}")


def test_a_picture_can_start_from_a_file(api: Api, at: Path, tsr: Commands) -> None:
    tsr("generate", PROMPT, *SMALL, "-o", "cat.png", check=True)
    tsr("generate", PROMPT, *SMALL, "-i", "cat.png", "--mask", "cat.png", "--strength", "0.25", check=True)
    sent = api.sent()[-1]
    assert (sent["strength"], bool(sent["init_image"]), bool(sent["mask_image"])) == (0.25, True, True)


def test_a_detached_job_is_left_to_the_server_and_can_be_watched(api: Api, at: Path, tsr: Commands) -> None:
    done = tsr("generate", PROMPT, *SMALL, "-b", "2", "--detach", check=True)
    job = done.out.strip()
    assert done.out == f"{job}\n"
    assert done.err == f"follow it: tsr jobs watch {job}\n"
    watched = tsr("jobs", "watch", job, check=True)
    rows = dict(row.split(None, 1) for row in watched.out.splitlines())
    assert (rows["id"], rows["state"], len(rows["images"].split())) == (job, "succeeded", 2)
    events = [json.loads(line) for line in tsr("jobs", "watch", job, "--json", check=True).out.splitlines()]
    assert events[-1]["state"] == "succeeded"
    assert events[-1]["images"] == rows["images"].split()
    assert tsr("jobs", "show", job, check=True).out == watched.out
    listed = tsr("jobs", "list", "-n", "1", check=True).out.split()
    assert (listed[0], listed[2]) == (job, "succeeded")


def test_a_detached_job_is_a_document_as_json(api: Api, at: Path, tsr: Commands) -> None:
    answer = tsr.json("generate", PROMPT, *SMALL, "--detach")
    assert isinstance(answer, dict)
    assert answer["images"] == []
    assert api.events(answer["job"]["id"])[-1]["state"] == "succeeded"


def test_watching_a_job_that_fails_fails(api: Api, at: Path, tsr: Commands) -> None:
    job = api.post(hires={"denoising_strength": 0}).json()["error"]["details"]["job"]
    done = tsr("jobs", "watch", job)
    assert (done.code, done.out) == (5, "")
    assert done.err.startswith("error: the engine refused the request")
    as_json = tsr("jobs", "watch", job, "--json")
    lines = [json.loads(line) for line in as_json.out.splitlines()]
    assert as_json.code == 5
    assert lines[-2]["state"] == "failed"
    assert lines[-1]["error"]["code"] == lines[-2]["error"]["code"] == "engine_error"


def test_cancelled_jobs_are_told(api: Api, at: Path, tsr: Commands) -> None:
    jobs = [api.start(steps=MAX_STEPS, batch_size=256) for _ in range(2)]
    done = tsr("jobs", "cancel", *jobs[::-1], check=True)
    assert done.out.splitlines() == [f"{job} cancelled" for job in jobs[::-1]]
    again = tsr("jobs", "cancel", jobs[0])
    assert (again.code, again.err) == (1, f"error: job {jobs[0]} has already cancelled\n")
    watched = tsr("jobs", "watch", jobs[0])
    assert (watched.code, watched.err) == (130, f"error: job {jobs[0]} was cancelled\n")


def test_the_same_idempotency_key_is_the_same_job(api: Api, at: Path, tsr: Commands) -> None:
    keyed = ("generate", PROMPT, *SMALL, "--idempotency-key", "schlüssel")
    assert tsr(*keyed, check=True).out == tsr(*keyed, check=True).out
    other = tsr(*keyed, "--seed", "5")
    assert (other.code, other.out) == (1, "")
    assert other.err.startswith("error: this Idempotency-Key was used for a different request\nhint:  ")
