"""`Tensors` with prepared answers: what a command asks for and what it prints, without doing anything."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tensors import service
from tensors.types.jobs import Job, JobEvent

NOUNS = {
    "db": service.Db,
    "catalog": service.Catalog,
    "images": service.Images,
    "jobs": service.Jobs,
    "downloads": service.Downloads,
    "models": service.Models,
    "backends": service.Backends,
}


@dataclass
class FakeTensors:
    """Answers from a table, by `noun.operation`: a value, an error to raise, or a function of the call's arguments."""

    answers: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    opened: int = 0
    closed: int = 0

    def connect(self, _config: object, _remote: object = None) -> FakeTensors:
        """In the place of `tensors.connect.connect`."""
        self.opened += 1
        return self

    def __getattr__(self, noun: str) -> _Noun:
        if noun not in NOUNS:
            raise AttributeError(noun)
        return _Noun(self, noun)

    def status(self) -> Any:
        self.calls.append(("status", (), {}))
        return self.answers["status"]

    def doctor(self) -> Any:
        self.calls.append(("doctor", (), {}))
        return self.answers["doctor"]

    def close(self) -> None:
        self.closed += 1

    def called(self, operation: str) -> list[Any]:
        """What each call of an operation said: its arguments, its options, or the one argument there was."""
        return [_said(arguments, options) for name, arguments, options in self.calls if name == operation]

    def job(self, job: Job, *events: JobEvent) -> None:
        """What comes of a job of the library, or a switch, that a command starts: these events, then its end."""
        last = JobEvent(seq=len(events) + 1, job=job.id, state=job.state, error=job.error)
        started = replace(job, state="queued", finished=None, error=None, scan=None, link=None, cache=None, switch=None)
        self.answers |= {
            "models.switch" if job.kind == "switch" else f"db.{job.kind}": started,
            "jobs.events": lambda _job_id: iter((*events, last)),
            "jobs.get": job,
        }


def _said(arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    if not arguments:
        return options
    said = (*arguments, options) if options else arguments
    return said[0] if len(said) == 1 else said


@dataclass
class _Noun:
    tensors: FakeTensors
    noun: str

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        declared = inspect.signature(getattr(NOUNS[self.noun], operation))
        name = f"{self.noun}.{operation}"

        def call(*arguments: Any, **options: Any) -> Any:
            # What the protocol does not have is a mistake of the command.
            declared.bind(self, *arguments, **options)
            self.tensors.calls.append((name, arguments, options))
            answer = self.tensors.answers[name]
            if isinstance(answer, BaseException):
                raise answer
            return answer(*arguments, **options) if inspect.isfunction(answer) else answer

        return call
