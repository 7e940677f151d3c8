"""Why a version's files are not to be had, as its record tells before a byte is asked for."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fake_civitai import recorded
from hypothesis import given
from hypothesis import strategies as st

from tensors import catalog
from tensors.civitai.client import CIVITAI as CIVITAI_SITE
from tensors.civitai.permission import Permission
from tensors.civitai.records import FileRecord, ModelRecord, VersionRecord, model_of
from tensors.config import SETTINGS
from tensors.downloads.gates import moment_of, why_not, why_not_repo
from tensors.downloads.site import CIVITAI, HUGGING_FACE, Source
from tensors.errors import DownloadRefused
from tensors.huggingface import HUGGING_FACE as HUGGING_FACE_SITE
from tensors.huggingface import RepoRecord

NOW = "2026-11-22T12:00:00.000Z"
LATER = "2026-12-01T18:30:00.000Z"
PAST = "2026-11-22T11:59:59.999Z"
PAGE_URL = "https://civitai.com/models/7?modelVersionId=9"
FILE = FileRecord(id=1, name="a.safetensors")


def version(**said: Any) -> VersionRecord:
    return VersionRecord(**{"id": 9, "model_id": 7, "name": "v2", "model_name": "Style", "files": (FILE,), **said})


def gate(model: ModelRecord | None = None, /, **said: Any) -> DownloadRefused | None:
    """What is known against a version with these fields, with a key."""
    return why_not(model, version(**said), has_key=True, now=NOW)


def test_recorded_versions_are_to_be_had() -> None:
    models = [model_of(raw) for raw in (*recorded("models-page.json")["items"], recorded("model-1102.json"))]
    versions = [(model, version) for model in models for version in model.versions]
    assert len(versions) > 10
    assert {why_not(model, version, has_key=True, now=NOW) for model, version in versions} == {None}


@pytest.mark.parametrize(
    ("fields", "reason", "message", "hint"),
    [
        (
            {"early_access_ends_at": LATER},
            "early_access",
            "is in early access until 2026-12-01 18:30 UTC: only those who bought access get it",
            f"access is sold at {PAGE_URL}; with it: the same command with --force, or wait until then",
        ),
        (
            {"availability": "EarlyAccess"},
            "early_access",
            "is in early access and its end is not told: only those who bought access get it",
            f"access is sold at {PAGE_URL}; with it: the same command with --force",
        ),
        (
            {"model_mode": "Archived"},
            "archived",
            "is archived: its page is kept, its files are not given out any more",
            f"another version may do: {PAGE_URL}",
        ),
        (
            {"model_mode": "TakenDown"},
            "taken_down",
            "was taken down: CivitAI does not show it any more",
            f"another model may do: {PAGE_URL}; if you may have it all the same: --force",
        ),
        (
            {"usage_control": "Generation"},
            "generation_only",
            "can be used with CivitAI's own generator only: its creator does not give the files out",
            f"another version may do: {PAGE_URL}; if you may have it all the same: --force",
        ),
        (
            {"status": "Draft"},
            "unpublished",
            "is a draft that was not published",
            f"another version may do: {PAGE_URL}; if you may have it all the same: --force",
        ),
        (
            {"status": "Scheduled", "published_at": LATER},
            "unpublished",
            "is not published yet; it will be on 2026-12-01 18:30 UTC",
            "try again then",
        ),
        (
            {"availability": "Private"},
            "private",
            "is private",
            f"only its owner gets it: {PAGE_URL}; if you may have it all the same: --force",
        ),
        ({"files": ()}, "no_files", "has no files to download", f"look at {PAGE_URL}"),
    ],
    ids=lambda value: value if isinstance(value, str) and "_" in value else "",
)
def test_each_gate_has_its_own_words(fields: dict[str, Any], reason: str, message: str, hint: str) -> None:
    error = gate(**fields)
    assert error is not None
    assert error.message == f"'v2' of 'Style' (version 9) {message}"
    assert (error.details["reason"], error.hint) == (reason, hint)
    assert error.details.get("until") == ("2026-12-01T18:30:00Z" if "18:30" in message else None)


def test_without_a_key_it_is_said_how_to_get_one() -> None:
    error = why_not(None, version(), has_key=False, now=NOW)
    assert error is not None
    assert error.message == "CivitAI gives 'v2' of 'Style' (version 9) only with a key, and none is set"
    assert error.hint == (
        "make one at https://civitai.com/user/account, then: tsr config set api.civitai_key KEY"
        " (or set CIVITAI_API_KEY)"
    )
    assert error.details == {"reason": "needs_key"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"usage_control": "InternalGeneration"}, "generation_only"),
        ({"usage_control": "Download"}, None),
        ({"usage_control": "download"}, None),
        ({"usage_control": "Rental"}, "generation_only"),
        ({"availability": "archived"}, "archived"),
        ({"availability": "Public", "status": "Published"}, None),
        ({"availability": "Unsearchable"}, None),
        ({"availability": "Something New", "status": "Something New", "model_mode": "Something New"}, None),
        ({"status": "UnpublishedViolation"}, "unpublished"),
        ({"status": "Deleted"}, "unpublished"),
        ({"status": "GatherInterest", "published_at": "soon"}, "unpublished"),
        ({"status": "Unpublished", "published_at": PAST}, "unpublished"),
        ({"status": "Published", "published_at": LATER}, None),
        ({"model_mode": "Archived", "files": (), "early_access_ends_at": LATER}, "archived"),
        # What is over is over, whatever the cached record calls it.
        ({"availability": "EarlyAccess", "early_access_ends_at": PAST}, None),
        ({"early_access_ends_at": PAST}, None),
        ({"early_access_ends_at": NOW}, None),
        ({"early_access_ends_at": "2026-11-22T13:00:00+02:00"}, None),
        ({"early_access_ends_at": "2026-11-22T13:00:00"}, "early_access"),
        ({"early_access_ends_at": "2026-11-23"}, "early_access"),
        ({"early_access_ends_at": "one day"}, None),
        ({"availability": "EarlyAccess", "early_access_ends_at": "one day"}, "early_access"),
    ],
)
def test_known_words_and_dates_are_a_reason_and_others_are_not(fields: dict[str, Any], reason: str | None) -> None:
    error = gate(**fields)
    assert (error.details["reason"] if error else None) == reason
    # What was published once is not announced again.
    assert error is None or "it will be" not in error.message


def test_the_model_says_more_than_a_version_of_its_own() -> None:
    error = gate(ModelRecord(id=7, name="The Model", mode="Archived"), model_mode=None)
    assert error is not None
    assert error.message.startswith("'v2' of 'The Model' (version 9) is archived")
    assert gate(ModelRecord(id=7), model_mode="Archived") is not None


@pytest.mark.parametrize(
    ("permission", "reason"),
    [
        (Permission(early_access_ends_at=LATER), "early_access"),
        (Permission(availability="EarlyAccess"), "early_access"),
        (Permission(early_access_ends_at=PAST), None),
        # Generating on the site may cost something while the file is free.
        (Permission(check_permission=True), None),
    ],
)
def test_the_small_record_tells_of_early_access_too(permission: Permission, reason: str | None) -> None:
    error = why_not(None, version(), has_key=True, now=NOW, permission=permission)
    assert (error.details["reason"] if error else None) == reason


def test_of_two_dates_the_later_one_counts() -> None:
    for one, other in ((PAST, LATER), (LATER, PAST)):
        told, permission = version(early_access_ends_at=one), Permission(early_access_ends_at=other)
        error = why_not(None, told, has_key=True, now=NOW, permission=permission)
        assert error is not None
        assert error.details["until"] == "2026-12-01T18:30:00Z"


@pytest.mark.parametrize(
    "fields",
    [
        {"early_access_ends_at": LATER},
        {"status": "Draft"},
        {"usage_control": "Generation"},
        {"model_mode": "TakenDown"},
        {"availability": "Private"},
    ],
)
def test_with_force_only_a_key_and_files_are_needed(fields: dict[str, Any]) -> None:
    assert why_not(None, version(**fields), has_key=True, now=NOW, force=True) is None
    without_key = why_not(None, version(**fields), has_key=False, now=NOW, force=True)
    without_files = why_not(None, version(**fields, files=()), has_key=True, now=NOW, force=True)
    assert without_key is not None
    assert without_files is not None
    assert (without_key.details["reason"], without_files.details["reason"]) == ("needs_key", "no_files")


def test_a_version_without_names_is_called_by_its_number_and_a_mirror_by_its_own_pages() -> None:
    bare = VersionRecord(id=9, model_id=7)
    error = why_not(None, bare, has_key=True, now=NOW, site="http://127.0.0.1:8")
    assert error is not None
    assert error.message == "version 9 has no files to download"
    assert error.hint == "look at http://127.0.0.1:8/models/7?modelVersionId=9"
    long = why_not(ModelRecord(id=7, name="x" * 5000), bare, has_key=True, now=NOW)
    assert long is not None
    assert len(long.message) < 150


@given(
    st.builds(
        VersionRecord,
        id=st.integers(1),
        model_id=st.integers(1),
        status=st.none() | st.text(),
        availability=st.none() | st.sampled_from(["EarlyAccess", "Private"]) | st.text(),
        usage_control=st.none() | st.text(),
        published_at=st.none() | st.datetimes().map(str) | st.text(),
        early_access_ends_at=st.none() | st.datetimes(timezones=st.timezones()).map(str) | st.text("0123456789-T:Z+."),
        files=st.sampled_from([(), (FILE,)]),
    ),
    st.booleans(),
)
def test_any_record_is_a_clear_answer(record: VersionRecord, has_key: bool) -> None:
    error = why_not(None, record, has_key=has_key, now=NOW)
    if error is None:
        assert has_key
        assert record.files
    else:
        assert error.hint
        assert error.details["reason"]


def test_a_gated_repository_needs_a_key_and_then_asking() -> None:
    repo = RepoRecord(id="org/name", gated=True, url="https://huggingface.co/org/name")
    error = why_not_repo(repo, has_key=False)
    assert error is not None
    assert error.message == "org/name is gated: Hugging Face gives it to those only who accepted its conditions"
    assert error.hint is not None
    assert error.hint.startswith("accept them at https://huggingface.co/org/name and have a token: make one at ")
    assert error.hint.endswith("tsr config set api.huggingface_key KEY (or set HF_TOKEN)")
    assert why_not_repo(repo, has_key=True) is None
    assert why_not_repo(RepoRecord(id="org/name"), has_key=False) is None


@pytest.mark.parametrize(("source", "site"), [(CIVITAI, CIVITAI_SITE), (HUGGING_FACE, HUGGING_FACE_SITE)])
def test_sites_are_called_the_same_everywhere(source: Source, site: catalog.Site) -> None:
    assert (source.name, source.keys, source.setting) == (site.name, site.keys, f"{site.setting}_key")
    [variables] = [setting.env for setting in SETTINGS if setting.key == source.setting]
    assert variables[0] == source.variable


def test_times_that_do_not_say_where_they_are_are_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        found = moment_of("2026-11-22T13:00:00")
    time.tzset()
    assert found is not None
    assert found.isoformat() == "2026-11-22T13:00:00+00:00"


def test_a_time_before_all_times_is_none() -> None:
    assert moment_of("0001-01-01T00:00:00+01:00") is None


@given(st.text("0123456789-:T+Z. "), st.datetimes(timezones=st.timezones()))
def test_any_time_is_one_in_utc_or_none(text: str, moment: Any) -> None:
    found = moment_of(text)
    assert found is None or str(found.tzinfo) == "UTC"
    assert moment_of(moment.isoformat()) in (moment, None)
