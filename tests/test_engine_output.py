"""What is read out of sd-server's output: a recording of a real one, cut anywhere, and garbage."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tensors.engines.output import MAX_PIECE, PieceReader, Tracker, parse_bar
from tensors.types.jobs import Progress

RECORDED = (Path(__file__).parent / "data" / "sd-server" / "output.log").read_bytes()
"""A start, one picture, a batch of three, one picture with the hires fix; 64x64, 10 steps."""
BAR = "|=========================>                        | 5/10 - 8.79it/s"


def pieces_of(*chunks: bytes) -> list[str]:
    reader = PieceReader()
    return [piece for chunk in chunks for piece in reader.feed(chunk)]


def calls() -> list[list[str]]:
    """The recording's pieces, one list for each call."""
    starting, *drawn = re.split(r"\n\[INFO \] \S+ - generate_image 64x64\n", "\n".join(pieces_of(RECORDED)))
    assert "listening on" in starting
    return [call.splitlines() for call in drawn]


def seen(tracker: Tracker, pieces: list[str], *, seconds: float = 0.1) -> list[Progress]:
    """Each progress a tracker comes to, with so much time between two pieces."""
    told = [tracker.progress]
    for number, piece in enumerate(pieces):
        tracker.see(piece, number * seconds)
        if tracker.progress != told[-1]:
            told.append(tracker.progress)
    return told


def tracker(**changes: int) -> Tracker:
    return Tracker(**{"steps": 10, "hires_steps": 0, "first": 0, "count": 1, "images": 1, "attempt": 1, **changes})


def test_a_recording_falls_into_its_lines_and_bars() -> None:
    pieces = pieces_of(RECORDED)
    bars = [bar for bar in map(parse_bar, pieces) if bar]
    assert [(bar.done, bar.total) for bar in bars if bar.loading] == [(225, 450), (450, 450)]
    steps = [(bar.done, bar.total) for bar in bars if not bar.loading]
    assert steps == [(step, 10) for step in range(1, 11)] * 5 + [(step, 9) for step in range(1, 10)]
    lines = [piece for piece in pieces if parse_bar(piece) is None]
    assert lines == re.findall(r"^\[.*?(?= *$)", RECORDED.decode(), re.MULTILINE)


@given(cuts=st.lists(st.integers(0, len(RECORDED)), max_size=40))
def test_it_does_not_matter_where_the_stream_is_cut(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(RECORDED)]
    assert pieces_of(*(RECORDED[start:end] for start, end in pairwise(ends))) == pieces_of(RECORDED)


def test_nor_when_every_byte_comes_alone() -> None:
    assert pieces_of(*(RECORDED[i : i + 1] for i in range(len(RECORDED)))) == pieces_of(RECORDED)


def test_a_bar_is_there_before_its_line_ends() -> None:
    assert pieces_of(f"\r  {BAR}\x1b[K".encode()) == [BAR]


def test_an_error_right_behind_a_bar_is_a_line_of_its_own() -> None:
    error = "[ERROR] ggml_extend.hpp:69   - ROCm error: unspecified launch failure"
    assert pieces_of(f"\r  {BAR}\x1b[K{error}\n".encode()) == [BAR, error]


NOISE = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([b"\r", b"\n", b"\x1b", b"\x1b[", b"\x1b[K", b"\x1b[0m", b"x" * 9000, b"\xff\xc3("]),
        st.sampled_from([BAR.encode(), b"|=| 0/0 - nan", b"|=| " + b"9" * 5000 + b"/1 - 1it/s", b"| 3/2 - 1it/s"]),
        st.sampled_from([b"generating image: 0/0 - seed", b"generating image: " + b"8" * 5000 + b"/3 - seed"]),
        st.sampled_from([b"hires fix: upscaling", b"hires sampling completed", b"latent 77 decoded", b"[ERROR]"]),
    ),
    max_size=30,
)


@given(noise=NOISE, cuts=st.lists(st.integers(0, 20_000), max_size=10))
def test_garbage_is_cut_into_the_same_pieces_wherever_it_is_cut(noise: list[bytes], cuts: list[int]) -> None:
    data = b"".join(noise) + b"\n"
    ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = pieces_of(*(data[start:end] for start, end in pairwise(ends)))
    assert pieces == pieces_of(data)
    assert all(piece and len(piece) <= MAX_PIECE for piece in pieces)


@given(noise=NOISE)
@example(noise=[b"|=| 1/3 - " + b"1" * 5000 + b"it/s\n"])
def test_garbage_never_stops_a_tracker(noise: list[bytes]) -> None:
    watching = tracker(count=3, images=3)
    for number, piece in enumerate(pieces_of(*noise, b"\n")):
        watching.see(piece, float(number))
    # And it still knows a step when it sees one.
    fresh = tracker()
    assert fresh.see(BAR, 1.0)
    assert (fresh.progress.step, fresh.progress.steps) == (5, 10)


def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    reader = PieceReader()
    for _ in range(2000):
        assert reader.feed(b"x" * 10_000) == []
    assert len(reader._rest) <= MAX_PIECE + 2
    assert reader.feed(f"\n{BAR}\n".encode()) == ["x" * MAX_PIECE, BAR]


@pytest.mark.parametrize(
    ("call", "count", "hires_steps", "total"),
    [(0, 1, 0, 10), (1, 3, 0, 10), (2, 1, 8, 19)],
    ids=["one", "batch", "hires"],
)
def test_every_step_of_a_recording_is_told_in_order(call: int, count: int, hires_steps: int, total: int) -> None:
    told = seen(tracker(count=count, images=count, hires_steps=hires_steps), calls()[call])
    steps = [(now.image, now.step) for now in told if now.phase == "sampling"]
    assert steps == [(image, step) for image in range(1, count + 1) for step in range(1, total + 1)]
    last_step = [now for now in told if now.phase == "sampling"][-1]
    assert (last_step.steps, last_step.seconds_left) == (total, 0.0)
    order = ["encoding", "sampling", "decoding"]
    phases = [order.index(now.phase) for now in told if now.image == count]
    assert phases == sorted(phases)
    assert told[-1].phase == "decoding"


def test_pictures_are_counted_over_the_whole_job() -> None:
    told = seen(tracker(first=8, count=3, images=20, attempt=2), calls()[1])
    sampled = [now.image for now in told if now.phase == "sampling"]
    assert sampled == sorted(sampled)
    assert {now.image for now in told} == {9, 10, 11}
    assert {(now.images, now.attempt) for now in told} == {(20, 2)}


def test_a_call_is_complete_at_its_last_line_or_its_first_error() -> None:
    *lines, last = calls()[0]
    watching = tracker()
    assert not any(watching.see(line, 0.0) and watching.completed for line in lines)
    assert watching.see(last, 0.0)
    assert watching.completed
    failing = tracker()
    assert failing.see("[ERROR] stable-diffusion.cpp:1786 - Diffusion model sampling failed", 0.0)
    assert failing.completed


@given(st.lists(st.floats(0, 100), min_size=2, max_size=80))
def test_the_time_left_is_never_negative_and_ends_at_nothing(pauses: list[float]) -> None:
    watching, now = tracker(count=3, images=3), 0.0
    told = []
    for number, piece in enumerate(calls()[1]):
        now += pauses[number % len(pauses)]
        watching.see(piece, now)
        told.append(watching.progress)
    assert all(each.seconds_left is None or each.seconds_left >= 0 for each in told)
    assert [each for each in told if each.phase == "sampling"][-1].seconds_left == 0
    assert told[-1].seconds_left is None


def test_at_a_steady_pace_the_time_left_is_right() -> None:
    bars = [f"|=| {step}/10 - 1it/s" for step in range(1, 11)]
    left = [now.seconds_left for now in seen(tracker(), bars, seconds=2) if now.phase == "sampling"]
    assert left == [None, 16.0, 14.0, 12.0, 10.0, 8.0, 6.0, 4.0, 2.0, 0.0]


@pytest.mark.parametrize(
    "bar", ["|==>  | 225/450 - 37.40MB/s", "|=====| 1/1 - 1.17GB/s", "|==| 3/0 - 1it/s", "3/10 - 1it/s"]
)
def test_bars_of_loading_and_no_bars_are_no_steps(bar: str) -> None:
    watching = tracker()
    assert not watching.see(bar, 1.0)
    assert watching.progress.phase == "encoding"


def test_tiles_of_decoding_are_no_steps() -> None:
    watching = tracker()
    seen(watching, [piece for piece in calls()[0] if "decoded" not in piece])
    assert watching.progress.phase == "decoding"
    before = watching.progress
    assert not watching.see("|=====>     | 1/3 - 12.35it/s", 9.5)
    assert watching.progress == before
