"""A busy service, one that is gone, and one behind a proxy: the page says what is the matter and recovers by itself."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Tab, TabMaker, close_dialog, intercept
from tests.browser.pictures import drop, write_picture
from tests.browser.proxies import proxy
from tests.live import Live, launch

BUSY = {
    "type": "urn:llamafarm-vision:problem:overloaded",
    "status": 503,
    "detail": "The queue of the model is full.",
    "error": {"message": "The queue of the model is full.", "code": "overloaded"},
}


@pytest.fixture
def fragile(chromium: str, tmp_path: Path) -> Iterator[Live]:
    """A service of the test's own, to be killed and started again."""
    live = launch(tmp_path / "data")
    live.wait_until_ready()
    yield live
    if live.process.poll() is None:
        live.stop()


def teach_one(page: Page, picture: Path, label: str) -> None:
    drop(page.get_by_role("region", name="New label"), picture)
    dialog = page.get_by_role("dialog", name="What is this?")
    dialog.get_by_placeholder("Name a label").fill(label)
    dialog.get_by_role("button", name="Teach it").click()


@pytest.mark.slow
def test_busy_is_counted_down_and_asked_again(tab: Tab, collection: str, tmp_path: Path) -> None:
    tab.expected = ["status of 503"]
    tab.page.clock.install()
    page = tab.open("teach", collection)
    busy = [True]

    def answer(route: Route) -> None:
        if not busy:
            return route.fallback()
        busy.clear()
        headers = {"Retry-After": "30", "Content-Type": "application/problem+json", "X-Request-ID": "abc"}
        return route.fulfill(status=503, headers=headers, body=json.dumps(BUSY))

    intercept(page, "**/examples", answer)
    teach_one(page, write_picture(tmp_path, "mug", 1), "mug")
    banner = page.get_by_text("The queue of the model is full.")
    expect(banner).to_contain_text("Asking again in")
    page.clock.run_for(31_000)
    expect(page.get_by_role("region", name="mug", exact=True).locator(".count")).to_have_text("1")
    expect(banner).to_be_hidden()


@pytest.mark.slow
def test_a_killed_service_is_told_and_its_return_needs_no_reload(
    make_tab: TabMaker, fragile: Live, collection: str, tmp_path: Path
) -> None:
    tab = make_tab(url=fragile.url)
    tab.expected = ["ERR_CONNECTION", "ERR_EMPTY_RESPONSE", "status of 503"]
    page = tab.open("teach", collection)
    teach_one(page, write_picture(tmp_path, "mug", 1), "mug")
    card = page.get_by_role("region", name="mug", exact=True)
    expect(card.locator(".count")).to_have_text("1")
    fragile.stop(signal.SIGTERM)
    drop(card, write_picture(tmp_path, "mug", 2))
    refused = card.locator(".refused")
    expect(refused).to_contain_text("The service did not answer.")
    again = launch(fragile.data_dir, port=fragile.port)
    try:
        again.wait_until_ready()
        refused.get_by_role("button", name="Try again").click()
        expect(card.locator(".count")).to_have_text("2")
        expect(refused).to_be_hidden()
    finally:
        again.stop()


def test_it_works_under_a_prefix(make_tab: TabMaker, served: Live, collection: str, tmp_path: Path) -> None:
    with proxy(served.url, "/some/vision") as address:
        tab = make_tab(url=address)
        page = tab.open("teach", collection)
        teach_one(page, write_picture(tmp_path, "mug", 1), "mug")
        card = page.get_by_role("region", name="mug", exact=True)
        expect(card.locator(".thumb img")).to_be_visible()
        page.get_by_role("button", name="Show the call").click()
        expect(page.get_by_role("dialog").locator("pre")).to_contain_text(f"{address}/v1/collections/")
        close_dialog(page)
        page.get_by_role("link", name="Settings").click()
        expect(page.get_by_text(f"{address}/v1", exact=False).first).to_be_visible()
        assert (
            page.locator("link[rel=manifest]").evaluate("(link) => link.href").startswith(f"{address}/page/")
        )
