"""Models fetched by their numbers, and kept."""

from __future__ import annotations

import pytest
from fake_civitai import Handler, failing, page
from library_data import add_file
from link_data import FILE, MODEL, VERSION, Desk, Outage, desk, listed, model, simple, version

from tensors.db.cache import fetch_version
from tensors.errors import CatalogError, CatalogRefused, CatalogUnreachable, InvalidRequest, JobCancelled, NotInCatalog

__all__ = ["desk"]


def fetch(desk: Desk, text: str) -> int:
    return fetch_version(desk.database, text, civitai=desk.civitai, now=desk.now)


def test_models_are_fetched_a_hundred_in_one_call_and_kept(desk: Desk) -> None:
    desk.know(*(simple(number) for number in range(230)))
    numbers = tuple(MODEL + number for number in range(230))
    report = desk.cache(*numbers, *numbers[:5])
    assert sorted(report.models) == list(numbers)
    assert report.not_found == ()
    assert desk.kept() == list(numbers)
    assert [(progress.done, progress.total, progress.unit) for progress in desk.progress] == [
        (0, 230, "models"),
        (100, 230, "models"),
        (200, 230, "models"),
        (230, 230, "models"),
    ]
    assert [len(request.query["ids"][0].split(",")) for request in desk.fake.requests] == [100, 100, 30]


@pytest.mark.parametrize("number", [MODEL + 9, 2**31, 2**63, 10**30])
def test_numbers_of_no_model_are_told(desk: Desk, number: int) -> None:
    desk.know(simple(1))
    report = desk.cache(MODEL + 1, number)
    assert (report.models, report.not_found) == ((MODEL + 1,), (number,))


def test_models_that_lists_leave_out_are_fetched_all_the_same(desk: Desk) -> None:
    desk.know(model(MODEL, version(VERSION), mode="Archived"), model(MODEL + 1, version(VERSION + 1), poi=True))
    assert desk.cache(MODEL, MODEL + 1).models == (MODEL, MODEL + 1)


def test_without_numbers_the_models_of_linked_files_are_fetched_the_oldest_first(desk: Desk) -> None:
    desk.know(*(simple(number) for number in range(3)))
    assert desk.cache().models == ()
    for number in (2, 0):
        desk.add(f"{number}.safetensors", f"file {number}")
        desk.link()
    desk.asked()
    assert desk.cache().models == (MODEL, MODEL + 2)
    (request,) = desk.fake.requests
    assert request.query["ids"] == [f"{MODEL + 2},{MODEL}"]


def test_what_a_file_is_follows_what_is_fetched(desk: Desk) -> None:
    desk.know(simple(1))
    file_id = add_file(
        desk.database, "/models/x.safetensors", kind="lora", kind_from="tensors", family="sdxl", family_from="tensors"
    )
    desk.database.connection.execute(
        "INSERT INTO file_hashes VALUES (?, 'sha256', ?)",
        (file_id, listed(1, "file 1")["hashes"]["SHA256"].lower()),
    )
    desk.link()
    families = "SELECT family, family_from FROM files"
    assert desk.rows(families) == [("pony", "civitai")]
    desk.know(model(MODEL + 1, version(VERSION + 1, listed(FILE + 1, "file 1"), baseModel="Illustrious")))
    desk.cache(MODEL + 1)
    assert desk.rows(families) == [("illustrious", "civitai")]


def test_a_model_that_cannot_be_read_is_told_after_the_others_are_kept(desk: Desk) -> None:
    desk.know(*(simple(number) for number in range(4)))
    desk.fake.models[MODEL + 1] = {"id": str(MODEL + 1)}
    with pytest.raises(CatalogError, match=f"3 of 5 models were fetched; of {MODEL + 1}: CivitAI"):
        desk.cache(*(MODEL + number for number in range(5)))
    assert desk.kept() == [MODEL, MODEL + 2, MODEL + 3]


def test_a_model_that_civitai_always_fails_on_is_told_after_the_others_are_kept(desk: Desk) -> None:
    desk.know(*(simple(number) for number in range(4)))

    def fails(handler: Handler) -> bool:
        return str(MODEL + 1) in handler.path and failing(500)(handler)

    desk.fake.order(fails, times=5_000)
    with pytest.raises(CatalogError, match=f"3 of 4 models were fetched; of {MODEL + 1}: CivitAI"):
        desk.cache(*(MODEL + number for number in range(4)))
    assert desk.kept() == [MODEL, MODEL + 2, MODEL + 3]


@pytest.mark.parametrize(
    ("fault", "error"), [(failing(503), CatalogUnreachable), (failing(401), CatalogRefused), (page(), CatalogError)]
)
@pytest.mark.parametrize("answers", [0, 1, 2])
def test_when_civitai_fails_what_was_fetched_is_kept_and_told(
    desk: Desk, fault: object, error: type[CatalogError], answers: int
) -> None:
    desk.know(*(simple(number) for number in range(230)))
    Outage(desk.fake, fault, after=answers)
    with pytest.raises(error, match=f"; {answers * 100} of 230 models were fetched") as caught:
        desk.cache(*(MODEL + number for number in range(230)))
    assert type(caught.value) is error
    assert "the rest: tsr db cache" in (caught.value.hint or "")
    assert len(desk.kept()) == answers * 100


def test_it_stops_before_the_next_question(desk: Desk) -> None:
    desk.know(*(simple(number) for number in range(230)))
    with pytest.raises(JobCancelled):
        desk.cache(*(MODEL + number for number in range(230)), stop=lambda: len(desk.fake.requests) >= 1)
    assert len(desk.fake.requests) == 1
    assert len(desk.kept()) == 100


# --- one version ------------------------------------------------------------------------------------------------------


def test_a_version_is_fetched_with_its_model_and_then_it_is_there(desk: Desk) -> None:
    desk.know(model(MODEL, version(VERSION + 2), version(VERSION + 1)))
    assert fetch(desk, f"{MODEL}@{VERSION + 1}") == VERSION + 1
    assert desk.kept() == [MODEL]
    assert desk.asked() == {"/models/*": 1}
    assert fetch(desk, f"{MODEL}@{VERSION + 2}") == VERSION + 2
    assert fetch(desk, str(MODEL)) == VERSION + 2
    assert desk.asked() == {}


def test_the_newest_version_of_a_model_known_from_one_version_is_asked_for(desk: Desk) -> None:
    desk.know(model(MODEL, version(VERSION + 2), version(VERSION + 1)))
    desk.fake.models, known = {}, desk.fake.models
    assert fetch(desk, f"{MODEL}@{VERSION + 1}") == VERSION + 1
    assert desk.kept() == []
    desk.fake.models = known
    assert fetch(desk, str(MODEL)) == VERSION + 2
    assert desk.kept() == [MODEL]


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (f"{MODEL + 5}", NotInCatalog, f"no model {MODEL + 5}"),
        (f"{MODEL + 5}@{VERSION + 5}", NotInCatalog, f"no model {MODEL + 5}"),
        (f"{MODEL}@{VERSION + 5}", NotInCatalog, f"model {MODEL} has no version {VERSION + 5}"),
        (f"{MODEL + 1}", NotInCatalog, f"model {MODEL + 1} has no versions"),
        (f"{MODEL + 1}@{VERSION}", InvalidRequest, f"but of {MODEL}"),
        ("pony", InvalidRequest, "'pony'"),
        ("1@", InvalidRequest, "'1@'"),
        ("@1", InvalidRequest, "'@1'"),
        ("0", InvalidRequest, "'0'"),
        ("-1", InvalidRequest, "'-1'"),
        ("", InvalidRequest, "''"),
    ],
)
def test_what_is_no_version_is_told(desk: Desk, text: str, error: type[Exception], words: str) -> None:
    desk.know(model(MODEL, version(VERSION)), model(MODEL + 1))
    with pytest.raises(error, match=words):
        fetch(desk, text)
