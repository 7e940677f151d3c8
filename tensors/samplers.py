"""Samplers and schedulers: the engine's names, and the names people know from AUTOMATIC1111.

sd-server takes an unknown sampler or scheduler silently for its default, so names are checked here. The lists are
those of `GET /sdcpp/v1/capabilities` (stable-diffusion.cpp, May 2026); what a newer engine adds is accepted once it
is running.
"""

from __future__ import annotations

from collections.abc import Iterable

from tensors.checks import did_you_mean
from tensors.errors import InvalidRequest

SAMPLERS = {
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpm2": "DPM2",
    "dpm++2s_a": "DPM++ 2S a",
    "dpm++2m": "DPM++ 2M",
    "dpm++2mv2": "DPM++ 2M v2",
    "ipndm": "iPNDM",
    "ipndm_v": "iPNDM v",
    "lcm": "LCM",
    "ddim_trailing": "DDIM",
    "tcd": "TCD",
    "res_multistep": "Res Multistep",
    "res_2s": "Res 2S",
    "er_sde": "ER SDE",
}
"""Engine name -> the name A1111's infotext has for it."""

SCHEDULERS = {
    "discrete": "Normal",
    "karras": "Karras",
    "exponential": "Exponential",
    "ays": "Align Your Steps",
    "gits": "GITS",
    "sgm_uniform": "SGM Uniform",
    "simple": "Simple",
    "smoothstep": "Smoothstep",
    "kl_optimal": "KL Optimal",
    "lcm": "LCM",
    "bong_tangent": "Bong Tangent",
}
"""Engine name -> the name A1111's infotext has for it ('Schedule type')."""


def _key(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum() or char == "+")


def _pick(kind: str, name: str, known: Iterable[str], labels: dict[str, str]) -> str:
    names = sorted({*known, *labels})
    by_key = {_key(label): engine_name for engine_name, label in labels.items()}
    by_key.update((_key(engine_name), engine_name) for engine_name in names)
    found = by_key.get(_key(name))
    if found is None:
        raise InvalidRequest(
            f"unknown {kind} {name!r}{did_you_mean(name, [*names, *labels.values()])}",
            hint=f"{kind}s: {', '.join(names)}",
            details={"fields": [{"field": kind, "message": "is unknown"}]},
        )
    return found


def sampler_and_scheduler(
    sampler: str | None,
    scheduler: str | None,
    *,
    known_samplers: Iterable[str] = (),
    known_schedulers: Iterable[str] = (),
) -> tuple[str | None, str | None]:
    """The engine's names for what a person wrote; None stays None.

    A1111 writes both in one: 'DPM++ 2M Karras' is the sampler `dpm++2m` with the scheduler `karras`, unless a scheduler
    is named besides. Raises `InvalidRequest` with suggestions.
    """
    if sampler is not None and " " in sampler.strip():
        front, _, last = sampler.strip().rpartition(" ")
        tail = {_key(name): name for name in SCHEDULERS}.get(_key(last))
        if tail and _key(front) in {_key(text) for pair in SAMPLERS.items() for text in pair}:
            sampler, scheduler = front, scheduler or tail
    return (
        None if sampler is None else _pick("sampler", sampler, known_samplers, SAMPLERS),
        None if scheduler is None else _pick("scheduler", scheduler, known_schedulers, SCHEDULERS),
    )
