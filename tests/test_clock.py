"""Times as they are written."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from tensors.clock import compact, from_epoch_ms, now

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(0, 253_402_300_799_999)
"""From 1970 to the last millisecond of 9999."""


@given(MOMENTS)
@example(0)
@example(1_001)
@example(253_402_300_799_999)
def test_milliseconds_are_written_exactly(milliseconds: int) -> None:
    text = from_epoch_ms(milliseconds)
    assert datetime.fromisoformat(text) - EPOCH == timedelta(milliseconds=milliseconds)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)


def test_what_it_looks_like() -> None:
    assert from_epoch_ms(1_795_373_341_123) == "2026-11-22T18:49:01.123Z"
    assert compact("2026-11-22T18:49:01.123Z") == "20261122-184901-123"


def test_now_is_now() -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    text = now()
    assert before <= datetime.fromisoformat(text) <= datetime.now(UTC)
    assert len(text) == len(from_epoch_ms(0))
    assert text.endswith("Z")


@given(MOMENTS, MOMENTS)
def test_as_text_and_as_file_name_times_sort_as_they_are(one: int, other: int) -> None:
    first, second = from_epoch_ms(one), from_epoch_ms(other)
    assert (first < second) == (one < other)
    assert (compact(first) < compact(second)) == (one < other)
    assert re.fullmatch(r"\d{8}-\d{6}-\d{3}", compact(first))
