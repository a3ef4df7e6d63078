"""A folder of images becomes a manifest: what is refused and why, what counts once, and that stopping loses nothing."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.jobs.errors import NotTrainableError
from app.media.images import ImageLimits
from workers.datasets import formats
from workers.datasets.preparing import Checker, PreparedDataset, finish


def picture(seed: int, form: str = "PNG", size: int = 24) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, form)
    return buffer.getvalue()


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.fixture
def kept() -> dict[str, bytes]:
    return {}


@pytest.fixture
def prepare(
    tmp_path: Path, kept: dict[str, bytes]
) -> Callable[..., tuple[PreparedDataset, list[dict[str, Any]]]]:
    def run(
        folder: Path, *, boxes: formats.Boxes = "whole", seed: int = 0, stop_after: int | None = None
    ) -> tuple[PreparedDataset, list[dict[str, Any]]]:
        def keep(data: bytes) -> str:
            digest = hashlib.sha256(data).hexdigest()
            kept[digest] = data
            return digest

        state = tmp_path / "state"
        state.mkdir(exist_ok=True)
        for left in state.iterdir():
            left.unlink()
        format_ = formats.detect(folder)
        with ThreadPoolExecutor(2) as pool:
            checker = Checker(folder, ImageLimits(), keep, pool, max_image_bytes=1 << 20)
            first = checker.check(formats.read(folder, format_, boxes=boxes), state, done=0)
            done = next((done for done, _ in first if done >= (stop_after or 0)), 0) if stop_after else 0
            list(checker.check(formats.read(folder, format_, boxes=boxes), state, done=done))
        prepared = finish(state, tmp_path / "manifest", tmp_path / "report", (0.8, 0.1, 0.1), seed)
        return prepared, [json.loads(line) for line in (tmp_path / "manifest").read_text().splitlines()]

    return run


def test_broken_files_are_refused_with_their_reason_and_the_rest_is_kept(
    tmp_path: Path, prepare: Any, kept: dict[str, bytes]
) -> None:
    good = {f"d/{label}/{i}.png": picture(10 * n + i) for n, label in enumerate("ab") for i in range(10)}
    broken = {"d/a/cut.png": picture(99)[:200], "d/b/text.png": b"hello", "d/b/notes.md": b"x"}
    write(tmp_path, good | broken | {"d/a/large.png": bytes(2 << 20)})
    prepared, rows = prepare(tmp_path / "d")
    summary = prepared.summary
    assert prepared.task == "classification"
    assert summary["examples"] == 20
    assert summary["splits"] == {"train": 16, "validation": 2, "test": 2}
    assert summary["labels"]["a"] == {"train": 8, "validation": 1, "test": 1}
    assert summary["refused_total"] == 4
    assert {row["image"] for row in rows} == set(kept)
    report = [json.loads(line) for line in (tmp_path / "report").read_text().splitlines()]
    assert {row["path"]: row["reason"] for row in report}["a/large.png"] == "larger than 1 MiB"
    assert {row["path"] for row in report} == {"a/cut.png", "b/text.png", "b/notes.md", "a/large.png"}


def test_duplicates_count_once_and_never_on_two_sides(tmp_path: Path, prepare: Any) -> None:
    files = {f"train/a/{i}.png": picture(i) for i in range(6)} | {
        f"train/b/{i}.png": picture(i + 50) for i in range(6)
    }
    leak = {"test/a/leak.png": picture(0), "test/b/new.png": picture(70), "train/a/again.png": picture(1)}
    write(tmp_path / "d", files | leak | {"train/b/liar.png": picture(2)})
    prepared, rows = prepare(tmp_path / "d")
    assert prepared.summary["images_on_several_sides"] == 1
    assert prepared.summary["duplicates"] == 2
    assert prepared.summary["refused"] == {"the same image has another label elsewhere": 1}
    sides = {row["image"]: row["split"] for row in rows}
    assert len(sides) == len(rows)
    assert Counter(sides.values())["test"] == 2
    assert Counter(sides.values())["validation"] >= 1


def test_questions_about_one_image_stay_together(tmp_path: Path, prepare: Any) -> None:
    write(tmp_path / "d", {f"{i}.png": picture(i) for i in range(20)})
    lines = [
        {"image": f"{i}.png", "question": question, "answer": str(i)}
        for i in range(20)
        for question in ("how?", "who?")
    ]
    (tmp_path / "d" / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    prepared, rows = prepare(tmp_path / "d")
    assert prepared.task == "vqa"
    assert prepared.summary["examples"] == 40
    assert prepared.summary["images"] == 20
    assert len({(row["image"], row["split"]) for row in rows}) == 20


def test_lines_about_one_image_read_it_once_and_may_say_anything(tmp_path: Path, prepare: Any) -> None:
    write(tmp_path / "d", {"1.png": picture(1), "2.png": picture(2), "bad.png": b"no"})
    rows = [{"image": "1.png", "caption": text} for text in ("a\0b", "half \ud800", "plain", "Größe")]
    rows += [{"image": name, "caption": "x"} for name in ("2.png", "bad.png", "bad.png", "\0", "n" * 5000)]
    (tmp_path / "d" / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    read, before = [], Path.read_bytes

    def counted(path: Path) -> bytes:
        if tmp_path in path.parents:  # other threads of this process read files too
            read.append(path.name)
        return before(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", counted)
        prepared, kept = prepare(tmp_path / "d")
    assert sorted(read) == ["1.png", "2.png", "bad.png"]
    assert {row["answer"] for row in kept} == {"ab", "half ?", "plain", "Größe", "x"}
    assert prepared.summary["refused_total"] == 4


def test_crops_show_their_box(tmp_path: Path, prepare: Any, kept: dict[str, bytes]) -> None:
    image = Image.new("RGB", (40, 40), "red")
    image.paste("blue", (10, 10, 20, 30))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    write(tmp_path / "d", {"1.png": buffer.getvalue()})
    boxes = [[10, 10, 10, 20], [0, 0, 10, 10], [100, 100, 5, 5], [float("nan"), 0, 1, 1], [10**400, 0, 1, 1]]
    document = {
        "images": [{"id": 1, "file_name": "1.png"}],
        "annotations": [{"image_id": 1, "category_id": i % 2, "bbox": box} for i, box in enumerate(boxes)]
        + [{"image_id": [1], "category_id": {}, "bbox": 3}],
        "categories": ["none", {"id": [], "name": "?"}, {"id": 0, "name": "blue"}, {"id": 1, "name": "red"}],
    }
    (tmp_path / "d" / "instances.json").write_text(json.dumps(document))
    _, rows = prepare(tmp_path / "d", boxes="crops")
    found = {}
    for row in rows:
        with Image.open(io.BytesIO(kept[row["image"]])) as crop:
            found[row["label"]] = (crop.size, crop.convert("RGB").getcolors())
    assert found == {"blue": ((10, 20), [(200, (0, 0, 255))]), "red": ((10, 10), [(100, (255, 0, 0))])}


def test_stopping_and_going_on_changes_nothing(tmp_path: Path, prepare: Any) -> None:
    files = {
        f"{label}/{i}.png": picture(1000 * n + i, size=8) for n, label in enumerate("abc") for i in range(60)
    }
    write(tmp_path / "d", files | {"a/bad.png": b"bad"})
    whole = prepare(tmp_path / "d")
    assert prepare(tmp_path / "d", stop_after=64) == whole


def test_nothing_usable_is_said(tmp_path: Path, prepare: Any) -> None:
    write(tmp_path / "d", {"a/1.png": b"bad", "b/2.png": b"bad"})
    with pytest.raises(NotTrainableError, match="no examples"):
        prepare(tmp_path / "d")


def test_reasons_are_counted_without_the_names_in_them(tmp_path: Path, prepare: Any) -> None:
    write(tmp_path / "d", {"1.png": picture(1), "a/x.png": picture(2), "b/x.png": picture(3)})
    rows = [{"image": name, "label": "a"} for name in ("1.png", "gone.png", "it's gone.png", "x.png")]
    (tmp_path / "d" / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    prepared, _ = prepare(tmp_path / "d")
    assert prepared.summary["refused"] == {
        "its image ... is not there": 2,
        "its image may be several files: ...": 1,
    }


def test_remarks_about_boxes_are_counted(tmp_path: Path, prepare: Any) -> None:
    write(tmp_path / "d", {"1.png": picture(1, size=40)})
    document = {
        "images": [{"id": 1, "file_name": "1.png", "width": 80, "height": 80}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": box} for box in ([2, 2, 40, 40], [60, 60, 40, 40])
        ],
        "categories": [{"id": 1, "name": "a"}],
    }
    (tmp_path / "d" / "instances.json").write_text(json.dumps(document))
    prepared, _ = prepare(tmp_path / "d", boxes="crops")
    assert set(prepared.summary["remarks"]) >= {
        "boxes scaled to an image of another size than their annotation names: 2",
        "boxes that reach beyond their image, cut at its edge: 1",
    }
