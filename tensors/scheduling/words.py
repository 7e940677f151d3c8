"""What people are told: why a model is loaded or ended, why a request waits or fails."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from tensors.scheduling.outlook import likely_order
from tensors.scheduling.serving import TRIES, given_up, retry_at
from tensors.scheduling.state import Failure, Request, Slot, Wait
from tensors.scheduling.table import Group, Table
from tensors.scheduling.ways import Way


def explain(table: Table) -> dict[str, Wait]:
    """Where everybody stands who still waits, and why."""
    ahead: Counter[str] = Counter()
    waits = {}
    for position, request in enumerate(likely_order(table), 1):
        group = table.group_of[request.id]
        reason = _at_home(table, group, request, ahead[request.model]) if group.homes else group.reason
        waits[request.id] = Wait(position, reason)
        ahead[request.model] += 1
    return waits


def _at_home(table: Table, group: Group, request: Request, ahead: int) -> str:
    """Why a request waits whose model is loaded, or on its way in."""
    model = request.model
    open_ = [slot for slot in group.homes if table.taken.get(slot.name, model) == model]
    if not open_:
        slot = group.homes[0]
        return f"waits for '{model}': {slot.name} is kept for '{table.taken[slot.name]}', which was asked for earlier"
    drawing = [slot for slot in open_ if slot.model == model and slot.state in ("ready", "busy")]
    if not drawing:
        after = f", then for {_others(ahead)}" if ahead else ""
        return f"waits until '{model}' is loaded on {_names(open_)}{after}"
    return f"waits for '{model}' on {_names(drawing)}, which draws for {_others(ahead + len(drawing))} first"


def why_stuck(table: Table, group: Group, found: Sequence[Way]) -> str:
    """Why the model of a group cannot be loaded now."""
    model = group.first.model
    for way in found:
        if way.obstacle == "memory":
            return f"waits for room to load '{model}' on {way.slot.name}, until others in the same memory are done"
    for way in found:
        if way.obstacle == "moving":
            other = table.moving[way.slot.pool]
            return f"waits to load '{model}' on {way.slot.name}, until {other.name} has finished loading or stopping"
    for way in found:
        if way.obstacle == "reserved" and way.slot.pool in table.held:
            older = table.held[way.slot.pool]
            return f"waits to load '{model}' on {way.slot.name}: '{older}', asked for earlier, waits for room there"
    if found:
        return f"waits to load '{model}' on {_names(way.slot for way in found)}, where others have their turn first"
    return f"waits for '{model}': {'; '.join(_out_of_reach(table, model, slot) for slot in group.slots)}"


def _out_of_reach(table: Table, model: str, slot: Slot) -> str:
    failure = table.failures.get((slot.name, model))
    if failure is not None and table.now < retry_at(failure):
        seconds = _seconds(retry_at(failure) - table.now)
        return f"{slot.name} tries again in {seconds} after {failure.times} of {TRIES} tries: {failure.reason}"
    return f"{slot.name} does not answer"


def why_load(group: Group, way: Way) -> str:
    """Why this model is loaded there."""
    along = f" and {_others(group.waiting - 1)}" if group.waiting > 1 else ""
    lost = f", before {_others(way.displaced)} for '{way.slot.model}' who came later" if way.displaced else ""
    return f"for {group.first.id}{along}{lost}"


def why_failed(table: Table, group: Group) -> str:
    """The reason for requests whose backends have all given up or do not come back."""
    model = group.first.model
    failures = [table.failures.get((slot.name, model)) for slot in group.slots]
    final = [failure for failure in failures if failure is not None and given_up(failure, table.now)]
    if not final:
        away = _seconds(table.limits.max_away)
        return f"{_names(group.slots)} did not answer for {away}; start it again (tsr ps), or ask for another model"
    return _gave_up(table, max(final, key=lambda failure: (failure.last, failure.slot)))


def _gave_up(table: Table, failure: Failure) -> str:
    again = _seconds(retry_at(failure) - table.now)
    return (
        f"'{failure.model}' could not be loaded on {failure.slot} in {failure.times} tries, "
        f"and the next one is for a request that comes in {again} or later: {failure.reason}"
    )


def _names(slots: Iterable[Slot]) -> str:
    return " or ".join(slot.name for slot in slots)


def _others(number: int) -> str:
    return "1 other" if number == 1 else f"{number} others"


def _seconds(seconds: float) -> str:
    return f"{math.ceil(seconds)} s"
