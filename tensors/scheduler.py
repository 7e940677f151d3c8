"""Whose turn it is on which backend: a pure function of who waits, how the backends are, and the time.

The rules are in docs/scheduling.md. Nothing here has a memory: call `plan` again after everything that happens, also
when its own actions have changed how the backends are.
"""

from __future__ import annotations

from collections.abc import Iterable

from tensors.scheduling.serving import given_up, why_nobody
from tensors.scheduling.state import (
    Action,
    Fail,
    Failure,
    Limits,
    Load,
    Plan,
    Request,
    Run,
    Slot,
    State,
    Unload,
    Wait,
)
from tensors.scheduling.table import Group, Table
from tensors.scheduling.ways import Way, ways
from tensors.scheduling.words import explain, why_failed, why_load, why_stuck

__all__ = [
    "Action",
    "Fail",
    "Failure",
    "Limits",
    "Load",
    "Plan",
    "Request",
    "Run",
    "Slot",
    "State",
    "Unload",
    "Wait",
    "plan",
]


def plan(
    requests: Iterable[Request], slots: Iterable[Slot], failures: Iterable[Failure], limits: Limits, now: float
) -> Plan:
    """What is to be done now, and why the others wait. The order of what goes in does not matter.

    `requests`: those who wait, not those who draw; ids are unique. `slots`: all backends; names are unique.
    """
    table = Table(requests, slots, failures, limits, now)
    for group in table.groups:
        _fail_if_hopeless(table, group)
    # From the oldest to the newest: who is older takes what is free before a newer one can.
    for request in table.requests:
        group = table.group_of[request.id]
        if request.id in table.done:
            continue
        if group.homes:
            _run_next(table, group)
        elif not group.tried:
            _load(table, group)
    _unload_idle(table)
    return Plan(tuple(table.actions), explain(table), min(table.wakes, default=None))


def _fail_if_hopeless(table: Table, group: Group) -> None:
    """Fail the requests that nobody can serve, or nobody any more."""
    if group.homes or not all(_lost(table, group, slot) for slot in group.slots):
        return
    reason = why_failed(table, group) if group.slots else why_nobody(group.first, table.slots)
    table.actions += [Fail(request.id, reason) for request in group.requests]
    table.done.update(request.id for request in group.requests)
    group.started = len(group.requests)


def _lost(table: Table, group: Group, slot: Slot) -> bool:
    """Whether this backend, which could serve the group, is not to be waited for."""
    too_long_away = slot.gone and slot.since + table.limits.max_away <= table.now
    return too_long_away or given_up(table.failures.get((slot.name, group.first.model)), table.now)


def _run_next(table: Table, group: Group) -> None:
    """Start the group's next request if a backend with its model is free."""
    free = [slot for slot in group.homes if slot.state == "ready" and slot.name not in table.taken]
    if not free:
        return
    request = group.first
    # What serves fewest others goes first.
    slot = min(free, key=lambda slot: (request.family not in slot.families, slot.changeable, slot.name))
    group.started += 1
    table.done.add(request.id)
    table.taken[slot.name] = request.model
    table.actions.append(Run(request.id, slot.name))


def _load(table: Table, group: Group) -> None:
    """Load the group's model, or make room for it, or keep what it waits for from newer requests."""
    group.tried = True
    model = group.first.model
    found = ways(table, group)
    passable = [way for way in found if way.obstacle is None]
    if passable:
        _go(table, group, min(passable, key=lambda way: way.cost(group.first.family)))
        return
    group.reason = why_stuck(table, group, found)
    for way in found:
        table.taken.update((slot.name, model) for slot in way.keep)
        if way.obstacle == "memory":
            table.held[way.slot.pool] = model


def _go(table: Table, group: Group, way: Way) -> None:
    model, slot = group.first.model, way.slot
    table.taken[slot.name] = model
    table.moving[slot.pool] = slot
    if not way.unload:
        table.actions.append(Load(slot.name, model, why_load(group, way)))
        table.comes_home(model, slot)
        return
    for victim in way.unload:
        table.taken[victim.name] = model
        table.actions.append(Unload(victim.name, f"makes room for '{model}' on {slot.name}, for {group.first.id}"))
    names = ", ".join(victim.name for victim in way.unload)
    group.reason = f"waits for room to load '{model}' on {slot.name}: the engine of {names} is ended first"


def _unload_idle(table: Table) -> None:
    """End the engines that nobody has wanted for long enough."""
    keep = table.limits.keep_alive
    if keep is None:
        return
    for slot in table.slots:
        # With somebody waiting for its model it would have got its turn and be taken.
        if slot.state != "ready" or not slot.can_load or slot.name in table.taken:
            continue
        if slot.since + keep <= table.now:
            table.actions.append(Unload(slot.name, f"nobody has asked for '{slot.model}' for {keep:g} s"))
        else:
            table.wake_at(slot.since + keep)
