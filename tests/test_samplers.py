"""Names of samplers and schedulers: the engine's, A1111's, and what is neither."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensors.errors import InvalidRequest
from tensors.samplers import SAMPLERS, SCHEDULERS, hires_upscaler, sampler_and_scheduler

RECORDED = Path(__file__).parent / "data" / "sd-server" / "responses.jsonl"


def recorded_capabilities() -> dict[str, list[str]]:
    for line in RECORDED.read_text().splitlines():
        case = json.loads(line)
        if case["case"] == "get_capabilities":
            return case["record"]["response"]
    raise AssertionError("no capabilities were recorded")


def test_the_tables_have_exactly_what_a_real_engine_said_it_has() -> None:
    said = recorded_capabilities()
    assert set(SAMPLERS) == set(said["samplers"])
    assert set(SCHEDULERS) == set(said["schedulers"])


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_is_known_by_the_engines_name_and_by_a1111s(name: str) -> None:
    for written in (name, SAMPLERS[name], SAMPLERS[name].upper(), f" {name} "):
        assert sampler_and_scheduler(written, None) == (name, None)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_is_known_by_the_engines_name_and_by_a1111s(name: str) -> None:
    for written in (name, SCHEDULERS[name], SCHEDULERS[name].upper(), f" {name} "):
        assert sampler_and_scheduler(None, written) == (None, name)


@given(sampler=st.sampled_from(sorted(SAMPLERS)), scheduler=st.sampled_from(sorted(SCHEDULERS)), label=st.booleans())
def test_both_written_as_one(sampler: str, scheduler: str, label: bool) -> None:
    written = f"{SAMPLERS[sampler] if label else sampler} {scheduler.title()}"
    assert sampler_and_scheduler(written, None) == (sampler, scheduler)
    assert sampler_and_scheduler(written, "Simple") == (sampler, "simple")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("DPM++ 2M Karras", ("dpm++2m", "karras")),
        ("DPM++ 2S a Karras", ("dpm++2s_a", "karras")),
        ("DPM++ 2M SGM Uniform", ("dpm++2m", "sgm_uniform")),
        ("Euler a Align Your Steps", ("euler_a", "ays")),
        ("Euler a", ("euler_a", None)),
        ("dpm++ 2m", ("dpm++2m", None)),
        ("LCM LCM", ("lcm", "lcm")),
        ("DDIM", ("ddim_trailing", None)),
    ],
)
def test_what_people_paste(written: str, expected: tuple[str, str | None]) -> None:
    assert sampler_and_scheduler(written, None) == expected


def test_nothing_stays_nothing() -> None:
    assert sampler_and_scheduler(None, None) == (None, None)


@pytest.mark.parametrize(
    ("sampler", "scheduler", "message", "field"),
    [
        ("eulr", None, "unknown sampler 'eulr'; did you mean 'euler'?", "sampler"),
        ("DPM++ 2M SDE", None, "unknown sampler 'DPM++ 2M SDE'; did you mean 'DPM++ 2M'?", "sampler"),
        ("karras", None, "unknown sampler 'karras'", "sampler"),
        ("zzz Karras", None, "unknown sampler 'zzz Karras'", "sampler"),
        ("Euler zzz", None, "unknown sampler 'Euler zzz'; did you mean 'Euler a'?", "sampler"),
        (" ", None, "unknown sampler ' '", "sampler"),
        ("---", None, "unknown sampler '---'", "sampler"),
        (None, "kerras", "unknown scheduler 'kerras'; did you mean 'karras'?", "scheduler"),
        ("DPM++ 2M Karras", "zzz", "unknown scheduler 'zzz'", "scheduler"),
    ],
)
def test_an_unknown_name_is_refused_with_a_suggestion(
    sampler: str | None, scheduler: str | None, message: str, field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sampler_and_scheduler(sampler, scheduler)
    assert caught.value.message.startswith(message)
    assert caught.value.details == {"fields": [{"field": field, "message": "is unknown"}]}
    names = SAMPLERS if field == "sampler" else SCHEDULERS
    assert caught.value.hint == f"{field}s: {', '.join(sorted(names))}"


def test_what_a_newer_engine_adds_is_accepted() -> None:
    newer = {"known_samplers": ["euler", "brand_new"], "known_schedulers": ["beta57"]}
    assert sampler_and_scheduler("Brand New", "BETA57", **newer) == ("brand_new", "beta57")
    assert sampler_and_scheduler("Brand New Karras", None, **newer) == ("brand_new", "karras")
    assert sampler_and_scheduler("Euler beta57", None, **newer) == ("euler", "beta57")


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_a_known_name_or_an_error(sampler: str, scheduler: str) -> None:
    try:
        found = sampler_and_scheduler(sampler, scheduler)
    except InvalidRequest as error:
        found = (None, error.message.split()[1])
    assert found[0] in SAMPLERS or found[1] in ("sampler", "scheduler")


def test_upscalers_are_found_by_name_whatever_their_case() -> None:
    assert hires_upscaler("lanczos") == "Lanczos"
    assert hires_upscaler("latent (Bicubic)") == "Latent (bicubic)"
    assert hires_upscaler("4x-ultrasharp", known=["4x-UltraSharp"]) == "4x-UltraSharp"
    with pytest.raises(InvalidRequest, match=r"unknown upscaler 'lanzcos'; did you mean 'Lanczos'\?") as caught:
        hires_upscaler("lanzcos")
    assert caught.value.details == {"fields": [{"field": "hires.upscaler", "message": "is unknown"}]}
