"""Ways to get a model loaded: into which backend, and what must go before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tensors.scheduling.serving import retry_at
from tensors.scheduling.state import Slot
from tensors.scheduling.table import Group, Table

ROOM = 1.1
"""So many times its probable size must be free for a model to go beside others."""

Obstacle = Literal["busy", "wanted", "reserved", "moving", "memory"]
"""What is in the way: it draws; newer requests may still go first; it or its memory is kept for an older request;
another engine is on its way in or out; others in the pool must go first but cannot now."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way for the first request of a group."""

    slot: Slot
    obstacle: Obstacle | None = None
    """None: it can be gone now."""
    unload: tuple[Slot, ...] = ()
    """Idle backends of the same pool whose engines must end before there is room."""
    displaced: int = 0
    """How many newer requests lose the model that they would run with."""
    keep: tuple[Slot, ...] = ()
    """With an obstacle: idle backends on which nobody newer may start, for else it would never come to an end."""

    def cost(self, family: str) -> tuple[object, ...]:
        """The least is best: few displaced; empty before idle; bound to the family; the least recently used."""
        slot = self.slot
        bound = family in slot.families
        return (
            self.displaced,
            len(self.unload),
            slot.state != "empty",
            not bound,
            slot.can_switch,
            slot.since,
            slot.name,
        )


def ways(table: Table, group: Group) -> list[Way]:
    """A way for each backend that may get this group's model, now or when an obstacle is gone."""
    candidates = []
    for slot in group.slots:
        failure = table.failures.get((slot.name, group.first.model))
        if failure is not None and table.now < retry_at(failure):
            table.wake_at(retry_at(failure))
        elif slot.gone:
            table.wake_at(slot.since + table.limits.max_away)
        else:
            candidates.append(slot)
    return [_way(table, group, slot) for slot in candidates]


def _way(table: Table, group: Group, slot: Slot) -> Way:
    if slot.state not in ("empty", "ready"):
        return Way(slot, "busy")
    if slot.name in table.taken or slot.pool in table.held:
        return Way(slot, "reserved")
    lost = table.displaced(slot, group.first)
    if lost is None:
        return Way(slot, "wanted")
    mine: tuple[Slot, ...] = (slot,) if lost else ()
    if slot.pool in table.moving:
        return Way(slot, "moving", keep=mine)
    others = [s for s in table.slots if s.pool == slot.pool and s is not slot and s.can_load and _has_engine(s)]
    victims: list[Slot] = []
    for victim, cost in _victims(table, group, others):
        if _fits(table, group, slot, others, victims):
            break
        victims.append(victim)
        lost += cost
        mine += (victim,) if cost else ()
    if _fits(table, group, slot, others, victims):
        return Way(slot, unload=tuple(victims), displaced=lost)
    return Way(slot, "memory", keep=mine)


def _victims(table: Table, group: Group, others: Iterable[Slot]) -> list[tuple[Slot, int]]:
    """Which of the others may be ended for this group, the ones that are missed least first."""
    idle = [slot for slot in others if slot.state == "ready" and slot.name not in table.taken]
    costs = [(slot, table.displaced(slot, group.first)) for slot in idle]
    return sorted(
        ((slot, cost) for slot, cost in costs if cost is not None),
        key=lambda entry: (entry[1], entry[0].since, entry[0].name),
    )


def _fits(table: Table, group: Group, slot: Slot, others: Sequence[Slot], victims: Sequence[Slot]) -> bool:
    """Whether there is room for the group's model in this backend once the victims have gone."""
    beside = len(others) - len(victims)
    if not beside:
        # The engine can keep a part of a model in main memory: that it is too large is not ours to guess.
        return True
    if beside + 1 > table.limits.most_loaded.get(slot.pool, beside + 1):
        return False
    free, size = table.limits.free.get(slot.pool), table.sizes.get(group.first.model)
    if free is None or size is None:
        return True
    given_back = [one.uses for one in (*victims, slot) if _has_engine(one)]
    # What somebody gives back may be unknown: free memory is measured again when it has gone.
    return None in given_back or free + sum(uses or 0 for uses in given_back) >= size * ROOM


def _has_engine(slot: Slot) -> bool:
    return slot.state not in ("empty", "away")
