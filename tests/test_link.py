"""Files and CivitAI's versions find each other: by which hash, in how many questions, and what stays as it is."""

from __future__ import annotations

import pytest
from fake_civitai import Handler, answering, failing, fine, recorded
from library_data import add_file, add_sidecar
from link_data import FILE, MODEL, VERSION, Desk, as_told, counts, desk, digest, hashes, listed, model, simple, version

from tensors.db.edits import edit_file
from tensors.errors import FileNotInLibrary, JobCancelled
from tensors.types.library import FileEdit

__all__ = ["desk"]

IDS = "/model-versions/by-hash/ids"
VERSIONS = "/model-versions/by-hash"
ONE_HASH = "/model-versions/by-hash/*"


# --- by SHA256, in bulk -----------------------------------------------------------------------------------------------


def test_every_recorded_file_is_linked_and_a_second_run_asks_nothing(desk: Desk) -> None:
    models = [*recorded("models-page.json")["items"], recorded("model-1102.json")]
    expected = {}
    for each in models:
        for told in each["modelVersions"]:
            for file in told["files"]:
                sha256 = file["hashes"]["SHA256"].lower()
                file_id = add_file(desk.database, f"/models/{file['id']}-{file['name']}", hashes={"sha256": sha256})
                expected[file_id] = (told["id"], file["id"], "sha256")

    report = desk.link()

    assert desk.links() == expected
    assert counts(report) == {
        "files": len(expected),
        "linked": len(expected),
        "by_sha256": len(expected),
        "fetched": len(models),
    }
    assert desk.kept() == sorted(each["id"] for each in models)
    assert desk.asked() == {IDS: 1, VERSIONS: 1, "/models": 1}
    assert counts(desk.link()) == {}
    assert desk.asked() == {}


def test_questions_are_as_large_as_they_may_be_and_no_larger(desk: Desk) -> None:
    desk.know(*(simple(number) for number in range(150)))
    with desk.database.atomic():
        for number in range(150):
            desk.add(f"{number}.safetensors", f"file {number}", kind="lora")
        for number in range(9_900):
            # Of text encoders CivitAI is asked by SHA256 alone.
            desk.add(f"encoder {number}.safetensors", f"encoder {number}", kind="text_encoder")

    report = desk.link()

    assert counts(report) == {
        "files": 10_050,
        "linked": 150,
        "by_sha256": 150,
        "not_found": 9_900,
        "fetched": 150,
    }
    sizes = {
        path: [len(request.json) for request in desk.fake.requests if request.path == f"/api/v1{path}"]
        for path in (IDS, VERSIONS)
    }
    assert sizes == {IDS: [10_000, 50], VERSIONS: [100, 50]}
    models = [request.query["ids"][0].split(",") for request in desk.fake.requests if "ids" in request.query]
    assert [len(ids) for ids in models] == [100, 50]
    assert desk.asked() == {IDS: 2, VERSIONS: 2, "/models": 2}
    assert counts(desk.link()) == {"files": 9_900, "not_found": 9_900}
    assert desk.asked() == {}


def test_files_of_the_same_bytes_are_one_question(desk: Desk) -> None:
    desk.know(simple(1))
    copies = {desk.add(f"{name}.safetensors", "file 1") for name in "abc"}
    unknown = {desk.add(f"{name}.safetensors", "unknown", kind="lora") for name in "de"}
    report = desk.link()
    assert desk.links() == dict.fromkeys(copies, (VERSION + 1, FILE + 1, "sha256"))
    assert (report.linked, report.not_found) == (len(copies), len(unknown))
    assert [len(request.json) for request in desk.fake.requests if request.method == "POST"] == [2, 1]
    assert desk.asked()[ONE_HASH] == 2


@pytest.mark.parametrize("malformed", ["", "abc", digest("x")[:63], digest("x") + "0", "g" * 64, digest("x").upper()])
def test_what_is_no_hash_is_never_sent(desk: Desk, malformed: str) -> None:
    desk.know(simple(1))
    file_id = desk.add("1.safetensors", "file 1")
    odd = {"sha256": malformed, "autov3": f"?{malformed}", "blake3": malformed}
    add_file(desk.database, "/models/odd.safetensors", hashes=odd, kind="lora")
    add_file(desk.database, "/models/odd2.safetensors", hashes={**odd, "sha256": digest("no such file")}, kind="lora")
    desk.link()
    sent = [request.path + request.body.decode() for request in desk.fake.requests]
    assert desk.links() == {file_id: (VERSION + 1, FILE + 1, "sha256")}
    assert not any(malformed in text for text in sent if malformed)
    assert desk.asked() == {IDS: 1, VERSIONS: 1, "/models": 1}


def test_a_version_that_does_not_list_the_hash_is_civitais_word_all_the_same(desk: Desk) -> None:
    desk.know(simple(1))
    file_id = desk.add("1.safetensors", "file 1")
    # The site still finds it by its hash; what it tells has no files any more.
    bare = model(MODEL + 1, version(VERSION + 1), mode="Archived")
    desk.fake.models[MODEL + 1] = bare
    desk.fake.versions[VERSION + 1] = {"modelId": MODEL + 1, **bare["modelVersions"][0]}
    report = desk.link()
    assert desk.links() == {file_id: (VERSION + 1, None, "sha256")}
    assert counts(report) == {"files": 1, "linked": 1, "by_sha256": 1, "fetched": 1}


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_draft_that_civitai_knows_and_does_not_tell_is_not_found(desk: Desk, elsewhere: bool) -> None:
    content = hashes("x")
    if elsewhere:
        desk.know(model(MODEL, version(VERSION, listed(FILE, hashes=as_told({"blake3": content["blake3"]})))))
    desk.know(simple(1, "x"))
    file_id = desk.add("x.safetensors", "x", kind="lora")

    def draft(handler: Handler) -> bool:
        if handler.path.endswith("/by-hash"):
            return answering(200, b"[]")(handler)
        ends = (str(VERSION + 1), content["autov3"][:12], *(() if elsewhere else (content["blake3"],)))
        return handler.path.endswith(ends) and failing(404)(handler)

    desk.fake.order(draft, times=100)
    report = desk.link()
    assert desk.links() == ({file_id: (VERSION, FILE, "blake3")} if elsewhere else {})
    assert (report.linked, report.not_found, report.problems) == (elsewhere, not elsewhere, ())
    desk.asked()
    desk.link()
    assert desk.asked() == {}


# --- what is not found, and what is gone ------------------------------------------------------------------------------


def test_what_civitai_does_not_know_is_not_asked_for_again_unless_told(desk: Desk) -> None:
    file_id = desk.add("x.safetensors", "file 1", kind="lora")
    assert counts(desk.link()) == {"files": 1, "not_found": 1}
    assert desk.not_found() == [digest("file 1")]
    desk.asked()
    assert counts(desk.link()) == {"files": 1, "not_found": 1}
    assert counts(desk.link("x")) == {"files": 1, "not_found": 1}
    assert desk.asked() == {}
    desk.know(simple(1))
    assert counts(desk.link(refresh=True)) == {"files": 1, "linked": 1, "by_sha256": 1, "fetched": 1}
    assert desk.links() == {file_id: (VERSION + 1, FILE + 1, "sha256")}
    assert desk.not_found() == []


def test_asking_again_in_vain_is_remembered_with_its_time(desk: Desk) -> None:
    desk.add("x.safetensors", "x")
    desk.link()
    ((first,),) = desk.rows("SELECT asked_at FROM not_found")
    desk.link(refresh=True)
    ((second,),) = desk.rows("SELECT asked_at FROM not_found")
    assert second > first


def test_what_a_model_cached_later_has_is_not_not_found_any_more(desk: Desk) -> None:
    file_id = desk.add("x.safetensors", "file 1")
    desk.link()
    desk.know(simple(1))
    desk.cache(MODEL + 1)
    desk.asked()
    assert counts(desk.link()) == {"files": 1, "linked": 1, "by_sha256": 1}
    assert desk.links() == {file_id: (VERSION + 1, FILE + 1, "sha256")}
    assert (desk.not_found(), desk.asked()) == ([], {})


def test_a_link_outlives_its_model_on_civitai(desk: Desk) -> None:
    desk.know(simple(1), simple(2))
    file_ids = [desk.add(f"{number}.safetensors", f"file {number}") for number in (1, 2)]
    desk.link()
    before = desk.links()
    desk.fake.remove(MODEL + 1)
    # Of the other one the version is gone: the model has a new one.
    desk.know(model(MODEL + 2, version(VERSION + 3, listed(FILE + 3, "file 3"))))
    del desk.fake.versions[VERSION + 2]
    desk.asked()

    report = desk.link(refresh=True)

    assert counts(report) == {"files": 2, "not_found": 1, "fetched": 1}
    assert desk.links() == before
    assert set(before) == set(file_ids)
    assert desk.rows("SELECT name FROM models WHERE id = ?", MODEL + 1) == [(f"Model {MODEL + 1}",)]
    assert desk.not_found() == []
    assert desk.asked() == {"/models": 1, "/models/*": 1}
    desk.link()
    assert desk.asked() == {}


def test_a_model_that_is_not_told_as_a_whole_is_not_asked_for_each_time(desk: Desk) -> None:
    desk.know(simple(1))
    desk.add("1.safetensors", "file 1")
    known = desk.fake.models.pop(MODEL + 1)
    assert counts(desk.link()) == {"files": 1, "linked": 1, "by_sha256": 1}
    assert desk.kept() == []
    desk.asked()
    desk.link()
    assert desk.asked() == {}
    desk.fake.models[MODEL + 1] = known
    desk.link(refresh=True)
    assert desk.kept() == [MODEL + 1]
    assert desk.rows("SELECT * FROM models_not_found") == []


def test_refresh_brings_new_versions_of_linked_models(desk: Desk) -> None:
    desk.know(simple(1))
    desk.add("1.safetensors", "file 1")
    desk.link()
    newer = version(VERSION + 2, listed(FILE + 2, "file 2"))
    desk.know(model(MODEL + 1, newer, simple(1)["modelVersions"][0]))
    desk.asked()
    assert desk.link().fetched == 0
    assert desk.asked() == {}
    assert desk.link(refresh=True).fetched == 1
    assert desk.rows("SELECT id FROM versions ORDER BY id") == [(VERSION + 1,), (VERSION + 2,)]


def test_what_comes_with_other_models_is_linked_without_being_asked_for(desk: Desk) -> None:
    both = model(MODEL, *(version(VERSION + n, listed(FILE + n, f"file {n}")) for n in range(200)))
    desk.know(both)
    for number in range(200):
        desk.add(f"{number}.safetensors", f"file {number}")
    assert desk.link().by_sha256 == 200
    assert desk.asked() == {IDS: 1, VERSIONS: 1, "/models": 1}


# --- the user's word, missing, broken, unhashed -----------------------------------------------------------------------


def test_what_the_user_linked_is_never_changed(desk: Desk) -> None:
    desk.know(simple(1), simple(2))
    desk.keep(simple(1), simple(2))
    file_id = desk.add("1.safetensors", "file 1")
    desk.database.connection.execute("INSERT INTO links VALUES (?, ?, NULL, 'user', 'then')", (file_id, VERSION + 2))
    add_sidecar(desk.database, file_id, "1.civitai.info", version_id=VERSION + 1, sha256=digest("file 1"))
    for report in (desk.link(), desk.link("1"), desk.link(refresh=True), desk.link("1", refresh=True)):
        assert report.linked == 0
    assert desk.rows("SELECT * FROM links") == [(file_id, VERSION + 2, None, "user", "then")]


def test_what_the_user_took_off_its_page_is_not_put_back(desk: Desk) -> None:
    desk.know(simple(1))
    file_id = desk.add("1.safetensors", "file 1")
    add_sidecar(desk.database, file_id, "1.civitai.info", version_id=VERSION + 1, sha256=digest("file 1"))
    desk.link()
    edit_file(desk.database, file_id, FileEdit(model="none"))
    for report in (desk.link(), desk.link("1"), desk.link(refresh=True), desk.link("1", offline=True)):
        assert report.linked == 0
    assert desk.links() == {}
    edit_file(desk.database, file_id, FileEdit(model="auto"))
    assert desk.link(offline=True).by_sha256 == 1


def test_a_link_made_by_the_user_meanwhile_stays(desk: Desk) -> None:
    desk.know(simple(1))
    desk.keep(simple(2))
    file_id = desk.add("1.safetensors", "file 1")

    def decide(handler: object) -> bool:
        desk.database.connection.execute(
            "INSERT INTO links VALUES (?, ?, NULL, 'user', 'then') ON CONFLICT DO NOTHING", (file_id, VERSION + 2)
        )
        return False

    # The answer about the version has been asked for when the user decides.
    desk.fake.order(fine, decide)
    desk.database.connection.execute("PRAGMA busy_timeout = 5000")
    assert desk.link().linked == 0
    assert desk.links() == {file_id: (VERSION + 2, None, "user")}


def test_a_file_that_changed_meanwhile_is_not_linked_to_what_it_was(desk: Desk) -> None:
    desk.know(simple(1))
    desk.fake.versions[VERSION + 1]["files"] = []
    desk.add("1.safetensors", "file 1")

    def change(handler: object) -> bool:
        desk.database.connection.execute("UPDATE file_hashes SET value = ? WHERE kind = 'sha256'", (digest("new"),))
        return False

    desk.fake.order(fine, change)
    desk.fake.models[MODEL + 1]["modelVersions"][0]["files"] = []
    assert desk.link().linked == 0
    assert desk.links() == {}


def test_missing_files_are_linked_broken_ones_are_not(desk: Desk) -> None:
    desk.know(simple(1), simple(2))
    missing = desk.add("1.safetensors", "file 1", missing=True)
    desk.add("2.safetensors", "file 2", problem="is cut off")
    desk.add("3.safetensors", missing=True)
    unhashed = desk.add("4.safetensors")
    assert unhashed not in desk.links()
    report = desk.link()
    assert desk.links() == {missing: (VERSION + 1, FILE + 1, "sha256")}
    assert counts(report) == {"files": 2, "linked": 1, "by_sha256": 1, "unhashed": 1, "fetched": 1}
    desk.keep(simple(2))
    report = desk.link("2")
    assert set(desk.links()) == {missing}
    assert [(problem.path, problem.message) for problem in report.problems] == [("/models/2.safetensors", "is cut off")]


def test_named_files_are_linked_and_no_others(desk: Desk) -> None:
    desk.know(simple(1), simple(2))
    first = desk.add("1.safetensors", "file 1")
    desk.add("2.safetensors", "file 2")
    assert counts(desk.link("1", str(first), "1.safetensors")) == {
        "files": 1,
        "linked": 1,
        "by_sha256": 1,
        "fetched": 1,
    }
    assert desk.links() == {first: (VERSION + 1, FILE + 1, "sha256")}
    with pytest.raises(FileNotInLibrary):
        desk.link("2", "no such file")
    assert set(desk.links()) == {first}


# --- offline, progress, stop ------------------------------------------------------------------------------------------


def test_offline_nothing_is_asked(desk: Desk) -> None:
    desk.know(simple(1), simple(2))
    desk.keep(simple(1))
    first, second = (desk.add(f"{number}.safetensors", f"file {number}") for number in (1, 2))
    assert counts(desk.link(offline=True)) == {"files": 2, "linked": 1, "by_sha256": 1}
    assert desk.links() == {first: (VERSION + 1, FILE + 1, "sha256")}
    assert (desk.asked(), desk.not_found()) == ({}, [])
    assert desk.link().linked == 1
    assert set(desk.links()) == {first, second}


def test_what_a_file_is_follows_its_link(desk: Desk) -> None:
    desk.keep(simple(1))
    desk.add("1.safetensors", "file 1", kind="lora", kind_from="tensors", family="sdxl", family_from="tensors")
    desk.link(offline=True)
    assert desk.rows("SELECT family, family_from FROM files") == [("pony", "civitai")]


def test_offline_the_same_number_of_questions_to_the_database_whatever_the_number_of_files(desk: Desk) -> None:
    asked: dict[int, int] = {}
    for many in (10, 300):
        with desk.database.atomic():
            desk.keep(*(simple(number) for number in range(many)))
            for number in range(many):
                file_id = desk.add(f"{many}/{number}.safetensors", f"file {number}")
                add_sidecar(desk.database, file_id, f"{number}.info", version_id=VERSION + number + 1)
            for number in range(many):
                desk.add(f"{many}/not {number}.safetensors", f"{many}: not {number}")
        said: list[str] = []
        desk.database.connection.set_trace_callback(said.append)
        assert desk.link(offline=True).by_sha256 == many
        desk.database.connection.set_trace_callback(None)
        asked[many] = sum("SELECT" in query for query in said)
    assert asked[300] == asked[10]


def test_progress_goes_from_nothing_to_all(desk: Desk) -> None:
    desk.know(*(simple(number) for number in range(130)))
    for number in range(140):
        desk.add(f"{number}.safetensors", f"file {number}", kind="lora")
    desk.add("unhashed.safetensors")
    desk.link()
    matching = [progress for progress in desk.progress if progress.phase == "matching"]
    assert {(progress.total, progress.unit) for progress in matching} == {(141, "files")}
    # Those without hashes are done at once, then come two hundreds, and what is asked one by one.
    assert [progress.done for progress in matching] == [0, 1, 101, *range(131, 142), 141]
    assert {progress.name for progress in matching[-11:-1]} == {f"{number}.safetensors" for number in range(130, 140)}
    fetching = [(progress.done, progress.total) for progress in desk.progress if progress.phase == "fetching"]
    assert fetching == [(0, 100), (100, 100), (100, 130), (130, 130)]


@pytest.mark.parametrize("questions", range(7))
def test_it_stops_before_the_next_question_and_keeps_what_was_told(desk: Desk, questions: int) -> None:
    desk.know(simple(1))
    for number in (1, 2, 3):
        desk.add(f"{number}.safetensors", f"file {number}", kind="lora")
    with pytest.raises(JobCancelled):
        desk.link(stop=lambda: len(desk.fake.requests) >= questions)
    assert len(desk.fake.requests) == questions
    assert len(desk.links()) == (questions >= 2)
    assert len(desk.kept()) == (questions >= 3)
    assert len(desk.not_found()) == max(0, (questions - 3) // 2)
