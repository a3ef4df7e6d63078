"""The page's promise as a film strip: an empty service, three pictures, and the fourth is named, with the times.

`python -m scripts.film_strip FILE.png` starts a service of its own on an empty folder, drops drawings of three things
into the page as a user would, typing at a person's pace, and writes one picture of what was seen and when. The times
are printed too. Nothing is measured against a limit: tests/browser holds the promise.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.browser.chromium import MISSING, find_chromium
from tests.browser.pictures import drop, write_picture
from tests.live import serving

THINGS = ("mug", "cactus", "boat")
KEY_DELAY_MS = 120
"""Between two keys, as somebody types who does not hurry."""
SETTLE_MS = 1000
"""Until a picture is taken, after the time is: whatever fades in has done so."""
FRAME = (640, 520)
CAPTION_HEIGHT = 34
GAP = 8
COLOURS = 128


class Film:
    """Frames of one page, each with the seconds since it was opened and what was done."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._began = time.monotonic()
        self._frames: list[tuple[str, Image.Image]] = []

    def take(self, text: str) -> None:
        """Add what the page shows now, once that has settled, under the time at which it was there."""
        seconds = time.monotonic() - self._began
        caption = f"{seconds:.1f} s: {text}"
        print(caption)
        self._page.wait_for_timeout(SETTLE_MS)
        self._page.evaluate("scrollTo(0, 0)")
        self._frames.append((caption, Image.open(io.BytesIO(self._page.screenshot()))))

    def write(self, path: Path) -> None:
        """All frames in two columns, as a PNG of few colours."""
        width, height = FRAME[0] + GAP, FRAME[1] + CAPTION_HEIGHT + GAP
        rows = -(-len(self._frames) // 2)
        strip = Image.new("RGB", (2 * width + GAP, rows * height + GAP), "#1d2127")
        pen = ImageDraw.Draw(strip)
        font = ImageFont.load_default(18)
        for number, (caption, frame) in enumerate(self._frames):
            left, top = GAP + number % 2 * width, GAP + number // 2 * height
            pen.text((left + 4, top + 5), caption, fill="#ffffff", font=font)
            strip.paste(frame.resize(FRAME, Image.Resampling.LANCZOS), (left, top + CAPTION_HEIGHT))
        strip.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def teach(page: Page, name: str, picture: Path) -> None:
    """Drop a picture beside the labels, name it, and wait until the card stands there."""
    drop(page.get_by_role("region", name="New label"), picture)
    dialog = page.get_by_role("dialog", name="What")
    dialog.get_by_placeholder("Name a label").press_sequentially(name, delay=KEY_DELAY_MS)
    dialog.get_by_role("button", name="Teach it").click()
    expect(page.get_by_role("region", name=name, exact=True).locator("img")).to_have_count(1)


def play(page: Page, url: str, folder: Path) -> Film:
    """From the address to the name of a picture that was not taught."""
    film = Film(page)
    page.goto(url)
    page.get_by_role("heading", name="Show it three things").wait_for()
    film.take("the address is opened; nothing is taught")
    for number, name in enumerate(THINGS, 1):
        teach(page, name, write_picture(folder, name, 1))
        film.take(f"picture {number} is shown and called {name!r}")
    seen: Locator = page.get_by_role("complementary", name="What it sees")
    drop(seen, write_picture(folder, THINGS[0], 2))
    expect(seen.locator(".verdict")).to_have_text(THINGS[0])
    expect(seen.locator(".nearest img").first).to_be_visible()
    film.take(f"the fourth, another {THINGS[0]}, is named")
    return film


def main() -> int:
    """Read the command line; 1 where there is no Chromium."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    wanted = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        print(MISSING, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        began = time.monotonic()
        with serving(Path(folder) / "data") as server:
            print(f"the empty service answers after {time.monotonic() - began:.1f} s")
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_context(viewport={"width": 1024, "height": 832}).new_page()
            play(page, server.url, Path(folder)).write(wanted.file)
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
