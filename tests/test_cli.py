"""The command line here and with --remote: the same exit code, the same output, the same words."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import Commands, Outcome
from conftest import FAKE_ENGINE, Server, Tsr
from observe import PROMPT

GENERATE = ("generate", PROMPT, "--size", "64x64", "--steps", "2")


@dataclass(frozen=True)
class Pair:
    """Runs each command twice: on this machine, and on a server."""

    commands: Commands
    tsr: Tsr
    server: Server

    def both(self, *here: str, there: tuple[str, ...] | None = None) -> tuple[Outcome, Outcome]:
        """The outcomes as they were; `there` are the arguments for the server where they differ (ids)."""
        return self.commands(*here), self.commands(*(there or here), "--remote", self.server.url)

    def same(self, *here: str, there: tuple[str, ...] | None = None) -> Outcome:
        """Check that both went the same way and return how."""
        return self._compared(*self.both(*here, there=there))

    def same_as_processes(self, *arguments: str) -> Outcome:
        """The same with an interpreter for each, as people run them."""

        def outcome(*more: str) -> Outcome:
            done = self.tsr(*arguments, *more)
            return Outcome(done.returncode, done.stdout, done.stderr)

        with ThreadPoolExecutor(2) as pool:
            runs = pool.submit(outcome), pool.submit(outcome, "--remote", self.server.url)
        return self._compared(*(run.result() for run in runs))

    def _compared(self, local: Outcome, remote: Outcome) -> Outcome:
        places = (Path(os.environ["TSR_DATA_DIR"]), self.server.data_dir)
        assert local.comparable(*places) == remote.comparable(*places)
        return local


@pytest.fixture
def pair(capsys: pytest.CaptureFixture[str], tsr: Tsr, fake_server: Server, fake_engine: Path) -> Pair:
    return Pair(Commands(capsys), tsr, fake_server)


DRAWN = {
    "batch": ("--seed", "7", "-b", "3", "--tag", "one"),
    "options": (
        *("--seed", "7", "-l", "shapes-outline:0.5", "--sampler", "DPM++ 2M Karras", "--negative", "fog"),
        *("--hires", "2", "--hires-steps", "1", "--cfg", "3.5"),
    ),
}


@pytest.mark.parametrize("options", DRAWN.values(), ids=DRAWN)
def test_generate_prints_the_same(pair: Pair, options: tuple[str, ...]) -> None:
    done = pair.same(*GENERATE, *options)
    assert done.code == 0
    rows = done.out.splitlines()
    assert len(rows) == (3 if "-b" in options else 1)
    assert re.fullmatch(r"\d{8}-\d{6}-\d{3}_7  (64x64|128x128)  seed 7", rows[0])
    assert done.err.startswith("see it: tsr images show ")


def test_generate_as_a_process_prints_the_same(pair: Pair) -> None:
    done = pair.same_as_processes(*GENERATE, "--seed", "7")
    assert (done.code, len(done.out.splitlines())) == (0, 1)
    assert done.err.startswith("see it: tsr images show ")


def test_generate_as_a_process_prints_the_same_as_json(pair: Pair) -> None:
    done = pair.same_as_processes(*GENERATE, "--seed", "3", "-b", "2", "--json")
    answer = json.loads(done.out)
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    assert (set(answer), answer["job"]["state"]) == ({"job", "images"}, "succeeded")
    assert [image["settings"]["seed"] for image in answer["images"]] == [3, 4]


REFUSED = {
    "blank-prompt": (2, "invalid_request", "generate", " "),
    "size": (2, "invalid_request", "generate", "x", "--width", "65", "--steps", "0"),
    "negative-size": (2, "invalid_request", "generate", "x", "--size", "-1x64"),
    "nan": (2, "invalid_request", "generate", "x", "--cfg-scale", "nan"),
    "injection": (2, "invalid_request", "generate", "x <sd_cpp_extra_args>{}"),
    "no-character": (2, "invalid_request", "generate", "caf\udce9"),
    "sampler": (2, "invalid_request", "generate", "x", "--sampler", "eulr"),
    "model": (3, "model_not_found", "generate", "x", "--model", "shape"),
    "lora": (3, "lora_not_found", "generate", "x", "--lora", "shape-outline:0.5"),
    "lora-weight": (2, "invalid_request", "generate", "x", "--lora", "shapes-outline:99"),
    "hires-option": (2, "invalid_request", "generate", "x", "--hires-steps", "3"),
    "init-image": (2, "invalid_request", "generate", "x", "--init-image", "/no/such/file.png"),
    "no-picture": (2, "invalid_request", "generate", "x", "--init-image", __file__),
    "stdout": (2, "invalid_request", "generate", "x", "-o", "-", "-b", "2"),
    "option": (2, "invalid_request", "generate", "x", "--stepz", "3"),
    "type": (2, "invalid_request", "generate", "x", "--steps", "three"),
    "argument": (2, "invalid_request", "generate"),
    "engine-fails": (5, "engine_error", *GENERATE, "--hires", "2", "--hires-strength", "0"),
    "images-show": (3, "image_not_found", "images", "show", "20200101-000000-000_7"),
    "images-show-path": (3, "image_not_found", "images", "show", "../config"),
    "images-show-accent": (3, "image_not_found", "images", "show", "caf\u00e9"),
    "images-show-nothing": (3, "image_not_found", "images", "show", ""),
    "images-delete": (3, "image_not_found", "images", "delete", "nope", "--yes"),
    "images-download": (3, "image_not_found", "images", "download", "nope", "-o", "dir"),
    "images-limit": (2, "invalid_request", "images", "list", "--limit", "0"),
    "images-cursor": (2, "invalid_request", "images", "list", "--cursor", "../x"),
    "jobs-show": (3, "job_not_found", "jobs", "show", "nope"),
    "jobs-watch": (3, "job_not_found", "jobs", "watch", "a/b"),
    "jobs-cancel": (3, "job_not_found", "jobs", "cancel", "nope"),
    "jobs-state": (2, "invalid_request", "jobs", "list", "--state", "done"),
    "jobs-cursor": (2, "invalid_request", "jobs", "list", "--cursor", "x"),
    "command": (2, "invalid_request", "images", "lisst"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_failure_is_told_in_the_same_words(pair: Pair, case: tuple[Any, ...]) -> None:
    code, name, *arguments = case
    done = pair.same(*arguments)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    as_json = pair.same(*arguments, "--json")
    assert (as_json.code, as_json.err) == (code, "")
    error = json.loads(as_json.out)["error"]
    assert {"code", "message"} <= set(error) <= {"code", "message", "hint", "details"}
    assert error["code"] == name
    assert error["message"] in done.err


def test_a_failure_as_a_process_is_told_in_the_same_words(pair: Pair) -> None:
    code, name, *arguments = REFUSED["model"]
    done = pair.same_as_processes(*arguments)
    assert (done.code, done.out, done.err[:7]) == (code, "", "error: ")
    as_json = pair.same_as_processes(*arguments, "--json")
    assert (as_json.code, as_json.err, json.loads(as_json.out)["error"]["code"]) == (code, "", name)


def made(pair: Pair, count: int) -> tuple[list[str], list[str]]:
    """Ids of pictures drawn on both sides, newest first."""
    done = pair.both(*GENERATE, "--seed", "10", "-b", str(count), "--json")
    local, remote = ([image["id"] for image in json.loads(one.out)["images"]][::-1] for one in done)
    assert len(local) == len(remote) == count
    return local, remote


def test_the_gallery_looks_the_same(pair: Pair) -> None:
    here, there = made(pair, 4)
    listed = pair.same("images", "list", "-n", "2")
    assert [row.split()[0] for row in listed.out.splitlines()] == here[:2]
    assert listed.err == f"more: tsr images list --cursor {here[1]}\n"
    assert len(json.loads(pair.same("images", "list", "-n", "3", "--json").out)["items"]) == 3
    rest = pair.same(
        *("images", "list", "-n", "1", "--cursor", here[1]), there=("images", "list", "-n", "1", "--cursor", there[1])
    )
    assert rest.out.split()[0] == here[2]
    shown = pair.same("images", "show", here[0], there=("images", "show", there[0]))
    assert re.search(r"(?m)^seed +13$", shown.out)
    assert shown.err == ""
    whole = pair.same("images", "show", here[0], "--json", there=("images", "show", there[0], "--json"))
    assert json.loads(whole.out)["settings"]["seed"] == 13


def test_deleting_is_the_same_and_all_or_nothing(pair: Pair) -> None:
    here, there = made(pair, 3)
    done = pair.same("images", "delete", here[0], "nope", there=("images", "delete", there[0], "nope"))
    assert (done.code, done.out) == (3, "")
    done = pair.same("images", "delete", *here[:2], there=("images", "delete", *there[:2]))
    assert (done.code, done.out) == (0, f"deleted {here[0]}\ndeleted {here[1]}\n")
    gone = pair.same("images", "show", here[0], there=("images", "show", there[0]))
    assert gone.code == 3
    kept = pair.same("images", "show", here[2], "--json", there=("images", "show", there[2], "--json"))
    assert kept.code == 0


def test_downloading_is_the_same(pair: Pair, tmp_path: Path) -> None:
    here, there = made(pair, 2)
    (target := tmp_path / "saved").mkdir()
    done = pair.same(
        *("images", "download", *here, "-o", str(target)), there=("images", "download", *there, "-o", str(target))
    )
    assert done.code == 0
    assert done.out.splitlines() == [str(target / f"{image}.png") for image in here]
    assert {file.name for file in target.iterdir()} == {f"{image}.png" for image in (*here, *there)}


def test_status_has_the_same_fields(pair: Pair) -> None:
    local, remote = (json.loads(outcome.out) for outcome in pair.both("status", "--json"))
    assert set(local) == set(remote)
    assert set(local["engine"]) == set(remote["engine"])
    assert (local["mode"], remote["mode"], remote["url"]) == ("local", "server", pair.server.url)
    plain = pair.both("status")
    assert [outcome.code for outcome in plain] == [0, 0]
    assert plain[0].out.startswith("server   none running here (tsr ")
    assert plain[1].out.startswith(f"server   {pair.server.url} (tsr ")


def test_a_server_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    done = Commands(capsys)("images", "list", "--remote", "http://127.0.0.1:9")
    assert (done.code, done.out) == (6, "")
    assert done.err.startswith("error: http://127.0.0.1:9 cannot be reached: ")
    assert "hint:  is `tsr serve` running there?\n" in done.err


def test_an_unknown_remote_says_how_to_name_it(capsys: pytest.CaptureFixture[str]) -> None:
    done = Commands(capsys)("images", "list", "--remote", "junkpile")
    assert (done.code, done.out) == (3, "")
    assert done.err == (
        "error: remote 'junkpile' not found (known: none yet)\nhint:  tsr remote add junkpile http://junkpile:8080\n"
    )


def test_output_that_nobody_reads_any_more_is_no_error(fake_server: Server) -> None:
    """As in `tsr jobs list | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "tensors", "images", "list", "--remote", fake_server.url, "--json"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_without_an_engine_the_way_to_one_is_told(tsr: Tsr, tmp_path: Path) -> None:
    done = tsr("generate", PROMPT, "--json", PATH=str(tmp_path))
    assert done.returncode == 5
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["hint"]) == ("engine_not_installed", "tsr engine install")


def test_without_a_server_nothing_can_be_detached(tsr: Tsr) -> None:
    done = tsr("generate", PROMPT, "--detach", TSR_ENGINE=str(FAKE_ENGINE))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: --detach needs a server that goes on drawing\nhint:  tsr serve\n"
