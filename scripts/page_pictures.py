"""Take pictures of each screen of the web page, light, dark and as on a phone, from a service that runs.

`python -m scripts.page_pictures FOLDER --server http://127.0.0.1:8000 --collection things` writes FOLDER/teach-
light.png and the like, for eyes: nothing compares them. Screens are shown with what the service holds; Try and Ask
are handed a picture that `vision demo` draws, and the newest job and data set are opened. `--only try ask` takes a
few of them.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, FilePayload, Page, sync_playwright

from app.cli.demo_pictures import draw_thing

SCREENS = ("teach", "try", "ask", "review", "jobs", "job", "models", "datasets", "dataset", "settings")
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
}
SETTLE_MS = 1500


def draw_mug() -> FilePayload:
    """A picture that nothing was taught."""
    file = io.BytesIO()
    draw_thing("mug", 77).save(file, "JPEG", quality=90)
    return {"name": "mug.jpg", "mimeType": "image/jpeg", "buffer": file.getvalue()}


def show(page: Page, server: str, screen: str) -> None:
    """Open a screen with something to see on it."""
    listed = {"job": "jobs", "dataset": "datasets"}.get(screen)
    page.goto(f"{server}/#/{listed or screen}")
    page.locator("main h1").first.wait_for()
    page.wait_for_load_state("networkidle")
    if listed and page.locator(".job-list a").count():
        page.locator(".job-list a").first.click()
    if screen in {"try", "ask"}:
        with page.expect_file_chooser() as opened:
            page.locator(".drop-target").first.click()
        opened.value.set_files([draw_mug()])
    if screen == "ask":
        page.locator("main form input").first.fill("What is in the picture?")
        page.locator("main form button[type=submit]").click()
        page.locator(".ask-answer[data-state=done]").wait_for()
    page.wait_for_timeout(SETTLE_MS)


def take(browser: Browser, server: str, collection: str, screens: list[str], folder: Path) -> None:
    """Write `<folder>/<screen>-<look>.png` for each screen and look."""
    for look, options in LOOKS.items():
        context = browser.new_context(**options)
        context.add_init_script(f"localStorage.setItem('vision.collection', '{collection}')")
        page = context.new_page()
        for screen in screens:
            show(page, server, screen)
            page.screenshot(path=folder / f"{screen}-{look}.png")
            page.goto("about:blank")
        context.close()


def main() -> int:
    """Read the command line; 1 where there is no Chromium."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    parser.add_argument("--collection", default="default")
    parser.add_argument("--only", nargs="+", choices=SCREENS, default=list(SCREENS), metavar="SCREEN")
    wanted = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        print("There is no Chromium here; CHROMIUM may name one.", file=sys.stderr)
        return 1
    wanted.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        take(browser, wanted.server.rstrip("/"), wanted.collection, wanted.only, wanted.folder)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
