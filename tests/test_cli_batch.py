"""`tsr generate` of several requests: prompts from a file, sweeps with their contact sheet."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Commands, Outcome
from observe import PROMPT
from PIL import Image as Pillow
from serving import Api, serving

from tensors.cli._app import App
from tensors.recipes import recipe_of

SMALL = ("--size", "64x64", "--steps", "2")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("server")) as api:
        yield api


@pytest.fixture(params=["here", "there"])
def side(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Commands draw in their own process, then on a server; they run in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    if request.param == "here":
        request.getfixturevalue("fake_engine")
    else:
        monkeypatch.setenv("TSR_REMOTE", request.getfixturevalue("api").server.url)
    return tmp_path


@pytest.fixture
def at(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Commands go to the server, and run in a folder of their own."""
    monkeypatch.setenv("TSR_REMOTE", api.server.url)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tsr(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put something on standard input."""
    return lambda words: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(words.encode())))


def drawn(answer: Any) -> list[list[dict[str, Any]]]:
    """The settings of each picture of each request."""
    return [[image["settings"] for image in one["images"]] for one in answer["generated"]]


def refusal(done: Outcome) -> str:
    """What a refused command said; it printed nothing else."""
    assert (done.code, done.out) == (2, "")
    return done.err


def test_a_file_of_prompts_is_drawn_here_as_there(side: Path, tsr: Commands) -> None:
    (side / "sub").mkdir()
    Pillow.new("RGB", (64, 64), "red").save(side / "sub" / "start.png")
    (side / "sub" / "p.yaml").write_text(
        "defaults: {steps: 3, tags: [all]}\n"
        "prompts:\n"
        "- a red circle\n"
        "- {prompt: a star, cfg_scale: 3, seed: 7, batch_size: 2}\n"
        "- {init_image: start.png, strength: 0.5}\n"
    )
    answer = tsr.json("generate", "the same for all", "--input", "sub/p.yaml", "--size", "64x64", "--cfg", "2")
    assert answer["sheet"] is None
    (first,), (second, third), (fourth,) = drawn(answer)
    assert [one["prompt"] for one in (first, second, third, fourth)] == [
        *("a red circle", "a star", "a star", "the same for all"),
    ]
    assert [one["cfg_scale"] for one in (first, second, fourth)] == [2.0, 3.0, 2.0]
    assert [one["steps"] for one in (first, second, fourth)] == [3, 3, 3]
    assert (second["seed"], third["seed"], first["tags"]) == (7, 8, ["all"])
    assert (first["init_image"], fourth["strength"]) == (None, 0.5)
    assert fourth["init_image"].startswith("sha256:")
    assert [one["job"]["state"] for one in answer["generated"]] == ["succeeded"] * 3


def test_lines_come_from_standard_input_and_copies_get_numbers(
    side: Path, tsr: Commands, pipe: Callable[[str], None]
) -> None:
    pipe("# mine\na red circle\n\na star\n")
    done = tsr("generate", "--input", "-", *SMALL, "-b", "2", "-o", "out/cat.png", check=True)
    assert [row.split()[1] for row in done.out.splitlines()] == ["64x64"] * 4
    assert done.err.splitlines() == [f"saved out/cat-{number}.png" for number in range(1, 5)]
    assert len({path.read_bytes() for path in (side / "out").iterdir()}) == 4


def test_a_sweep_differs_in_what_is_swept_alone_and_makes_a_sheet(side: Path, tsr: Commands) -> None:
    answer = tsr.json("generate", PROMPT, "--size", "64x64", "--sweep", "steps=1..3", "--sweep", "cfg=4,7", "-o", "d")
    flat = [one for (one,) in drawn(answer)]
    assert [(one["cfg_scale"], one["steps"]) for one in flat] == list(itertools.product((4.0, 7.0), (1, 2, 3)))
    same = [{name: value for name, value in one.items() if name not in ("steps", "cfg_scale")} for one in flat]
    assert same == [same[0]] * 6
    sheet = Path(answer["sheet"])
    assert sheet.parent == Path("d")
    assert sheet.name.startswith("sweep-")
    assert len(list((side / "d").iterdir())) == 7
    recipe = recipe_of(sheet.read_bytes())
    assert recipe
    assert (recipe.prompt, recipe.model, recipe.seed) == (PROMPT, "shapes", flat[0]["seed"])
    swept = {key: recipe.rest[key] for key in ("Script", "X Type", "X Values", "Y Type", "Y Values")}
    assert list(swept.values()) == ["X/Y/Z plot", "steps", "1, 2, 3", "cfg_scale", "4, 7"]
    with Pillow.open(sheet) as opened:
        colours = opened.convert("RGB").getcolors(1 << 24) or []
    assert sum(count for count, colour in colours if len(set(colour)) > 1) == 6 * 64 * 64


def test_a_file_can_be_swept_and_each_prompt_keeps_its_seed(at: Path, tsr: Commands) -> None:
    (at / "p.txt").write_text("a red circle\na star\n")
    answer = tsr.json("generate", "--input", "p.txt", *SMALL, "--sweep", "cfg=1,2", "--sheet", "my/sheet.png")
    seeds = [(one["prompt"], one["cfg_scale"], one["seed"]) for (one,) in drawn(answer)]
    assert [one[:2] for one in seeds] == list(itertools.product(("a red circle", "a star"), (1.0, 2.0)))
    assert seeds[0][2] == seeds[1][2] != seeds[2][2] == seeds[3][2]
    assert answer["sheet"] == "my/sheet.png"
    assert (at / "my" / "sheet.png").is_file()
    again = tsr("generate", "x", *SMALL, "--sweep", "cfg=1,2", "--sheet", "my/sheet.png")
    assert refusal(again).startswith("error: my/sheet.png is there already\n")


def test_two_sheets_of_one_moment_have_two_names(at: Path, tsr: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensors.cli._sheets.now", lambda: "2026-11-22T18:49:01.123Z")
    sheets = [tsr.json("generate", PROMPT, *SMALL, "--sweep", "cfg=1,2")["sheet"] for _ in range(3)]
    assert sheets == [f"sweep-20261122-184901-123{more}.png" for more in ("", "-2", "-3")]
    assert len({(at / sheet).read_bytes() for sheet in sheets}) == 3


def test_who_fails_keeps_nobody_else_from_being_drawn(side: Path, tsr: Commands) -> None:
    sweep = ("--sweep", "sampler=euler,eulr,heun", "--sweep", "hires-strength=0.5,0", "--hires", "2")
    done = tsr("generate", PROMPT, *SMALL, *sweep, "--seed", "1", "--sheet", "s.png")
    assert done.code == 2
    assert len(done.out.splitlines()) == 2
    told = done.err.splitlines()
    assert sum("eulr, hires denoising strength" in line and "did you mean 'euler'?" in line for line in told) == 2
    assert sum(line.startswith("euler, hires denoising strength 0: the engine refused") for line in told) == 1
    assert told[-2:] == ["contact sheet: s.png", "4 of 6 failed"]
    with Pillow.open(side / "s.png") as opened:
        colours = {colour: count for count, colour in opened.convert("RGB").getcolors(1 << 24) or []}
    assert colours[(208, 208, 208)] > 4 * 128 * 128 / 4
    answer = json.loads(tsr("generate", PROMPT, *SMALL, *sweep, "--seed", "1", "--json").out)
    assert [one["job"]["state"] for one in answer["generated"]] == ["succeeded", "failed", "succeeded", *["failed"] * 3]
    codes = [(one["job"]["error"] or {}).get("code") for one in answer["generated"]]
    assert codes == [None, "invalid_request", None, "engine_error", "invalid_request", "engine_error"]


def test_where_all_fail_the_first_error_is_the_answer(side: Path, tsr: Commands) -> None:
    done = tsr("generate", PROMPT, *SMALL, "--sweep", "model=ponny,shape")
    assert (done.code, done.out) == (3, "")
    assert "error: model 'ponny' not found" in done.err
    as_json = tsr("generate", PROMPT, *SMALL, "--sweep", "model=ponny,shape", "--json")
    assert (as_json.code, json.loads(as_json.out)["error"]["code"], as_json.err) == (3, "model_not_found", "")
    assert not list(side.glob("*.png"))


def test_a_sheet_that_cannot_be_written_leaves_the_pictures_told(at: Path, tsr: Commands) -> None:
    (at / "file").write_text("")
    done = tsr("generate", PROMPT, *SMALL, "--sweep", "cfg=1,2", "--sheet", "file/s.png")
    assert (done.code, len(done.out.splitlines())) == (2, 2)
    assert done.err.startswith("no contact sheet: cannot write file/s.png: ")


def test_detached_requests_are_left_to_the_server(api: Api, at: Path, tsr: Commands) -> None:
    done = tsr("generate", PROMPT, *SMALL, "--sweep", "cfg=1,2,3", "--detach", check=True)
    jobs = done.out.split()
    assert done.err == "follow them: tsr jobs list; a contact sheet is made only when it is waited for\n"
    assert [api.events(job)[-1]["state"] for job in jobs] == ["succeeded"] * 3
    assert [api.get(f"/api/jobs/{job}")["settings"]["cfg_scale"] for job in jobs] == [1, 2, 3]
    assert not list(at.iterdir())
    answer = tsr.json("generate", PROMPT, *SMALL, "--sweep", "cfg=1,2", "--detach")
    assert [one["images"] for one in answer["generated"]] == [[], []]


def test_of_detached_requests_all_or_none_are_queued(api: Api, at: Path, tsr: Commands) -> None:
    refused = tsr("generate", PROMPT, *SMALL, "-b", "256", "--sweep", "sampler=heun,eulr", "--detach")
    assert refusal(refused).startswith("error: eulr: unknown sampler 'eulr'")
    (job,) = api.get("/api/jobs", limit=1)["items"]
    assert job["settings"]["sampler"] == "heun"
    assert api.events(job["id"])[-1]["state"] == "cancelled"


def test_without_a_server_nothing_of_it_can_be_detached(fake_engine: Path, tsr: Commands) -> None:
    done = tsr("generate", PROMPT, *SMALL, "--sweep", "cfg=1,2", "--detach")
    assert (done.code, done.err) == (1, "error: --detach needs a server that goes on drawing\nhint:  tsr serve\n")


def test_the_same_idempotency_key_is_the_same_jobs(api: Api, at: Path, tsr: Commands) -> None:
    keyed = ("generate", PROMPT, *SMALL, "--seed", "1", "--sweep", "cfg=1,2", "--idempotency-key", "k", "--detach")
    jobs = tsr(*keyed, check=True).out
    assert len(set(jobs.split())) == 2
    assert tsr(*keyed, check=True).out == jobs
    assert [api.events(job)[-1]["state"] for job in jobs.split()] == ["succeeded"] * 2


def test_a_dry_run_says_what_would_be_drawn_and_can_be_drawn_later(api: Api, at: Path, tsr: Commands) -> None:
    before = len(api.sent())
    sweep = ("generate", PROMPT, *SMALL, "--sweep", "seed=5,6", "--sweep", "cfg=1.5,2", "--hires", "2", "-l", "x:0.5")
    done = tsr(*sweep, "--dry-run", check=True)
    assert [row.split(None, 1)[0] for row in done.out.splitlines()] == ["1", "2", "3", "4"]
    assert done.out.splitlines()[1].split("  ")[1:] == [
        *("seed 6, CFG scale 1.5", PROMPT, "size=64x64 steps=2 cfg_scale=1.5 seed=6 lora=x:0.5 hires=2"),
    ]
    assert done.err == "4 pictures in 4 jobs; nothing is drawn\n"
    (at / "plan.json").write_text(tsr(*sweep, "--dry-run", "--json", check=True).out)
    again = tsr.json("generate", "--input", "plan.json", "--dry-run")
    assert again == json.loads((at / "plan.json").read_text())
    assert [(one["seed"], one["cfg_scale"]) for one in again] == [(5, 1.5), (6, 1.5), (5, 2.0), (6, 2.0)]
    assert len(api.sent()) == before


def test_very_many_pictures_want_a_yes(api: Api, at: Path, tsr: Commands) -> None:
    before = len(api.sent())
    many = ("generate", PROMPT, *SMALL, "--sweep", "seed=1..501", "-b", "2")
    assert (
        refusal(tsr(*many)) == "error: that is 1,002 pictures: more than 1,000\nhint:  --yes draws them all the same\n"
    )
    assert len(api.sent()) == before
    assert tsr(*many, "--dry-run", check=True).err == "1,002 pictures in 501 jobs; nothing is drawn\n"


def test_a_person_is_asked_about_very_many(at: Path, tsr: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def confirm(text: str, **options: Any) -> None:
        asked.append(text)
        raise KeyboardInterrupt

    monkeypatch.setattr("click.confirm", confirm)
    monkeypatch.setattr(App, "interactive", True)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert tsr("generate", PROMPT, "--sweep", "seed=1..1001").code == 130
    assert asked == ["Draw 1,001 pictures?"]


SLIPS = {
    "two-sources": (("--input", "p.txt", "--from", "x"), "--input and --from are two ways to say what to draw"),
    "two-pipes": (("-", "--input", "-"), "the prompt and the file cannot both come from standard input"),
    "nothing": ((), "Missing argument 'PROMPT'"),
    "part-of-nothing": (("--sweep", "prompt:a=b"), "Missing argument 'PROMPT'"),
    "sheet": (("x", "--sheet", "s.png"), "--sheet needs a --sweep that is waited for"),
    "sheet-detached": (("x", "--sweep", "cfg=1", "--sheet", "s.png", "-d"), "--sheet needs a --sweep that is"),
    "dash": (("x", "--sweep", "cfg=1", "-o", "-"), "-o - writes one picture and nothing else"),
    "dash-input": (("--input", "p.txt", "-o", "-"), "-o - writes one picture and nothing else"),
    "axis": (("x", "--sweep", "stepz=1"), "'stepz' cannot be swept; did you mean 'steps'?"),
    "value": (("x", "--sweep", "steps=10,200"), "sweep at steps=200: steps must be at most 100, not 200"),
    "wide": (("x", "--sweep", "seed=1..201", "--sweep", "cfg=1"), "a sheet of 201 columns and 1 rows cannot be read"),
    "high": (("x", "--sweep", "cfg=1", "--sweep", "seed=1..201"), "a sheet of 1 columns and 201 rows cannot be read"),
    "no-file": (("--input", "no.txt"), "no.txt cannot be read: No such file or directory"),
    "no-kind": (("--input", "p.md"), "p.md is no file with prompts"),
    "entry": (("--input", "p.jsonl"), "p.jsonl, line 2: steps must be at least 1, not 0"),
    "hires": (("--input", "p.txt", "--hires-steps", "3"), "--hires-steps needs --hires SCALE"),
    "no-picture": (("--input", "i.json"), "i.json, entry 1: init_image cannot be read from no.png: No such file"),
}


@pytest.mark.parametrize(("arguments", "said"), SLIPS.values(), ids=SLIPS)
def test_a_slip_is_told_before_anything_is_drawn(
    api: Api, at: Path, tsr: Commands, arguments: tuple[str, ...], said: str
) -> None:
    (at / "p.txt").write_text("a red circle\n")
    (at / "p.jsonl").write_text('"fine"\n{"prompt": "x", "steps": 0}\n')
    (at / "i.json").write_text('[{"prompt": "x", "init_image": "no.png"}]')
    before = len(api.sent())
    assert refusal(tsr("generate", *arguments)).startswith(f"error: {said}")
    assert len(api.sent()) == before


def test_a_prompt_that_is_swept_needs_no_other(at: Path, tsr: Commands) -> None:
    answer = tsr.json("generate", "--sweep", 'prompt=a star,"a heart, large"', "--dry-run")
    assert [one["prompt"] for one in answer] == ["a star", "a heart, large"]
    assert answer[0]["seed"] == answer[1]["seed"] >= 0
