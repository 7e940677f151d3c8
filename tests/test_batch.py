"""Requests that are queued together: how far ahead, in which order, and what ends them."""

from __future__ import annotations

import io
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress as RichProgress

from tensors.cli._app import App
from tensors.cli._batch import AHEAD, Batch
from tensors.cli._follow import BatchBar
from tensors.cli._plan import Task
from tensors.errors import (
    EngineNotInstalled,
    ImageNotFound,
    InvalidRequest,
    JobCancelled,
    QueueFull,
    ServerUnreachable,
    TsrError,
)
from tensors.types.gallery import Image
from tensors.types.generation import GenerateRequest, Settings, UsedModel
from tensors.types.jobs import Job, JobEvent, Progress


@dataclass
class Queue:
    """`Tensors` whose jobs have ended as soon as anybody follows them; it notes what is asked of it."""

    room: int = 10_000
    """Jobs that may wait at once."""
    full: int = 0
    """So many times the queue is full with jobs of others."""
    fails: dict[int, TsrError] = field(default_factory=dict)
    """What becomes of a request of that seed when it is asked for."""
    interrupts: int = -1
    """The seed whose job is being followed when somebody presses Ctrl-C."""
    on_request: int = -1
    """The seed that is being asked for when somebody does."""
    unreachable: int = -1
    log: list[str] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)

    @property
    def jobs(self) -> Queue:
        return self

    @property
    def images(self) -> Pictures:
        return Pictures()

    def generate(self, request: GenerateRequest, *, idempotency_key: str | None = None, detach: bool = False) -> Job:
        if request.seed == self.on_request:
            signal.raise_signal(signal.SIGINT)
        if error := self.fails.get(request.seed):
            raise error
        if self.full or sum(state == "queued" for state in self.waiting.values()) >= self.room:
            self.full = max(0, self.full - 1)
            self.log.append("full")
            raise QueueFull("9 jobs are waiting already")
        job = f"{request.seed}"
        self.log.append(f"ask {job}" + (f" {idempotency_key}" if idempotency_key else ""))
        self.waiting[job] = "queued"
        return self.get(job)

    def events(self, job_id: str) -> Iterator[JobEvent]:
        if int(job_id) == self.unreachable:
            raise ServerUnreachable("gone")
        yield JobEvent(seq=1, job=job_id, state="running")
        if int(job_id) == self.interrupts:
            signal.raise_signal(signal.SIGINT)
        self.log.append(f"end {job_id}")
        self.waiting[job_id] = "succeeded"
        yield JobEvent(seq=2, job=job_id, state="succeeded", images=(f"image{job_id}",))

    def get(self, job_id: str) -> Job:
        state = self.waiting[job_id]
        images = (f"image{job_id}",) if state == "succeeded" else ()
        return Job(id=job_id, kind="generate", state=state, created="2026-11-22T18:49:01.123Z", images=images)

    def cancel(self, job_id: str) -> None:
        self.log.append(f"cancel {job_id}")
        self.waiting[job_id] = "cancelled"


class Pictures:
    """A gallery with any picture, but for one that somebody deleted."""

    def get(self, image_id: str) -> Image:
        if image_id == "image13":
            raise ImageNotFound("gone")
        return replace(IMAGE, id=image_id)


IMAGE = Image(
    id="x",
    created="2026-11-22T18:49:01.123Z",
    job="1",
    index=0,
    width=64,
    height=64,
    settings=Settings(
        prompt="x",
        negative_prompt="",
        model=UsedModel(name="shapes", family="shapes"),
        width=64,
        height=64,
        steps=1,
        cfg_scale=1,
        sampler="euler",
        scheduler="simple",
        seed=1,
    ),
    engine="fake",
    tsr="0",
    path="/x.png",
)


def batch_of(queue: Queue, count: int, **options: Any) -> Batch:
    tasks = [Task(GenerateRequest(prompt="x", seed=seed), f"seed {seed}") for seed in range(count)]
    tensors: Any = queue
    return Batch(App(), tensors, tasks, **options)


def test_a_few_jobs_are_asked_for_ahead() -> None:
    queue = Queue()
    kept: list[tuple[int, list[str]]] = []
    outcomes = batch_of(queue, 40).draw(lambda index, images: kept.append((index, [image.id for image in images])))
    assert queue.log[: AHEAD + 2] == [*(f"ask {seed}" for seed in range(AHEAD)), "end 0", f"ask {AHEAD}"]
    assert [line for line in queue.log if "end" in line] == [f"end {seed}" for seed in range(40)]
    assert [outcome.generated.job.id for outcome in outcomes] == [str(seed) for seed in range(40)]
    # One was deleted before it could be looked at.
    assert kept == [(seed, [f"image{seed}"] if seed != 13 else []) for seed in range(40)]


def test_requests_for_one_model_follow_each_other_and_the_answers_keep_their_order() -> None:
    queue: Any = Queue()
    models = ["a", None, "b", "a", None, "b"]
    tasks = [Task(GenerateRequest(prompt="x", seed=seed, model=model)) for seed, model in enumerate(models)]
    outcomes = Batch(App(), queue, tasks, key="k").draw(lambda *_: None)
    asked = [line for line in queue.log if "ask" in line]
    assert asked == ["ask 0 k-0", "ask 3 k-3", "ask 1 k-1", "ask 4 k-4", "ask 2 k-2", "ask 5 k-5"]
    assert [outcome.generated.job.id for outcome in outcomes] == list("012345")


def test_a_full_queue_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    queue, waits = Queue(room=2, full=3), list[float]()
    outcomes = batch_of(queue, 5, wait=waits.append).draw(lambda *_: None)
    assert [outcome.generated.job.state for outcome in outcomes] == ["succeeded"] * 5
    assert len(waits) == 3
    # With jobs of its own in the queue it follows these instead of waiting.
    assert queue.log[:8] == ["full", "full", "full", "ask 0", "ask 1", "full", "end 0", "ask 2"]
    assert capsys.readouterr().err == "9 jobs are waiting already: waiting for room ...\n"


def test_jobs_to_leave_behind_wait_for_room_too() -> None:
    queue, waits = Queue(room=20, full=1), list[float]()

    def others_are_drawn(seconds: float) -> None:
        waits.append(seconds)
        queue.waiting = dict.fromkeys(queue.waiting, "succeeded")

    jobs = batch_of(queue, 45, wait=others_are_drawn).queue()
    assert [job.id for job in jobs] == [str(seed) for seed in range(45)]
    assert len(waits) == 3


@pytest.mark.parametrize("moment", ["drawing", "asking", "waiting", "refused"])
def test_ctrl_c_cancels_what_has_not_ended_and_says_what_is_kept(
    moment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = Queue(interrupts=2 if moment == "drawing" else -1)
    last = 5
    if moment in ("asking", "refused"):
        queue.on_request, last = AHEAD + 1, AHEAD + 2
        queue.fails = {AHEAD + 1: InvalidRequest("no")} if moment == "refused" else {}

    def interrupted(_seconds: float) -> None:
        signal.raise_signal(signal.SIGINT)

    if moment == "waiting":
        queue.full = 1
    with pytest.raises(JobCancelled) as caught:
        batch_of(queue, last, wait=interrupted).draw(lambda *_: None)
    said = capsys.readouterr().err
    assert said.endswith("cancelling ...\n")
    done = 0 if moment == "waiting" else 2
    assert caught.value.message == f"cancelled: {done} of {last} drawn"
    assert caught.value.hint == ("kept in the gallery: image0, image1" if done else None)
    assert set(queue.waiting.values()) <= {"succeeded", "cancelled"}
    # The last one first: none begins because the one before it ended.
    cancelled = [int(line.split()[1]) for line in queue.log if "cancel" in line]
    assert cancelled == sorted(cancelled, reverse=True)
    assert len(cancelled) == len(queue.waiting) - done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_while_jobs_are_left_behind_cancels_them_all() -> None:
    queue = Queue(on_request=3)
    with pytest.raises(JobCancelled, match="cancelled: 0 of 5 drawn"):
        batch_of(queue, 5).queue()
    assert queue.waiting == dict.fromkeys("0123", "cancelled")


@pytest.mark.parametrize("error", [EngineNotInstalled("none"), ServerUnreachable("gone")], ids=lambda one: one.code)
def test_what_the_others_would_meet_too_ends_it(error: TsrError, capsys: pytest.CaptureFixture[str]) -> None:
    queue = Queue(fails={AHEAD + 1: error})
    with pytest.raises(type(error)):
        batch_of(queue, 50).draw(lambda *_: None)
    assert "ask 34" not in queue.log
    said = capsys.readouterr().err
    assert said.endswith("2 of 50 drawn; kept in the gallery: image0, image1\n")
    lost = isinstance(error, ServerUnreachable)
    assert ("31 jobs may go on there: tsr jobs list\n" in said) == lost
    assert Counter(queue.waiting.values()) == {"succeeded": 2, "queued" if lost else "cancelled": 31}


def test_a_connection_that_breaks_while_a_job_is_followed_ends_it_too() -> None:
    queue = Queue(unreachable=2)
    with pytest.raises(ServerUnreachable):
        batch_of(queue, 5).draw(lambda *_: None)
    assert "end 3" not in queue.log


def test_a_copy_that_cannot_be_saved_ends_it() -> None:
    queue = Queue()

    def full(index: int, _images: object) -> None:
        if index == 2:
            raise InvalidRequest("cannot write")

    with pytest.raises(InvalidRequest, match="cannot write"):
        batch_of(queue, 5).draw(full)
    assert queue.waiting["3"] == queue.waiting["4"] == "cancelled"


def test_the_display_shows_the_whole_and_the_present_job() -> None:
    now = [0.0]
    out = io.StringIO()
    display = RichProgress("{task.description}", console=Console(file=out, force_terminal=False), disable=True)
    bar = BatchBar(display, 4, lambda: now[0])
    whole, present = display.tasks

    def at(step: int) -> None:
        bar.update(
            JobEvent(
                seq=1, job="1", state="running", progress=Progress(phase="sampling", step=step, steps=10, images=1)
            )
        )

    seen = [(whole.description, whole.completed, present.description)]
    at(5)
    seen.append((whole.description, whole.completed, present.description))
    now[0] = 10
    bar.next()
    seen.append((whole.description, whole.completed, present.description))
    now[0] = 18
    at(5)
    seen.append((whole.description, whole.completed, present.description))
    assert seen == [
        ("0/4", 0, "queued"),
        ("0/4", 0.5, "sampling, step 5/10"),
        ("1/4, 30 s left", 1, "queued"),
        ("1/4, 30 s left", 1.5, "sampling, step 5/10"),
    ]


def test_refused_requests_count_as_done(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    class Watched(BatchBar):
        def next(self) -> None:
            super().next()
            seen.append(self._display.tasks[0].completed)

    monkeypatch.setattr("tensors.cli._follow.BatchBar", Watched)
    monkeypatch.setattr(App, "interactive", True)
    queue = Queue(fails={seed: InvalidRequest("no") for seed in (0, 3)})
    batch_of(queue, 5).draw(lambda *_: None)
    assert seen == [1, 2, 3, 4, 5]
