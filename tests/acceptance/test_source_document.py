"""The commands of the document that this product was built from, word for word and in its order, against one service.

Each section has a folder of its own with small data that fits it; what one command leaves, the next one names.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests import shapes
from tests.live import Live, run, serving
from tests.photos import save_photo

pytestmark = pytest.mark.slow
ONE_SHOT = (
    'vision oneshot learn --image example.jpg --label "coffee_mug" --description "ceramic white coffee mug"',
    "vision oneshot classify --image test.jpg --threshold 0.8",
    "vision oneshot list-examples",
)
FEW_SHOT = (
    'vision fewshot add-example --image img1.jpg --question "What color is this?" --answer "blue"',
    'vision fewshot add-example --image img2.jpg --question "What color is this?" --answer "red"',
    "vision fewshot train --output-dir ./few_shot_model",
    'vision fewshot query --image test.jpg --question "What color is this?"',
)
MANY_SHOT = (
    "vision manyshot prepare-dataset --data-dir ./images --output ./processed_data",
    "vision manyshot train --dataset ./processed_data --model llava --epochs 20",
    "vision manyshot evaluate --model ./trained_model --test-data ./test_images",
    "vision manyshot export --model ./trained_model --format onnx --output ./exported_model",
)
STRATEGIES = (
    "vision strategies list",
    'vision train --strategy clip_oneshot --image example.jpg --label "product"',
    "vision train --strategy llava_fewshot --examples ./few_shot_examples/",
    "vision train --strategy custom_manyshot --dataset ./large_dataset/",
)
Vision = Callable[[str], CompletedProcess[str]]


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service with its worker."""
    with serving(tmp_path_factory.mktemp("document") / "data", VISION_WORKER="true") as live:
        yield live


@pytest.fixture
def vision(working: Live, tmp_path: Path) -> Vision:
    """Runs a command line in this test's folder; it has to succeed."""

    def succeed(command: str) -> CompletedProcess[str]:
        program, *words = shlex.split(command)
        assert program == "vision"
        done = run(*words, timeout=400, cwd=tmp_path, VISION_SERVER=working.url)
        assert done.returncode == 0, (command, done.stderr)
        return done

    return succeed


def next_commands(done: CompletedProcess[str]) -> list[str]:
    """What a command says comes next."""
    _, found, told = done.stderr.partition("Next:\n")
    assert found, done.stderr
    return [line.strip() for line in told.splitlines() if line.startswith("  vision ")]


def numbers(colour: str | None = None, shape: str | None = None) -> list[int]:
    """Images of this colour or shape."""
    shown = sorted(shapes.list_shapes().items())
    return [
        number
        for number, (its_colour, its_shape) in shown
        if colour in (None, its_colour) and shape in (None, its_shape)
    ]


def classes(folder: Path, count: int, start: int = 0) -> None:
    """So many images a shape, a folder each."""
    for shape in ("circle", "rectangle", "triangle"):
        (folder / shape).mkdir(parents=True)
        for number in numbers(shape=shape)[start : start + count]:
            (folder / shape / f"{number}.png").write_bytes(shapes.data(number))


def test_one_shot(vision: Vision, tmp_path: Path) -> None:
    save_photo(tmp_path, "coffee").rename(tmp_path / "example.jpg")
    save_photo(tmp_path, "coffee").rename(tmp_path / "test.jpg")
    learn, classify, list_examples = map(vision, ONE_SHOT)
    assert "Learned 1 of 1" in learn.stderr
    assert classify.stdout.startswith("coffee_mug\n")
    assert "coffee_mug" in list_examples.stdout


def test_few_shot(vision: Vision, tmp_path: Path) -> None:
    for name, colour in (("img1", "blue"), ("img2", "red"), ("test", "blue")):
        place = 1 if name == "test" else 0
        (tmp_path / f"{name}.jpg").write_bytes(shapes.data(numbers(colour)[place]))
    *_, train, query = map(vision, FEW_SHOT)
    note = json.loads((tmp_path / "few_shot_model" / "vision.json").read_text())
    assert (note["kind"], note["task"]) == ("vlm", "vqa")
    assert "holds only 2 examples" in train.stderr
    assert "not judged" in train.stderr
    assert query.stdout.strip()
    assert "saw 2 examples of default" in query.stderr
    ask, *_ = next_commands(train)
    assert ask.startswith("vision ask --image picture.jpg --model ./few_shot_model ")
    assert "picture.jpg stands for an image of your own" in train.stderr
    (tmp_path / "test.jpg").rename(tmp_path / "picture.jpg")
    assert vision(ask).stdout.strip()
    again = run(*shlex.split(FEW_SHOT[2])[1:], cwd=tmp_path)
    assert (again.returncode, "--force" in again.stderr) == (2, True)


def test_many_shot(vision: Vision, tmp_path: Path) -> None:
    classes(tmp_path / "images", 4)
    classes(tmp_path / "test_images", 2, start=50)
    prepare, train, evaluate, export = MANY_SHOT
    assert next_commands(vision(prepare)) == ["vision manyshot train --dataset processed_data"]
    trained = vision(train)
    note = json.loads((tmp_path / "trained_model" / "vision.json").read_text())
    assert (note["kind"], note["labels"]) == ("vlm", ["circle", "rectangle", "triangle"])
    assert "trained_model" in trained.stderr
    judged = vision(evaluate).stdout
    assert all(figure in judged for figure in ("accuracy", "\nf1 ", "chance", "commonest", "triangle"))
    ask, evaluate_again, _ = next_commands(trained)
    assert vision(ask).stdout.strip() == "circle"
    assert evaluate_again == "vision manyshot evaluate --model ./trained_model --test-data ./processed_data"
    assert "accuracy" in vision(evaluate_again).stdout
    vision(export)
    assert {path.name for path in (tmp_path / "exported_model").glob("*.onnx")} >= {
        "vision_tower.onnx",
        "projector.onnx",
        "decoder.onnx",
    }


def test_strategies(vision: Vision, tmp_path: Path) -> None:
    save_photo(tmp_path, "rocket").rename(tmp_path / "example.jpg")
    examples, dataset = tmp_path / "few_shot_examples", tmp_path / "large_dataset"
    examples.mkdir()
    dataset.mkdir()
    with (examples / "examples.jsonl").open("w") as lines:
        for colour in ("blue", "red"):
            (examples / f"{colour}.png").write_bytes(shapes.data(numbers(colour)[0]))
            row = {"image": f"{colour}.png", "question": "What color is this?", "answer": colour}
            lines.write(json.dumps(row) + "\n")
    with (dataset / "annotations.jsonl").open("w") as lines:
        for number in numbers()[:50]:
            (dataset / f"{number}.png").write_bytes(shapes.data(number))
            caption = f"a {' '.join(shapes.list_shapes()[number])}"
            lines.write(json.dumps({"image": f"{number}.png", "caption": caption}) + "\n")

    listed = vision(STRATEGIES[0]).stdout
    assert all(name in listed for name in ("clip_oneshot", "llava_fewshot", "custom_manyshot"))
    one, few, many = map(vision, STRATEGIES[1:])
    (classify,) = next_commands(one)
    assert vision(classify).stdout.startswith("product\n")
    assert vision(next_commands(few)[0]).stdout.strip()
    caption = next_commands(many)[0]
    assert caption.startswith("vision caption --image ./large_dataset/")
    assert vision(caption).stdout.strip()
