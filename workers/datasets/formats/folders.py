"""Images in a folder a label."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from app.folders.layout import AmbiguousFoldersError, LabelsFrom, Layout, OwnSplit, read_layout
from app.folders.words import count_of, name_some
from app.jobs.errors import NotTrainableError
from workers.datasets.records import Found, Record, Refusal, Remark, files_below, is_image

NO_IMAGE = "not an image by its name"


def find_layout(folder: Path, labels_from: LabelsFrom, own_split: OwnSplit) -> Layout:
    """What the folders say about the images in them; raises NotTrainableError where that could be several things."""
    images = Counter(_folder_of(name) for name in files_below(folder) if is_image(name))
    try:
        return read_layout(images, labels_from, own_split)
    except AmbiguousFoldersError as error:
        raise NotTrainableError(str(error)) from None


def read_folders(folder: Path, layout: Layout) -> Found:
    """Each image with the label and the split of its folder; what was guessed for it comes last."""
    aside: list[str] = []
    for name in files_below(folder):
        if not is_image(name):
            if isinstance(layout.place_of(_folder_of(name)), str):
                aside.append(name)
            yield Refusal(name, NO_IMAGE)
            continue
        place = layout.place_of(_folder_of(name))
        if isinstance(place, str):
            yield Refusal(name, place)
        else:
            yield Record(name, place.split, label=place.label)
    yield from map(Remark, layout.sentences)
    if aside:
        several = f" ({count_of(len(aside), 'file')})" if len(aside) > 1 else ""
        yield Remark(f"{name_some(aside)} ignored{several}: no images")


def _folder_of(name: str) -> str:
    return name.rpartition("/")[0]
