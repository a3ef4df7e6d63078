"""What every view of the page keeps, whichever screen it belongs to."""

from __future__ import annotations

import time

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
WIDE = {"width": 1280, "height": 720}
NARROW = {"width": 320, "height": 640}
DOUBLE_ZOOM = {"width": 640, "height": 400}
"""What a window of 1280 x 800 holds, in CSS pixels, of a page that is shown twice as large."""
SETTLES_S = 20.0


def end_animations(page: Page) -> None:
    """Wait until what moves, and does not move for ever, has stopped."""
    page.evaluate(
        """Promise.all(document.getAnimations()
             .filter((moves) => moves.effect.getComputedTiming().endTime !== Infinity)
             .map((moves) => moves.finished.catch(() => undefined)))"""
    )


def find_violations(page: Page) -> str:
    """What axe says against the page once it stopped moving; nothing where all is well.

    It looks again for a while: rows that arrive while it looks belong to neither the page before nor the one after.
    """
    deadline = time.monotonic() + SETTLES_S
    while True:
        end_animations(page)
        found = Axe().run(page, options=AXE)
        if not found.violations_count or time.monotonic() > deadline:
            return found.generate_report() if found.violations_count else ""
        page.wait_for_timeout(200)


def check_fit(page: Page) -> None:
    """Raises AssertionError where the page stays too wide, or a control too small for a finger, for so long."""
    deadline = time.monotonic() + SETTLES_S
    while (found := find_misfits(page)) and time.monotonic() < deadline:
        page.wait_for_timeout(100)
    assert not found, f"{page.url} at {page.viewport_size}: {found}"


def find_misfits(page: Page) -> list[str]:
    """What scrolls sideways and which controls are under 44 px, with their sizes."""
    found: list[str] = page.evaluate(
        """() => {
           const seen = (selector) => [...document.querySelectorAll(selector)].filter((part) => part.checkVisibility());
           const tell = (part) => `${part.offsetWidth} x ${part.offsetHeight} ${part.outerHTML.slice(0, 100)}`;
           const overflow = document.documentElement.scrollWidth - innerWidth;
           const wide = overflow <= 0 ? [] : seen('body *')
               .filter((part) => part.getBoundingClientRect().right > innerWidth + 0.5).slice(0, 5);
           const small = seen('main button, nav a, nav button, main select, main .button, dialog button')
               .filter((part) => Math.min(part.offsetWidth, part.offsetHeight) < 44);
           return [...(overflow > 0 ? [`${overflow} px too wide`] : []), ...wide.map(tell), ...small.map(tell)];
        }"""
    )
    return found


def settle(page: Page) -> None:
    """Two frames: charts follow a new size after the first."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def check_view(page: Page) -> None:
    """A view that is open already: no violation in light or dark, and it fits a window of 320 px."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        settle(page)
        assert not (found := find_violations(page)), f"{scheme}: {found}"
    page.set_viewport_size(NARROW)
    settle(page)
    check_fit(page)
    page.set_viewport_size(WIDE)
