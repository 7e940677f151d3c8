"""`tsr doctor` on cards: what the kernel tells, which code they run, what a user may; on trees of files of our own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensors.doctoring import gpu
from tensors.doctoring.builds import build_of
from tensors.doctoring.gfx import GENERIC, Build, decoded, judge, target_of, version_of
from tensors.doctoring.gpu import Cards, cards_of, look_at_cards, look_at_devices, look_at_memory, visible
from tensors.doctoring.machine import Machine
from tensors.engines.memory import Memory
from tensors.types.doctor import Finding

OVERRIDE = "HSA_OVERRIDE_GFX_VERSION"
TARGETS = sorted({target for family in GENERIC.values() for target in family} | {"gfx803", "gfx90a", "gfx1250"})
VULKAN = "tsr engine install --accelerator vulkan"
GB = 10**9


def told(findings: object) -> list[tuple[str, str | None]]:
    """State and command of each finding."""
    assert isinstance(findings, list)
    return [(finding.state, finding.command) for finding in findings]


def tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


# Targets


@pytest.mark.parametrize(
    ("number", "target"),
    [(110000, "gfx1100"), (90012, "gfx90c"), (90010, "gfx90a"), (100301, "gfx1031"), (80003, "gfx803"),
     (110501, "gfx1151"), (120001, "gfx1201")],
)  # fmt: skip
def test_the_kernels_number_is_a_target(number: int, target: str) -> None:
    assert decoded(number) == target


def test_versions_are_what_rocm_takes() -> None:
    assert (version_of("gfx1030"), version_of("gfx90c"), version_of("gfx1151")) == ("10.3.0", "9.0.12", "11.5.1")


@given(st.integers(6, 99), st.integers(0, 15), st.integers(0, 15))
def test_a_version_means_the_target_it_was_made_of(major: int, minor: int, stepping: int) -> None:
    target = decoded(major * 10_000 + minor * 100 + stepping)
    assert target_of(version_of(target)) == target
    assert version_of(target) == f"{major}.{minor}.{stepping}"


@pytest.mark.parametrize(
    "version", ["", "11", "11.0", "gfx1100", "11.0.x", "11.0.16", "11.16.0", "1e1.0.0", "11.0.0.0"]
)
def test_what_is_no_version_means_no_target(version: str) -> None:
    assert target_of(version) is None


def code(*targets: str, blas: tuple[str, ...] | None = None) -> Build:
    return Build(frozenset(targets), None if blas is None else frozenset(blas))


BUILT_FOR = st.frozensets(st.sampled_from([*TARGETS, *GENERIC]))


@given(st.sampled_from(TARGETS), BUILT_FOR)
def test_a_stand_in_is_of_the_same_kind_and_there(card: str, targets: frozenset[str]) -> None:
    build = Build(targets)
    found = build.stand_in(card)
    kin = {other for family in GENERIC.values() if card in family for other in family} - {card}
    if found is None:
        assert not any(build.runs(other) for other in kin)
    else:
        assert found in kin
        assert build.runs(found)


RDNA2, RDNA3 = code("gfx1030", "gfx1100"), code("gfx1100", "gfx1101", "gfx1102", "gfx1150", "gfx1151")


@pytest.mark.parametrize(
    ("card", "override", "build", "state", "command"),
    [
        ("gfx1100", None, RDNA3, "ok", None),
        ("gfx1100", "", RDNA3, "ok", None),
        ("gfx1031", None, RDNA2, "error", f"export {OVERRIDE}=10.3.0"),
        ("gfx1031", "10.3.0", RDNA2, "ok", None),
        ("gfx1031", " 10.3.0 ", RDNA2, "ok", None),
        ("gfx1031", "11.0.0", RDNA2, "warning", f"export {OVERRIDE}=10.3.0"),
        ("gfx1031", "10.3.2", RDNA2, "error", f"export {OVERRIDE}=10.3.0"),
        ("gfx1103", None, RDNA3, "error", f"export {OVERRIDE}=11.0.0"),
        # Nearer than gfx1100.
        ("gfx1152", None, RDNA3, "error", f"export {OVERRIDE}=11.5.0"),
        ("gfx90c", None, code("gfx900", "gfx906"), "error", f"export {OVERRIDE}=9.0.0"),
        ("gfx90c", "9.0.0", code("gfx900"), "ok", None),
        ("gfx1031", None, RDNA3, "error", VULKAN),
        ("gfx803", None, RDNA3, "error", VULKAN),
        ("gfx803", "9.0.0", code("gfx900"), "warning", VULKAN),
        ("gfx803", "9.0.0", RDNA3, "error", VULKAN),
        # Set for an older engine, or an older card.
        ("gfx1100", "11.0.0", RDNA3, "warning", f"unset {OVERRIDE}"),
        ("gfx1101", "11.0.0", RDNA3, "warning", f"unset {OVERRIDE}"),
        ("gfx1101", "10.3.0", RDNA3, "warning", f"unset {OVERRIDE}"),
        ("gfx1031", "10.3.1", RDNA2, "error", f"export {OVERRIDE}=10.3.0"),
        ("gfx1100", "eleven", RDNA3, "error", f"export {OVERRIDE}=11.0.0"),
        # One code for all of a kind.
        ("gfx1103", None, code("gfx11-generic"), "ok", None),
        ("gfx1036", None, code("gfx10-3-generic"), "ok", None),
        ("gfx1010", None, code("gfx10-3-generic"), "error", VULKAN),
        # rocBLAS must have it, too.
        ("gfx1103", None, code("gfx11-generic", blas=("gfx1100", "gfx1101")), "error", f"export {OVERRIDE}=11.0.0"),
        ("gfx1102", None, code("gfx1100", "gfx1102", blas=("gfx1100",)), "error", f"export {OVERRIDE}=11.0.0"),
        ("gfx1102", None, code("gfx1102", blas=("gfx1100",)), "error", VULKAN),
        # Honestly.
        ("gfx1100", None, Build(), "skipped", None),
        ("gfx1031", "10.3.0", Build(), "skipped", None),
        ("gfx1031", "10.3.1", Build(), "warning", f"unset {OVERRIDE}"),
    ],
)  # fmt: skip
def test_code_card_and_override_are_judged(
    card: str, override: str | None, build: Build, state: str, command: str | None
) -> None:
    finding = judge(card, override, build)
    assert (finding.state, finding.command) == (state, command), finding.message
    assert card in finding.message or override == "eleven"


@given(
    st.sampled_from(TARGETS), st.frozensets(st.sampled_from([*TARGETS, *GENERIC])), st.sampled_from([None, *TARGETS])
)
def test_what_is_to_be_typed_mends_it(card: str, targets: frozenset[str], claimed: str | None) -> None:
    build = Build(targets)
    found = judge(card, claimed and version_of(claimed), build)
    if found.command and found.command.startswith("export"):
        assert judge(card, found.command.rpartition("=")[2], build).state == "ok"
    elif found.command and found.command.startswith("unset"):
        assert judge(card, None, build).state == "ok"
    else:
        assert found.command == (None if found.state == "ok" else VULKAN)


# What an engine was built for


def bundle(*targets: str) -> bytes:
    """Codes for several cards as a compiler packs them: a table of names, then what they stand for."""
    table = b"".join(b"\0" * 8 + b"\x2ahipv4-amdgcn-amd-amdhsa--" + name.encode() for name in targets)
    return b"__CLANG_OFFLOAD_BUNDLE__" + table + b"\0" * 8 + b"\x7fELF" * 9


def program(folder: Path, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sd-server").write_bytes(b"\x7fELF" + data + b"\0")
    return folder / "sd-server"


def test_code_is_seen_in_the_program(tmp_path: Path) -> None:
    # Bare names are a list of what the runtime knows, and `gfx1200foo` is none.
    data = b"gfx906\0gfx803\0" + bundle("gfx1100", "gfx90a:sramecc+:xnack-", "gfx10-3-generic", "gfx1200foo")
    build = build_of(program(tmp_path / "engine", data), tmp_path)
    assert build == Build(frozenset({"gfx1100", "gfx90a", "gfx10-3-generic"}))


def test_code_is_seen_in_the_programs_own_libraries_only(tmp_path: Path) -> None:
    path = program(tmp_path / "engine", b"nothing")
    (path.parent / "libggml-hip.so.1").write_bytes(bundle("gfx1151"))
    (path.parent / "libggml-hip.so").symlink_to("libggml-hip.so.1")
    (path.parent / "libggml-gone.so").symlink_to("nowhere")
    (path.parent / "libggml-empty.so").touch()
    (path.parent / "libamdhip64.so").write_bytes(bundle("gfx1030"))
    linked = tmp_path / "sd-server"
    linked.symlink_to(path)
    assert build_of(linked, tmp_path) == Build(frozenset({"gfx1151"}))


@pytest.mark.parametrize("place", ["engine", "lib", "opt/rocm/lib"])
def test_the_targets_of_rocblas_are_its_files(place: str, tmp_path: Path) -> None:
    folder = f"{place}/rocblas/library"
    names = [
        "TensileLibrary_lazy_gfx1100.dat",
        "Kernels.so-000-gfx1101.hsaco",
        "TensileLibrary_fallback.dat",
        "x_gfx9.md",
    ]
    tree(tmp_path, {f"{folder}/{name}": "" for name in names})
    build = build_of(program(tmp_path / "engine", b""), tmp_path)
    assert build == Build(None, frozenset({"gfx1100", "gfx1101"}))
    assert build.targets == ["gfx1100", "gfx1101"]


def test_the_engines_own_rocblas_is_the_one_it_uses(tmp_path: Path) -> None:
    for place, target in (("engine", "gfx1100"), ("opt/rocm/lib", "gfx906")):
        tree(tmp_path, {f"{place}/rocblas/library/TensileLibrary_{target}.dat": ""})
    assert build_of(program(tmp_path / "engine", b""), tmp_path).blas == {"gfx1100"}


def test_of_a_program_without_code_for_cards_nothing_is_known(tmp_path: Path) -> None:
    assert not build_of(Path(sys.executable), tmp_path).known


# Cards


def kfd(*versions: int) -> dict[str, str]:
    """Nodes of the kernel's topology, the processor first."""
    node = "sys/class/kfd/kfd/topology/nodes/{}/properties"
    return {
        node.format(number): f"cpu_cores_count 16\ngfx_target_version {version}\nvendor_id 4098\n"
        for number, version in enumerate((0, *versions))
    }


def nvidia(*models: str) -> dict[str, str]:
    file = "proc/driver/nvidia/gpus/0000:0{}:00.0/information"
    return {file.format(number): f"Model: \t\t {model}\nIRQ: 1\n" for number, model in enumerate(models)}


def pci(vendor: str, kind: str = "0x030000") -> dict[str, str]:
    device = "sys/bus/pci/devices/0000:01:00.0"
    return {f"{device}/vendor": f"{vendor}\n", f"{device}/class": f"{kind}\n"}


def test_cards_are_told_in_the_order_of_their_nodes(tmp_path: Path) -> None:
    root = tree(tmp_path, {**kfd(110000, *[100306] * 9, 110001), **nvidia("GeForce RTX 4090"), "dev/dri/renderD129": "",
                           "dev/dri/renderD128": "", "dev/dri/card0": "", **pci("0x1002")})  # fmt: skip
    cards = cards_of(Machine(root))
    assert cards.amd == ("gfx1100", *["gfx1036"] * 9, "gfx1101")
    assert cards.nvidia == ("GeForce RTX 4090",)
    assert [node.name for node in cards.rendering] == ["renderD128", "renderD129"]
    assert cards.idle == ()


@pytest.mark.parametrize(
    ("files", "idle"),
    [
        ({}, ()),
        (pci("0x1002"), ("amdgpu",)),
        (pci("0x10de", "0x030200"), ("nvidia",)),
        (pci("0x8086"), ()),
        # A network card, and the audio of a graphics card.
        (pci("0x1002", "0x020000"), ()),
        (pci("0x10de", "0x040300"), ()),
        ({**pci("0x1002"), **kfd(90012)}, ()),
        ({**pci("0x10de"), **nvidia("x")}, ()),
    ],
)
def test_a_card_without_its_driver_is_seen(files: dict[str, str], idle: tuple[str, ...], tmp_path: Path) -> None:
    assert cards_of(Machine(tree(tmp_path, files))).idle == idle


@pytest.mark.parametrize(
    ("environment", "seen"),
    [
        ({}, "abc"),
        ({"HIP_VISIBLE_DEVICES": "0"}, "a"),
        ({"HIP_VISIBLE_DEVICES": "2, 0"}, "ca"),
        ({"HIP_VISIBLE_DEVICES": "7"}, ""),
        ({"HIP_VISIBLE_DEVICES": "GPU-0123"}, "abc"),
        ({"HIP_VISIBLE_DEVICES": "1", "ROCR_VISIBLE_DEVICES": "1,2"}, "c"),
    ],
)
def test_the_environment_chooses_cards(environment: dict[str, str], seen: str) -> None:
    assert visible(tuple("abc"), environment) == tuple(seen)


INSTALL = "tsr engine install --accelerator"
NODE = (Path("/dev/dri/renderD128"),)


@pytest.mark.parametrize(
    ("cards", "accelerator", "expected"),
    [
        (Cards(), "cpu", [("skipped", None)]),
        (Cards(), None, [("skipped", None)]),
        (Cards(amd=("gfx1100",)), "rocm", [("ok", None)]),
        (Cards(amd=("gfx1100",)), None, [("ok", None)]),
        (Cards(amd=("gfx1100",)), "unknown", [("ok", None)]),
        (Cards(amd=("gfx1100",), rendering=NODE), "cpu", [("warning", f"{INSTALL} rocm")]),
        (Cards(nvidia=("RTX",)), "cpu", [("warning", f"{INSTALL} cuda")]),
        (Cards(nvidia=("RTX",), rendering=NODE), "rocm", [("error", f"{INSTALL} cuda")]),
        (Cards(), "vulkan", [("error", f"{INSTALL} cpu")]),
        (Cards(rendering=NODE), "cuda", [("error", f"{INSTALL} vulkan")]),
        # The graphics of many a processor: no promise that it is faster.
        (Cards(rendering=NODE), "cpu", [("ok", None)]),
        (Cards(idle=("amdgpu",)), "cpu", [("warning", "sudo modprobe amdgpu")]),
        (Cards(idle=("amdgpu",)), "rocm", [("warning", "sudo modprobe amdgpu"), ("error", f"{INSTALL} cpu")]),
    ],
    ids=str,
)
def test_cards_and_engine_are_compared(
    cards: Cards, accelerator: str | None, expected: list[tuple[str, str | None]]
) -> None:
    assert told(list(look_at_cards(cards, accelerator))) == expected


# Nodes

AMD_NODES = {"dev/kfd": "", "dev/dri/renderD128": ""}


def box(root: Path, files: Mapping[str, str], **said: object) -> Machine:
    """A machine whose user is ann, and which has these files; all may be used unless it says otherwise."""
    given: dict[str, object] = {"environment": {}, "user": "ann", "may": lambda _path, _mode: True} | said
    return Machine(tree(root, files), **given)  # type: ignore[arg-type]


def devices(machine: Machine, accelerator: str = "rocm") -> list[Finding]:
    return list(look_at_devices(machine, cards_of(machine), accelerator))


def closed(*names: str) -> Callable[[Path, int], bool]:
    """Nobody may read and write these."""
    return lambda path, mode: not (path.name in names and mode == os.R_OK | os.W_OK)


def test_nodes_that_may_be_used_are_named_as_on_the_machine(tmp_path: Path) -> None:
    (found,) = devices(box(tmp_path, AMD_NODES))
    assert (found.state, found.message) == ("ok", "ann may use /dev/kfd, /dev/dri/renderD128")


def test_who_may_not_use_a_node_is_told_its_group(tmp_path: Path) -> None:
    names = {tmp_path.stat().st_gid: "render"}
    machine = box(tmp_path, AMD_NODES, may=closed("kfd"), group_name=names.__getitem__, members_of=lambda _: ["bob"])
    (found,) = devices(machine)
    assert (found.state, found.command) == ("error", "sudo usermod -aG render ann")
    assert "ann may not use /dev/kfd, which is for render" in found.message


def test_groups_of_several_nodes_are_joined_in_one_command(tmp_path: Path) -> None:
    machine = box(tmp_path, AMD_NODES, may=closed("kfd", "renderD128"), members_of=lambda _: [])
    groups = {"kfd": "render", "renderD128": "video"}

    class Mixed(Machine):
        __slots__ = ()

        def group_of(self, path: Path) -> str:
            return groups[path.name]

    mixed = Mixed(machine.root, {}, machine.may, "ann", members_of=lambda _: [])
    (found,) = devices(mixed)
    assert found.command == "sudo usermod -aG render,video ann"


@pytest.mark.parametrize(
    ("group", "members", "command"),
    [
        ("render", ["ann"], "newgrp render"),
        ("root", ["ann"], "sudo chgrp render /dev/kfd"),
        ("992", [], "sudo usermod -aG 992 ann"),
    ],
)
def test_a_closed_node_is_opened_as_its_group_needs(
    group: str, members: list[str], command: str, tmp_path: Path
) -> None:
    said = {"may": closed("kfd"), "group_name": lambda _: group, "members_of": lambda _: members}
    (found,) = devices(box(tmp_path, AMD_NODES, **said))
    assert (found.state, found.command) == ("error", command)


@pytest.mark.parametrize(
    ("files", "accelerator", "command"),
    [
        ({"dev/dri/renderD128": ""}, "rocm", "sudo modprobe amdgpu"),
        ({}, "vulkan", "sudo modprobe amdgpu"),
        ({"dev/nvidiactl": "", "dev/nvidia0": ""}, "cuda", "sudo modprobe nvidia-uvm"),
        ({".dockerenv": ""}, "rocm", "docker run --device /dev/kfd --device /dev/dri ..."),
        ({".dockerenv": ""}, "cuda", "docker run --gpus all ..."),
    ],
)
def test_missing_nodes_are_named(files: dict[str, str], accelerator: str, command: str, tmp_path: Path) -> None:
    found = devices(box(tmp_path, files), accelerator)[0]
    assert (found.state, found.command) == ("error", command)
    assert "/dev/" in found.message


def test_of_nvidia_every_node_is_looked_at(tmp_path: Path) -> None:
    nodes = {f"dev/{name}": "" for name in ("nvidiactl", "nvidia-uvm", "nvidia0", "nvidia1")}
    (found,) = devices(box(tmp_path, nodes, may=closed("nvidia1"), group_name=lambda _: "video"), "cuda")
    assert (found.state, found.command) == ("error", "sudo usermod -aG video ann")
    assert "/dev/nvidia1," in found.message


def test_vulkan_needs_a_driver_beside_the_node(tmp_path: Path) -> None:
    node = {"dev/dri/renderD128": ""}
    assert told(devices(box(tmp_path, node), "vulkan")) == [
        ("ok", None), ("error", "sudo apt install mesa-vulkan-drivers")
    ]  # fmt: skip
    elsewhere = box(tmp_path, node, environment={"VK_DRIVER_FILES": "/x/radeon.json"})
    assert told(devices(elsewhere, "vulkan")) == [("ok", None)]
    driver = {"usr/share/vulkan/icd.d/radeon_icd.x86_64.json": "{}"}
    found = devices(box(tmp_path, {**node, **driver}), "vulkan")
    assert told(found) == [("ok", None), ("ok", None)]
    assert "radeon_icd" in found[1].message


# Memory


@pytest.mark.parametrize(
    ("memory", "accelerator", "held", "state", "command"),
    [
        (Memory(24 * GB, 20 * GB), "rocm", (), "ok", None),
        (Memory(24 * GB, gpu.LITTLE_MEMORY), "rocm", (), "ok", None),
        (Memory(24 * GB, gpu.LITTLE_MEMORY - 1), "rocm", (), "warning", "rocm-smi --showpids | head -20"),
        (Memory(24 * GB, GB), "cuda", (), "warning", "nvidia-smi | head -20"),
        (Memory(24 * GB, GB), "cpu", (), "warning", "ps -eo rss,pid,args --sort=-rss | head -20"),
        (Memory(24 * GB, GB), "rocm", ("pony (gpu0)",), "ok", None),
        (Memory(3 * GB, 2 * GB), "rocm", (), "warning", "tsr config set engine.arguments -- --offload-to-cpu"),
        (Memory(3 * GB, 2 * GB), "cpu", (), "warning", None),
        (None, "rocm", (), "skipped", None),
    ],
    ids=str,
)
def test_free_memory_is_judged(
    memory: Memory | None, accelerator: str, held: tuple[str, ...], state: str, command: str | None
) -> None:
    found = look_at_memory(memory, accelerator, held)
    assert (found.state, found.command) == (state, command)
    assert all(model in found.message for model in held)
