"""Where Chromium is, as Debian and other systems install it."""

from __future__ import annotations

import os
import shutil

MISSING = (
    "NOT TESTED: the page in a browser, since there is no Chromium here (on Debian: apt-get install chromium)"
)


def find_chromium() -> str | None:
    """Path of the browser that the tests drive; `CHROMIUM` names another than the one in the path."""
    named = os.environ.get("CHROMIUM")
    return named or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
