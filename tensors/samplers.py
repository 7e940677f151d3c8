"""Samplers, schedulers and upscalers: the engine's names, and the names people know from AUTOMATIC1111.

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


UPSCALERS = (
    "Lanczos",
    "Nearest",
    "Latent",
    "Latent (nearest)",
    "Latent (nearest-exact)",
    "Latent (antialiased)",
    "Latent (bicubic)",
    "Latent (bicubic antialiased)",
)
"""What the hires fix can enlarge with, besides upscaler models: a running engine names those."""


def _key(name: str) -> str:
    return "".join(char for char in name.casefold() if char.isalnum() or char == "+")


def _by_key(known: Iterable[str], labels: dict[str, str]) -> dict[str, str]:
    """Whatever a person may write -> the engine's name."""
    found = {_key(label): engine_name for engine_name, label in labels.items()}
    found.update((_key(engine_name), engine_name) for engine_name in {*known, *labels})
    return found


def _pick(kind: str, name: str, by_key: dict[str, str], labels: dict[str, str], *, field: str = "") -> str:
    found = by_key.get(_key(name))
    if found is None:
        names = sorted(set(by_key.values()))
        raise InvalidRequest(
            f"unknown {kind} {name!r}{did_you_mean(name, [*names, *labels.values()])}",
            hint=f"{kind}s: {', '.join(names)}",
            details={"fields": [{"field": field or kind, "message": "is unknown"}]},
        )
    return found


def _split(written: str, samplers: dict[str, str], schedulers: dict[str, str]) -> tuple[str, str | None]:
    """A sampler and the scheduler behind it, where that is what was written."""
    if _key(written) in samplers:
        return written, None
    words = written.split()
    for end in range(len(words) - 1, 0, -1):
        front, rest = " ".join(words[:end]), " ".join(words[end:])
        if _key(front) in samplers and _key(rest) in schedulers:
            return front, rest
    return written, None


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
    samplers, schedulers = _by_key(known_samplers, SAMPLERS), _by_key(known_schedulers, SCHEDULERS)
    if scheduler is not None and _key(scheduler) == "automatic":
        # A1111's word for 'what fits': the family's own.
        scheduler = None
    if sampler is not None:
        sampler, behind = _split(sampler, samplers, schedulers)
        scheduler = scheduler or behind
    return (
        None if sampler is None else _pick("sampler", sampler, samplers, SAMPLERS),
        None if scheduler is None else _pick("scheduler", scheduler, schedulers, SCHEDULERS),
    )


def hires_upscaler(name: str, *, known: Iterable[str] = ()) -> str:
    """The engine's name for an upscaler, whatever its case. Raises `InvalidRequest` with suggestions."""
    labels = {upscaler: upscaler for upscaler in UPSCALERS}
    return _pick("upscaler", name, _by_key(known, labels), labels, field="hires.upscaler")
