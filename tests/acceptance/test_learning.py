"""A user teaches four things with a picture each and asks about others; by command and over HTTP."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.live import Live, run
from tests.photos import TAUGHT, damage_photo, encode_photo, photo

STRANGERS = ["brick", "coins", "grass", "gravel", "page", "text", "moon", "retina", "hubble_deep_field"]


@pytest.fixture(scope="module")
def taught(service: Live, photos: Path) -> Live:
    """The service after one `vision oneshot learn` for each thing."""
    for label, name in TAUGHT.items():
        done = run(
            "oneshot", "learn", "--image", photos / f"{name}.jpg", "--label", label, "--server", service.url
        )
        assert done.returncode == 0, done.stderr
        assert label in done.stdout
    return service


@pytest.mark.parametrize("label", TAUGHT)
def test_damaged_versions_are_recognised(taught: Live, label: str) -> None:
    with taught.client() as client:
        for kind, data in damage_photo(photo(TAUGHT[label])).items():
            reply = (
                client.post("/v1/classify", files={"image": (f"{kind}.jpg", data)}).raise_for_status().json()
            )
            assert reply["label"] == label, (kind, reply)
            assert not reply["rejected"]
            total = reply["none"] + sum(score["score"] for score in reply["scores"])
            assert total == pytest.approx(1, abs=1e-3)


def test_other_things_are_rejected_more_often_than_not(taught: Live) -> None:
    with taught.client() as client:
        replies = {
            name: client.post("/v1/classify", files={"image": encode_photo(photo(name))})
            .raise_for_status()
            .json()
            for name in STRANGERS
        }
    rejected = [name for name, reply in replies.items() if reply["rejected"] and reply["label"] is None]
    assert len(rejected) > len(STRANGERS) / 2, {name: reply["scores"][0] for name, reply in replies.items()}
    assert {"brick", "coins"} <= set(rejected)


def test_threshold_zero_accepts_everything_and_one_nothing(taught: Live) -> None:
    image = {"image": encode_photo(photo("brick"))}
    with taught.client() as client:
        accepted = client.post("/v1/classify", params={"threshold": 0}, files=image).json()
        refused = client.post("/v1/classify", params={"threshold": 1}, files=image).json()
    assert accepted["label"] in TAUGHT
    assert not accepted["rejected"]
    assert refused["label"] is None
    assert refused["rejected"]


@pytest.mark.parametrize(("name", "label"), [("chelsea", "cat"), ("coffee", "cup of coffee")])
def test_zero_shot_needs_no_example(service: Live, photos: Path, name: str, label: str) -> None:
    done = run(
        "oneshot", "classify", "--image", photos / f"{name}.jpg", "--json", "--server", service.url,
        "--labels", "cat,dog,cup of coffee,rocket",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["scores"][0]["label"] == label


def test_one_picture_reads_as_a_verdict_and_a_table(taught: Live, photos: Path) -> None:
    done = run("oneshot", "classify", "--image", photos / "chelsea.jpg", "--server", taught.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "cat"
    assert all(label in done.stdout for label in [*TAUGHT, "(none of these)"])


def test_a_folder_is_classified_row_by_row_past_a_broken_file(
    taught: Live, photos: Path, tmp_path: Path
) -> None:
    for name in ["chelsea", "coffee", "rocket"]:
        (tmp_path / f"{name}.jpg").write_bytes((photos / f"{name}.jpg").read_bytes())
    (tmp_path / "broken.jpg").write_bytes(b"no image at all")
    done = run("oneshot", "classify", "--image", tmp_path, "--json", "--server", taught.url)
    assert done.returncode == 1
    rows = {Path(row["file"]).stem: row for row in json.loads(done.stdout)["data"]}
    assert list(rows) == ["broken", "chelsea", "coffee", "rocket"]
    assert [rows[name]["label"] for name in ["chelsea", "coffee", "rocket"]] == [
        "cat",
        "cup of coffee",
        "rocket",
    ]
    assert "This is a text" in rows["broken"]["error"]
    assert "1 of 4" in done.stderr


def test_a_folder_of_folders_teaches_its_names_and_examples_can_be_listed_and_forgotten(
    service: Live, photos: Path, tmp_path: Path
) -> None:
    for folder, name in [("animal", "chelsea"), ("drink", "coffee")]:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.jpg").write_bytes((photos / f"{name}.jpg").read_bytes())
    at = ["--collection", "folders", "--server", service.url]
    assert run("collections", "create", "folders", "--server", service.url).returncode == 0
    done = run("oneshot", "learn", "--image", tmp_path, *at)
    assert done.returncode == 0, done.stderr

    listed = json.loads(run("oneshot", "list-examples", "--json", *at).stdout)["data"]
    assert sorted(row["label"] for row in listed) == ["animal", "drink"]
    again = run("oneshot", "learn", "--image", tmp_path, *at)
    assert again.returncode == 0
    assert len(json.loads(run("oneshot", "list-examples", "--json", *at).stdout)["data"]) == 2

    mend(listed, photos, at)
    assert run("oneshot", "forget", listed[0]["id"], *at).returncode == 0
    left = json.loads(run("oneshot", "list-examples", "--json", *at).stdout)["data"]
    assert [row["id"] for row in left] == [listed[1]["id"]]
    assert run("oneshot", "forget", listed[0]["id"], *at).returncode == 1
    assert run("collections", "remove", "folders", "--server", service.url).returncode == 0


def mend(listed: list[dict[str, str]], photos: Path, at: list[str]) -> None:
    """A label gets another name, and an example another label, which the next answers know."""
    animal = next(row["id"] for row in listed if row["label"] == "animal")
    renamed = run("oneshot", "rename-label", "animal", "cat / pet", *at)
    assert "animal is cat / pet in folders, with 1 example" in renamed.stderr + renamed.stdout
    taken = run("oneshot", "rename-label", "cat / pet", "drink", *at)
    assert taken.returncode == 1
    assert "--merge" in taken.stderr
    done = run("oneshot", "classify", "--image", photos / "chelsea.jpg", "--neighbours", "1", *at)
    assert "looks like" in done.stdout
    assert animal in done.stdout
    assert run("oneshot", "relabel", animal, "--label", "drink", *at).returncode == 0
    health = run("health", "folders", *at[2:])
    assert "drink" in health.stdout
    assert "cat / pet" not in health.stdout
    assert "fewer than three examples: drink (2)" in health.stderr


def test_what_a_user_gets_wrong_is_one_clear_line(taught: Live, photos: Path) -> None:
    here = ["--server", taught.url]
    refused = run("oneshot", "classify", "--image", photos / "coins.jpg", "--collection", "nowhere", *here)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "collection" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1

    assert run("oneshot", "classify", "--image", "/no/such/file.jpg", *here).returncode == 2
    assert run("oneshot", "learn", "--image", photos / "coins.jpg", *here).returncode == 2

    nobody = run("oneshot", "list-examples", "--server", "http://127.0.0.1:1")
    assert nobody.returncode == 3
    assert "no service answers at http://127.0.0.1:1" in nobody.stderr


def test_an_answer_set_is_shown_with_what_it_promises_and_health_with_what_it_cannot_tell(
    taught: Live, photos: Path
) -> None:
    here = ("--server", taught.url)
    done = run("oneshot", "classify", "--image", photos / "chelsea.jpg", "--coverage", "0.9", *here)
    assert "Answer set: cat" in done.stdout
    assert "not promised" in done.stdout
    assert "A promise on average takes 20 examples" in done.stderr
    health = run("collections", "health", "default", *here)
    assert "examples" in health.stdout
    assert "a median of 1 different examples" in health.stderr
