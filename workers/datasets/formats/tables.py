"""Tables of annotations: commas, semicolons, tabs or bars between the columns, with a line of names or none."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Literal

from workers.datasets.formats import fields as names
from workers.datasets.formats.columns import (
    FLAGS,
    MIN_IMAGE_SHARE,
    AmbiguousColumnsError,
    choose_image,
    is_number,
    says_nothing,
    split_column,
    whole,
)
from workers.datasets.formats.regions import Region, RegionStore, read_regions, to_box, to_corners
from workers.datasets.formats.rows import MAX_EMBEDDED_BYTES, RowReader
from workers.datasets.formats.source import Source
from workers.datasets.naming import FileNames, UnmatchedNameError
from workers.datasets.records import Found, Refusal, Remark
from workers.datasets.text_files import find_encoding, read_lines

_DELIMITERS = (",", ";", "\t", "|", " ")
_SAMPLE_ROWS = 50
_CORNERS = (("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"), ("x1", "y1", "x2", "y2"))
_SIDES = (
    ("x", "y", "w", "h"),
    ("bbox_x", "bbox_y", "bbox_width", "bbox_height"),
    ("x", "y", "width", "height"),
)
_MAX_LITERAL_CHARACTERS = 1 << 16
"""Of a cell that is read as Python writes it, which takes a hundred times its size in memory."""
_MIN_CAPTION_WORDS = 3
_SEPARATOR = re.compile("sep=.", re.IGNORECASE)
"""What Excel puts on a first line of its own."""
_SEVERAL_MARKS = "has several labels: an image teaches one"


@dataclass(frozen=True)
class Layout:
    """What a table's columns are."""

    delimiter: str
    columns: tuple[str, ...]
    """Normalised names; of a table without names `image` and `label`."""
    has_header: bool
    image: str
    label: str | None = None
    """A column that is taken as the label, or the caption, for want of another."""
    role: Literal["label", "caption"] = "label"
    marks: tuple[str, ...] = ()
    """Columns of 0 and 1, one a label."""
    split: str | None = None
    """A column that is taken as the split, its title being none of the usual ones."""
    corners: tuple[str, ...] = ()
    sides: tuple[str, ...] = ()

    @property
    def is_understood(self) -> bool:
        """Whether the table says something about its images."""
        return bool(self.label or self.marks) or names.teaches(dict.fromkeys(self.columns, "x"))


def find_layout(path: Path, name: str, known: FileNames) -> Layout | None:
    """What the columns of a table are; None where none of them names images. Raises AmbiguousColumnsError where several
    do, and not the same ones.
    """
    encoding = find_encoding(path)
    for delimiter in _DELIMITERS:
        with encoding.open(path) as text:
            try:
                rows = [row for row, _ in zip(_rows(text, delimiter), range(_SAMPLE_ROWS + 1), strict=False)]
            except csv.Error:
                continue
        width = len(rows[0]) if rows else 0
        if width > 1 and sum(len(row) == width for row in rows) > len(rows) // 2:
            layout = _layout(rows, delimiter, name, known)
            if layout is not None:
                return layout
    return None


def read_tables(source: Source) -> Found:
    """Each line of each table as a row."""
    tables: list[_Table] = []
    for name in source.annotations:
        try:
            layout = find_layout(source.folder / name, name, source.names)
        except AmbiguousColumnsError as error:
            yield Refusal(name, str(error))
            continue
        if layout is None:
            yield Refusal(name, "no column of it names images that are there")
        else:
            tables.append(_Table(source, name, layout))
    if _have_fractions(tables):
        yield Remark("the labels are numbers: those such as 1.0 were read as whole ones")
        for table in tables:
            table.has_whole_labels = True
    for table in tables:
        yield from table.read()


def _have_fractions(tables: Sequence[_Table]) -> bool:
    """Whether all labels are numbers, and some are whole ones with a point, such as 1.0."""
    has_fraction = False
    for label in chain.from_iterable(table.labels() for table in tables):
        if not is_number(label):
            return False
        has_fraction = has_fraction or whole(label) != label
    return has_fraction


class _Table:
    def __init__(self, source: Source, name: str, layout: Layout) -> None:
        self._source, self._name, self._layout = source, name, layout
        columns = dict.fromkeys(layout.columns, "")
        found = names.first(columns, names.LABELS)[0] if layout.role == "label" else None
        asks = names.first(columns, names.QUESTIONS)[0]
        self._label = (
            None if asks or layout.marks else found or (layout.label if layout.role == "label" else None)
        )
        self.has_whole_labels = False
        """Whether labels such as 1.0 are the numbers without a point."""

    def labels(self) -> Iterator[str]:
        """What the cells of the label's column say; nothing of those that are empty."""
        if not self._label:
            return
        place = self._layout.columns.index(self._label)
        encoding = find_encoding(self._source.folder / self._name)
        with suppress(csv.Error), encoding.open(self._source.folder / self._name) as text:
            rows = _rows(text, self._layout.delimiter)
            for cells in islice(rows, int(self._layout.has_header), None):
                if len(cells) == len(self._layout.columns) and not says_nothing(cells[place]):
                    yield cells[place]

    def read(self) -> Found:
        encoding = find_encoding(self._source.folder / self._name)
        yield from encoding.remarks(self._name)
        yield from self._guesses()
        with encoding.open(self._source.folder / self._name) as text:
            rows = enumerate(_rows(text, self._layout.delimiter), 1)
            if self._layout.has_header:
                next(rows, None)
            try:
                if self._layout.corners or self._layout.sides:
                    yield from self._regions(rows)
                else:
                    yield from self._plain_rows(rows)
            except csv.Error as error:
                yield Refusal(self._name, f"no table from here on: '{error}'")

    def _guesses(self) -> Iterator[Remark]:
        layout = self._layout
        if not layout.has_header:
            yield Remark(
                f"{self._name} has no line of column names: image and {layout.role} were taken from their order"
            )
        elif layout.label:
            yield Remark(f"the column '{layout.label}' of {self._name} was taken as the {layout.role}")
        if layout.split and self._source.keeps_split:
            yield Remark(f"split read from the column '{layout.split}' of {self._name}")
        if layout.marks:
            shown = ", ".join(layout.marks[:5]) + (", ..." if len(layout.marks) > 5 else "")
            yield Remark(
                f"{self._name} has a column a label ({shown}): an image has the one that is 1, those with several "
                "or none were refused"
            )

    def _plain_rows(self, rows: Iterator[tuple[int, list[str]]]) -> Found:
        reader = RowReader(self._source, self._name)
        for number, cells in rows:
            place = f"{self._name}:{number}"
            row, reason = self._row(cells)
            if reason:
                with suppress(
                    UnmatchedNameError
                ):  # so that its image does not count as one that nothing names
                    self._source.find(self._name, str(row.get("image", "")))
                yield Refusal(place, reason)
            else:
                yield from reader.read(row, place)

    def _row(self, cells: list[str]) -> tuple[dict[str, Any], str | None]:
        """A line under the names of its columns, and why it is no example."""
        layout = self._layout
        if len(cells) != len(layout.columns):
            return {}, f"has {len(cells)} columns, not {len(layout.columns)}"
        row: dict[str, Any] = {
            column: _value(cell) for column, cell in zip(layout.columns, cells, strict=True) if column
        }
        row = {
            "image": row.pop(layout.image),
            **{name: value for name, value in row.items() if name not in names.IMAGES},
        }
        if self._label:
            label = str(row[self._label])
            if says_nothing(label):
                row[self._label] = ""
            elif self.has_whole_labels:
                row[self._label] = whole(label)
        if layout.split:
            row["split"] = row.pop(layout.split)
        if layout.marks:
            marked = [column for column in layout.marks if _is_one(row.pop(column))]
            if len(marked) != 1:
                return row, _SEVERAL_MARKS if marked else "none of its labels is 1"
            row["label"] = marked[0]
        elif layout.label:
            row[layout.role] = row.pop(layout.label)
        return row, None

    def _regions(self, rows: Iterator[tuple[int, list[str]]]) -> Found:
        """Boxes, a line each, of images that may come in any order."""
        layout, store = self._layout, RegionStore()
        for number, cells in rows:
            place = f"{self._name}:{number}"
            row, reason = self._row(cells)
            label = names.texts(names.first(names.by_name(row), names.LABELS)[1])
            if reason or not label:
                yield Refusal(place, reason or "its box has no label")
                continue
            try:
                path = self._source.find(self._name, str(row["image"]))
            except UnmatchedNameError as error:
                yield Refusal(place, str(error))
                continue
            split = self._source.split_of_row(self._name, path, names.by_name(row))
            numbers = [row[column] for column in layout.corners or layout.sides]
            used = layout.sides
            size = next(
                ((row[wide], row[high]) for wide, high in (("width", "height"), ("image_width", "image_height"))
                 if wide in row and wide not in used),
                None,
            )  # fmt: skip
            make = to_corners if layout.corners else to_box
            store.add(path, split, Region(label[0], make(numbers, size)))
        for path, split, regions in store.images():
            yield from read_regions(path, split, regions, self._source.boxes)


def _rows(text: IO[str], delimiter: str) -> Iterator[list[str]]:
    csv.field_size_limit(MAX_EMBEDDED_BYTES * 2)
    lines = read_lines(text, MAX_EMBEDDED_BYTES * 2)
    first = next(lines, "")
    if not _SEPARATOR.fullmatch(first.strip("\ufeff \r\n")):
        lines = chain([first], lines)
    for cells in csv.reader(lines, delimiter=delimiter, skipinitialspace=True):
        if any(cell.strip() for cell in cells):
            yield [cell.strip().strip("\ufeff") for cell in cells]


def _layout(rows: Sequence[list[str]], delimiter: str, name: str, known: FileNames) -> Layout | None:
    here = str(Path(name).parent)

    def names_image(cell: str) -> bool:
        return bool(cell) and known.knows(cell, here, ".", "images", f"{here}/images")

    head, *body = rows
    columns = list(zip(*(row for row in body if len(row) == len(head)), strict=True)) or [() for _ in head]
    shares = [sum(map(names_image, cells)) / max(len(cells), 1) for cells in columns]
    titles = [names.normalise(cell) for cell in head]
    if any(map(names_image, head)):
        place = next(place for place, cell in enumerate(head) if names_image(cell))
        if not _covers(rows, [row[place] for row in rows if len(row) == len(head)], known):
            return None
        if len(head) != 2:
            return Layout(delimiter, (), False, "image") if delimiter != " " else None
        role = _role([row[1 - place] for row in rows if len(row) == len(head)])
        return Layout(
            delimiter, ("image", role) if place == 0 else (role, "image"), False, "image", role=role
        )
    best = choose_image(titles, columns, shares)
    if best is None or shares[best] < MIN_IMAGE_SHARE:
        stated = [place for place, title in enumerate(titles) if title in names.IMAGES]
        if not stated or not any(names.mentions_image(cell) for cell in columns[stated[0]]):
            return None
        best = stated[0]  # none of its images is there, which its refusals say
    if delimiter == " " or not (titles[best] in names.IMAGES or _covers(body, columns[best], known)):
        return None
    titles[best] = titles[best] or "image"
    if len(set(titles)) < len(titles):
        titles = [
            title if not title or titles.index(title) == place else f"{title}_{place}"
            for place, title in enumerate(titles)
        ]
    return _with_meanings(Layout(delimiter, tuple(titles), True, titles[best]), columns)


def _covers(rows: Sequence[list[str]], cells: Sequence[str], known: FileNames) -> bool:
    """Whether a column of ids is one of images: a short list of numbers in a dataset of many is one of classes."""
    return any(map(names.mentions_image, cells)) or len(rows) >= min(_SAMPLE_ROWS, known.count() / 2)


def _with_meanings(layout: Layout, columns: Sequence[Sequence[str]]) -> Layout:
    has = set(layout.columns)
    corners = next((group for group in _CORNERS if has.issuperset(group)), ())
    sides = next((group for group in _SIDES if not corners and has.issuperset(group)), ())
    cells = dict(zip(layout.columns, columns, strict=True))
    split = split_column(cells, layout.image)
    layout = replace(layout, corners=corners, sides=sides, split=split)
    others = [
        column
        for column in layout.columns
        if column and column not in (layout.image, *names.IMAGES, *names.IDS, *names.SPLITS, *FLAGS, split)
    ]
    if layout.is_understood:
        return layout
    if len(others) > 1 and all(_are_marks(cells[column]) for column in others):
        return replace(layout, marks=tuple(others))
    return replace(layout, label=others[0], role=_role(cells[others[0]])) if len(others) == 1 else layout


def _role(cells: Sequence[str]) -> Literal["label", "caption"]:
    """What a column without a known name says: texts of several words that hardly repeat are captions."""
    words = sum(len(cell.split()) >= _MIN_CAPTION_WORDS for cell in cells)
    return "caption" if words > len(cells) / 2 and len(set(cells)) > len(cells) / 2 else "label"


def _are_marks(cells: Sequence[str]) -> bool:
    return bool(cells) and all(cell in ("0", "1", "0.0", "1.0", "") for cell in cells)


def _is_one(cell: Any) -> bool:
    return str(cell) in ("1", "1.0")


def _value(cell: str) -> Any:
    """A cell; one that holds a list or an object, as JSON or as pandas writes it, is read as such."""
    if cell.startswith(("[", "{")) and cell.endswith(("]", "}")):
        with suppress(ValueError, RecursionError):
            return json.loads(cell)
        if len(cell) > _MAX_LITERAL_CHARACTERS:
            return cell
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return ast.literal_eval(cell)
    return cell
