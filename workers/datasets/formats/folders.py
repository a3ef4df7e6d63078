"""Images in a folder a label."""

from __future__ import annotations

from pathlib import Path

from workers.datasets.records import Found, Record, Refusal, files_below, is_image, split_named


def read_folders(folder: Path) -> Found:
    """`[split/]label/.../image`; one folder around everything is skipped."""
    tops = {name.split("/", 1)[0] for name in files_below(folder)}
    around = len(tops) == 1 and split_named(next(iter(tops))) is None
    depth = int(around and all(name.count("/") >= 2 for name in files_below(folder)))
    paths = ((name, name.split("/")[depth:]) for name in files_below(folder))
    splits = any(len(parts) > 2 and split_named(parts[0]) for _, parts in paths)
    for name in files_below(folder):
        parts = name.split("/")[depth:]
        if not is_image(name):
            yield Refusal(name, "not an image by its name")
            continue
        split = split_named(parts[0]) if splits else None
        labels = parts[1:-1] if split else parts[:-1]
        if not labels or not labels[0].strip():
            yield Refusal(name, "in no label's folder")
            continue
        yield Record(name, split, label=labels[0].strip())
