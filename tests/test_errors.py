"""The tree of errors: as it is drawn, as it is sent, as it comes back."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensors import errors
from tensors.errors import Conflict, InvalidRequest, ModelNotFound, NotFound, TsrError, from_wire

DRAWN = re.compile(r"^    (?P<lead>(?:\|   |\+-- )*)(?P<name>\w+) +(?P<code>\w+) +(?P<status>\d+)  exit (?P<exit>\d+)$")
Row = tuple[int, str, str, int, int]


def drawn() -> list[Row]:
    """The tree in the module's docstring: depth, name, code, status and exit code, line by line."""
    rows = []
    for line in (errors.__doc__ or "").splitlines():
        if match := DRAWN.match(line):
            depth = len(match["lead"]) // 4
            rows.append((depth, match["name"], match["code"], int(match["status"]), int(match["exit"])))
    return rows


def defined(cls: type[TsrError] = TsrError, depth: int = 0) -> Iterator[Row]:
    """The same of the classes themselves."""
    yield depth, cls.__name__, cls.code, cls.status, cls.exit_code
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from defined(child, depth + 1)


CLASSES = [
    cls for cls in vars(errors).values() if inspect.isclass(cls) and issubclass(cls, TsrError) and cls is not TsrError
]


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    assert drawn() == list(defined())
    assert len(drawn()) == len(CLASSES) + 1
    assert "+--" in (errors.__doc__ or "")


def test_no_code_is_used_twice() -> None:
    codes = [cls.code for cls in (TsrError, *CLASSES)]
    assert len(set(codes)) == len(codes)
    with pytest.raises(TypeError, match="two errors with the code 'not_found'"):
        type("Another", (Conflict,), {"code": "not_found"})


def test_statuses_and_exit_codes_are_possible() -> None:
    for cls in CLASSES:
        assert 400 <= cls.status < 600
        assert 0 < cls.exit_code < 126 or cls.exit_code == 130


@pytest.mark.parametrize("cls", [TsrError, *CLASSES], ids=lambda cls: cls.__name__)
def test_without_a_message_the_docstring_is_said(cls: type[TsrError]) -> None:
    said = cls().message
    assert said == (cls.__doc__ or "").splitlines()[0].rstrip(".")
    assert said[0].isupper()
    assert str(cls("other")) == "other"
    assert cls().to_wire() == {"error": {"code": cls.code, "message": said}}


def test_an_error_without_a_code_of_its_own_is_its_parent_on_the_wire() -> None:
    child = type("Special", (NotFound,), {"__doc__": "Special."})
    assert type(from_wire(child().to_wire(), status=404)) is NotFound


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    cls=st.sampled_from(CLASSES),
    message=st.text(min_size=1),
    hint=st.none() | st.text(min_size=1),
    details=st.dictionaries(st.text(), JSON, max_size=3),
)
def test_an_error_is_the_same_on_the_other_side(
    cls: type[TsrError], message: str, hint: str | None, details: dict[str, Any]
) -> None:
    sent = cls(message, hint=hint, details=details)
    came = from_wire(json.loads(json.dumps(sent.to_wire())), status=cls.status)
    assert type(came) is cls
    assert (came.message, came.hint, came.details) == (message, hint, details)
    assert came.to_wire() == sent.to_wire()


ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "code": JSON | st.sampled_from([cls.code for cls in CLASSES]),
        "message": JSON,
        "hint": JSON,
        "details": JSON,
    },
)


@given(document=JSON | st.fixed_dictionaries({"error": JSON | ANSWERS}), status=st.integers(100, 599))
def test_whatever_a_server_answers_becomes_an_error(document: Any, status: int) -> None:
    came = from_wire(document, status=status)
    assert isinstance(came, TsrError)
    assert isinstance(came.message, str)
    assert came.message
    assert came.hint is None or isinstance(came.hint, str)
    json.dumps(came.to_wire())


@pytest.mark.parametrize("document", [None, [], "x", {}, {"error": "x"}, {"error": {}}, {"error": {"message": 5}}])
def test_an_answer_without_an_explanation_says_its_status(document: object) -> None:
    came = from_wire(document, status=502)
    assert type(came) is TsrError
    assert came.message == "the server answered with status 502 and no explanation"


def test_a_code_of_a_newer_server_is_a_plain_error_with_its_words() -> None:
    came = from_wire({"error": {"code": "brand_new", "message": "m", "hint": "h", "more": 1}}, status=418)
    assert (type(came), came.message, came.hint) == (TsrError, "m", "h")


@pytest.mark.parametrize("odd", [5, [1], {"a": 1}, True, None])
def test_a_part_of_another_type_is_left_out(odd: object) -> None:
    came = from_wire({"error": {"message": "m", "code": odd, "hint": odd, "details": odd}}, status=500)
    assert (type(came), came.message, came.hint) == (TsrError, "m", None)
    assert came.details == (odd if isinstance(odd, dict) else {})


def test_errors_are_caught_by_what_they_have_in_common() -> None:
    assert issubclass(ModelNotFound, NotFound)
    assert issubclass(errors.MalformedBody, InvalidRequest)
    assert issubclass(errors.EngineDied, errors.EngineError)
