"""Want of memory: how an engine shows it, what is tried next, and what is remembered."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensors.engines.out_of_memory import (
    NOTHING,
    Remedy,
    Remembered,
    Shortage,
    Stage,
    kernel_kills,
    killed_for_memory,
    model_key,
    next_remedy,
    shortage_in,
)
from tensors.engines.output import PieceReader
from tensors.engines.process import hold_port
from tensors.engines.sd_server import SdServerClient
from tensors.errors import EngineDied, EngineError
from tensors.models import demo_dir

RECORDED = Path(__file__).parent / "data" / "sd-server"
SHORT = RECORDED / "out-of-memory"
TILED, OFFLOADED, BOTH = Remedy(tiling=True), Remedy(offload=True), Remedy(tiling=True, offload=True)


def pieces(path: Path) -> list[str]:
    return PieceReader().feed(path.read_bytes() + b"\n")


@pytest.mark.parametrize(
    ("file", "stage", "said", "wanted"),
    [
        ("loading", "loading", "insufficient memory (attempted to allocate 2155.33 MB)", 2260028192),
        ("sampling", "sampling", "insufficient memory (attempted to allocate 17106.8", 17937878112),
        ("decoding", "decoding", "insufficient memory (attempted to allocate 1921.0", 2014314560),
        ("killed-by-bad-alloc", "encoding", "std::bad_alloc", None),
    ],
)
def test_a_real_engines_want_of_memory_is_known(file: str, stage: Stage, said: str, wanted: int | None) -> None:
    found = shortage_in(pieces(SHORT / f"{file}.log"))
    assert found is not None
    assert (found.stage, found.wanted) == (stage, wanted)
    assert said in found.said


# What other backends say: llama.cpp#16725 and leejet/stable-diffusion.cpp#1585, #1621, #734, #1290; else the source.
@pytest.mark.parametrize(
    "line",
    [
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9.5 MiB on device 0: cudaMalloc failed: out of memory",
        "[ERROR] ggml_extend.hpp:70   - ROCm error: out of memory",
        "CUDA error: out of memory",
        "ggml_gallocr_reserve_n: failed to allocate ROCm0 buffer of size 14822711296",
        "ggml_vulkan: Device memory allocation of size 2684354560 failed.",
        "ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
        "  what():  vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
        "ggml_vulkan: Requested buffer size exceeds device buffer size limit: ErrorOutOfDeviceMemory",
        "[ERROR] ggml_extend.hpp:2082 - flux alloc runtime params backend buffer failed, num_tensors = 776",
        "ggml_metal_buffer_init: error: failed to allocate buffer, size =  8192.00 MiB",
        "ggml_aligned_malloc: insufficient memory (attempted to allocate 17106.89 MB)",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "GGML status: error (failed to allocate memory)",
        "hipErrorOutOfMemory",
    ],
)
def test_other_accelerators_have_their_own_words(line: str) -> None:
    found = shortage_in([line])
    assert found is not None
    assert found.said == line


@pytest.mark.parametrize(
    "line",
    [
        "ggml_vulkan: Failed to allocate pinned memory (vk::Device::allocateMemory: ErrorOutOfDeviceMemory)",
        "WARNING: failed to allocate 12.00 MB of pinned memory: out of memory",
        "[DEBUG] ggml_extend.hpp:61   - ROCm pool[0]: alloc of 1209.60 MiB failed, flushing 935.90 MiB of cached",
        "[DEBUG] conditioner.hpp:345  - parse 'CUDA error: out of memory, std::bad_alloc' to [['x', 1], ]",
        "[INFO ] stable-diffusion.cpp:212  - loading model from '/models/std::bad_alloc.safetensors'",
        "[INFO ] stable-diffusion.cpp:858  - total params memory size = 14.53MB (VRAM 0.00MB, RAM 14.53MB)",
        "[ERROR] model.cpp:1067 - tensor 'first_stage_model.decoder.conv_in.bias' not in model file",
        "[ERROR] stable-diffusion.cpp:299  - get sd version from file failed: 'out of memory.safetensors'",
        "[ERROR] main.cpp:92   - new_sd_ctx_t failed",
        "ggml_backend_sched_alloc_splits: failed to allocate graph, reserving (backend_ids_changed = 1)",
        "  |==================================================| 450/450 - 27.61MB/s",
        "",
    ],
)
def test_what_is_harmless_or_another_failure_is_not_taken_for_it(line: str) -> None:
    assert shortage_in([line]) is None


def test_an_engine_that_works_is_never_short() -> None:
    lines = pieces(RECORDED / "output.log")
    assert len(lines) > 50
    assert shortage_in(lines) is None


@pytest.mark.parametrize(
    ("before", "stage"),
    [
        ([], "loading"),
        (["[INFO ] stable-diffusion.cpp:212  - loading model from 'x'"], "loading"),
        (["[INFO ] main.cpp:148  - listening on: 127.0.0.1:1"], "encoding"),
        (["[INFO ] stable-diffusion.cpp:3401 - generating image: 1/1 - seed 1"], "sampling"),
        (["[INFO ] stable-diffusion.cpp:3192 - decoding 1 latents"], "decoding"),
        (
            [
                "[INFO ] stable-diffusion.cpp:3192 - decoding 1 latents",
                "[INFO ] stable-diffusion.cpp:3367 - generate_image 64x64",
            ],
            "encoding",
        ),
    ],
    ids=str,
)
def test_an_engine_that_died_without_a_word_was_where_it_was_heard_last(before: list[str], stage: Stage) -> None:
    assert shortage_in(before, killed=True) == Shortage(stage=stage, said="")
    died = shortage_in([*before, "ROCm error: out of memory"])
    assert died is not None
    assert died.stage == stage


def test_a_picture_that_does_not_fit_into_the_vae_is_its_matter() -> None:
    lines = [
        "[INFO ] stable-diffusion.cpp:3367 - generate_image 4096x4096",
        "[ERROR] ggml_extend.hpp:1914 - vae: failed to allocate the compute buffer",
        "[ERROR] vae.hpp:150  - vae encode compute failed",
        "[ERROR] stable-diffusion.cpp:2982 - failed to encode init image",
    ]
    assert shortage_in(lines) == Shortage(stage="decoding", said=lines[1])


@pytest.mark.parametrize(
    ("exit_code", "before", "after", "killed"),
    [
        (-9, 3, 4, True),
        (137, 3, 4, True),
        (-9, 3, 3, False),
        (-9, None, None, True),
        (-6, 3, 4, False),
        (0, 3, 4, False),
        (None, 3, 4, False),
    ],
)
def test_the_kernel_counts_whom_it_ends(
    exit_code: int | None, before: int | None, after: int | None, killed: bool
) -> None:
    assert killed_for_memory(exit_code, before, after) is killed


def test_the_kernels_count_is_read(tmp_path: Path) -> None:
    assert kernel_kills(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/vmstat").write_text("pgsteal_kswapd 1\noom_kill 12\noom_kill_x 3\n", "ascii")
    assert kernel_kills(tmp_path) == 12


def ladder(stages: list[Stage], accelerator: str = "rocm") -> list[Remedy | None]:
    """What is tried after failures in these stages, one after the other."""
    used, tried = NOTHING, []
    for stage in stages:
        following = next_remedy(used, Shortage(stage=stage, said="x"), accelerator=accelerator)
        tried.append(following)
        if following is None:
            break
        used = following
    return tried


def test_tiles_come_first_where_they_help_then_offloading_then_nothing() -> None:
    assert ladder(["decoding", "decoding", "decoding"]) == [TILED, BOTH, None]
    assert ladder(["sampling", "decoding", "sampling"]) == [OFFLOADED, BOTH, None]
    assert ladder(["loading", "loading"]) == [OFFLOADED, None]
    assert ladder(["encoding", "encoding"]) == [OFFLOADED, None]


@pytest.mark.parametrize("accelerator", ["cpu", "metal"])
def test_where_there_is_one_memory_nothing_is_offloaded(accelerator: str) -> None:
    assert ladder(["decoding", "decoding"], accelerator) == [TILED, None]
    assert ladder(["sampling"], accelerator) == [None]


def test_a_remedy_says_what_the_engine_is_told() -> None:
    assert (NOTHING.body, NOTHING.arguments) == ({}, ())
    assert BOTH.body == {"vae_tiling_params": {"enabled": True}}
    assert BOTH.arguments == ("--offload-to-cpu",)


def test_a_larger_picture_needs_what_a_smaller_one_needed(tmp_path: Path) -> None:
    Remembered(tmp_path / "new" / "memory.json").learn("m", 1024, 1024, "gpu", TILED)
    again = Remembered(tmp_path / "new" / "memory.json")
    assert again.known("m", 2048, 1024, "gpu") == TILED
    assert again.known("m", 1024, 1024, "gpu") == TILED
    assert again.known("m", 1024, 1016, "gpu") == NOTHING
    assert again.known("m", 2048, 1024, "other") == NOTHING
    assert again.known("other", 2048, 1024, "gpu") == NOTHING


def test_what_did_without_does_without_and_memory_that_was_added_is_used(tmp_path: Path) -> None:
    remembered = Remembered(tmp_path / "memory.json")
    remembered.learn("m", 768, 768, "gpu", NOTHING)
    remembered.learn("m", 1024, 1024, "gpu", TILED)
    assert remembered.known("m", 768, 768, "gpu") == NOTHING
    remembered.learn("m", 2048, 2048, "gpu", TILED)
    assert remembered.known("m", 1024, 1024, "gpu") == TILED
    remembered.learn("m", 1536, 1536, "gpu", NOTHING)
    assert remembered.known("m", 2048, 2048, "gpu") == NOTHING
    remembered.learn("m", 512, 512, "gpu", TILED)
    assert remembered.known("m", 768, 768, "gpu") == TILED


def test_offloading_is_of_the_model_and_not_of_the_size(tmp_path: Path) -> None:
    remembered = Remembered(tmp_path / "memory.json")
    remembered.learn("m", 1024, 1024, "gpu", BOTH)
    assert remembered.known("m", 64, 64, "gpu") == OFFLOADED
    remembered.learn("m", 64, 64, "gpu", OFFLOADED)
    assert remembered.known("m", 1024, 1024, "gpu") == BOTH
    remembered.learn("m", 64, 64, "gpu", NOTHING)
    assert remembered.known("m", 64, 64, "gpu") == OFFLOADED


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 8), st.booleans()), max_size=12))
def test_what_is_remembered_never_contradicts_itself(
    tmp_path_factory: pytest.TempPathFactory, seen: list[tuple[int, bool]]
) -> None:
    remembered = Remembered(tmp_path_factory.mktemp("remembered") / "memory.json")
    for side, tiling in seen:
        remembered.learn("m", side, side, "gpu", Remedy(tiling=tiling))
        # What has just worked is what the same picture begins with, and so does each larger or smaller one.
        assert remembered.known("m", side, side, "gpu").tiling == tiling
        tiled = [remembered.known("m", other, other, "gpu").tiling for other in range(1, 9)]
        assert tiled == sorted(tiled)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"gpu m": {"tiles_from": -1}}', b'{"gpu m": 3}', b"\xff"])
def test_a_damaged_file_is_an_empty_one(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "memory.json"
    file.write_bytes(content)
    remembered = Remembered(file)
    assert remembered.known("m", 64, 64, "gpu") == NOTHING
    remembered.learn("m", 64, 64, "gpu", TILED)
    assert Remembered(file).known("m", 64, 64, "gpu") == TILED


def test_a_file_that_cannot_be_written_costs_no_picture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    Remembered(tmp_path / "file" / "memory.json").learn("m", 64, 64, "gpu", TILED)
    assert "cannot be kept" in caplog.text


def test_only_so_many_models_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensors.engines.out_of_memory._MOST_MODELS", 2)
    remembered = Remembered(tmp_path / "memory.json")
    for model in ("first", "second"):
        remembered.learn(model, 64, 64, "gpu", TILED)
    remembered.learn("first", 32, 32, "gpu", TILED)
    remembered.learn("third", 64, 64, "gpu", TILED)
    assert [remembered.known(model, 64, 64, "gpu") for model in ("first", "second", "third")] == [TILED, NOTHING, TILED]


def test_a_model_is_known_by_its_hash_or_else_by_its_place() -> None:
    assert model_key(Path("/m/x.safetensors"), 5, "abc") == "abc"
    assert model_key(Path("/m/x.safetensors"), 5) != model_key(Path("/m/x.safetensors"), 6)


def heard(engine: subprocess.Popen[bytes], until: bytes) -> list[bytes]:
    """What an engine says up to a line with these words."""
    assert engine.stdout
    said = []
    for line in engine.stdout:
        said.append(line)
        if until in line:
            break
    return said


async def answer(client: SdServerClient, engine: subprocess.Popen[bytes], body: dict[str, Any]) -> list[bytes]:
    """The pictures. The engine says that it listens an instant before it does."""
    while engine.poll() is None:
        with contextlib.suppress(EngineDied):
            await client.capabilities()
            break
        await asyncio.sleep(0.01)
    job = await client.submit(body)
    while (pictures := await client.result(job)) is None:
        await asyncio.sleep(0.05)
    return pictures


@pytest.mark.engine
async def test_a_real_engine_without_memory_says_so(sd_server: Path) -> None:
    model = demo_dir() / "shapes.safetensors"
    holder = hold_port()
    port = holder.getsockname()[1]
    command = [sd_server, "-m", model, "--taesd", model, "-l", "127.0.0.1", "--listen-port", str(port)]
    engine = subprocess.Popen(
        ["prlimit", "--as=3000000000", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},
    )
    client = SdServerClient(f"http://127.0.0.1:{port}")
    try:
        said = heard(engine, b"listening on")
        with pytest.raises(EngineError, match="no results"):
            await answer(client, engine, {"prompt": "x", "width": 4096, "height": 4096})
        said += heard(engine, b"sampling for image")
    finally:
        await client.close()
        engine.kill()
        engine.communicate()
        holder.close()
    found = shortage_in(PieceReader().feed(b"".join(said)))
    assert found is not None
    assert found.stage == "sampling"
    assert found.wanted is not None
    assert found.wanted > 16 * 2**30
