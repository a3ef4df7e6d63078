"""A first hour at the command line: wrong words, an image with two labels, names that mean nothing, Ctrl-C.

Commands that are many run in this process, by the function that the `vision` script calls.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from app.cli import main
from tests.live import VISION, Live, environment, run, serving

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 180.0
LONG = "x" * 5_000
NO_TEXT = os.fsdecode(b"\xff\xfe")
DEFECT = re.compile(r"Traceback|^\w*Error: ", re.MULTILINE)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service with a worker beside it."""
    with serving(tmp_path_factory.mktemp("first-hour") / "data", VISION_WORKER="true") as live:
        yield live


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `vision demo` writes, and beside it what a path can wrongly lead to."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    done = run("demo", folder)
    assert done.returncode == 0, done.stderr
    (folder.parent / "empty").mkdir()
    (folder.parent / "text.txt").write_text("no image")
    os.mkfifo(folder.parent / "pipe")
    (folder.parent / "odd.yaml").write_bytes(b"\xff\xd8\xff")
    return folder


WRONG: list[tuple[str, ...]] = [
    ("oneshot", "learn", "--image", "demo/mug.jpg", "--label", ""),
    ("oneshot", "learn", "--image", "demo/mug.jpg", "--label", "  "),
    ("oneshot", "learn", "--image", "demo/mug.jpg", "--label", NO_TEXT),
    ("oneshot", "learn", "--image", "", "--label", "mug"),
    ("oneshot", "learn", "--image", LONG, "--label", "mug"),
    ("oneshot", "learn", "--image", "pipe", "--label", "mug"),
    ("oneshot", "learn", "--image", "empty", "--label", "mug"),
    ("oneshot", "learn", "--image", "demo/mug.jpg", "--label", "mug", "-c", ""),
    ("oneshot", "learn", "--image", "demo/mug.jpg", "--label", "mug", "-c", ".."),
    ("oneshot", "learn", "--image", "demo/mug.jpg", "--label", "mug", "--api-key", "ü"),
    ("oneshot", "learn", "--image", "demo/mug.jpg", "--label", "mug", "--server", f"http://ü.☃.{LONG}"),
    ("oneshot", "learn", "--image", "demo/mug.jpg", "--label", "mug", "--server", "http://exa mple"),
    ("oneshot", "classify", "--image", "demo/mug.jpg", "--model", LONG),
    ("oneshot", "classify", "--image", "demo/mug.jpg", "--model", "text.txt"),
    ("oneshot", "classify", "--image", "demo/mug.jpg", f"--labels=a,{NO_TEXT}"),
    ("oneshot", "forget", ""),
    ("ask", "--image", "demo/mug.jpg", NO_TEXT),
    ("models", "show", "."),
    ("models", "show", ".."),
    ("models", "download", "lite", "--output-dir", ""),
    ("collections", "remove", "."),
    ("train", "--strategy", "siamese_oneshot", "--dataset", LONG),
    ("train", "--strategy", "siamese_oneshot", "--dataset", "text.txt"),
    ("train", "--strategy", "siamese_oneshot", "--dataset", ""),
    ("train", "--strategy", "siamese_oneshot", "-p", "steps=NaN"),
    ("train", "--strategy", "siamese_oneshot", "-p", f"steps={'[' * 50_000}"),
    ("train", "--config", "pipe"),
    ("train", "--config", "odd.yaml"),
    ("strategies", "recommend", "--gpu-memory-gb", "inf"),
    ("keys", "create", NO_TEXT),
    ("serve", "--data-dir", "text.txt"),
    ("migrate", "--data-dir", "text.txt"),
    ("models", "list", "--server", "", "--data-dir", "text.txt"),
    ("demo", "text.txt"),
]


@dataclass(frozen=True)
class Done:
    """What a command ended with."""

    code: int
    out: str
    err: str


Call = Callable[..., Done]


@pytest.fixture
def call(
    service: Live, demo: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Call:
    """Run `vision WORDS` beside the demo's folder; whatever it raises but its exit code is a traceback."""
    for name in [name for name in os.environ if name.startswith("VISION_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(demo.parent)

    def run_here(*words: str | Path) -> Done:
        if words[-1] == "text.txt" and words[-2] == "--data-dir":  # the service's own folder
            monkeypatch.delenv("VISION_SERVER", raising=False)
        else:
            monkeypatch.setenv("VISION_SERVER", service.url)
        monkeypatch.setattr(sys, "argv", ["vision", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return run_here


@pytest.mark.slow
def test_no_wrong_word_shows_a_traceback(service: Live, call: Call) -> None:
    for words in WRONG:
        done = call(*words)
        shown = [word[:40] for word in words]
        assert done.code in (1, 2, 3), (shown, done.err[:2_000])
        assert (done.out + done.err).strip(), shown
        assert len(done.err) < 2_000 + len(max(words, key=len)), shown
    assert not [row for row in rows(call, "oneshot", "list-examples") if row["label"] == "mug"]


def rows(call: Call, *words: str) -> list[dict[str, object]]:
    """The `data` of a command's JSON."""
    done = call(*words, "--json")
    assert done.code == 0, done.err
    found: list[dict[str, object]] = json.loads(done.out)["data"]
    return found


def test_the_same_image_under_two_labels_is_said_and_replaced(service: Live, demo: Path, call: Call) -> None:
    assert call("collections", "create", "two").code == 0
    picture = demo / "house.jpg"
    teach = ("oneshot", "learn", "--image", picture, "-c", "two")
    first = call(*teach, "--label", "house")
    assert "also has" not in first.err
    second = call(*teach, "--label", "hut")
    assert second.code == 0
    assert f"{picture} also has the label 'house' in two" in second.err
    assert "--replace" in second.err
    assert {row["label"] for row in rows(call, "oneshot", "list-examples", "-c", "two")} == {
        "house",
        "hut",
    }
    with service.client() as client:
        post = {"url": "/v1/collections/two/examples", "files": {"images": picture.read_bytes()}}
        reply = client.post(**post, data={"label": "hut"}).json()["data"][0]
        assert (reply["created"], reply["other_labels"], reply["replaced_labels"]) == (False, ["house"], [])
        reply = client.post(**post, data={"label": "cabin", "replace": "true"}).json()["data"][0]
        assert (reply["created"], reply["other_labels"]) == (True, [])
        assert reply["replaced_labels"] == ["house", "hut"]
        answer = client.post(
            "/v1/classify", files={"image": picture.read_bytes()}, data={"collection": "two"}
        ).json()
    assert answer["label"] == "cabin"
    third = call(*teach, "--label", "house", "--replace")
    assert f"{picture} no longer has the label 'cabin' in two" in third.err
    assert {row["label"] for row in rows(call, "oneshot", "list-examples", "-c", "two")} == {"house"}


def test_a_name_that_means_nothing_is_answered_with_near_ones(service: Live, demo: Path, call: Call) -> None:
    assert call("collections", "create", "kitchen").code == 0
    teach = ("oneshot", "learn", "--image", demo / "mug.jpg", "-c", "kitchen", "--label", "teacup")
    assert call(*teach).code == 0
    made = call("manyshot", "prepare-dataset", "--data-dir", demo / "test_images", "--name", "kettles")
    assert made.code == 0, made.err
    said = {
        ("oneshot", "list-examples", "-c", "kichen"): ("'kitchen'", "vision collections create kichen"),
        ("oneshot", "list-examples", "-c", "Kitchen!"): ("'kitchen'", "lower-case"),
        ("oneshot", "list-examples", "-c", "kitchen", "--label", "teacups"): (
            "no label 'teacups'",
            "'teacup'",
        ),
        ("collections", "create", "My Kitchen"): ("lower-case letters",),
        ("models", "show", "lit"): ("'lite'",),
        ("collections", "create", "new", "--encoder", "clip-tin"): ("'clip-tiny'",),
        ("train", "--strategy", "siames_oneshot"): ("'siamese_oneshot'", "vision strategies list"),
        ("datasets", "show", "kettle"): ("called 'kettles'", "vision datasets list"),
        ("train", "--strategy", "siamese_oneshot", "--dataset", "kettles"): ("called 'kettles'",),
        ("train", "--strategy", "siamese_oneshot", "--dataset", "demo/image"): ("did you mean demo/images?",),
        ("train", "--strategy", "siamese_oneshot", "--dataset", "./nowhere"): ("no folder ./nowhere",),
        ("manyshot", "evaluate", "--model", "lite", "--test-data", "./nowhere"): ("no folder ./nowhere",),
        ("strategies", "recommend", "--hardware", "abacus"): ("--hardware: there is no machine",),
        ("oneshot", "classify", "--image", "demo/mug.jpg", "--model", "./dem"): ("did you mean",),
        ("jobs", "show", "nope"): ("no job 'nope'", "vision jobs list"),
        ("manyshot", "evaluate", "--model", "lit", "--test-data", "demo/images"): ("'lite'",),
        ("manyshot", "train", "--dataset", "demo/images", "--model", "lit"): ("lit",),
        ("oneshot", "forget", "nope", "-c", "kitchen"): ("vision oneshot list-examples",),
    }
    for words, parts in said.items():
        done = call(*words)
        assert done.code in ((0,) if "--label" in words else (1, 2)), words
        for part in parts:
            assert part in done.err, (words, done.err)
        assert "Sending" not in done.err, words  # nothing is sent for a name that means nothing


def test_limits_and_misplaced_files_are_named(service: Live, demo: Path) -> None:
    picture = (demo / "mug.jpg").read_bytes()
    with service.client() as client:
        wide = b"BM" + bytes(12) + (40).to_bytes(4, "little") + (9_000).to_bytes(4, "little") * 2
        wide += (1).to_bytes(2, "little") + (24).to_bytes(2, "little") + bytes(24)
        large = client.post("/v1/classify", files={"image": wide}, data={"labels": "mug,cup"})
        assert large.status_code == 413
        for part in ("40 megapixels", "30000 pixels a side", "9000 x 9000"):
            assert part in large.json()["detail"]
        name = client.post("/v1/classify", files={"image": (None, "photo.jpg")})
        assert name.status_code == 422
        assert "-F image=@FILE" in name.json()["detail"]
        coded = client.post("/v1/classify", json={"image": "photo.jpg"})
        assert coded.status_code == 422
        assert "file's name" in coded.json()["detail"]
        other = client.post("/v1/classify", files={"picture": ("mug.jpg", picture)})
        assert other.status_code == 422
        assert "parts named 'image'" in other.json()["detail"]
        huge = client.post("/v1/classify", files={"picture": ("mug.jpg", picture * 40)})
        assert huge.status_code == 422
        assert "parts named 'image'" in huge.json()["detail"]
        raw = {"content": b"x" * 10, "headers": {"Content-Type": "application/x-tar"}}
        wrong = client.post("/v1/datasets", params={"name": "a", "format": "cocoo"}, **raw)
        assert wrong.status_code == 422
        assert "'coco'" in wrong.json()["detail"]


def interrupt(words: list[str | Path], *, after: str, cwd: Path, **extra: str) -> tuple[int, str, str]:
    """Run a command and press Ctrl-C once standard error matches `after`: exit code and what was printed."""
    process = subprocess.Popen(
        [VISION, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=environment(**extra),
        start_new_session=True,
    )
    assert process.stderr is not None
    assert process.stdout is not None
    said, deadline = b"", time.monotonic() + WAIT_S
    while not re.search(after.encode(), said):
        assert time.monotonic() < deadline, said
        assert process.poll() is None, said
        if select.select([process.stderr], [], [], 1.0)[0]:
            said += os.read(process.stderr.fileno(), 65_536)
    process.send_signal(signal.SIGINT)
    shown, rest = process.communicate(timeout=WAIT_S)
    return process.returncode, shown.decode(), (said + rest).decode()


def test_ctrl_c_says_in_one_line_what_was_done(service: Live, demo: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(3_000):  # the same picture in other words: learned once, sent each time
        shutil.copyfile(demo / "boat.jpg", many / f"{number}.jpg")
    often = {"VISION_SERVER": service.url, "VISION_PROGRESS_LINE_S": "0.2"}
    code, _, said = interrupt(
        ["oneshot", "learn", "--image", many, "--label", "boat"],
        after=r"[1-9]\d* of 3000 images",
        cwd=tmp_path,
        **often,
    )
    assert code == 130, said
    stopped = re.search(r"^Stopped: (\d+) of 3000 images were learned in default; (.*)$", said, re.MULTILINE)
    assert stopped
    assert 0 < int(stopped[1]) < 3_000
    assert "goes on" in stopped[2]
    code, shown, said = interrupt(
        ["oneshot", "classify", "--image", many], after=r"[1-9]\d* of 3000 images", cwd=tmp_path, **often
    )
    stopped = re.search(r"^Stopped: (\d+) of 3000 images were classified$", said, re.MULTILINE)
    assert code == 130
    assert stopped
    assert shown.count("\n") == int(stopped[1]) + 1
    assert not DEFECT.search(said)


@pytest.mark.slow
def test_ctrl_c_leaves_the_job_and_says_how_to_follow_it(service: Live, demo: Path, tmp_path: Path) -> None:
    named = {"VISION_SERVER": service.url, "VISION_PROGRESS_LINE_S": "0.5"}
    train = ["train", "--strategy", "siamese_oneshot", "--examples", demo / "images", "-p", "steps=100000"]
    code, _, said = interrupt([*train, "-p", "patience=0"], after=r"fitting, \d+ of", cwd=tmp_path, **named)
    assert code == 130
    assert not DEFECT.search(said)
    last = said.strip().splitlines()[-1]
    job = re.search(r"vision jobs cancel ([0-9a-f-]{36}) ends it", last)
    assert last.startswith("Stopped: fitting, "), said
    assert "steps" in last
    assert job is not None
    assert f"goes on: vision jobs follow {job[1]} shows it" in last
    # images of both sides are counted as one, and steps begin with the phase that makes them
    counts = [(int(done), int(of)) for done, of in re.findall(r"preparing, (\d+) of (\d+) images", said)]
    assert {of for _, of in counts} <= {30}
    assert counts == sorted(counts)
    assert all(of == "100000" for of in re.findall(r"fitting, \d+ of (\d+) steps", said))
    assert run("jobs", "cancel", job[1], **named).returncode == 0


def test_demo_never_overwrites(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mug.jpg").write_text("mine")
    refused = run("demo", tmp_path / "mine")
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["mug.jpg"]
    (tmp_path / "mine" / "other.txt").write_text("kept")
    assert run("demo", tmp_path / "mine", "--force").returncode == 0
    assert (tmp_path / "mine" / "other.txt").read_text() == "kept"
    # the same each time
    assert (tmp_path / "mine" / "mug.jpg").read_bytes() == (demo / "mug.jpg").read_bytes()


def test_examples_say_how_they_are_called(service: Live, demo: Path) -> None:
    for script in sorted((ROOT / "examples").glob("*.py")):
        calls: list[tuple[list[str], str]] = [([], f"python examples/{script.name} ")]
        given = {
            "image_classification.py": ["mug=nofile.jpg", "--", "nofile.jpg"],
            "visual_qa.py": ["nofile.jpg", "what is it?"],
        }.get(script.name, ["nofile.jpg"])
        calls.append((given, "nofile.jpg: No such file"))
        for words, sentence in calls:
            done = subprocess.run(
                [sys.executable, str(script), *words],
                capture_output=True,
                text=True,
                timeout=60,
                env=environment(VISION_SERVER=service.url),
                check=False,
            )
            assert done.returncode == 1, script
            assert sentence in done.stderr, script
            assert not DEFECT.search(done.stderr), script


def test_the_services_answer_stands_in_the_open_api_document(service: Live) -> None:
    schemas = httpx.get(f"{service.url}/openapi.json", timeout=WAIT_S).json()["components"]["schemas"]
    assert {"other_labels", "replaced_labels"} <= set(schemas["AddedExample"]["properties"])
