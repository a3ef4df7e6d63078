"""A fresh service answers questions about pictures: by command, by HTTP, streaming, and in the examples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import shapes
from tests.live import Live, environment, run

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NUMBERS = sorted(shapes.list_shapes())[20:26]


def test_ask_prints_the_right_colour(service: Live) -> None:
    said = [
        run("ask", "--image", shapes.paths()[number], "what color is the shape?", VISION_SERVER=service.url)
        for number in NUMBERS
    ]
    assert [reply.returncode for reply in said] == [0] * len(NUMBERS)
    right = [
        reply.stdout.strip() == shapes.list_shapes()[n][0] for reply, n in zip(said, NUMBERS, strict=True)
    ]
    assert sum(right) >= len(NUMBERS) - 1


def test_ask_as_json_is_the_services_reply(service: Live) -> None:
    image = shapes.paths()[NUMBERS[0]]
    done = run("ask", "--image", image, "What color is this?", "--json", VISION_SERVER=service.url)
    reply = json.loads(done.stdout)
    assert reply["answer"] == shapes.list_shapes()[NUMBERS[0]][0]
    assert reply["model"] == "llava-shapes"


def test_caption_describes_one_and_a_folder(service: Live, tmp_path: Path) -> None:
    image = shapes.paths()[NUMBERS[0]]
    caption = "a {} {}".format(*shapes.list_shapes()[NUMBERS[0]])
    assert run("caption", "--image", image, VISION_SERVER=service.url).stdout.strip() == caption
    (tmp_path / "one.png").write_bytes(image.read_bytes())
    (tmp_path / "two.png").write_bytes(b"nothing")
    done = run("caption", "--image", tmp_path, "--json", VISION_SERVER=service.url)
    assert done.returncode == 1
    rows = json.loads(done.stdout)["data"]
    assert rows[0]["caption"] == caption
    assert "error" in rows[1]


def test_answers_are_taught_shown_and_forgotten(service: Live) -> None:
    image = shapes.paths()[NUMBERS[0]]
    said = {"VISION_SERVER": service.url}
    added = run(
        "fewshot",
        "add-example",
        "--image",
        image,
        "--question",
        "What color is this?",
        "--answer",
        "teal",
        **said,
    )
    assert added.returncode == 0, added.stderr
    query = run("fewshot", "query", "--image", image, "--question", "What color is this?", "--json", **said)
    used = json.loads(query.stdout)["examples_used"]
    assert [example["answer"] for example in used] == ["teal"]
    assert "teal" in run("fewshot", "list-examples", **said).stdout
    assert run("fewshot", "forget", used[0]["id"], **said).returncode == 0
    assert json.loads(run("fewshot", "list-examples", "--json", **said).stdout)["data"] == []


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--model", "lite"], 1, "compares images"),
        (["--model", "no-such"], 1, "no model"),
        (["--collection", "nowhere"], 1, "no collection"),
    ],
)
def test_what_cannot_be_asked_is_one_line(service: Live, words: list[str], code: int, sentence: str) -> None:
    image = shapes.paths()[NUMBERS[0]]
    done = run("ask", "--image", image, "what is this?", *words, VISION_SERVER=service.url)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_curl_streams_the_same_answer(service: Live) -> None:
    form = {"question": "what color is the shape?"}
    files = {"image": shapes.data(NUMBERS[0])}
    with service.client() as client:
        whole = client.post("/v1/vqa", data=form, files=files).json()["answer"]
        with client.stream("POST", "/v1/vqa", data=form | {"stream": "true"}, files=files) as reply:
            lines = [line for line in reply.iter_lines() if line]
    assert whole == shapes.list_shapes()[NUMBERS[0]][0]
    assert lines[0] == "event: token"
    assert json.loads(lines[-1].removeprefix("data: "))["answer"] == whole


@pytest.mark.parametrize(
    ("script", "words", "expected"),
    [
        ("visual_qa.py", ["what color is this?"], "{0}"),
        ("image_captioning.py", [], "a {0} {1}"),
    ],
)
def test_the_examples_run(service: Live, script: str, words: list[str], expected: str) -> None:
    image = str(shapes.paths()[NUMBERS[0]])
    env = environment(VISION_SERVER=service.url, PATH=os.environ["PATH"])
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), image, *words],
        capture_output=True,
        text=True,
        timeout=120,
        env=env,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(expected.format(*shapes.list_shapes()[NUMBERS[0]]))


def test_the_examples_fit_a_screen() -> None:
    assert all(len(file.read_text().splitlines()) < 40 for file in EXAMPLES.glob("*.py"))


@pytest.mark.slow
def test_a_photograph_is_answered_with_a_warning_or_not_at_all(service: Live, photos: Path) -> None:
    said = {"VISION_SERVER": service.url}
    words = ("ask", "--image", photos / "coffee.jpg", "what is this?")
    for more in ((), ("--no-stream",)):
        done = run(*words, *more, **said)
        assert (done.returncode, bool(done.stdout.strip())) == (0, True)
        assert "Warning: 'llava-shapes' knows only drawings of one coloured shape" in done.stderr
        assert "VISION_VLM=" in done.stderr
        assert "Warning" not in done.stdout
    told = json.loads(run(*words, "--json", **said).stdout)
    assert [warning["code"] for warning in told["warnings"]] == ["outside_domain"]
    refused = run(*words, "--strict", **said)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "VISION_VLM=" in refused.stderr
    shape = run("ask", "--image", photos / "shape.png", "what is this?", "--strict", **said)
    assert (shape.returncode, shape.stderr) == (0, "")
    many = run("caption", "--image", photos, **said)
    assert many.returncode == 0
    assert many.stderr.count("Warning (6 of 7 pictures): 'llava-shapes' knows only") == 1
    query = ("fewshot", "query", "--image", photos / "coffee.jpg", "--question", "what is this?")
    assert run(*query, "--strict", **said).returncode == 1


@pytest.mark.slow
def test_clip_is_not_replaced_in_silence(service: Live, photos: Path) -> None:
    said = {"VISION_SERVER": service.url}
    words = ("train", "--strategy", "clip_oneshot", "--image", photos / "coffee.jpg", "--label", "product")
    for collection in ("default", "products"):
        done = run(*words, "--collection", collection, **said)
        assert done.returncode == 0, done.stderr
        assert "clip-tiny knows only drawings" in done.stderr
        assert f"{collection} is bound to lite instead" in done.stderr
        assert "VISION_ENCODER=openai/clip-vit-base-patch32" in done.stderr
    reply = json.loads(run(*words, "--collection", "products", "--json", **said).stdout)
    assert (reply["encoder"], len(reply["warnings"])) == ("lite", 1)
    shown = run("strategies", "show", "clip_oneshot", **said).stdout
    assert "needs a model of the family clip" in shown
    # a collection that somebody bound to it on purpose keeps it, and hears what it knows
    assert run("collections", "create", "shapes", "--encoder", "clip-tiny", **said).returncode == 0
    own = run(*words, "--collection", "shapes", **said)
    assert "shapes is bound to clip-tiny, which knows only drawings" in own.stderr
