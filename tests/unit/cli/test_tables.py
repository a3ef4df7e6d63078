"""Tables as a terminal and a pipe get them: names stay whole, sentences break between words."""

from __future__ import annotations

from app.cli.tables import lines

ROWS = [
    ["name", "why"],
    ["a-name-of-its-own", "a sentence that is too long for the line"],
    ["b", "宽 字 is wide"],
]


def test_a_pipe_gets_one_line_a_row_and_nothing_behind_it() -> None:
    found = list(lines(ROWS, None))
    assert [len(lines) for lines in found] == [1, 1, 1]
    assert found[1] == ["a-name-of-its-own  a sentence that is too long for the line"]
    assert all(line == line.rstrip() for lines in found for line in lines)
    assert list(lines([["two\nlines\tand \x1b[2Jmore"]], None)) == [["two lines and [2Jmore"]]


def test_a_terminal_gets_lines_that_fit_it_with_names_in_one_piece() -> None:
    assert list(lines(ROWS, 32)) == [
        ["name               why"],
        [
            "a-name-of-its-own  a sentence",
            "                   that is too",
            "                   long for the",
            "                   line",
        ],
        ["b                  宽 字 is wide"],
    ]
    # where the words alone need more, they stay whole
    assert list(lines(ROWS, 10))[1][0] == "a-name-of-its-own  a"
