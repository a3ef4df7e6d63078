"""The words of a command line before a command reads them: what no option can mean is refused by name."""

from __future__ import annotations

import os
from collections.abc import Sequence

from app.cli import output

_MAY_BE_EMPTY = frozenset({"--server", "--api-key", "--description", "--name", "--encoder"})
"""Empty stands for not given here, as scripts write it: `--server "$SERVER"`."""


def check_words(words: Sequence[str]) -> None:
    """End the command where a word is empty, which as a path would mean the folder one is in, or is no text.

    A name of a file that is no text, but is there, is left to the command.
    """
    for before, word in zip(("", *words), words, strict=False):
        option, equals, value = word.partition("=")
        if equals and option.startswith("--"):
            name, text = option, value
        else:
            name, text = before if before.startswith("-") else "", word
        if not text and name not in _MAY_BE_EMPTY:
            output.fail(f"{name or 'an argument'} is empty", output.USAGE)
        if not is_text(word) and not os.path.lexists(text):
            output.fail(f"{name or 'an argument'} is no text: its bytes are not UTF-8", output.USAGE)


def is_text(word: str) -> bool:
    """Whether a word of the command line can be sent and printed: its bytes were UTF-8."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(path: os.PathLike[str] | str) -> str:
    """A path as it can be sent and printed, with a mark for each byte of it that is no UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")
