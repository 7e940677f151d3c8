"""What `rocm-docker/` promises, as far as that can be seen without Docker."""

from __future__ import annotations

import json
import os
import re
import shutil
import sysconfig
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from docker_compose import compose_program
from shell import FOLDER, ROOT, TABLE, put_program, run, variables

from tensors.base_models import FAMILIES
from tensors.families import load_families
from tensors.types.models import Defaults

SCRIPTS = sorted(
    [*FOLDER.glob("*.sh"), *ROOT.glob("tools/*.sh"), *ROOT.glob("tests/docker/*.sh"), ROOT / ".ci" / "run"]
)
DEFAULTS = {field.name.upper() for field in fields(Defaults)} - {"HIRES"}
VARIANTS = ("", "vulkan", "cuda", "cpu")
PORTS = {"sd-pony": 1234, "sd-illustrious": 1235, "sd-flux": 1236, "sd-sdxl": 1237, "sd-sd15": 1238}


def lint(program: str, *files: Path) -> str:
    """What a linter of the `lint` group has to say."""
    done = run(Path(sysconfig.get_path("scripts")) / program, *files)
    return done.stdout + done.stderr


# The table


def test_the_scripts_know_the_families_that_tsr_knows() -> None:
    assert run(FOLDER / "family-defaults.sh").stdout.split() == list(load_families())
    assert set(load_families()) <= set(FAMILIES)


@pytest.mark.parametrize("family", TABLE)
def test_the_scripts_read_the_table_as_tsr_does(family: str) -> None:
    for done in (
        run(FOLDER / "family-defaults.sh", family),
        run(FOLDER / "family-defaults.sh", "--check", family, **variables(family)),
    ):
        assert (done.returncode, done.stderr) == (0, "")
        assert dict(line.split("=", 1) for line in done.stdout.splitlines()) == variables(family)


@pytest.mark.parametrize("wrong", [{"STEPS": "26"}, {"STEPS": ""}, {"GUIDANCE": "3.5"}])
def test_a_build_without_the_defaults_of_the_table_says_how_it_gets_them(wrong: dict[str, str]) -> None:
    done = run(FOLDER / "family-defaults.sh", "--check", "pony", **{**variables("pony"), **wrong})
    assert done.returncode == 1
    assert re.search(r"[<>] (STEPS|GUIDANCE)=", done.stderr)
    assert done.stderr.endswith("build-all.sh gives them: rocm-docker/build-all.sh pony\n")


@pytest.mark.parametrize("family", ["ponny", "shapes.hires", "", "po.y"])
def test_a_family_that_is_no_section_is_refused(family: str) -> None:
    done = run(FOLDER / "family-defaults.sh", "--check", family)
    assert done.returncode == 1
    assert done.stderr == (
        f"MODEL_FAMILY: '{family}' is no section of model-defaults.toml, which has: {' '.join(load_families())}\n"
    )


def test_each_section_says_where_its_values_come_from() -> None:
    lines = (FOLDER / "model-defaults.toml").read_text().splitlines()
    sections = [number for number, line in enumerate(lines) if re.fullmatch(r"\[[a-z0-9-]+\]", line)]
    assert len(sections) == len(TABLE)
    assert [lines[number] for number in sections if not lines[number - 1].startswith("# ")] == []


def test_the_image_has_every_default() -> None:
    """In both stages, as environment and as label."""
    text = (FOLDER / "Dockerfile.sd-server").read_text()
    assert {name: text.count(f'ARG {name}=""') for name in DEFAULTS} == dict.fromkeys(DEFAULTS, 2)
    assert set(re.findall(r'^\s+(?:ENV )?([A-Z_]+)="\$\{\1\}"', text, re.MULTILINE)) >= DEFAULTS
    assert set(re.findall(r'tsr\.default\.([a-z_]+)="\$\{([A-Z_]+)\}"', text)) == {(n.lower(), n) for n in DEFAULTS}


# Linters


def test_hadolint_finds_nothing() -> None:
    assert lint("hadolint", FOLDER / "Dockerfile.sd-server", ROOT / "tests" / "docker" / "Dockerfile") == ""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    assert lint("shellcheck", script) == ""
    assert os.access(script, os.X_OK)


def test_linters_find_something(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /tmp\n")
    assert "DL3006" in lint("hadolint", tmp_path / "Dockerfile")
    assert "SC2086" in lint("shellcheck", put_program(tmp_path, "script", "rm $1\n"))


# Compose


@pytest.fixture(scope="module")
def compose() -> Path:
    return compose_program()


def compose_files(folder: Path, variant: str) -> list[str | Path]:
    names = ["docker-compose.yml", *([f"docker-compose.{variant}.yml"] if variant else [])]
    return [word for name in names for word in ("--file", folder / name)]


def configured(compose: Path, folder: Path, variant: str, **environment: str) -> dict[str, Any]:
    """The services as Compose understands them; without a word of it on standard error."""
    done = run(compose, *compose_files(folder, variant), "--profile", "*", "config", "--format", "json", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(done.stdout)["services"])


@pytest.mark.compose
@pytest.mark.parametrize("variant", VARIANTS)
def test_compose_takes_the_files_without_a_word(compose: Path, variant: str) -> None:
    services = configured(compose, FOLDER, variant)
    assert set(services) == set(PORTS)
    devices = {"": ["/dev/kfd", "/dev/dri"], "vulkan": ["/dev/dri"], "cuda": [], "cpu": []}[variant]
    for name, service in services.items():
        (port,) = service["ports"]
        assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", str(PORTS[name]), 1234)
        assert [device["source"] for device in service.get("devices", [])] == devices
        assert bool(service.get("group_add")) == bool(devices)
        assert ("deploy" in service) == (variant == "cuda")
        assert (service["init"], service["read_only"], service["cap_drop"]) == (True, True, ["ALL"])
        assert service["labels"]["tsr.backend"] == name.removeprefix("sd-")
        assert service["image"] == f"sd-server:{service['labels']['tsr.backend']}"
        assert service["image"].partition(":")[2] in TABLE
        assert not service.get("privileged")


@pytest.mark.compose
def test_compose_starts_three_unless_told(compose: Path) -> None:
    done = run(compose, *compose_files(FOLDER, ""), "config", "--services")
    assert sorted(done.stdout.split()) == ["sd-flux", "sd-illustrious", "sd-pony"]


@pytest.mark.compose
def test_the_settings_of_the_example_are_those_of_the_services(compose: Path, tmp_path: Path) -> None:
    for file in (*FOLDER.glob("docker-compose*.yml"), FOLDER / ".env.example"):
        shutil.copy(file, tmp_path)
    example = (tmp_path / ".env.example").rename(tmp_path / ".env").read_text()
    services = configured(compose, tmp_path, "", HIP_VISIBLE_DEVICES="1")
    assert services["sd-flux"]["environment"] == {
        "SD_ARGS": "",
        "HIP_VISIBLE_DEVICES": "1",
        "HSA_OVERRIDE_GFX_VERSION": None,
        "DIFFUSION_MODEL": "/models/diffusion_models/flux1-dev-Q8_0.gguf",
        "VAE": "/models/vae/ae.safetensors",
        "CLIP_L": "/models/text_encoders/clip_l.safetensors",
        "T5XXL": "/models/text_encoders/t5xxl_fp16.safetensors",
    }
    mounts = {mount["source"]: mount.get("read_only", False) for mount in services["sd-pony"]["volumes"]}
    assert mounts == {"/srv/tsr/models": True, "/srv/tsr/loras": True, "/srv/tsr/output": False}
    settings = re.findall(r"\$\{([A-Z0-9_]+)", (tmp_path / "docker-compose.yml").read_text())
    handed_on = re.findall(r"^  ([A-Z_]+):$", (tmp_path / "docker-compose.yml").read_text(), re.MULTILINE)
    assert set(re.findall(r"^#?([A-Z0-9_]+)=", example, re.MULTILINE)) == {*settings, *handed_on}
