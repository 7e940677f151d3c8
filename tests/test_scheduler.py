"""Whose turn it is: laws that hold in thousands of random histories, and each rule by an example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduler_world import Fault, History, World

from tensors.scheduler import Fail, Failure, Limits, Load, Plan, Request, Run, Slot, State, Unload, plan

GB = 1 << 30
FAMILIES = {"anime": "sdxl", "photo": "sdxl", "small": "sd15", "dream": "sd15", "broken": "sd15"}
SIZES = {"anime": 6 * GB, "photo": 7 * GB, "small": 2 * GB, "dream": 3 * GB, "broken": 2 * GB}
MODELS = sorted(FAMILIES)
GPU0 = Slot(name="gpu0", state="empty")
GPU1 = Slot(name="gpu1", state="empty")


def ask(name: str, model: str, asked: float = 0.0, *, backend: str | None = None, size: int | None = None) -> Request:
    return Request(id=name, model=model, family=FAMILIES[model], asked=asked, backend=backend, size=size)


def ready(slot: Slot, model: str, since: float = 0.0, *, loaded: float | None = None, uses: int | None = None) -> Slot:
    return replace(slot, state="ready", model=model, since=since, loaded=loaded, uses=uses)


def busy(slot: Slot, model: str, *, loaded: float | None = None) -> Slot:
    return replace(slot, state="busy", model=model, serving="drawing", loaded=loaded)


def decide(
    requests: Sequence[Request],
    *slots: Slot,
    limits: Limits | None = None,
    failures: Sequence[Failure] = (),
    now: float = 10.0,
) -> Plan:
    return plan(requests, slots, failures, limits or Limits(keep_alive=None), now)


# Random histories. The laws themselves are in scheduler_world.py.


@st.composite
def slots_of_all_sorts(draw: st.DrawFn) -> tuple[Slot, ...]:
    slots = []
    for number in range(draw(st.integers(1, 4))):
        families = draw(st.sampled_from([(), (), ("sdxl",), ("sd15",), ("flux",)]))
        pool = draw(st.sampled_from(["a", "a", "b"]))
        slot = Slot(name=f"gpu{number}", state="empty", families=frozenset(families), pool=pool)
        match draw(st.sampled_from(["own", "own", "own", "fixed", "external"])):
            case "fixed":
                slot = replace(slot, can_switch=False, model=draw(st.sampled_from(MODELS)))
            case "external":
                model = draw(st.sampled_from(MODELS))
                slot = replace(slot, can_switch=False, can_load=False, model=model, state="ready")
        slots.append(slot)
    return tuple(slots)


LIMITS = st.builds(
    Limits,
    max_wait=st.sampled_from([0.0, 5.0, 60.0, 1000.0]),
    keep_alive=st.sampled_from([None, 0.0, 30.0]),
    max_away=st.sampled_from([0.0, 100.0]),
    most_loaded=st.dictionaries(st.sampled_from("ab"), st.integers(1, 2)),
)
MEMORY = st.dictionaries(st.sampled_from("ab"), st.sampled_from([5 * GB, 10 * GB, 24 * GB]))
GAPS = st.sampled_from([0.0, 0.0, 1.0, 10.0, 100.0])
SORTS = st.tuples(GAPS, st.sampled_from(MODELS), st.booleans(), st.integers(0, 7), st.integers(0, 9))


@st.composite
def histories(draw: st.DrawFn) -> History:
    slots = draw(slots_of_all_sorts())
    requests, cancels, moment = [], [], 0.0
    for number, (gap, model, sized, target, luck) in enumerate(draw(st.lists(SORTS, min_size=1, max_size=14))):
        moment += gap
        backend = slots[target].name if target < len(slots) else "nowhere" if (target, luck) == (7, 5) else None
        requests.append(ask(f"job{number:02}", model, moment, backend=backend, size=SIZES[model] if sized else None))
        if luck == 9:
            cancels.append((moment + 15, f"job{number:02}"))
    happenings: list[Fault] = ["die", "leave", "leave", "come_back"]
    fault = st.tuples(
        st.floats(0, moment + 60),
        st.sampled_from(happenings),
        st.sampled_from([slot.name for slot in slots]),
    )
    return History(
        slots=slots,
        limits=draw(LIMITS),
        memory=draw(MEMORY),
        uses_known=draw(st.booleans()),
        load_fails=draw(st.sampled_from([0.0, 0.3])),
        requests=tuple(requests),
        cancels=tuple(cancels),
        faults=tuple(draw(st.lists(fault, max_size=4))),
        seed=draw(st.integers(0, 999)),
    )


@settings(max_examples=2000)
@given(histories())
def test_every_job_ends_and_no_law_is_broken_whatever_happens(history: History) -> None:
    world = World.of(history, SIZES, frozenset({"broken"}))
    world.run()
    assert not world.waiting
    assert not world.drawing
    assert world.ended.keys() == {request.id for request in history.requests}
    if world.limits.keep_alive is not None:
        assert all(slot.state in ("empty", "away") for slot in world.slots.values() if slot.can_load)


def is_within_bounds(world: World, request: Request, slot: Slot) -> None:
    """Nobody older is overtaken by who came more than `max_wait` later, nor for longer than that with one model."""
    for older in world.waiting.values():
        if older.order < request.order:
            assert request.asked <= older.asked + world.limits.max_wait, "it came too late to go before"
            assert slot.loaded is not None
            overtaken_since = max(older.asked, slot.loaded)
            assert world.now < overtaken_since + world.limits.max_wait, "overtaken for too long"


@settings(max_examples=1000)
@given(
    arrivals=st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 3.0, 20.0, 90.0]), st.sampled_from(MODELS[2:])), min_size=2, max_size=40
    ),
    max_wait=st.sampled_from([0.0, 1.0, 10.0, 60.0]),
    seed=st.integers(0, 1 << 32),
)
def test_on_one_backend_nobody_is_overtaken_beyond_the_bounds(
    arrivals: list[tuple[float, str]], max_wait: float, seed: int
) -> None:
    world = World(
        slots={"gpu0": GPU0}, limits=Limits(max_wait=max_wait, keep_alive=None), random=Random(seed), shuffle=False
    )
    world.on_run = is_within_bounds
    moment = 0.0
    for number, (gap, model) in enumerate(arrivals):
        moment += gap
        world.at(moment, partial(world.ask, ask(f"job{number:02}", model, moment)))
    world.run()
    assert len(world.started) == len(arrivals)
    if max_wait == 0:
        assert world.started == sorted(world.started, key=lambda request: request.order)


@pytest.mark.parametrize("seconds", [0.5, 5.0])
def test_a_hundred_mixed_requests_cost_few_swaps(seconds: float) -> None:
    world = World(
        slots={"gpu0": GPU0}, limits=Limits(max_wait=60, keep_alive=0), draw_seconds=(seconds, seconds), shuffle=False
    )
    for number in range(100):
        world.ask(ask(f"job{number:02}", ["anime", "photo"][number % 2]))
    world.run()
    assert list(world.ended.values()) == ["drawn"] * 100
    # A model that is loaded has 60 seconds before older requests for the other get the backend.
    assert len(world.loads) == (2 if seconds < 1 else 10)


def test_one_that_needs_all_the_memory_is_not_starved_by_a_stream_of_small_ones() -> None:
    world = World(
        slots={slot.name: replace(slot, pool="a") for slot in (GPU0, GPU1)},
        limits=Limits(max_wait=30, keep_alive=None),
        memory={"a": 8 * GB},
        sizes=SIZES,
        load_seconds=(2, 4),
        draw_seconds=(3, 6),
        shuffle=False,
    )
    for second in range(0, 600, 3):
        model = ["small", "dream"][second % 2]
        world.at(second, partial(world.ask, ask(f"job{second:03}", model, second, size=SIZES[model])))
    world.at(100.5, partial(world.ask, ask("large", "photo", 100.5, size=SIZES["photo"])))
    world.run()
    older = [request for request in world.started if request.asked < 100.5]
    before = world.started[: world.started.index(ask("large", "photo", 100.5, size=SIZES["photo"]))]
    # Of those who came later only who came within 30 seconds went before, for either model that was loaded.
    assert set(before) - set(older)
    assert all(request.asked <= 130.5 for request in before)


@settings(max_examples=300)
@given(
    models=st.lists(st.sampled_from(MODELS), min_size=1, max_size=30),
    gaps=st.lists(st.sampled_from([0, 7]), min_size=30),
)
def test_the_places_told_are_those_that_come_true_on_one_quick_backend(models: list[str], gaps: list[int]) -> None:
    moments = [float(sum(gaps[: number + 1])) for number in range(len(models))]
    requests = [ask(f"job{number:02}", *entry) for number, entry in enumerate(zip(models, moments, strict=True))]
    world = World(
        slots={"gpu0": busy(GPU0, "anime", loaded=moments[-1])},
        limits=Limits(max_wait=20, keep_alive=None),
        now=moments[-1],
        load_seconds=(0, 0),
        draw_seconds=(0, 0),
        shuffle=False,
    )
    told = decide(requests, *world.slots.values(), limits=world.limits, now=world.now).waits
    world.slots = {"gpu0": ready(GPU0, "anime", loaded=moments[-1])}
    for request in requests:
        world.ask(request)
    world.run()
    assert [request.id for request in world.started] == sorted(told, key=lambda name: told[name].position)


# Each rule by an example.


def test_who_was_asked_first_runs_first() -> None:
    made = decide([ask("b", "anime", 2), ask("a", "anime", 1)], ready(GPU0, "anime"))
    assert made.actions == (Run("a", "gpu0"),)


def test_equal_times_go_by_id() -> None:
    assert decide([ask("b", "anime"), ask("a", "anime")], ready(GPU0, "anime")).actions == (Run("a", "gpu0"),)


@pytest.mark.parametrize(
    ("newer", "loaded", "now", "first"),
    [
        pytest.param(59.0, 0.0, 59.0, Run("newer", "gpu0"), id="within the time"),
        pytest.param(59.0, 0.0, 60.0, "load", id="overtaken for max_wait"),
        pytest.param(60.0, 500.0, 559.0, Run("newer", "gpu0"), id="loaded lately"),
        pytest.param(60.5, 500.0, 559.0, "load", id="came too late"),
        pytest.param(59.0, None, 5000.0, Run("newer", "gpu0"), id="not known since when it is loaded"),
    ],
)
def test_a_newer_request_goes_before_for_the_loaded_model_but_not_for_ever(
    newer: float, loaded: float | None, now: float, first: Run | str
) -> None:
    made = decide(
        [ask("older", "anime", 0), ask("newer", "photo", newer)],
        ready(GPU0, "photo", loaded=loaded),
        limits=Limits(max_wait=60, keep_alive=None),
        now=now,
    )
    load = Load("gpu0", "anime", "for older, before 1 other for 'photo' who came later")
    assert made.actions == (load if first == "load" else first,)


def test_a_model_is_not_loaded_a_second_time_while_a_backend_has_it() -> None:
    made = decide([ask("a", "anime"), ask("b", "anime")], busy(GPU0, "anime"), GPU1)
    assert made.actions == ()
    assert made.waits["b"].reason == "waits for 'anime' on gpu0, which draws for 2 others first"


def test_a_model_is_loaded_a_second_time_for_who_insists() -> None:
    made = decide([ask("a", "anime", backend="gpu1")], ready(GPU0, "anime"), GPU1)
    assert made.actions == (Load("gpu1", "anime", "for a"),)


def test_one_load_serves_all_who_wait_for_it() -> None:
    made = decide([ask("a", "anime"), ask("b", "anime"), ask("c", "anime")], GPU0, GPU1)
    assert made.actions == (Load("gpu0", "anime", "for a and 2 others"),)
    told = [made.waits[name].reason for name in "ac"]
    assert told == ["waits until 'anime' is loaded on gpu0", "waits until 'anime' is loaded on gpu0, then for 2 others"]


@pytest.mark.parametrize("state", ["loading", "stopping", "busy", "away"])
def test_nothing_is_done_to_a_backend_that_is_not_at_rest(state: State) -> None:
    slot = replace(GPU0, state=state, model="photo")
    made = decide([ask("a", "anime")], slot, limits=Limits(keep_alive=0))
    assert made.actions == ()
    assert "gpu0" in made.waits["a"].reason


def test_a_bound_backend_is_preferred_for_loading_and_for_running() -> None:
    bound = replace(GPU1, families=frozenset({"sdxl"}))
    assert decide([ask("a", "anime")], GPU0, bound).actions == (Load("gpu1", "anime", "for a"),)
    made = decide([ask("a", "anime")], ready(GPU0, "anime"), ready(bound, "anime"))
    assert made.actions == (Run("a", "gpu1"),)
    assert decide([ask("a", "small")], bound, GPU0).actions == (Load("gpu0", "small", "for a"),)


def test_an_empty_backend_is_taken_before_an_idle_one_and_of_these_the_least_recently_used() -> None:
    idle, older = ready(GPU0, "photo", since=5), ready(GPU1, "small", since=3)
    gpu2 = replace(GPU0, name="gpu2", since=9)
    assert decide([ask("a", "anime")], idle, older, gpu2).actions == (Load("gpu2", "anime", "for a"),)
    assert decide([ask("a", "anime")], idle, older).actions == (Load("gpu1", "anime", "for a"),)
    wanted = [ask("a", "anime", 0), ask("b", "small", 1)]
    assert decide(wanted, idle, older).actions == (Load("gpu0", "anime", "for a"), Run("b", "gpu1"))


def test_when_all_are_wanted_the_one_that_fewest_lose_is_taken() -> None:
    later = [ask("b", "photo", 70), ask("c", "photo", 71), ask("d", "small", 72)]
    made = decide([ask("a", "anime"), *later], ready(GPU0, "photo"), ready(GPU1, "small"), now=100)
    assert made.actions == (
        Load("gpu1", "anime", "for a, before 1 other for 'small' who came later"),
        Run("b", "gpu0"),
    )
    assert made.waits["d"].reason == "waits for 'small': gpu1 is kept for 'anime', which was asked for earlier"
    assert [made.waits[name].position for name in "acd"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("free", "most", "fits"),
    [
        pytest.param(int(6.6 * GB) + 1, 9, True, id="room"),
        pytest.param(int(6.6 * GB) - 1, 9, False, id="no room"),
        pytest.param(None, 9, True, id="unknown"),
        pytest.param(99 * GB, 1, False, id="one engine at most"),
    ],
)
def test_a_second_engine_needs_room_else_an_idle_one_goes_first(free: int | None, most: int, fits: bool) -> None:
    limits = Limits(keep_alive=None, free={"": free}, most_loaded={"": most})
    fixed = replace(GPU0, can_switch=False)
    made = decide([ask("a", "anime", size=6 * GB)], ready(fixed, "photo", uses=7 * GB), GPU1, limits=limits)
    unload = Unload("gpu0", "makes room for 'anime' on gpu1, for a")
    assert made.actions == ((Load("gpu1", "anime", "for a"),) if fits else (unload,))


def test_a_swap_is_better_than_ending_an_engine_beside_an_empty_backend() -> None:
    limits = Limits(keep_alive=None, most_loaded={"": 1})
    made = decide([ask("a", "anime")], GPU0, ready(GPU1, "photo"), limits=limits)
    assert made.actions == (Load("gpu1", "anime", "for a"),)


def test_to_make_room_who_is_wanted_goes_last_and_no_more_go_than_must() -> None:
    fixed = partial(replace, can_switch=False)
    gpu2, gpu3 = replace(GPU0, name="gpu2"), replace(GPU0, name="gpu3")
    engines = (
        ready(fixed(GPU0), "photo", since=1, loaded=0),
        ready(fixed(GPU1), "small", since=3),
        ready(gpu2, "dream", 2),
    )
    limits = Limits(keep_alive=None, max_wait=0, most_loaded={"": 3})
    made = decide([ask("a", "anime", 0, backend="gpu3"), ask("b", "photo", 1)], *engines, gpu3, limits=limits)
    assert made.actions == (Unload("gpu2", "makes room for 'anime' on gpu3, for a"), Run("b", "gpu0"))
    made = decide([ask("a", "anime", 0, backend="gpu3")], *engines, gpu3, limits=replace(limits, most_loaded={"": 2}))
    assert [action.slot for action in made.actions if isinstance(action, Unload)] == ["gpu0", "gpu2"]
    wanted = [ask("a", "anime", 0, backend="gpu3"), ask("b", "photo", 1)]
    made = decide(wanted, *engines, gpu3, limits=replace(limits, most_loaded={"": 2}))
    assert [action.slot for action in made.actions if isinstance(action, Unload)] == ["gpu2", "gpu1"]


def test_the_size_of_a_model_is_known_when_one_of_its_requests_knows_it() -> None:
    requests = [ask("a", "anime", backend="gpu0"), ask("b", "anime", size=6 * GB)]
    made = decide(requests, GPU0, busy(GPU1, "photo"), limits=Limits(keep_alive=None, free={"": 6 * GB}))
    assert made.actions == ()


def test_the_places_of_requests_for_models_that_are_loaded_go_by_age() -> None:
    requests = [ask("a", "photo", 1), ask("b", "small", 2), ask("c", "photo", 3), ask("d", "anime", 0)]
    waits = decide(requests, busy(GPU0, "photo"), busy(GPU1, "small")).waits
    assert sorted(waits, key=lambda name: waits[name].position) == ["a", "b", "c", "d"]


def test_the_place_of_who_was_overtaken_for_long_enough_is_the_first() -> None:
    slot, requests = busy(GPU0, "photo", loaded=0), [ask("older", "anime", 1), ask("newer", "photo", 2)]
    for now, first in [(60, "newer"), (61, "older")]:
        assert decide(requests, slot, now=now).waits[first].position == 1


def test_a_swap_counts_the_memory_that_the_old_model_gives_back() -> None:
    other = busy(replace(GPU1, can_switch=False), "small")
    load = (Load("gpu0", "anime", "for a"),)
    # What nobody knows is found out by trying: afterwards the backend is empty and the free memory measured.
    for uses, expected in [(6 * GB, load), (5 * GB, ()), (None, load)]:
        made = decide(
            [ask("a", "anime", size=6 * GB)],
            ready(GPU0, "photo", uses=uses),
            other,
            limits=Limits(keep_alive=None, free={"": GB}),
        )
        assert made.actions == expected


def test_a_model_larger_than_the_memory_is_tried_when_nothing_of_ours_is_beside_it() -> None:
    external = ready(replace(GPU1, can_load=False, can_switch=False), "photo")
    limits = Limits(keep_alive=None, free={"": GB}, most_loaded={"": 1})
    made = decide([ask("a", "anime", size=99 * GB)], GPU0, external, limits=limits)
    assert made.actions == (Load("gpu0", "anime", "for a"),)


def test_no_newer_load_takes_the_memory_that_an_older_one_waits_for() -> None:
    limits = Limits(keep_alive=None, free={"": 4 * GB})
    gpu2 = replace(GPU0, name="gpu2", can_switch=False, can_load=True)
    requests = [ask("a", "anime", 0, size=6 * GB), ask("b", "small", 1, size=GB)]
    made = decide(requests, GPU0, GPU1, busy(gpu2, "photo"), limits=limits)
    assert made.actions == ()
    assert made.waits["a"].reason == (
        "waits for room to load 'anime' on gpu0, until others in the same memory are done"
    )
    assert made.waits["b"].reason == ("waits to load 'small' on gpu0: 'anime', asked for earlier, waits for room there")


def test_an_engine_that_must_go_is_kept_idle_until_the_others_are_done() -> None:
    fixed = partial(replace, can_switch=False)
    slots = ready(fixed(GPU0), "photo", loaded=0), busy(fixed(GPU1), "small"), replace(GPU0, name="gpu2")
    limits = Limits(keep_alive=None, most_loaded={"": 1})
    made = decide([ask("a", "anime", 0), ask("b", "photo", 1)], *slots, limits=limits, now=59)
    assert made.actions == (Run("b", "gpu0"),)
    made = decide([ask("a", "anime", 0), ask("b", "photo", 1)], *slots, limits=limits, now=60)
    assert made.actions == ()
    assert made.waits["b"].reason == "waits for 'photo': gpu0 is kept for 'anime', which was asked for earlier"
    assert made.waits["b"].position == 2


def test_one_engine_at_a_time_comes_or_goes_in_one_memory() -> None:
    loading = replace(GPU0, state="loading", model="photo")
    made = decide([ask("a", "anime")], loading, GPU1)
    assert made.actions == ()
    assert made.waits["a"].reason == "waits to load 'anime' on gpu1, until gpu0 has finished loading or stopping"
    made = decide([ask("a", "anime")], loading, replace(GPU1, pool="other"))
    assert made.actions == (Load("gpu1", "anime", "for a"),)


def test_an_idle_engine_is_ended_after_its_time() -> None:
    slot = ready(GPU0, "anime", since=100)
    limits = Limits(keep_alive=300)
    assert decide([], slot, limits=limits, now=399).wake == 400
    assert decide([], slot, limits=limits, now=400).actions == (
        Unload("gpu0", "nobody has asked for 'anime' for 300 s"),
    )
    assert decide([], slot, limits=Limits(keep_alive=None), now=1e9) == Plan((), {}, None)
    assert decide([], replace(slot, can_load=False), limits=limits, now=1e9) == Plan((), {}, None)
    assert decide([ask("a", "anime")], slot, limits=Limits(keep_alive=0), now=400).actions == (Run("a", "gpu0"),)


def failed(times: int, slot: str = "gpu0") -> Failure:
    return Failure(slot=slot, model="broken", times=times, last=1000.0, reason="not a model")


@pytest.mark.parametrize(
    ("times", "pause"), [(1, 1.0), (2, 4.0), (3, 60.0), (4, 120.0), (6, 480.0), (7, 600.0), (5000, 600.0)]
)
def test_a_load_that_failed_is_tried_again_later_and_later(times: int, pause: float) -> None:
    requests = [ask("a", "broken"), ask("b", "broken")]
    early = decide(requests, GPU0, failures=[failed(times)], now=1000 + pause - 0.5)
    if times < 3:
        assert early.actions == ()
        assert early.wake == 1000 + pause
        reason = f"waits for 'broken': gpu0 tries again in 1 s after {times} of 3 tries: not a model"
        assert early.waits["b"].reason == reason
    else:
        reason = (
            f"'broken' could not be loaded on gpu0 in {times} tries, "
            "and the next one is for a request that comes in 1 s or later: not a model"
        )
        assert early.actions == (Fail("a", reason), Fail("b", reason))
    later = decide(requests, GPU0, failures=[failed(times)], now=1000 + pause)
    assert later.actions == (Load("gpu0", "broken", "for a and 1 other"),)


def test_a_model_given_up_on_one_backend_is_tried_on_another() -> None:
    made = decide([ask("a", "broken")], GPU0, GPU1, failures=[failed(3)], now=1001)
    assert made.actions == (Load("gpu1", "broken", "for a"),)
    made = decide([ask("a", "broken")], GPU0, GPU1, failures=[failed(3), failed(3, "gpu1")], now=1001)
    assert isinstance(made.actions[0], Fail)


def test_failures_do_not_matter_where_the_model_is_loaded_all_the_same() -> None:
    made = decide([ask("a", "broken")], ready(GPU0, "broken"), failures=[failed(3)], now=1001)
    assert made.actions == (Run("a", "gpu0"),)


def test_a_failing_model_takes_nothing_from_the_others_while_it_rests() -> None:
    made = decide([ask("a", "broken"), ask("b", "anime", 900)], ready(GPU0, "anime"), failures=[failed(2)], now=1001)
    assert made.actions == (Run("b", "gpu0"),)
    assert made.wake == 1004


def test_who_waits_for_a_backend_that_is_away_fails_in_the_end() -> None:
    gone = replace(GPU0, state="away", since=100)
    made = decide([ask("a", "anime")], gone, now=399)
    assert (made.actions, made.wake) == ((), 400)
    assert made.waits["a"].reason == "waits for 'anime': gpu0 does not answer"
    made = decide([ask("a", "anime")], gone, now=400)
    reason = "gpu0 did not answer for 300 s; start it again (tsr ps), or ask for another model"
    assert made.actions == (Fail("a", reason),)
    assert decide([ask("a", "anime")], gone, GPU1, now=400).actions == (Load("gpu1", "anime", "for a"),)


def test_a_server_of_somebody_else_is_waited_for_while_nobody_knows_what_it_has() -> None:
    unknown = Slot(name="far", state="away", can_load=False, can_switch=False)
    assert decide([ask("a", "anime")], unknown).actions == ()
    assert isinstance(decide([ask("a", "anime")], replace(unknown, state="ready")).actions[0], Fail)


@pytest.mark.parametrize(
    ("backend", "slots", "reason"),
    [
        (None, [], "no backend is configured that could run 'anime' (sdxl); add one to [engine] in the settings"),
        (
            "gpu7",
            [GPU0, GPU1],
            "there is no backend 'gpu7'; there are: gpu0, gpu1 (tsr ps)",
        ),
        (
            "gpu0",
            [replace(GPU0, families=frozenset({"flux", "sd15"})), GPU1],
            "gpu0 takes only flux, sd15, so it cannot run 'anime' (sdxl); leave the choice of the backend to tsr",
        ),
        (
            None,
            [replace(GPU0, families=frozenset({"sd15"})), ready(replace(GPU1, can_load=False), "photo")],
            "no backend can run 'anime' (sdxl): gpu0 takes only sd15; gpu1 has 'photo' and cannot switch. "
            "Add one to [engine] in the settings, or ask for another model",
        ),
    ],
    ids=["none at all", "unknown", "another family", "all fixed"],
)
def test_what_nobody_can_ever_serve_fails_at_once_and_says_what_to_do(
    backend: str | None, slots: list[Slot], reason: str
) -> None:
    assert decide([ask("a", "anime", backend=backend)], *slots).actions == (Fail("a", reason),)


def test_a_fixed_backend_is_preferred_for_its_model() -> None:
    fixed = replace(GPU1, can_switch=False, model="anime")
    assert decide([ask("a", "anime")], GPU0, fixed).actions == (Load("gpu1", "anime", "for a"),)
    assert decide([ask("a", "anime")], ready(GPU0, "anime"), ready(fixed, "anime")).actions == (Run("a", "gpu1"),)


def test_a_request_that_draws_already_is_not_planned_again() -> None:
    slot = replace(busy(GPU0, "anime"), serving="a")
    assert decide([ask("a", "anime")], slot, GPU1) == Plan((), {}, None)


def test_the_reasons_in_the_docs_are_those_that_are_given() -> None:
    made = decide(
        [ask("job-11", "anime", 1), ask("job-12", "photo", 2), ask("job-13", "broken", 3), ask("job-14", "anime", 4)],
        busy(GPU0, "photo"),
        replace(GPU1, state="away"),
        failures=[replace(failed(2), last=9)],
    )
    waits = sorted(made.waits.items(), key=lambda entry: entry[1].position)
    text = "".join(f"{wait.position}  {name}  {wait.reason}\n" for name, wait in waits)
    assert f"```\n{text}```" in (Path(__file__).parent.parent / "docs" / "scheduling.md").read_text("utf-8"), text


def seconds_for(number: int, models: int) -> float:
    requests = [
        Request(id=f"{n:05}", model=f"m{n % models}", family="sdxl", asked=n / 9, size=GB) for n in range(number)
    ]
    slots = [ready(replace(GPU0, name=f"gpu{n}"), f"m{n}", uses=GB) for n in range(8)]
    limits = Limits(free={"": 0}, most_loaded={"": 8})
    best = float("inf")
    for _ in range(3):
        began = process_time()
        made = plan(requests, slots, [], limits, 1e4)
        best = min(best, process_time() - began)
    assert len(made.waits) >= number - 8
    return best


@pytest.mark.parametrize("many_models", [False, True])
def test_ten_times_the_requests_take_about_ten_times_as_long(many_models: bool) -> None:
    few, many = (seconds_for(number, number if many_models else 20) for number in (300, 3000))
    assert many < 40 * few
