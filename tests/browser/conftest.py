"""The page in Debian's Chromium over a real service. One browser a module, one tab a test.

A tab fails its test when the page logs an error, breaks its content policy or asks any other host for anything.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Route,
    expect,
    sync_playwright,
)

from tests.browser.chromium import find_chromium
from tests.conftest import ServiceStarter
from tests.live import Live

FLAGS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
_TELL_VIOLATIONS = """addEventListener("securitypolicyviolation",
  (event) => console.error("content policy broken:", event.violatedDirective, event.blockedURI));"""
_NOT_READY = r"status of 503 .*/readyz\)$"
"""What `/readyz` answers now and then where a busy machine lets no check end in its seconds."""
RESTS_S = 0.5
RESTS_LOOKS = 5
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


expect.set_options(timeout=20_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a browser."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


class Tab:
    """One tab of the page, in a browser of its own without any memory, and what it must never do."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context, self.url = context, url
        self.page: Page = context.new_page()
        self.page.set_default_timeout(30_000)
        self.expected: list[str] = []
        """Patterns of console errors that the test provokes, such as the browser's own line for a 404."""
        self.complaints: list[str] = []
        self._asked: set[Request] = set()
        self._watch(self.page)

    def _watch(self, page: Page) -> None:
        page.on("console", self._read_console)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("request", self._read_request)
        page.on("requestfinished", lambda request: self._asked.discard(request))
        page.on("requestfailed", lambda request: self._asked.discard(request))

    def _read_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} ({message.location.get('url')})")

    def _read_request(self, request: Request) -> None:
        self._asked.add(request)
        if not request.url.startswith((self.url, "blob:", "data:")):
            self.complaints.append(f"asked another host: {request.url}")

    def open(self, screen: str, collection: str | None = None) -> Page:
        """Show `#/<screen>` and wait for its heading."""
        if collection is not None:
            self.context.add_init_script(f"localStorage.setItem('vision.collection', '{collection}')")
        self.page.goto(f"{self.url}/#/{screen}")
        self.page.locator("main h1").first.wait_for()
        return self.page

    def keep_messages(self) -> None:
        """Before the page is opened: let messages stand longer. Undo goes with them, and a busy machine dawdles."""
        self.context.add_init_script(
            """const { setTimeout } = window;
            const stretch = (ms) => ([5000, 10000].includes(ms) ? 12 * ms : ms);
            window.setTimeout = (act, ms, ...rest) => setTimeout(act, stretch(ms), ...rest);"""
        )

    def rest(self, deadline_s: float = 30) -> None:
        """Wait until half a second long no answer was missing, nothing was loading and nothing changed on the page.

        Five looks in a row have to say so: on a busy machine two of them may be half a second apart.
        Playwright's `networkidle` is over once and for all as soon as the page was idle once.
        """
        quiet = 0
        deadline = rested = time.monotonic()
        deadline += deadline_s
        before = None
        while quiet < RESTS_LOOKS or time.monotonic() - rested < RESTS_S:
            assert time.monotonic() < deadline, f"{self.page.url} does not rest: {self._asked}"
            shown = self.page.evaluate("document.body.innerHTML")
            quiet += 1
            if self._asked or shown != before or 'class="progress"' in shown or 'class="starting"' in shown:
                rested, quiet = time.monotonic(), 0
            before = shown
            self.page.wait_for_timeout(100)

    def _becomes_ready(self) -> bool:
        """Whether it was for a moment only that the service said it was not."""
        deadline = time.monotonic() + 60
        while not httpx.get(f"{self.url}/readyz", timeout=60).is_success:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        return True

    def check(self) -> None:
        """Raises AssertionError with whatever the page should not have done."""
        left = [
            said
            for said in self.complaints
            if not any(re.search(pattern, said) for pattern in self.expected) and not _is_of_a_removed(said)
        ]
        not_ready = [said for said in left if re.search(_NOT_READY, said)]
        if not_ready and len(not_ready) <= 3 and self._becomes_ready():
            left = [said for said in left if said not in not_ready]
        assert not left, "\n".join(left)


def close_dialog(page: Page) -> None:
    """Press Escape, and wait until what is typed next no longer goes to the dialog."""
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)


def intercept(page: Page, pattern: str, handler: Callable[[Route], object]) -> None:
    """Let `handler` answer what an open page asks of a pattern, from here on.

    Chromium says that it intercepts before the page's process has heard of it: the next request may still go past.
    """
    page.route("**/healthz?intercepted", lambda route: route.fulfill(status=204))
    page.route(pattern, handler)
    deadline = time.monotonic() + 60
    while page.evaluate("fetch('healthz?intercepted').then((answer) => answer.status)") != 204:
        assert time.monotonic() < deadline, "requests still go past"


def hold_posts(page: Page, pattern: str) -> list[Route]:
    """The POST requests to addresses of a pattern, which are answered when the test wants."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.method != "POST":
            return route.fallback()
        return held.append(route)

    intercept(page, pattern, hold)
    return held


def go_by_keys(page: Page, keys: str, heading: str) -> None:
    """Type the keys of a screen, again where a busy machine let the 1.5 s pass that they may be apart."""
    shown = page.locator("main h1")
    for _ in range(5):
        page.keyboard.type(keys)
        with suppress(AssertionError):
            return expect(shown).to_have_text(heading, timeout=5000)
    return expect(shown).to_have_text(heading)


def _is_of_a_removed(complaint: str) -> bool:
    """Whether a picture was not found since its example was removed while the picture was on its way."""
    found = re.search(r"status of 404 .*\((http\S+/examples/[^/]+)/image", complaint)
    return found is not None and httpx.get(found[1], timeout=60).status_code == 404


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    """Settings of the module's service; a module overrides it for others."""
    return {}


@pytest.fixture(scope="module")
def chromium() -> str:
    """Where Chromium is."""
    found = find_chromium()
    if found is None and os.environ.get("REQUIRE_PAGE_TOOLS"):
        pytest.fail("REQUIRE_PAGE_TOOLS is set, and there is no Chromium")
    if found is None:
        pytest.skip("no Chromium")
    return found


@pytest.fixture(scope="module")
def served(chromium: str, start_service: ServiceStarter, service_settings: dict[str, str]) -> Live:
    """The module's service."""
    return start_service(service_settings)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """The module's browser. Its driver owns the thread's event loop, so it ends before another module's async tests."""
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()


TabMaker = Callable[..., Tab]


@pytest.fixture
def make_tab(served: Live, browser: Browser) -> Iterator[TabMaker]:
    """`make_tab(url=..., viewport=..., color_scheme=...)`: another tab, in a browser context of its own."""
    tabs: list[Tab] = []
    with ExitStack() as stack:

        def make(url: str | None = None, **options: Any) -> Tab:
            context = browser.new_context(**options)
            stack.callback(context.close)
            context.add_init_script(_TELL_VIOLATIONS)
            tabs.append(Tab(context, url or served.url))
            return tabs[-1]

        yield make
        for tab in tabs:
            tab.check()


@pytest.fixture
def tab(make_tab: TabMaker) -> Tab:
    """A tab of a desktop."""
    return make_tab()


@pytest.fixture
def collection(request: pytest.FixtureRequest) -> str:
    """A name of a collection that no other test uses."""
    return re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[-60:].strip("-")
