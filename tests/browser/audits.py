"""What every view of the page keeps, whichever screen it belongs to."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
WIDE = {"width": 1280, "height": 720}
NARROW = {"width": 320, "height": 640}
DOUBLE_ZOOM = {"width": 640, "height": 400}
"""What a window of 1280 x 800 holds, in CSS pixels, of a page that is shown twice as large."""


def end_animations(page: Page) -> None:
    """Wait until what moves, and does not move for ever, has stopped."""
    page.evaluate(
        """Promise.all(document.getAnimations()
             .filter((moves) => moves.effect.getComputedTiming().endTime !== Infinity)
             .map((moves) => moves.finished.catch(() => undefined)))"""
    )


def find_violations(page: Page) -> str:
    """What axe says against the page once it stopped moving; nothing where all is well."""
    end_animations(page)
    found = Axe().run(page, options=AXE)
    return found.generate_report() if found.violations_count else ""


def check_fit(page: Page) -> None:
    """Raises AssertionError where the page scrolls sideways or a control is too small for a finger."""
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    wide = page.evaluate(
        """[...document.querySelectorAll('body *')]
           .filter((part) => part.checkVisibility() && part.getBoundingClientRect().right > innerWidth + 0.5)
           .slice(0, 5).map((part) => part.outerHTML.slice(0, 100))"""
    )
    assert overflow <= 0, f"{page.url} is {overflow} px wider than {page.viewport_size}: {wide}"
    small = page.evaluate(
        """[...document.querySelectorAll('main button, nav a, nav button, main select, main .button, dialog button')]
           .filter((part) => part.checkVisibility() && Math.min(part.offsetWidth, part.offsetHeight) < 44)
           .map((part) => part.outerHTML.slice(0, 100))"""
    )
    assert small == []


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
