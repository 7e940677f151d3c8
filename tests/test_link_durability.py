"""Matching that is cut short, by CivitAI or by kill -9: what was done stays done, and the next run does the rest."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_civitai import FakeCivitai, Fault, Handler, failing, fake_civitai, half, hang_up, page, silent
from library_data import add_sidecar
from link_data import FILE, MODEL, VERSION, Desk, Outage, at_desk, desk, digest, listed, model, simple, version

from tensors.civitai.client import Civitai
from tensors.clock import now
from tensors.db.database import Database
from tensors.db.link import link
from tensors.errors import CatalogError, CatalogRefused, CatalogUnreachable
from tensors.types.library import LinkRequest

__all__ = ["desk"]

KNOWN, UNKNOWN = 230, 5
TRUTH = (
    "SELECT file_id, version_id, version_file_id, matched_by FROM links ORDER BY 1",
    "SELECT sha256 FROM not_found ORDER BY 1",
    "SELECT id, complete FROM models ORDER BY 1",
    "SELECT id, model_id FROM versions ORDER BY 1",
    "SELECT id, kind, kind_from, family, family_from FROM files ORDER BY 1",
)
"""What a library knows in the end, without the times when it learned it."""


def known_to(database: Database) -> list[list[tuple[Any, ...]]]:
    return [database.connection.execute(query).fetchall() for query in TRUTH]


def stock(desk: Desk, known: int = KNOWN) -> None:
    """Files for every way of matching, and a stand-in that knows most of them."""
    desk.know(*(simple(number) for number in range(1, known + 4)))
    # What comes with the model of another file.
    desk.know(model(MODEL, version(VERSION, listed(FILE, "file 0")), version(VERSION - 1, listed(FILE - 1, "more"))))
    with desk.database.atomic():
        for number in range(known):
            desk.add(f"{number}.safetensors", f"file {number}", kind="lora")
        for number in range(UNKNOWN):
            desk.add(f"unknown {number}.safetensors", f"unknown {number}", kind="lora")
        desk.add("more.safetensors", "more", kind="lora")
        edited = desk.add("edited.safetensors", f"file {known}", kind="lora")
        desk.database.connection.execute(
            "UPDATE file_hashes SET value = ? WHERE file_id = ? AND kind = 'sha256'", (digest("edited"), edited)
        )
        for number, named in enumerate(({"model_id": MODEL + known + 1}, {})):
            noted = desk.add(f"noted {number}.safetensors", f"noted {number}", kind="lora", size=9)
            add_sidecar(desk.database, noted, "noted.info", version_id=VERSION + known + 1 + number, **named)


# --- CivitAI fails ----------------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[Fault, type[CatalogError], str]] = {
    "429": (failing(429), CatalogUnreachable, "too busy"),
    "500": (failing(500), CatalogUnreachable, "500"),
    "a web page": (page(), CatalogError, "web page"),
    "half an answer": (half, CatalogUnreachable, "reached|middle"),
    "no answer": (hang_up, CatalogUnreachable, "reached"),
    "silence": (silent, CatalogUnreachable, "did not answer"),
    "another key": (failing(401), CatalogRefused, "key"),
}
STAGES = {
    "ids": (0, 0),
    "versions": (1, 0),
    "models": (2, 100),
    "second versions": (3, 101),
    "third models": (6, 231),
    "one by one": (12, 231),
}
"""Number of good answers, and of files linked by then."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[list[tuple[Any, ...]]]:
    """What is known after a run that nothing disturbs."""
    with fake_civitai() as fake, at_desk(tmp_path_factory.mktemp("undisturbed"), fake) as desk:
        stock(desk)
        desk.link()
        return known_to(desk.database)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_done_stays_when_civitai_fails_and_the_next_run_does_the_rest(
    tmp_path: Path, civitai: FakeCivitai, undisturbed: list[list[tuple[Any, ...]]], fault: str, stage: str
) -> None:
    (failing_with, error, words), (answers, linked) = FAULTS[fault], STAGES[stage]
    with at_desk(tmp_path, civitai, timeout=0.3 if failing_with is silent else 20.0) as desk:
        stock(desk)
        outage = Outage(civitai, failing_with, after=answers)
        with pytest.raises(error, match=words) as caught:
            desk.link()
        assert type(caught.value) is error
        assert f"; {len(desk.links())} of 239 files were matched" in caught.value.message
        assert caught.value.hint
        assert "tsr db link" in caught.value.hint
        assert sum(by == "sha256" for _, _, by in desk.links().values()) == linked

        if failing_with is silent:
            # Who does not answer at all is not asked about anything else.
            assert len(civitai.requests) == answers + 2

        outage.on = False
        told = civitai.requests[:answers]
        civitai.requests.clear()
        desk.link()
        assert known_to(desk.database) == undisturbed
        # What was told before is not asked for again.
        assert max(Counter(_models_asked([*told, *civitai.requests])).values()) == 1
        desk.asked()
        desk.link()
        assert desk.asked() == {}


def _models_asked(requests: list[Any]) -> list[str]:
    return [number for request in requests if "ids" in request.query for number in request.query["ids"][0].split(",")]


def test_records_that_cannot_be_read_leave_the_others_in_peace(desk: Desk) -> None:
    desk.know(*(simple(number) for number in range(10)))
    files = [desk.add(f"{number}.safetensors", f"file {number}") for number in range(10)]
    for number in range(4):
        desk.fake.versions[VERSION + number] = {"id": "broken"}
        desk.fake.models[MODEL + 4 + number] = {"id": str(MODEL + 4 + number), "name": "broken"}

    report = desk.link()

    assert set(desk.links()) == set(files[4:])
    assert desk.kept() == [MODEL + 8, MODEL + 9]
    assert [problem.path for problem in report.problems] == [f"/models/{number}.safetensors" for number in range(8)]
    assert all("cannot be looked up" in problem.message for problem in report.problems[:4])
    assert all(f"model {MODEL + n}" in problem.message for n, problem in enumerate(report.problems[4:], start=4))
    assert (report.linked, report.not_found, desk.not_found()) == (6, 0, [])
    # These are asked for again, and only these: CivitAI may mend them.
    desk.asked()
    desk.link()
    assert desk.asked() == {
        "/model-versions/by-hash/ids": 1,
        "/model-versions/by-hash": 1,
        "/model-versions/*": 4,
    }


@pytest.mark.parametrize("what", ["version", "model", "hash", "note"])
def test_a_question_that_civitai_always_fails_on_leaves_the_others_in_peace(desk: Desk, what: str) -> None:
    desk.know(*(simple(number) for number in range(4)), model(MODEL + 9, version(VERSION + 9)))
    files = [desk.add(f"{number}.safetensors", f"file {number}", kind="lora") for number in range(4)]
    last = desk.add("last.safetensors", "last", kind="lora")
    noted = desk.add("noted.safetensors", "noted", kind="lora")
    add_sidecar(desk.database, noted, "noted.info", version_id=VERSION + 9)
    marks = {
        "version": (digest("file 1").upper(), f"/model-versions/{VERSION + 1}"),
        "model": (f"{MODEL + 1}",),
        "hash": (digest("tensors of unlucky")[:12],),
        "note": (f"/model-versions/{VERSION + 9}",),
    }[what]
    unlucky = desk.add("unlucky.safetensors", "unlucky", kind="lora")

    def fails(handler: Handler) -> bool:
        asked = handler.fake.requests[-1]
        text = f"{asked.path} {asked.query} {asked.body.decode()}"
        return not asked.path.endswith("/ids") and any(mark in text for mark in marks) and failing(500)(handler)

    desk.fake.order(fails, times=5_000)
    report = desk.link()

    linked = {*files, noted} - ({files[1]} if what == "version" else set()) - ({noted} if what == "note" else set())
    assert set(desk.links()) == linked
    path, file_id = {
        "version": ("/models/1.safetensors", files[1]),
        "model": ("/models/1.safetensors", files[1]),
        "hash": ("/models/unlucky.safetensors", unlucky),
        "note": ("/models/noted.safetensors", noted),
    }[what]
    assert [problem.path for problem in report.problems] == [path]
    assert "500" in report.problems[0].message
    remembered = {digest("last"), digest("unlucky"), digest("noted")}
    hashes = dict(desk.rows("SELECT file_id, value FROM file_hashes WHERE kind = 'sha256'"))
    assert set(desk.not_found()) == remembered - {hashes[file_id]}
    assert last not in desk.links()


# --- kill -9 ----------------------------------------------------------------------------------------------------------


def test_killed_at_any_moment_the_next_run_comes_to_the_same_end(tmp_path: Path, civitai: FakeCivitai) -> None:
    with at_desk(tmp_path / "prepared", civitai) as desk:
        stock(desk, known=110)
    prepared = tmp_path / "prepared"
    shutil.copytree(prepared, tmp_path / "whole")
    with at_desk(tmp_path / "whole", civitai) as desk:
        moments = _moments(_statements(desk))
        expected = known_to(desk.database)
        civitai.requests.clear()
    context = multiprocessing.get_context("spawn")
    helper = context.Process(target=_kill_at_each, args=(civitai.url, prepared, tmp_path / "killed", moments))
    helper.start()
    helper.join(120)
    assert helper.exitcode == 0
    for moment in moments:
        with Database(tmp_path / "killed" / str(moment) / "models.db") as database:
            assert known_to(database) == expected, moment
            assert database.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.connection.execute("PRAGMA foreign_key_check").fetchall() == []
    with at_desk(tmp_path / "killed" / str(moments[-1]), civitai) as desk:
        desk.asked()
        desk.link()
        assert desk.asked() == {}


def _statements(desk: Desk) -> list[str]:
    """What a run says to the database."""
    said: list[str] = []
    desk.database.connection.set_trace_callback(said.append)
    desk.link()
    desk.database.connection.set_trace_callback(None)
    return said


def _moments(said: list[str]) -> list[int]:
    """Before which statements to kill: some by chance, and where the first model has just been kept."""
    first = next(place for place, statement in enumerate(said) if "INTO model_documents" in statement)
    kept = said.index("COMMIT", first)
    return sorted({*random.Random(3).sample(range(1, len(said)), 14), kept + 1, kept + 2})


def _kill_at_each(url: str, prepared: Path, folder: Path, moments: list[int]) -> None:
    """Forking is safe here: this process has one thread and holds nothing."""
    for moment in moments:
        copy = folder / str(moment)
        shutil.copytree(prepared, copy)
        assert _in_child(lambda copy=copy, moment=moment: _link(copy, url, moment)) == -signal.SIGKILL
        assert _in_child(lambda copy=copy: _check_all_linked(copy)) == 0
        # Once more, if there is that much left to do, and then in peace.
        assert _in_child(lambda copy=copy, moment=moment: _link(copy, url, moment // 2)) in (-signal.SIGKILL, 0)
        assert _in_child(lambda copy=copy: _link(copy, url, None)) == 0


def _in_child(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _check_all_linked(folder: Path) -> None:
    """What is stored is linked, too: both are done at once."""
    query = """SELECT files.name FROM files JOIN file_hashes AS ours ON ours.file_id = files.id AND ours.kind = 'sha256'
        JOIN version_files AS theirs ON theirs.sha256 = ours.value
        WHERE files.id NOT IN (SELECT file_id FROM links)"""
    with Database(folder / "models.db") as database:
        assert database.connection.execute(query).fetchall() == []


def _link(folder: Path, url: str, moment: int | None) -> None:
    """Match; before the n-th statement, be killed."""
    count = 0

    def step(statement: str) -> None:
        nonlocal count
        count += 1
        if count == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    civitai = Civitai(url)
    with Database(folder / "models.db") as database:
        database.connection.set_trace_callback(step)
        link(database, LinkRequest(), civitai=civitai, report=lambda _: None, stop=lambda: False, now=now)
