"""The runners of exports as processes that can import nothing of torch or of this project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_WITHOUT_TORCH = """
import json, runpy, sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "peft", "safetensors", "app", "workers"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Nothing())
file, *words = sys.argv[1:]
if words[0] != "--all":
    sys.argv = [file, *words]
    runpy.run_path(file, run_name="__main__")
else:
    from pathlib import Path
    from PIL import Image
    model = runpy.run_path(file)["Model"](Path(file).parent)
    rows = [model.answer(Image.open(image), question) for image, question in json.loads(words[1])]
    print(json.dumps([text for text, _ in rows]))
"""

_THREE_PACKAGES = """
import runpy, sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        known = {"numpy", "onnxruntime", "PIL", "flatbuffers", "google", "packaging"} | sys.stdlib_module_names
        if name.partition(".")[0] not in known:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Nothing())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""onnxruntime itself needs flatbuffers, packaging and protobuf."""


def predictions(folder: Path, images: list[Path]) -> list[list[str]]:
    """The columns that `python predict.py IMAGES` prints of each, where nothing but its three packages is there."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", _THREE_PACKAGES, str(folder / "predict.py"), *map(str, images)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=folder.parent,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [str(image) for image in images]
    return [row[1:] for row in rows]


def say(folder: Path, *words: str | Path, code: int = 0) -> str:
    """What `python answer.py WORDS` says in the exported folder; where it is refused (`code`), the reason."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", _WITHOUT_TORCH, str(folder / "answer.py"), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=folder.parent,
    )
    assert done.returncode == code, done.stderr
    return (done.stderr if code else done.stdout).strip()


def say_all(folder: Path, asked: list[tuple[Path, str | None]]) -> list[str]:
    """The answers to questions (None: captions) about image files, by one process."""
    answers: list[str] = json.loads(
        say(folder, "--all", json.dumps([(str(path), text) for path, text in asked]))
    )
    return answers
