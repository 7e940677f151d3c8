"""Telling one question that goes wrong from a site that does not work."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from tensors.document import BrokenRecord
from tensors.errors import CatalogError, CatalogUnreachable

K = TypeVar("K", bound=Hashable)

IN_A_ROW = 3
"""So many questions that go wrong one after the other are the site's fault, or the key's."""


class Patience(Generic[K]):
    """Asks on after a question that went wrong: a site can fail on one record each time, and the others would wait.

    A site that cannot be reached at all is not asked again.
    """

    def __init__(self) -> None:
        self.problems: dict[K, CatalogError] = {}
        """What went wrong with one question while others were answered."""
        self._failures = 0

    @contextmanager
    def question(self, about: K | None) -> Iterator[None]:
        """One question; a block that fails just ends, unless it is the site that fails. None: about many things."""
        try:
            yield
        except CatalogError as error:
            self._failures = 0 if is_odd(error) else self._failures + 1
            if is_out_of_reach(error) or self._failures == IN_A_ROW:
                raise
            if about is not None:
                self.problems[about] = error
        else:
            self._failures = 0


def is_odd(error: CatalogError) -> bool:
    """Whether the site answered, and only the record is no use."""
    return isinstance(error.__cause__, BrokenRecord)


def is_out_of_reach(error: CatalogError) -> bool:
    """Whether there was no answer: what was behind it is an error of the network, not words of the site."""
    return isinstance(error, CatalogUnreachable) and error.__cause__ is not None
