"""Importing large libraries."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """For a block that imports: nobody looks for cyclic garbage, which modules do not make and which takes a seventh of
    the time that torch and transformers take to come in.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
