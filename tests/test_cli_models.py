"""`tsr models`: what it asks for and prints, on a library here and with --remote, and a switch on a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from commands import Commands, Outcome
from conftest import FAKE_ENGINE, Server, running
from fake_tensors import FakeTensors
from headers import write_gguf, write_safetensors
from library_samples import LINK, MODIFIED, NASTY, NASTY_SHOWN, SHA256, a_job
from observe import PROMPT, engine_pid

from tensors.cli._follow import words
from tensors.errors import EngineStartFailed, MissingCompanions, NeedsServer
from tensors.models import demo_dir
from tensors.types.base import Page
from tensors.types.jobs import ErrorInfo, JobEvent, Progress
from tensors.types.models import LoraEntry, ModelEntry, SwitchReport, SwitchRequest, UnloadRequest
from tensors.types.server import EngineStatus

DREAMSHAPER = ModelEntry(
    name="dreamshaper_8",
    path="/models/dreamshaper_8.safetensors",
    kind="checkpoint",
    family="sd15",
    size=2_132_625_894,
    precision="fp16",
    sha256=SHA256,
    link=LINK,
    added=MODIFIED,
    id=1,
    active=True,
    loaded=("gpu0", "gpu1"),
)
FLUX = ModelEntry(
    name="flux1-dev",
    path="/models/flux1-dev.gguf",
    kind="diffusion_model",
    family="flux",
    variant="dev",
    size=11_900_000_000,
    id=2,
    needs=("VAE (ae)", "text encoder (of tomorrow)"),
)
BROKEN = ModelEntry(
    name=NASTY,
    path=f"/m/{NASTY}.gguf",
    kind="unknown",
    family="unknown",
    size=12,
    problem="is cut off:\n12 bytes",
    id=3,
)
STYLE = LoraEntry(
    name="style",
    path="/loras/style.safetensors",
    family="sd15",
    size=144_000_000,
    words=("in my style", "by me"),
    fits=True,
)
LORAS = (
    STYLE,
    replace(STYLE, name="other", family="pony", fits=False, words=()),
    replace(STYLE, name=NASTY, family="unknown", fits=None, problem="is cut off"),
)
SWITCHED = a_job("switch", switch=SwitchReport(model="flux1-dev", backend="gpu0"))
DEFAULTS: dict[str, Any] = {"query": None, "family": None, "limit": 100, "cursor": None}


@pytest.fixture
def tsr(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


# Lists


def test_models_are_listed_with_what_tells_them_apart(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["models.list"] = Page(items=(DREAMSHAPER, FLUX, BROKEN))
    done = tsr("models", "list", check=True)
    wide = len(NASTY_SHOWN)
    assert done.out.splitlines() == [
        f"*  {'dreamshaper_8':{wide}}  sd15     2.13 GB  gpu0, gpu1  DreamShaper (8)",
        f"   {'flux1-dev':{wide}}  flux     11.9 GB  -           -                needs: {', '.join(FLUX.needs)}",
        f"   {NASTY_SHOWN}  unknown     12 B  -           -                cannot be used: it is cut off: 12 bytes",
    ]
    assert done.err == ""
    document = tsr("models", "list", "--json", check=True).out
    assert msgspec.json.decode(document, type=Page[ModelEntry]) == fake.answers["models.list"]


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ((), {}),
        (("dream", "shaper"), {"query": "dream shaper"}),
        (("--family", "flux", "-n", "7", "--cursor", "12"), {"family": "flux", "limit": 7, "cursor": "12"}),
    ],
)
@pytest.mark.parametrize("noun", ["list", "loras"])
def test_what_was_typed_is_asked_for(
    tsr: Commands, fake: FakeTensors, noun: str, typed: tuple[str, ...], asked: dict[str, Any]
) -> None:
    fake.answers[f"models.{noun}"] = Page(items=())
    done = tsr("models", noun, *typed, check=True)
    assert fake.calls == [(f"models.{noun}", (), {**DEFAULTS, **({"fits": None} if noun == "loras" else {}), **asked})]
    assert (done.out, done.err.startswith("no such ")) == ("", True)


@pytest.mark.parametrize(
    ("typed", "more"),
    [
        (("list", "a b", "--family", "sd15"), "list 'a b' --family sd15 --cursor 9"),
        (("list", "-n", "7"), "list --limit 7 --cursor 9"),
        (("loras", "--fits", "x"), "loras --fits x --cursor 9"),
        (("loras", "q", "--fits"), f"loras q --fits {DREAMSHAPER.path} --cursor 9"),
    ],
)
def test_the_next_page_is_told(tsr: Commands, fake: FakeTensors, typed: tuple[str, ...], more: str) -> None:
    fake.answers |= {
        "models.list": Page(items=(FLUX,), next_cursor="9"),
        "models.loras": Page(items=LORAS, next_cursor="9"),
        "models.active": DREAMSHAPER,
    }
    assert tsr("models", *typed, check=True).err == f"more: tsr models {more}\n"


def test_loras_are_listed_with_whether_they_fit(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["models.loras"] = Page(items=LORAS)
    wide = len(NASTY_SHOWN)
    assert tsr("models", "loras", check=True).out.splitlines() == [
        f"{'style':{wide}}  sd15     fits          144 MB  in my style, by me",
        f"{'other':{wide}}  pony     does not fit  144 MB",
        f"{NASTY_SHOWN}  unknown  may fit       144 MB  cannot be used: it is cut off",
    ]


@pytest.mark.parametrize(("typed", "fits"), [(("--fits", "q"), "q"), (("x", "--fits"), DREAMSHAPER.path)])
def test_loras_that_fit_a_model_or_the_active_one(
    tsr: Commands, fake: FakeTensors, typed: tuple[str, ...], fits: str
) -> None:
    fake.answers |= {"models.loras": Page(items=LORAS), "models.active": DREAMSHAPER}
    tsr("models", "loras", *typed, check=True)
    (asked,) = fake.called("models.loras")
    assert asked["fits"] == fits


# One


def test_all_about_one_is_shown(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["models.get"] = DREAMSHAPER
    done = tsr("models", "show", "Dreamshaper_8", check=True)
    assert fake.called("models.get") == ["Dreamshaper_8"]
    rows = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert {
        "name": "dreamshaper_8",
        "loaded": "gpu0, gpu1",
        "sha256": SHA256,
        "link": "4384@128713",
    }.items() <= rows.items()
    assert rows["active"].startswith("yes, ")
    assert rows["size"] == "2.13 GB (2,132,625,894 bytes)"
    assert done.err == ""


def test_what_it_lacks_comes_with_the_command_that_fetches_it(tsr: Commands, fake: FakeTensors) -> None:
    """As far as this version knows one: a newer server may want what it has never heard of."""
    fake.answers["models.get"] = FLUX
    done = tsr("models", "show", "flux1-dev", check=True)
    assert "\nneeds    VAE (ae), text encoder (of tomorrow)\n" in done.out
    assert done.err == "VAE (ae): tsr dl hf:Comfy-Org/Lumina_Image_2.0_Repackaged/split_files/vae/ae.safetensors\n"
    document = tsr("models", "show", "flux1-dev", "--json", check=True)
    assert (msgspec.json.decode(document.out, type=ModelEntry), document.err) == (FLUX, "")


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (DREAMSHAPER, "family sd15, loaded on gpu0, gpu1\n"),
        (FLUX, "family flux, not loaded: the next request for it does that\n"),
    ],
)
def test_the_active_one_is_a_name_for_scripts(tsr: Commands, fake: FakeTensors, entry: ModelEntry, told: str) -> None:
    fake.answers["models.active"] = entry
    assert tsr("models", "active") == Outcome(0, f"{entry.name}\n", told)


# Switching


def test_a_switch_is_followed_and_told(tsr: Commands, fake: FakeTensors) -> None:
    loading = JobEvent(seq=1, job=SWITCHED.id, state="running", progress=Progress(phase="loading", step=3, steps=8))
    fake.job(SWITCHED, loading)
    done = tsr("models", "switch", "flux1-dev", "--backend", "gpu0")
    assert done == Outcome(0, "flux1-dev is loaded on gpu0\n", "")
    assert fake.calls == [
        ("models.switch", (SwitchRequest(model="flux1-dev", backend="gpu0"),), {"detach": False}),
        ("jobs.events", (SWITCHED.id,), {}),
        ("jobs.get", (SWITCHED.id,), {}),
    ]
    assert tsr.json("models", "switch", "flux1-dev")["switch"] == {"model": "flux1-dev", "backend": "gpu0"}


def test_the_bar_says_how_far_the_load_is() -> None:
    assert words(Progress(phase="loading", step=3, steps=8)) == "loading, 37 %"
    assert words(Progress(phase="loading")) == "loading"


def test_detached_the_job_is_named_and_left_alone(tsr: Commands, fake: FakeTensors) -> None:
    fake.job(SWITCHED)
    done = tsr("models", "switch", "flux1-dev", "-d")
    assert done == Outcome(0, f"{SWITCHED.id}\n", f"follow it: tsr jobs watch {SWITCHED.id}\n")
    assert [(name, options) for name, _, options in fake.calls] == [("models.switch", {"detach": True})]


def test_why_it_could_not_be_loaded_is_told(tsr: Commands, fake: FakeTensors) -> None:
    error = ErrorInfo(code="engine_start_failed", message="could not be loaded\n[ERROR] bad", hint="tsr ps")
    fake.job(replace(SWITCHED, state="failed", switch=None, error=error))
    done = tsr("models", "switch", "flux1-dev")
    assert done.code == EngineStartFailed.exit_code
    assert done.err == "error: could not be loaded\n[ERROR] bad\nhint:  tsr ps\n"


def test_ctrl_c_cancels_the_switch(tsr: Commands, fake: FakeTensors) -> None:
    def events(_job_id: str) -> Iterator[JobEvent]:
        raise KeyboardInterrupt

    fake.job(SWITCHED)
    fake.answers |= {"jobs.events": events, "jobs.cancel": SWITCHED}
    done = tsr("models", "switch", "flux1-dev")
    # Nothing of a load stays, so no hint says so.
    assert done == Outcome(130, "", f"cancelling ...\nerror: job {SWITCHED.id} cancelled\n")
    assert fake.called("jobs.cancel") == [SWITCHED.id]


def test_the_commands_that_fetch_what_is_missing_stand_below_each_other(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["models.switch"] = MissingCompanions("'x' needs a and b", hint="tsr dl a\ntsr dl b")
    done = tsr("models", "switch", "x")
    assert done == Outcome(2, "", "error: 'x' needs a and b\nhint:  tsr dl a\n       tsr dl b\n")


@pytest.mark.parametrize("names", [(), ("gpu0", "gpu1")])
def test_unloading_shows_how_the_backends_are_then(tsr: Commands, fake: FakeTensors, names: tuple[str, ...]) -> None:
    fake.answers["models.unload"] = Page(items=(EngineStatus(state="stopped", name="gpu0"),))
    done = tsr("models", "unload", *names)
    assert done == Outcome(0, "gpu0  process  stopped  -  -  -\n", "")
    assert fake.called("models.unload") == [UnloadRequest(backends=names)]


@pytest.mark.parametrize("command", [("switch", "x"), ("unload",)], ids=" ".join)
def test_what_only_a_server_can_do_is_refused_without_one(
    tsr: Commands, fake: FakeTensors, command: tuple[str, ...]
) -> None:
    fake.answers[f"models.{command[0]}"] = NeedsServer("no server", hint="tsr serve")
    assert tsr("models", *command) == Outcome(1, "", "error: no server\nhint:  tsr serve\n")


# On real files, here and there

LORA = {
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight": (8, 2048),
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_up.weight": (640, 8),
}
SPLIT = {"double_blocks.0.img_attn.norm.key_norm.scale": (128,), "img_in.weight": (3072, 64)}
ODD, ODD_SHOWN = "ev\x1b[31mil name", r"ev\x1b[31mil name"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Server]]:
    """A folder with models, and a server that has nothing loaded."""
    root = tmp_path_factory.mktemp("place")
    folder, config = root / "models", root / "config.toml"
    write_safetensors(folder / "Lora" / "ink.safetensors", LORA, {"modelspec.title": "Ink"})
    write_gguf(folder / "unet" / "split.gguf", SPLIT, {})
    whole = (demo_dir() / "shapes.safetensors").read_bytes()
    for name in ("second", ODD):
        write_safetensors(folder / "Stable-diffusion" / f"{name}.safetensors", {"x": (1,)})
        (folder / "Stable-diffusion" / f"{name}.safetensors").write_bytes(whole)
    (folder / "Stable-diffusion" / "broken.safetensors").write_bytes(whole[:1000])
    config.write_text(f'[paths]\nmodels = ["{folder}"]\n')
    with running(root / "there", TSR_CONFIG=str(config), TSR_ENGINE=str(FAKE_ENGINE)) as server:
        client = server.client()
        engine_pid(client)
        client.models.unload(UnloadRequest())
        client.close()
        yield config, server


@pytest.fixture
def same(place: tuple[Path, Server], tsr: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs a command on this machine and on the server, which must go the same way."""
    config, server = place
    monkeypatch.setenv("TSR_CONFIG", str(config))
    monkeypatch.setenv("TSR_ENGINE", str(FAKE_ENGINE))

    def both(*arguments: str) -> Outcome:
        here, there = tsr(*arguments), tsr(*arguments, "--remote", server.url)
        places = (tmp_path / "data", server.data_dir)
        assert here.comparable(*places) == there.comparable(*places)
        return here

    return both


def test_models_are_shown_the_same_here_and_there(same: Any) -> None:
    listed = same("models", "list")
    names = [line[3:].partition("  ")[0].rstrip() for line in listed.out.splitlines()]
    assert names == ["broken", ODD_SHOWN, "second", "shapes", "split"]
    assert [line.split()[1] for line in listed.out.splitlines() if line.startswith("*")] == ["shapes"]
    assert "needs: VAE (ae), text encoder (clip_l), text encoder (t5xxl)\n" in listed.out
    assert "cannot be used: it is cut off" in listed.out
    assert same("models", "list", "sec", "--family", "shapes").out.split()[0] == "second"
    assert same("models", "list", "-n", "2").err.startswith("more: tsr models list --limit 2 --cursor ")
    assert same("models", "show", "SECOND").out.startswith("name       second\n")
    assert same("models", "show", "split").err.count(": tsr dl hf:") == 3
    assert same("models", "active").out == "shapes\n"


def test_loras_are_shown_the_same_here_and_there(same: Any) -> None:
    fitting = {line.split()[0]: line.split("  ")[2].strip() for line in same("models", "loras").out.splitlines()}
    assert fitting["shapes-outline"] == "fits"
    assert "ink" in fitting
    assert [line.split()[0] for line in same("models", "loras", "--fits").out.splitlines()] == ["shapes-outline"]
    assert same("models", "loras", "--fits", "split", "--json").out.startswith('{"items":[]')


REFUSED: dict[str, tuple[Any, ...]] = {
    "name": (3, "model_not_found", "models", "show", "secnd"),
    "nothing": (3, "model_not_found", "models", "show", "../../etc/passwd"),
    "limit": (2, "invalid_request", "models", "list", "-n", "0"),
    "cursor": (2, "invalid_request", "models", "list", "--cursor", "x"),
    "fits": (3, "model_not_found", "models", "loras", "--fits", "nope"),
    "switch-name": (3, "model_not_found", "models", "switch", "secnd"),
    "switch-broken": (3, "model_not_found", "models", "switch", "broken"),
    "switch-needs": (2, "missing_companions", "models", "switch", "split"),
    "switch-empty": (2, "invalid_request", "models", "switch", ""),
    "lora": (2, "invalid_request", "generate", "x", "--lora", "ink"),
    "no-text": (2, "invalid_request", "models", "list", "caf\udce9"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_failure_is_told_in_the_same_words(same: Any, case: tuple[Any, ...]) -> None:
    code, name, *arguments = case
    done = same(*arguments)
    assert (done.code, done.out, done.err[:7]) == (code, "", "error: ")
    error = json.loads(same(*arguments, "--json").out)["error"]
    assert (error["code"], error["message"] in done.err) == (name, True)


def test_what_does_not_fit_is_drawn_when_it_is_insisted_on(same: Any) -> None:
    done = same(
        "generate", PROMPT, "--size", "64x64", "--steps", "1", "--seed", "5", "--lora", "ink", "--force", "--json"
    )
    assert json.loads(done.out)["images"][0]["settings"]["loras"][0]["name"] == "ink"


def test_a_real_switch_stays_until_the_next(tsr: Commands, start_server: Any, place: tuple[Path, Server]) -> None:
    """Loaded, active, drawn with, unloaded, and still the active one."""
    server = start_server(TSR_CONFIG=str(place[0]), TSR_ENGINE=str(FAKE_ENGINE))
    remote = ("--remote", server.url)
    assert tsr("models", "switch", "second", *remote, check=True).out == "second is loaded on engine\n"
    assert tsr("models", "active", *remote) == Outcome(0, "second\n", "family shapes, loaded on engine\n")
    drawn = tsr.json("generate", PROMPT, "--size", "64x64", "--steps", "1", *remote)
    assert drawn["images"][0]["settings"]["model"]["name"] == "second"
    assert tsr("ps", *remote).out.split()[:4] == ["engine", "process", "ready", "second"]
    assert tsr("models", "unload", "engine", *remote).out.split()[:3] == ["engine", "process", "stopped"]
    assert tsr("models", "active", *remote).out == "second\n"
    listed = tsr("jobs", "list", "--kind", "switch", *remote, check=True).out
    assert listed.rstrip().endswith("succeeded  switch    second is loaded on engine")
    assert tsr("models", "switch", "shapes", "--backend", "gpu7", *remote).code == 3
