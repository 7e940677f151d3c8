"""The library's commands on real files, here and with --remote: the same exit code, the same output, the same words."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from commands import Commands, Outcome
from conftest import FAKE_ENGINE, Server, Tsr, running
from fake_civitai import FakeCivitai, failing, fake_civitai
from headers import write_gguf, write_safetensors
from observe import eventually

LORA = {
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight": (8, 2048),
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_up.weight": (640, 8),
}
VAE = {"decoder.conv_in.weight": (64, 4, 3, 3), "encoder.conv_in.weight": (64, 3, 3, 3)}
FLUX = {"double_blocks.0.img_attn.norm.key_norm.scale": (128,), "img_in.weight": (3072, 64)}
ODD = "pony [red] it's\x1b[31m\n日本"
ODD_SHOWN = r"pony [red] it's\x1b[31m 日本"


def lay_out(folder: Path) -> None:
    """Five files: a LoRA that CivitAI knows, one it does not, a VAE twice, a diffusion model."""
    tags = {"ss_tag_frequency": json.dumps({"10_x": {"ink sketch": 90, "city": 40}}), "ss_network_dim": "8"}
    write_safetensors(folder / "Lora" / "ink.safetensors", LORA, {"modelspec.title": "Ink"})
    write_safetensors(folder / "Lora" / f"{ODD}.safetensors", LORA, tags)
    write_safetensors(folder / "VAE" / "soft.safetensors", VAE)
    (folder / "more").mkdir()
    shutil.copy(folder / "VAE" / "soft.safetensors", folder / "more" / "soft.safetensors")
    write_gguf(folder / "unet" / "q.gguf", FLUX, {})


def model_of(file: Path) -> dict[str, Any]:
    """A model of CivitAI: a file is its older version."""
    hashes = {"SHA256": hashlib.sha256(file.read_bytes()).hexdigest().upper()}
    record = {"name": "ink.safetensors", "type": "Model", "primary": True, "sizeKB": 10.5}
    versions = [
        {
            "id": 9002,
            "name": "v2",
            "baseModel": "Pony",
            "publishedAt": "2025-02-01T00:00:00.000Z",
            "files": [{**record, "id": 2, "hashes": {"SHA256": "0" * 64}}],
        },
        {
            "id": 9001,
            "name": "v1",
            "baseModel": "Pony",
            "publishedAt": "2025-01-01T00:00:00.000Z",
            "trainedWords": ["inkstyle", "sketch, bold lines"],
            "files": [{**record, "id": 1, "hashes": hashes}],
        },
    ]
    about = {"id": 900, "name": "Ink Style", "type": "LORA", "creator": {"username": "someone"}}
    return {**about, "tags": ["style"], "description": "<p>Lines &amp; more</p>", "modelVersions": versions}


@dataclass(frozen=True)
class Place:
    """A machine's settings, and a server with the same."""

    folder: Path
    config: Path
    data: Path
    server: Server
    civitai: FakeCivitai


@dataclass(frozen=True)
class Pair:
    """Runs each command twice: on this machine, and on the server."""

    commands: Commands
    place: Place

    def same(self, *arguments: str) -> Outcome:
        """Check that both went the same way and return how."""
        here = self.commands(*arguments)
        there = self.commands(*arguments, "--remote", self.place.server.url)
        shown = [self._comparable(outcome) for outcome in (here, there)]
        assert shown[0] == shown[1]
        return here

    def same_json(self, *arguments: str) -> Any:
        """The same as documents, and that the words of people are in no document."""
        done = self.same(*arguments, "--json")
        assert (done.code, done.err) == (0, "")
        return json.loads(done.out)

    def _comparable(self, outcome: Outcome) -> Outcome:
        # What a database takes on disk is its own.
        sizes = [line for line in outcome.out.splitlines() if not line.startswith("database ")]
        shown = replace(outcome, out="\n".join(sizes)) if "\ndatabase " in outcome.out else outcome
        return shown.comparable(self.place.data, self.place.server.data_dir)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Everything is scanned and linked on both sides; tests change nothing, or put it back."""
    root = tmp_path_factory.mktemp("place")
    folder, config, data = root / "models", root / "config.toml", root / "here"
    lay_out(folder)
    with fake_civitai() as civitai:
        civitai.add(model_of(folder / "Lora" / "ink.safetensors"))
        config.write_text(f'[paths]\nmodels = ["{folder}"]\n[api]\ncivitai_url = "{civitai.url}"\n')
        with running(root / "there", TSR_CONFIG=str(config), TSR_ENGINE=str(FAKE_ENGINE)) as server:
            yield Place(folder, config, data, server, civitai)


@pytest.fixture
def pair(place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.setenv("TSR_CONFIG", str(place.config))
    monkeypatch.setenv("TSR_DATA_DIR", str(place.data))
    made = Pair(Commands(capsys), place)
    if not place.data.exists():
        made.same("db", "scan")
        made.same("db", "link")
    return made


def test_a_first_scan_and_link_tell_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a file that is cut off, and one that nobody knows."""
    folder = tmp_path / "models"
    lay_out(folder)
    (folder / "cut.safetensors").write_bytes((folder / "Lora" / "ink.safetensors").read_bytes()[:-4])
    config = tmp_path / "config.toml"
    with fake_civitai() as civitai:
        civitai.add(model_of(folder / "Lora" / "ink.safetensors"))
        config.write_text(f'[paths]\nmodels = ["{folder}"]\n[api]\ncivitai_url = "{civitai.url}"\n')
        monkeypatch.setenv("TSR_CONFIG", str(config))
        with running(tmp_path / "there", TSR_CONFIG=str(config), TSR_ENGINE=str(FAKE_ENGINE)) as server:
            pair = Pair(Commands(capsys), Place(folder, config, tmp_path / "data", server, civitai))
            scan = pair.same("db", "scan", str(folder))
            link = pair.same("db", "link")
            again = pair.same("db", "scan")
    assert scan.code == 1
    assert scan.out.splitlines()[0] == "6 files in 1 folder: 6 new, 5 hashed, 1 with a problem"
    assert scan.err.startswith(f"{folder}/cut.safetensors: ")
    assert (link.code, link.out) == (
        0,
        "5 files: 1 linked (1 by SHA256), 4 not known to CivitAI, 1 model fetched\n",
    )
    # What is broken is told each time, until it is mended.
    assert (again.code, again.err) == (1, scan.err.splitlines(keepends=True)[0])


SHOWN: dict[str, tuple[tuple[str, ...], int, str]] = {
    "list": (("list",), 0, "ink"),
    "list-limit": (("list", "-n", "2"), 0, "ink"),
    "list-query": (("list", "日本", "--kind", "lora"), 0, ODD_SHOWN),
    "list-family": (("list", "--family", "flux"), 0, "q "),
    "list-nothing": (("list", "--state", "missing"), 0, ""),
    "show": (("show", "ink"), 0, r"Ink Style (v1), LORA, Pony, someone"),
    "show-odd": (("show", ODD), 0, f"name        {ODD_SHOWN}\n"),
    "show-model": (("show", "--model", "900"), 0, "900@9002  v2  Pony  2025-02-01\n"),
    "triggers": (("triggers", "ink", "--lora"), 0, "<lora:ink:1>, inkstyle, sketch, bold lines\n"),
    "triggers-trained": (("triggers", ODD), 0, "ink sketch, city\n"),
    "triggers-none": (("triggers", "q"), 0, ""),
    "search": (("search", "bold", "style"), 0, r"*  Ink Style  LORA  Pony"),
    "search-nothing": (("search", "xyzzy"), 0, ""),
    "stats": (("stats",), 0, "copies                1 ("),
    "dupes": (("dupes",), 0, "2 times"),
    "updates": (("updates",), 0, "v1 -> v2  Pony  2025-02-01  900@9002\n"),
    "check": (("check",), 0, "sound\n"),
    "rescan": (("scan",), 0, "5 files in"),
    "relink": (("link",), 0, "0 linked"),
    "offline": (("link", "--offline"), 0, "0 linked"),
    "cache": (("cache",), 0, "1 model kept\n"),
    "cache-unknown": (("cache", "900", "77"), 3, "1 model kept, 1 not found\n"),
}


@pytest.mark.parametrize("case", SHOWN.values(), ids=SHOWN)
def test_what_is_shown_is_the_same(pair: Pair, case: tuple[tuple[str, ...], int, str]) -> None:
    command, code, part = case
    done = pair.same("db", *command)
    assert (done.code, part in done.out) == (code, True), done
    assert "\x1b" not in done.out + done.err
    as_json = pair.same("db", *command, "--json")
    assert (as_json.code, as_json.err) == (code, "")
    assert isinstance(json.loads(as_json.out), dict)


def test_pages_go_on_the_same(pair: Pair) -> None:
    names, more = [], ["db", "list", "-n", "2"]
    while more:
        done = pair.same(*more)
        names += [line.split("  ")[0] for line in done.out.splitlines()]
        more = done.err.removeprefix("more: tsr ").split()
    assert names == ["ink", ODD_SHOWN, "q", "soft", "soft"]


def test_a_catalog_is_asked_the_same(pair: Pair) -> None:
    found = pair.same("search", "ink", "style")
    assert (found.code, found.err) == (0, "")
    assert found.out.startswith(r"*  Ink Style  LORA  Pony")
    page = pair.same("get", "900@9001")
    assert page.code == 0
    assert "  here           ink\n" in page.out
    assert "9002" not in page.out
    assert pair.same_json("get", "900")["all_versions"][1]["here"] == ["ink"]


def test_a_file_says_the_same_about_itself(pair: Pair) -> None:
    done = pair.same("info", str(pair.place.folder / "Lora" / f"{ODD}.safetensors"))
    assert (done.code, done.err) == (0, "")
    assert "kind        lora (from its tensors)\n" in done.out
    assert "  ss_network_dim    8\n" in done.out


def test_changes_are_the_same_and_can_be_taken_back(pair: Pair) -> None:
    assert pair.same("db", "set", "q", "ink", "--family", "chroma").out.splitlines()[0].startswith("q: ")
    assert "chroma (you said so)" in pair.same("db", "show", "q").out
    assert pair.same("db", "set", "q", "ink", "--family", "auto").code == 0
    linked = pair.same("db", "link", "q", "--model", "https://civitai.com/models/900?modelVersionId=9002")
    assert r"on CivitAI Ink Style (v2)" in linked.out
    assert "on CivitAI" not in pair.same("db", "link", "q", "--model", "none").out
    assert pair.same("db", "rm", "q").out == "took q out of the library\n"
    assert pair.same("db", "show", "q").code == 3
    assert pair.same("db", "scan").out.startswith("5 files in")
    assert pair.same("db", "show", "q").code == 0


REFUSED: dict[str, tuple[Any, ...]] = {
    "show": (3, "file_not_in_library", "db", "show", "inkk"),
    "show-several": (2, "invalid_request", "db", "show", "soft"),
    "show-nothing": (3, "file_not_in_library", "db", "show", ""),
    "show-accent": (3, "file_not_in_library", "db", "show", "café/../x"),
    "show-model": (3, "not_in_catalog", "db", "show", "--model", "77"),
    "triggers": (3, "file_not_in_library", "db", "triggers", "nope"),
    "list-kind": (2, "invalid_request", "db", "list", "--kind", "loras"),
    "list-state": (2, "invalid_request", "db", "list", "--state", "gone"),
    "list-limit": (2, "invalid_request", "db", "list", "-n", "0"),
    "list-cursor": (2, "invalid_request", "db", "list", "--cursor", "what?"),
    "list-no-text": (2, "invalid_request", "db", "list", "caf\udce9"),
    "link-no-text": (2, "invalid_request", "db", "link", "caf\udce9"),
    "search-limit": (2, "invalid_request", "db", "search", "-n", "501"),
    "set-kind": (2, "invalid_request", "db", "set", "q", "--kind", "loras"),
    "set-empty": (2, "invalid_request", "db", "set", "q", "--family", ""),
    "set-file": (3, "file_not_in_library", "db", "set", "q", "nope", "--family", "flux"),
    "link-file": (3, "file_not_in_library", "db", "link", "nope"),
    "link-hand": (2, "invalid_request", "db", "link", "q", "--model", "what?"),
    "link-hand-unknown": (3, "not_in_catalog", "db", "link", "q", "--model", "77"),
    "rm": (3, "file_not_in_library", "db", "rm", "q", "nope"),
    "rm-model": (3, "not_in_catalog", "db", "rm", "--model", "77"),
    "search-provider-limit": (2, "invalid_request", "search", "x", "-n", "101"),
    "get": (3, "not_in_catalog", "get", "77"),
    "get-version": (3, "not_in_catalog", "get", "900@1"),
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
    assert json.loads(as_json.out)["error"]["code"] == name


@pytest.mark.parametrize("command", [("search", "x"), ("get", "900"), ("db", "link", "--refresh"), ("db", "cache")])
def test_civitai_that_refuses_is_told_the_same(pair: Pair, command: tuple[str, ...]) -> None:
    def refused(*more: str) -> Outcome:
        pair.place.civitai.order(failing(403, "not from there"), times=20)
        done = pair.commands(*command, *more)
        pair.place.civitai.forgive()
        return done

    here, there = refused(), refused("--remote", pair.place.server.url)
    assert here == there
    assert (here.code, here.out) == (7, "")
    assert "not from there" in here.err


def test_without_a_server_nothing_can_be_detached_and_with_one_it_goes_on(pair: Pair, place: Place) -> None:
    done = pair.commands("db", "scan", "--detach")
    assert (done.code, done.out) == (1, "")
    assert done.err == "error: --detach needs a server that goes on working\nhint:  tsr serve\n"
    done = pair.commands("db", "scan", "--detach", "--remote", place.server.url, check=True)
    assert done.err == f"follow it: tsr jobs watch {done.out}"
    watched = pair.commands("jobs", "watch", done.out.strip(), "--remote", place.server.url, check=True)
    assert "kind      scan\n" in watched.out
    assert "report    5 files in " in watched.out
    listed = pair.commands("jobs", "list", "-n", "1", "--remote", place.server.url, check=True)
    assert listed.out.split()[2:4] == ["succeeded", "scan"]


def test_paths_start_from_where_they_are_typed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pair.place.folder / "Lora")
    here = pair.commands.json("info", "ink.safetensors")
    assert here["path"] == f"{pair.place.folder}/Lora/ink.safetensors"
    # To another machine a path means what it means there.
    there = pair.commands("info", "ink.safetensors", "--remote", pair.place.server.url)
    assert (there.code, there.err.splitlines()[0]) == (2, "error: 'ink.safetensors' is not a full path")


def test_names_are_completed_from_the_library(pair: Pair, tsr: Tsr) -> None:
    done = tsr(_TSR_COMPLETE="bash_complete", COMP_WORDS="tsr db show so", COMP_CWORD="3")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n") == ["plain,soft", ""]


def test_trigger_words_go_into_a_prompt(pair: Pair) -> None:
    """As people type it, in a shell."""
    tsr = f"'{sys.executable}' -m tensors"
    line = f'printf "%s|" "a cat, $({tsr} db triggers ink)" "$({tsr} db triggers q)"'
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "a cat, inkstyle, sketch, bold lines||"
    assert done.stderr == "no trigger words of q are known; what is known: tsr db show q\n"


def test_at_a_terminal_a_bar_shows_the_scan(pair: Pair, tmp_path: Path) -> None:
    """In a terminal of its own: the bar is on standard error, and standard output has the report alone."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TSR_DATA_DIR": str(tmp_path / "fresh"), "TERM": "xterm-256color", "COLUMNS": "120"}
    command = [sys.executable, "-m", "tensors", "db", "scan", str(pair.place.folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, stdin=theirs, env=environment)
    os.close(theirs)
    drawn = bytearray()
    # Reading from a terminal whose last user has gone is an error on Linux, and nothing elsewhere.
    while chunk := _read(ours):
        drawn += chunk
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    assert out.decode().startswith("5 files in 1 folder: 5 new, 5 hashed\n")
    assert b"\x1b" not in out
    assert "━".encode() in drawn
    assert drawn.endswith(b"tsr db link\r\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


@pytest.mark.parametrize("there", [False, True], ids=["here", "there"])
def test_ctrl_c_ends_a_scan_and_what_was_done_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """While it hashes a file of 40 GB, all of it a hole."""
    folder, config = tmp_path / "models", tmp_path / "config.toml"
    write_safetensors(folder / "large.safetensors", {**LORA, "x": (20_000_000_000,)})
    config.write_text(f'[paths]\nmodels = ["{folder}"]\n')
    monkeypatch.setenv("TSR_CONFIG", str(config))
    data = tmp_path / ("there" if there else "data")
    with (
        running(data, TSR_CONFIG=str(config), TSR_ENGINE=str(FAKE_ENGINE)) if there else nullcontext() as server,
        subprocess.Popen(
            [sys.executable, "-m", "tensors", "db", "scan", *(["--remote", server.url] if server else [])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        eventually(lambda: listed(data / "models.db") == 1 or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (130, "")
        assert re.fullmatch(
            r"cancelling \.\.\.\nerror: job [0-9a-f]+ cancelled\n"
            r"hint:  what was done stays: the same command goes on from there\n",
            err,
        )
        tsr = Commands(capsys)
        remote = ("--remote", server.url) if server else ()
        (file,) = tsr.json("db", "list", *remote)["items"]
        assert (file["name"], file["kind"], file["sha256"]) == ("large", "lora", None)
        if server:
            (job,) = tsr.json("jobs", "list", *remote)["items"]
            assert (job["kind"], job["state"]) == ("scan", "cancelled")


def listed(database: Path) -> int:
    """How many files a library has by now, whoever has it open."""
    if not database.exists():
        return 0
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'files'").fetchone():
            return 0
        return int(connection.execute("SELECT count(*) FROM files").fetchone()[0])
