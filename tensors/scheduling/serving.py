"""Which backends can serve a request: by family, by model, and after loads that failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tensors.scheduling.state import Failure, Request, Slot

TRIES = 3
"""So many loads of a model fail on a backend, one after the other, before it is given up there for a while."""
COOL_DOWN = 60.0
"""Seconds for which it is given up then. Each further failure doubles them."""
LONGEST_COOL_DOWN = 600.0

Failures = Mapping[tuple[str, str], Failure]
"""By backend and model."""


def by_slot_and_model(failures: Iterable[Failure]) -> Failures:
    """The failures for looking up; the latest where there are several for one place and model."""
    ordered = sorted(failures, key=lambda failure: (failure.last, failure.times, failure.reason))
    return {(failure.slot, failure.model): failure for failure in ordered if failure.times > 0}


def retry_at(failure: Failure) -> float:
    """From when on the model may be tried there again: after 1 and 4 seconds, then after a cool-down."""
    if failure.times < TRIES:
        return failure.last + 4.0 ** (failure.times - 1)
    doublings = min(failure.times - TRIES, 10)
    return failure.last + min(COOL_DOWN * 2.0**doublings, LONGEST_COOL_DOWN)


def given_up(failure: Failure | None, now: float) -> bool:
    """Whether requests that depend on this load shall fail rather than wait for the next try."""
    return failure is not None and failure.times >= TRIES and now < retry_at(failure)


def can_serve(slot: Slot, request: Request) -> bool:
    """Whether this backend may ever run this request, whatever it is doing now."""
    if request.backend not in (None, slot.name) or (slot.families and request.family not in slot.families):
        return False
    if slot.changeable:
        return True
    # What a server of somebody else has in it is known again when it answers again.
    return slot.gone if slot.model is None else slot.model == request.model


def why_nobody(request: Request, slots: Sequence[Slot]) -> str:
    """Why no backend can ever serve this request, and what to do about it."""
    wanted = f"'{request.model}' ({request.family})"
    if not slots:
        return f"no backend is configured that could run {wanted}; add one to [engine] in the settings"
    if request.backend is None:
        return (
            f"no backend can run {wanted}: {'; '.join(_refusal(slot, request) for slot in slots)}. "
            "Add one to [engine] in the settings, or ask for another model"
        )
    for slot in slots:
        if slot.name == request.backend:
            return f"{_refusal(slot, request)}, so it cannot run {wanted}; leave the choice of the backend to tsr"
    names = ", ".join(slot.name for slot in slots)
    return f"there is no backend '{request.backend}'; there are: {names} (tsr ps)"


def _refusal(slot: Slot, request: Request) -> str:
    if slot.families and request.family not in slot.families:
        return f"{slot.name} takes only {', '.join(sorted(slot.families))}"
    if slot.model is None:
        return f"{slot.name} does not tell which model it has"
    return f"{slot.name} has '{slot.model}' and cannot switch"
