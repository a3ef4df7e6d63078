"""Review by the command, over a service of several processes; and what kill -9 leaves of it."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster import until
from tests.learning import picture
from tests.live import Live, launch, run, serving

PATH = "/v1/collections/default/review"
PICTURES = 24


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service of two front ends and an engine, with two labels taught and pictures that wait."""
    with serving(tmp_path_factory.mktemp("review") / "data", VISION_FRONT_ENDS="2") as live:
        with live.client() as client:
            for label, seed in (("mug", 1), ("pot", 2)):
                path = "/v1/collections/default/examples"
                client.post(path, data={"label": label}, files={"images": picture(seed)}).raise_for_status()
            client.patch("/v1/collections/default", json={"review": {}}).raise_for_status()
        for seed in range(PICTURES):  # on a connection each: front ends take turns
            httpx.post(
                f"{live.url}/v1/classify", files={"image": picture(100 + seed)}, timeout=60
            ).raise_for_status()
        until(lambda: waiting(live) == PICTURES, why="every picture is kept")
        yield live


def waiting(live: Live) -> int:
    return int(httpx.get(f"{live.url}{PATH}/stats", timeout=60).json()["waiting"])


def review(live: Live, *words: str) -> Any:
    done = run("review", "default", *words, "--json", "--server", live.url)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_pictures_are_listed_saved_decided_and_undone(split: Live, tmp_path: Path) -> None:
    rows = review(split, "--save", str(tmp_path / "pictures"))["data"]
    assert len(rows) == PICTURES
    assert {path.stem for path in (tmp_path / "pictures").iterdir()} == {row["id"] for row in rows}
    first, second, third, fourth = (row["id"] for row in rows[:4])
    assert review(split, first, "--label", "pan")["label"] == "pan"
    assert {picture["label"] for picture in review(split, second, third, "--label", "pan")["data"]} == {"pan"}
    assert review(split, fourth, "--none")["decision"] == "none"
    again = run("review", "default", first, "--right", "--server", split.url)
    assert again.returncode == 1
    assert "decided already: 'pan'" in again.stderr
    assert review(split, first, "--undo")["data"][0]["decision"] is None
    table = run("review", "default", "--server", split.url)
    assert first in table.stdout.splitlines()[1], "it stands where it stood"
    assert [review(split, "--stats")[name] for name in ("waiting", "relabelled")] == [PICTURES - 3, 2]
    decided = run("review", "default", first, "--skip", "--server", split.url)
    assert f"{PICTURES - 4} left" in decided.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--label", "x"], "needs the ids"),
        (["some-id", "--right", "--none"], "--right or --none"),
        (["--keep", "5"], "go with --on"),
    ],
)
def test_flags_that_do_not_go_together_are_refused_by_name(words: list[str], says: str) -> None:
    done = run("review", "default", *words, "--server", "http://127.0.0.1:9")
    assert (done.returncode, says in done.stderr) == (2, True), done.stderr


@pytest.mark.slow
def test_feedback_teaches_a_picture_and_finds_a_request(split: Live, tmp_path: Path) -> None:
    file = tmp_path / "odd.png"
    file.write_bytes(picture(900))
    done = run("feedback", "--image", file, "--label", "odd", "--json", "--server", split.url)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] == "odd"
    item = review(split)["data"][0]
    given = run("feedback", "--request-id", item["request_id"], "--label", "odd", "--server", split.url)
    assert "Taught odd in default" in given.stderr, given.stderr
    unknown = run("feedback", "--request-id", "nowhere", "--none", "--server", split.url)
    assert (unknown.returncode, "send the image itself" in unknown.stderr) == (1, True)


@pytest.mark.slow
def test_kill_9_loses_no_decision_that_was_answered(split: Live) -> None:
    ids = [row["id"] for row in review(split)["data"]]
    answered: dict[str, str] = {}

    def decide(mine: list[str]) -> None:
        with split.client() as client:
            for number, picture_id in enumerate(mine):
                try:
                    reply = client.post(f"{PATH}/{picture_id}", json={"label": f"kettle {number % 3}"})
                except httpx.HTTPError:
                    return
                if reply.status_code == 200:
                    answered[picture_id] = reply.json()["example"]

    threads = [threading.Thread(target=decide, args=(ids[start::3],)) for start in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: len(answered) >= len(ids) // 3, why="some are decided")
    split.stop(signal.SIGKILL)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    again = launch(split.data_dir, **split.extra)
    try:
        again.wait_until_ready()
        with again.client() as client:
            for picture_id, example in answered.items():
                shown = client.get(f"/v1/collections/default/examples/{example}")
                assert shown.status_code == 200, "the example is there"
                assert client.get(f"{shown.json()['image']}").status_code == 200, "with its picture"
                late = client.post(f"{PATH}/{picture_id}", json={"decision": "skip"})
                assert late.json()["error"]["code"] == "already_decided"
            left = client.get(PATH).json()["data"]
            assert {row["id"] for row in left} <= set(ids) - set(answered)
    finally:
        again.stop()
