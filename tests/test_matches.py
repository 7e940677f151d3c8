"""Which version a file is by its hashes, and which one when there are several."""

from __future__ import annotations

from typing import Any

import pytest
from library_data import add_file
from link_data import FILE, MODEL, VERSION, Desk, as_told, counts, desk, digest, hashes, listed, model, simple, version

from tensors.db.catalog import delete_model

__all__ = ["desk"]

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
IDS = "/model-versions/by-hash/ids"
ONE_HASH = "/model-versions/by-hash/*"


# --- by other hashes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theirs", [12, 64])
@pytest.mark.parametrize("ours", [12, 64])
def test_autov3_is_compared_by_the_digits_that_both_have(desk: Desk, ours: int, theirs: int) -> None:
    tensors = digest("tensors")
    told = {"SHA256": digest("as published").upper(), "AutoV3": tensors[:theirs].upper()}
    near = {"SHA256": digest("another").upper(), "AutoV3": f"{tensors[:11]}{'0' if tensors[11] != '0' else '1'}"}
    desk.keep(model(1, version(2, listed(3, hashes=told))), model(4, version(5, listed(6, hashes=near))))
    changed = {"sha256": digest("another header"), "autov3": tensors[:ours]}
    file_id = add_file(desk.database, "/models/x.safetensors", hashes=changed)
    assert counts(desk.link(offline=True)) == {"files": 1, "linked": 1, "by_autov3": 1}
    assert desk.links() == {file_id: (2, 3, "autov3")}


def test_full_autov3_hashes_that_differ_are_not_the_same(desk: Desk) -> None:
    tensors = digest("tensors")
    desk.keep(
        model(1, version(2, listed(3, hashes={"AutoV3": f"{tensors[:-1]}x".replace("x", "01"[tensors[-1] == "0"])})))
    )
    add_file(desk.database, "/models/x.safetensors", hashes={"sha256": digest("x"), "autov3": tensors})
    assert desk.link(offline=True).linked == 0


@pytest.mark.parametrize("digits", [12, 64])
def test_autov3_of_nothing_says_nothing(desk: Desk, digits: int) -> None:
    empty = model(MODEL, version(VERSION, listed(FILE, hashes={"AutoV3": EMPTY[:12].upper()})))
    desk.keep(empty)
    desk.know(empty)
    nothing = {"sha256": digest("nothing"), "autov3": EMPTY[:digits]}
    add_file(desk.database, "/models/x.safetensors", hashes=nothing, kind="lora")
    assert desk.link().linked == 0
    assert desk.asked() == {IDS: 1}


def test_hashes_are_tried_in_order(desk: Desk) -> None:
    content = hashes("x")
    for number, kind in enumerate(("blake3", "autov3", "sha256")):
        desk.keep(model(number + 1, version(number + 11, listed(number + 21, hashes=as_told({kind: content[kind]})))))
        file_id = desk.add(f"{kind}.safetensors", "x")
        desk.link(offline=True)
        assert desk.links()[file_id] == (number + 11, number + 21, kind)


@pytest.mark.parametrize(("kind", "questions"), [("autov3", 1), ("blake3", 2)])
def test_what_sha256_does_not_find_is_asked_for_by_other_hashes(desk: Desk, kind: str, questions: int) -> None:
    content = hashes("x")
    told = {**as_told({kind: content[kind]}), "SHA256": digest("as published").upper()}
    desk.know(model(MODEL, version(VERSION, listed(FILE, hashes=told))))
    file_id = desk.add("x.safetensors", "x", kind="lora")
    report = desk.link()
    assert desk.links() == {file_id: (VERSION, FILE, kind)}
    assert counts(report) == {"files": 1, "linked": 1, f"by_{kind}": 1, "fetched": 1}
    asked = [request.path.rpartition("/")[2] for request in desk.fake.requests if "/by-hash/" in request.path]
    assert asked == ["ids", content["autov3"][:12], content["blake3"]][: questions + 1]
    assert desk.asked() == {IDS: 1, ONE_HASH: questions, "/models": 1}
    assert desk.link().files == 0
    assert desk.asked() == {}


def test_a_version_found_by_another_hash_that_it_does_not_list_is_civitais_word(desk: Desk) -> None:
    desk.know(simple(1))
    file_id = desk.add("x.safetensors", "file 1", kind="lora")
    desk.database.connection.execute(
        "UPDATE file_hashes SET value = ? WHERE kind = 'sha256'", (digest("another header"),)
    )
    desk.fake.versions[VERSION + 1]["files"] = []
    desk.fake.models[MODEL + 1]["modelVersions"][0]["files"] = []
    desk.link()
    assert desk.links() == {file_id: (VERSION + 1, None, "autov3")}


def test_loras_are_asked_for_first_and_text_encoders_by_sha256_only(desk: Desk) -> None:
    kinds = ["text_encoder", "unknown", "upscaler", "vae", "tae", "checkpoint", "embedding", "lora"]
    contents = {}
    for kind in kinds:
        desk.add(f"{kind}.safetensors", kind, kind=kind)
        contents[hashes(kind)["autov3"][:12]] = contents[hashes(kind)["blake3"]] = kind
    report = desk.link()
    asked = [contents[end] for request in desk.fake.requests if (end := request.path.rpartition("/")[2]) in contents]
    assert asked == [
        kind for kind in ("lora", "embedding", "checkpoint", "vae", "upscaler", "unknown") for _ in range(2)
    ]
    assert counts(report) == {"files": len(kinds), "not_found": len(kinds)}


# --- which of several -------------------------------------------------------------------------------------------------

EARLY, LATE = "2023-01-01T00:00:00.000Z", "2024-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("chosen", "other"),
    [
        pytest.param({"type": "LORA", "at": LATE}, {"type": "Checkpoint", "at": EARLY}, id="of the file's kind"),
        pytest.param({"at": LATE}, {"file": {"type": "Training Data"}, "at": EARLY}, id="no extra"),
        pytest.param(
            {"kind": "unknown", "at": LATE},
            {"file": {"type": "Training Data"}, "at": EARLY},
            id="no extra, whatever it is",
        ),
        pytest.param({"at": LATE}, {"file": {"primary": False}, "at": EARLY}, id="the primary file"),
        pytest.param({"at": EARLY}, {"at": LATE}, id="published first"),
        pytest.param({"at": LATE}, {"at": None}, id="published at all"),
        pytest.param({"at": EARLY}, {"at": EARLY}, id="the older number"),
    ],
)
def test_of_several_versions_with_a_file_the_same_one_is_taken_each_time(
    desk: Desk, chosen: dict[str, Any], other: dict[str, Any]
) -> None:
    def made(number: int, about: dict[str, Any]) -> dict[str, Any]:
        file = listed(number + 20, "x", **about.get("file", {}))
        return model(number, version(number + 10, file, published=about["at"]), type=about.get("type", "LORA"))

    right = [made(1, chosen), made(2, other)]
    # The better one with the larger number too, where the number is not what decides.
    turned = [made(2, chosen), made(1, other)] if chosen != other else right
    for models, best in ((right, 11), (turned, 12 if chosen != other else 11)):
        for order in (models, models[::-1]):
            with desk.database.atomic():
                desk.keep(*order)
                file_id = desk.add("x.safetensors", "x", kind=chosen.get("kind", "lora"))
                desk.link(offline=True)
                assert desk.links()[file_id][0] == best
                desk.database.connection.execute("DELETE FROM files")
                for each in models:
                    delete_model(desk.database, each["id"])


def test_a_vae_is_its_own_page_rather_than_a_checkpoint_it_lies_beside(desk: Desk) -> None:
    beside = [
        model(number, version(number + 10, listed(number + 20, "the VAE", type="VAE", primary=False), published=EARLY))
        for number in range(1, 4)
    ]
    own = model(4, version(14, listed(24, "the VAE"), published=LATE), type="VAE")
    desk.keep(*({**each, "type": "Checkpoint"} for each in beside), own)
    file_id = desk.add("vae.safetensors", "the VAE", kind="vae")
    desk.link(offline=True)
    assert desk.links() == {file_id: (14, 24, "sha256")}


def test_a_choice_once_made_stays(desk: Desk) -> None:
    desk.keep(model(1, version(11, listed(21, "x"), published=LATE)))
    file_id = desk.add("x.safetensors", "x")
    desk.link(offline=True)
    desk.keep(model(2, version(12, listed(22, "x"), published=EARLY)))
    desk.link(offline=True)
    desk.link("x", offline=True)
    desk.know(model(1, version(11, listed(21, "x"))), model(2, version(12, listed(22, "x"))))
    desk.link(refresh=True)
    assert desk.links() == {file_id: (11, 21, "sha256")}
