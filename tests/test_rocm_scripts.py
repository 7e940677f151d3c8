"""The scripts of `rocm-docker/` before programs that only note down how they were started."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from shell import FOLDER, TABLE, put_program, run, variables

from tensors.engines.containers import FILE_VARIABLES

# The entrypoint

FAKE_ENGINE = r"""
printf '%s\0' "$@" >"$SAID/arguments"
env -0 >"$SAID/environment"
if [[ ${WAIT:-} ]]; then
  trap 'kill "$!"; exit 42' TERM
  sleep infinity >/dev/null &
  echo "engine $$"
  wait "$!"
fi
"""


@dataclass
class Entrypoint:
    """The real entrypoint, before a fake engine that notes down how it was started."""

    root: Path
    model: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "SAID": str(self.root),
            "MODELS_DIR": str(self.root / "models"),
            "MODEL": str(self.model),
        }

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return run(FOLDER / "entrypoint.sh", *arguments, **{**self.environment, **environment})

    def _noted(self, name: str) -> list[str]:
        return (self.root / name).read_text().split("\0")[:-1]

    @property
    def arguments(self) -> list[str]:
        return self._noted("arguments")

    @property
    def seen(self) -> dict[str, str]:
        """The environment that the engine saw."""
        return dict(line.split("=", 1) for line in self._noted("environment"))


def pairs(arguments: list[str]) -> dict[str, str]:
    """Options and their values."""
    return dict(zip(arguments[::2], arguments[1::2], strict=True))


@pytest.fixture
def entrypoint(tmp_path: Path) -> Entrypoint:
    put_program(tmp_path / "bin", "sd-server", FAKE_ENGINE)
    model = tmp_path / "models" / "check points" / "pony v6.safetensors"
    model.parent.mkdir(parents=True)
    model.touch()
    return Entrypoint(tmp_path, model)


ALWAYS = {"--listen-ip": "0.0.0.0", "--listen-port": "1234", "--lora-apply-mode": "at_runtime"}


def test_nothing_but_the_model_leaves_the_rest_to_the_engine(entrypoint: Entrypoint) -> None:
    assert entrypoint().returncode == 0
    assert pairs(entrypoint.arguments) == {**ALWAYS, "--model": str(entrypoint.model)}


def test_what_is_set_becomes_options_and_what_is_empty_none(entrypoint: Entrypoint) -> None:
    defaults = variables("flux") | {"STEPS": "4", "SCHEDULER": "", "NEGATIVE_PROMPT": 'a "b" * $HOME'}
    done = entrypoint("--rng", "a b", LORA_DIR="/loras", VAE="", SD_ARGS=" --threads  2\n--mmap\t* ", **defaults)
    assert done.returncode == 0
    assert entrypoint.arguments[-6:] == ["--threads", "2", "--mmap", "*", "--rng", "a b"]
    assert pairs(entrypoint.arguments[:-6]) == ALWAYS | {
        "--model": str(entrypoint.model),
        "--lora-model-dir": "/loras",
        "--width": "1024",
        "--height": "1024",
        "--steps": "4",
        "--cfg-scale": "1.0",
        "--guidance": "3.5",
        "--sampling-method": "euler",
        "--negative-prompt": 'a "b" * $HOME',
    }


def test_each_variable_of_a_file_is_an_option(entrypoint: Entrypoint) -> None:
    paths = {name: str(entrypoint.root / "models" / name) for name in FILE_VARIABLES}
    for path in paths.values():
        Path(path).touch()
    assert entrypoint(**paths).returncode == 0
    options = ("--model", "--diffusion-model", "--vae", "--clip_l", "--clip_g", "--t5xxl", "--llm", "--taesd")
    assert pairs(entrypoint.arguments) == ALWAYS | dict(zip(options, paths.values(), strict=True))


def test_the_final_command_line_is_printed_so_that_it_can_be_typed(entrypoint: Entrypoint) -> None:
    done = entrypoint("--prompt", "it's *", NEGATIVE_PROMPT="worst quality, (bad)", SD_ARGS="--vae-on-cpu")
    word, _, line = done.stdout.partition(" ")
    assert word == "Starting:"
    assert shlex.split(line) == ["sd-server", *entrypoint.arguments]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"MODEL": ""}, "neither MODEL nor DIFFUSION_MODEL names a file"),
        ({"MODEL": "/models/ponny.gguf"}, "MODEL=/models/ponny.gguf: there is no such file"),
        ({"VAE": "/models/vae x.gguf"}, "VAE=/models/vae x.gguf: there is no such file"),
        ({"MODEL": "", "DIFFUSION_MODEL": "/"}, "DIFFUSION_MODEL=/: there is no such file"),
    ],
)
def test_a_missing_file_is_named_and_the_models_are_listed(
    entrypoint: Entrypoint, environment: dict[str, str], said: str
) -> None:
    models = entrypoint.root / "models"
    for name in ("a.gguf", "notes.txt"):
        (models / name).touch()
    done = entrypoint(**environment)
    assert done.returncode == 1
    assert done.stderr == f"sd-server cannot start: {said}\n{models} holds:\n{models / 'a.gguf'}\n{entrypoint.model}\n"
    assert not (entrypoint.root / "arguments").exists()


@pytest.mark.parametrize("folder", ["empty", "not there"])
def test_without_any_model_it_asks_for_the_mount(entrypoint: Entrypoint, folder: str) -> None:
    models = entrypoint.root / folder
    if folder == "empty":
        models.mkdir()
    done = entrypoint(MODEL="", MODELS_DIR=str(models))
    assert done.returncode == 1
    assert f"There is no model in {models}; is the folder mounted, and may user {os.getuid()}:" in done.stderr


def test_a_signal_ends_the_engine_whose_exit_code_is_the_container_s(entrypoint: Entrypoint) -> None:
    command = [FOLDER / "entrypoint.sh"]
    with subprocess.Popen(
        command, env={**entrypoint.environment, "WAIT": "1"}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("Starting: sd-server ")
        # The engine has taken the script's place.
        assert process.stdout.readline() == f"engine {process.pid}\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 42


def test_an_empty_choice_of_cards_is_none(entrypoint: Entrypoint) -> None:
    entrypoint(HIP_VISIBLE_DEVICES="", CUDA_VISIBLE_DEVICES="", HSA_OVERRIDE_GFX_VERSION="", ROCR_VISIBLE_DEVICES="1")
    seen = entrypoint.seen
    assert seen["ROCR_VISIBLE_DEVICES"] == "1"
    assert not {"HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION"} & set(seen)


@pytest.mark.parametrize("others", ["", "/opt/rocm/lib"])
def test_the_engine_s_own_libraries_come_first(entrypoint: Entrypoint, others: str) -> None:
    entrypoint(LD_LIBRARY_PATH=others)
    assert entrypoint.seen["LD_LIBRARY_PATH"].split(":") == [
        str(entrypoint.root / "bin"),
        *([others] if others else []),
    ]


# Building

FAKE_DOCKER = r"""
printf '%s\0' "$@" >>"$SAID/calls"
printf '\n' >>"$SAID/calls"
case $* in
  "image inspect "*) echo 153000000 ;;
  "build "*) ls "${@: -1}" "${@: -1}/engine" >>"$SAID/contexts" ;;
esac
if [[ $* == *"$FAIL"* ]]; then echo "its last words" >&2; exit 1; fi
"""


@dataclass
class Builder:
    """`build-all.sh` before a fake Docker that notes down what it is asked for."""

    root: Path

    def __call__(self, *arguments: str | Path, fail: str = "nothing") -> subprocess.CompletedProcess[str]:
        (self.root / "calls").write_text("")
        path = f"{self.root / 'bin'}:{os.environ['PATH']}"
        return run(FOLDER / "build-all.sh", *arguments, PATH=path, SAID=str(self.root), FAIL=fail)

    @property
    def calls(self) -> list[list[str]]:
        return [line.split("\0")[:-1] for line in (self.root / "calls").read_text().split("\n")[:-1]]

    @property
    def builds(self) -> list[dict[str, str]]:
        """The build arguments of each build."""
        return [
            dict(value.split("=", 1) for option, value in itertools.pairwise(call) if option == "--build-arg")
            for call in self.calls
            if call[0] == "build"
        ]


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    put_program(tmp_path / "bin", "docker", FAKE_DOCKER)
    put_program(tmp_path / "engine", "sd-server", "")
    (tmp_path / "engine" / "libstable-diffusion.so").touch()
    return Builder(tmp_path)


def test_every_family_is_built_with_its_defaults(builder: Builder) -> None:
    done = builder(
        "--engine", builder.root / "engine", "--backend", "cpu", "--engine-version", "v1", "--", "--network=host"
    )
    assert (done.returncode, done.stderr) == (0, "")
    given = [{"BASE_IMAGE": "ubuntu:24.04", "PACKAGES": "libgomp1", "MODEL_FAMILY": family, "ENGINE_URL": "",
              "ENGINE_SHA256": "", "ENGINE_VERSION": "v1", **variables(family)} for family in TABLE]  # fmt: skip
    assert builder.builds == given
    assert all(call[-2] == "--network=host" for call in builder.calls if call[0] == "build")
    assert "libstable-diffusion.so\nsd-server\n" in (builder.root / "contexts").read_text()
    assert re.findall(r"^  sd-server:(\S+) +153MB$", done.stdout, re.MULTILINE) == list(TABLE)


def test_the_named_ones_are_tagged_and_pushed(builder: Builder) -> None:
    done = builder(
        "--engine", builder.root / "engine" / "sd-server", "--push", "registry.example:5000/", "flux", "pony"
    )
    assert done.returncode == 0
    words = [(call[0], call[-1]) for call in builder.calls if call[0] in ("tag", "push")]
    remote = [f"registry.example:5000/sd-server:{family}" for family in ("flux", "pony")]
    assert words == [("tag", remote[0]), ("push", remote[0]), ("tag", remote[1]), ("push", remote[1])]
    assert [build["MODEL_FAMILY"] for build in builder.builds] == ["flux", "pony"]
    assert builder.builds[0]["BASE_IMAGE"].startswith("rocm/")


def test_the_first_failure_stops_it_with_its_log(builder: Builder) -> None:
    done = builder("--engine", builder.root / "engine", "pony", "flux", "sdxl", fail="MODEL_FAMILY=flux")
    assert done.returncode == 1
    assert [build["MODEL_FAMILY"] for build in builder.builds] == ["pony", "flux"]
    assert "its last words\n" in done.stderr
    assert "sd-server:flux           FAILED" in done.stdout
    assert re.findall(r"^  sd-server:(\S+) +(.+)$", done.stderr, re.MULTILINE) == [
        ("pony", "153MB"),
        ("flux", "not built"),
        ("sdxl", "not built"),
    ]


def test_a_dry_run_prints_the_commands_and_does_nothing(builder: Builder) -> None:
    sum = "0" * 64
    url = "https://example.org/sd-master-1-abc-bin-Linux-Ubuntu-24.04-x86_64-rocm.zip"
    done = builder("--dry-run", "--engine-url", url, "--engine-sha256", sum, "--push", "r", "shapes")
    assert (done.returncode, builder.calls) == (0, [])
    build, tag, push, end = done.stdout.splitlines()
    assert f"ENGINE_URL={url}" in shlex.split(build)
    assert "ENGINE_VERSION=sd-master-1-abc-bin-Linux-Ubuntu-24.04-x86_64-rocm" in shlex.split(build)
    assert (tag.split()[:2], push.split()) == (["docker", "tag"], ["docker", "push", "r/sd-server:shapes"])
    assert end.startswith("Nothing was done.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--engine", "{engine}", "pony", "ponny"), "unknown family 'ponny'; model-defaults.toml has: sd15 sd2 "),
        (("pony",), "which sd-server? Give --engine PATH, or --engine-url URL and --engine-sha256 SUM"),
        (("--engine", "/nowhere"), "--engine /nowhere is no sd-server, and has none in it"),
        (("--engine-url", "https://example.org/x.zip"), "--engine-url needs --engine-sha256, 64 digits"),
        (("--engine", "{engine}", "--engine-url", "x"), "give --engine or --engine-url, not both"),
        (("--engine", "{engine}", "--backend", "opencl"), "unknown backend 'opencl': rocm, vulkan, cuda or cpu"),
        (("--pushh",), "unknown option --pushh"),
        (("--engine",), "--engine wants a value"),
    ],
)
def test_what_cannot_be_built_is_said_before_anything_is(
    builder: Builder, arguments: tuple[str, ...], said: str
) -> None:
    done = builder(*(argument.format(engine=builder.root / "engine") for argument in arguments))
    assert (done.returncode, builder.calls) == (2, [])
    assert done.stderr.startswith(f"build-all.sh: {said}")
