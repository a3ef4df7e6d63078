"""Rows under column heads as lines of text: as wide as they need, or broken between words to fit a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.cells import cell_len, set_cell_size

_GAP = "  "
_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], " ")


def lines(rows: Sequence[Sequence[str]], width: int | None) -> Iterator[list[str]]:
    """For each row its lines, none longer than `width` (None: one line a row) unless whole words alone need more.

    A name or an id stays in one piece, so that it can be copied.
    """
    # what would end a line or command the terminal is nobody's to send through a cell
    cells = [[" ".join(cell.translate(_CONTROLS).split()) for cell in row] for row in rows]
    columns = list(zip(*cells, strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    if width is not None:
        least = [max(cell_len(word) for cell in column for word in cell.split(" ")) for column in columns]
        _shrink(widths, least, width - len(_GAP) * (len(columns) - 1))
    for row in cells:
        wrapped = [_wrap_cell(cell, room) for cell, room in zip(row, widths, strict=True)]
        yield [
            _GAP.join(set_cell_size(cell, room) for cell, room in zip(line, widths, strict=True)).rstrip()
            for line in zip_longest(*wrapped, fillvalue="")
        ]


def _shrink(widths: list[int], least: list[int], room: int) -> None:
    """Take from the widest column that can give until all fit, or none can."""
    while sum(widths) > room:
        able = [index for index in range(len(widths)) if widths[index] > least[index]]
        if not able:
            return
        widths[max(able, key=widths.__getitem__)] -= 1


def _wrap_cell(cell: str, room: int) -> list[str]:
    found = [""]
    for word in cell.split(" "):
        longer = f"{found[-1]} {word}" if found[-1] else word
        if cell_len(longer) <= room:
            found[-1] = longer
        else:
            found.append(word)
    return found
