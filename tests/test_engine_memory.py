"""How much memory there is, from what systems tell, and how much a model takes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
from headers import Shapes, write_safetensors

from tensors.engines.memory import Memory, estimate, memory_of
from tensors.models import ModelFile, demo_dir

MIB, GIB = 2**20, 2**30
MEMINFO = "MemTotal:       16384 kB\nMemFree:         1024 kB\nMemAvailable:    8192 kB\n"
RAM = Memory(16384 * 1024, 8192 * 1024)


def tree(root: Path, files: Mapping[str, object]) -> Path:
    """Files below a root, as `/proc` and `/sys` have them."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", "ascii")
    return root


def card(number: int, total: int, used: int) -> dict[str, object]:
    folder = f"sys/class/drm/card{number}/device"
    return {f"{folder}/mem_info_vram_total": total, f"{folder}/mem_info_vram_used": used}


@pytest.mark.parametrize("accelerator", ["cpu", "metal"])
def test_without_a_card_it_is_the_machines_memory(accelerator: str, tmp_path: Path) -> None:
    assert memory_of(accelerator, tree(tmp_path, {"proc/meminfo": MEMINFO})) == RAM


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"": ("max", "5000000")}, RAM),
        ({"": ("10000000", "4000000")}, Memory(10_000_000, 6_000_000)),
        ({"box/job": ("10000000", "4000000"), "box": ("9000000", "8000000")}, Memory(9_000_000, 1_000_000)),
        ({"box/job": ("10000000", "12000000")}, Memory(10_000_000, 0)),
        ({"box/job": ("99999999999", "0")}, RAM),
    ],
    ids=str,
)
def test_the_limits_of_control_groups_count(
    limits: dict[str, tuple[str, str]], expected: Memory, tmp_path: Path
) -> None:
    files: dict[str, object] = {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/box/job"}
    for group, (most, used) in limits.items():
        files |= {f"sys/fs/cgroup/{group}/memory.max": most, f"sys/fs/cgroup/{group}/memory.current": used}
    assert memory_of("cpu", tree(tmp_path, files)) == expected


def test_a_groups_cache_can_be_had(tmp_path: Path) -> None:
    group = {"memory.max": 10_000_000, "memory.current": 9_000_000, "memory.stat": "anon 1\ninactive_file 3000000\nx 2"}
    files = {f"sys/fs/cgroup/{name}": value for name, value in group.items()}
    root = tree(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": "1:cpu:/x\n0::/", **files})
    assert memory_of("cpu", root) == Memory(10_000_000, 4_000_000)


def test_a_group_outside_of_what_can_be_seen_says_nothing(tmp_path: Path) -> None:
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/../job",
        "sys/fs/job/memory.max": 5,
        "sys/fs/cgroup/x": "",
    }
    assert memory_of("cpu", tree(tmp_path, {**files, "sys/fs/job/memory.current": 1})) == RAM


def test_this_machine_has_some_memory() -> None:
    found = memory_of("cpu")
    assert found is not None
    assert 0 < found.free < found.total <= psutil.virtual_memory().total


def test_where_linux_says_nothing_psutil_does(tmp_path: Path) -> None:
    found = memory_of("cpu", tmp_path)
    assert found is not None
    assert found.total == psutil.virtual_memory().total


@pytest.mark.parametrize("accelerator", ["rocm", "vulkan"])
def test_of_several_cards_the_largest_counts(accelerator: str, tmp_path: Path) -> None:
    cards = {**card(0, 4 * GIB, 0), **card(1, 16 * GIB, 3 * GIB), "sys/class/drm/card2/device/vendor": "0x8086"}
    assert memory_of(accelerator, tree(tmp_path, cards)) == Memory(16 * GIB, 13 * GIB)


def test_a_card_that_borrows_memory_says_nothing(tmp_path: Path) -> None:
    assert memory_of("rocm", tree(tmp_path, card(0, 512 * MIB, 500 * MIB))) is None


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name, which prints what the file beside it has; exit code 9 without one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    answer = folder / "answer"
    program = folder / "nvidia-smi"
    program.write_text(
        f"#!{sys.executable}\nimport pathlib, sys\n"
        "if sys.argv[1:] != ['--query-gpu=memory.total,memory.used', '--format=csv,noheader,nounits']: sys.exit(2)\n"
        f"path = pathlib.Path({str(answer)!r})\n"
        "sys.exit(9) if not path.exists() else print(path.read_text())\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return answer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("24564, 1024", Memory(24564 * MIB, 23540 * MIB)),
        ("8192, 100\n24564, 24564", Memory(24564 * MIB, 0)),
        ("[N/A], [N/A]", None),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", None),
        (None, None),
    ],
)
def test_nvidias_program_is_asked(
    answer: str | None, expected: Memory | None, nvidia_smi: Path, tmp_path: Path
) -> None:
    if answer is not None:
        nvidia_smi.write_text(answer)
    assert memory_of("cuda", tmp_path / "none") == memory_of("vulkan", tmp_path / "none") == expected


def test_what_nobody_tells_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [memory_of(name, tmp_path) for name in ("cuda", "rocm", "vulkan", "something new")] == [None] * 4


WEIGHTS: Shapes = {"a": (1000, 1000)}


def test_a_model_takes_its_files_and_the_vaes_work(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "unet.safetensors", WEIGHTS)
    vae = write_safetensors(tmp_path / "vae.safetensors", WEIGHTS)
    alone = ModelFile("unet", path, "sdxl", kind="diffusion_model")
    with_vae = ModelFile("unet", path, "sdxl", kind="diffusion_model", companions=(("vae", vae),))
    size = path.stat().st_size
    assert estimate(with_vae) - estimate(alone) == size
    # SDXL's usual size, whose VAE took 6657 MiB when it was measured.
    assert estimate(alone) == estimate(alone, width=1024, height=1024)
    assert 6657 * MIB < estimate(alone) - size < 6900 * MIB
    assert estimate(alone, width=512, height=512) - size < 1900 * MIB
    assert estimate(alone, tiling=True) - size < 600 * MIB
    assert estimate(alone, width=64, height=64, tiling=True) == estimate(alone, width=64, height=64)


def test_eight_bits_become_sixteen_in_memory(tmp_path: Path) -> None:
    small = write_safetensors(tmp_path / "fp8.safetensors", WEIGHTS, dtype="F8_E4M3")
    as_is = write_safetensors(tmp_path / "fp16.safetensors", WEIGHTS, dtype="F16")
    difference = estimate(ModelFile("a", small, "flux")) - estimate(ModelFile("b", as_is, "flux"))
    assert abs(difference) < 1000


def test_what_is_no_model_takes_its_size(tmp_path: Path) -> None:
    odd = tmp_path / "odd.safetensors"
    odd.write_bytes(b"x" * 1000)
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    assert estimate(ModelFile("odd", odd, "flux")) == estimate(ModelFile("empty", empty, "flux")) + 1000


def test_a_file_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        estimate(ModelFile("gone", tmp_path / "gone.safetensors", "flux"))


@pytest.mark.parametrize(("side", "measured"), [(64, 123_384), (256, 242_700)])
def test_the_demos_estimate_is_near_what_was_measured(side: int, measured: int) -> None:
    """`VmHWM` in kB of a real sd-server that drew one picture of this size."""
    demo = demo_dir() / "shapes.safetensors"
    guess = estimate(ModelFile("shapes", demo, "shapes", companions=(("taesd", demo),)), width=side, height=side)
    assert 0.8 < guess / (measured * 1024) < 1.25
