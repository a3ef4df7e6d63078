"""`vision demo`: a folder with small pictures, so that every command of the README can be tried at once."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from app.cli import next_steps, output, saving
from app.cli.demo_pictures import SHAPES, THINGS, draw_shape, draw_thing

_TAUGHT = ("mug", "cactus", "boat")
"""Labels of the folders to train on; of the first two there are products too."""
_QUESTION = "How many corners does the shape have?"
_TRAINING, _PRODUCTS, _TEST, _INBOX, _QUESTIONS = 10, 3, 4, 2, 4
"""Pictures of each label in `images`, `products`, `test_images` and `inbox`, and of each shape in `questions`."""


def demo(
    folder: Annotated[Path, typer.Argument(help="Where to write; it is made if it is not there.")],
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Write into a folder that holds other files; those of the same name are replaced."
        ),
    ] = False,
) -> None:
    """Write small pictures to try every command with: to teach, to classify, to ask about and to train on."""
    saving.check_free(folder, force=force, effect="writes into it, over files of the same names")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.absolute().parent))
    try:
        count = _write(draft)
        shutil.copytree(draft, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
    except KeyboardInterrupt:
        output.stop(f"not all of the demo was written to {folder}: run the command again with --force")
    except OSError as error:
        output.fail(f"{folder}: {error.strerror or error}", output.REFUSED)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    output.say(
        f"Wrote {count} small pictures in {folder}: drawings of a {', a '.join(THINGS)} and of plain shapes"
    )
    picture = next_steps.format_path(folder / "mug.jpg")
    output.say(f"Next:\n  vision oneshot learn --image {picture} --label mug")


def _write(folder: Path) -> int:
    count = 0
    for name, image in _pictures():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(target, quality=92)
        count += 1
    lines = [
        {"image": f"{shape}-{number}.png", "question": _QUESTION, "answer": corners}
        for shape, corners in SHAPES.items()
        for number in range(1, _QUESTIONS + 1)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "questions" / "examples.jsonl").write_text(text, encoding="utf-8")
    return count


def _pictures() -> Iterator[tuple[str, Image.Image]]:
    """The files' names and what is in them; no two show the same drawing."""
    for thing in THINGS:
        yield f"{thing}.jpg", draw_thing(thing, 0)
    yield "shape.png", draw_shape("triangle", 0, "red")
    seed = 0
    for place, labels, pictures in (
        ("products/{label}/{number}.jpg", _TAUGHT[:2], _PRODUCTS),
        ("inbox/{label}-{number}.jpg", tuple(THINGS), _INBOX),
        ("images/{label}/{number:02}.jpg", _TAUGHT, _TRAINING),
        ("test_images/{label}/{number}.jpg", _TAUGHT, _TEST),
    ):
        for number in range(1, pictures + 1):
            seed += 1
            for label in labels:
                yield place.format(label=label, number=number), draw_thing(label, seed)
    for number in range(1, _QUESTIONS + 1):
        for shape in SHAPES:
            yield f"questions/{shape}-{number}.png", draw_shape(shape, number)
