"""Log lines: what cannot be written is told, and is nobody's failure."""

from __future__ import annotations

import logging

import pytest

from app.observability.logs import _Stderr


class Unprintable:
    """Fails when it is written."""

    def __str__(self) -> str:
        raise RuntimeError("not for people")


@pytest.mark.parametrize(
    ("message", "arguments"),
    [("%d files", ("many",)), ("%s and %s", ("one",)), ("it is %s", (Unprintable(),))],
)
def test_a_line_that_cannot_be_written_does_not_fail_its_caller(
    message: str, arguments: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    library = logging.Logger("some.library")
    library.addHandler(_Stderr())
    library.warning(message, *arguments)
    said = capsys.readouterr().err
    assert said.startswith("a line of some.library cannot be written")
    assert message in said
