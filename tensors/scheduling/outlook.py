"""The order in which waiting requests will probably run, as far as it can be told now."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict, deque

from tensors.scheduling.state import Load, Request
from tensors.scheduling.table import Table


def likely_order(table: Table) -> list[Request]:
    """Those who still wait, in the order in which they will probably start.

    Told as if all backends were one that loads a model after the other: first who may run with what is loaded, then the
    oldest one's model with everybody who may go along, and so on.
    """
    lines: dict[str, deque[Request]] = defaultdict(deque)
    for request in table.requests:
        if request.id not in table.done:
            lines[request.model].append(request)
    first = [r for model, until in _loaded(table).items() for r in _take(lines[model], until)]
    order = sorted(first, key=lambda request: request.order)
    heads = [(line[0].order, model) for model, line in lines.items() if line]
    heapq.heapify(heads)
    while heads:
        _, model = heapq.heappop(heads)
        order += _take(lines[model], heads[0][0][0] + table.limits.max_wait if heads else math.inf)
        if lines[model]:
            heapq.heappush(heads, (lines[model][0].order, model))
    return order


def _take(line: deque[Request], until: float) -> list[Request]:
    """Off the line's front: the first ones, those who were asked until then."""
    taken = []
    while line and line[0].asked <= until:
        taken.append(line.popleft())
    return taken


def _loaded(table: Table) -> dict[str, float]:
    """The models that are there or on their way in; and when the last of their requests was asked that may run next."""
    coming = {action.slot: action.model for action in table.actions if isinstance(action, Load)}
    until: dict[str, float] = {}
    for slot in table.slots:
        model = coming.get(slot.name, slot.model if slot.state in ("loading", "ready", "busy") else None)
        if model is None or table.taken.get(slot.name, model) != model:
            continue
        rivals = (g for g in table.groups if not g.homes and g.waiting and slot in g.slots and g.first.model != model)
        oldest = min((group.first for group in rivals), key=lambda request: request.order, default=None)
        moment = math.inf
        if oldest is not None:
            since = table.now if slot.loaded is None or slot.name in coming else slot.loaded
            in_time = table.now < max(oldest.asked, since) + table.limits.max_wait
            moment = oldest.asked + table.limits.max_wait * in_time
        until[model] = max(moment, until.get(model, -math.inf))
    return until
