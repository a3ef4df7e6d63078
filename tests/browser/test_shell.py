"""What holds for every screen: it opens, by address, by key and by the navigation."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import PHONE, Tab, TabMaker


def test_keys_lead_from_screen_to_screen(tab: Tab) -> None:
    page = tab.open("teach")
    page.keyboard.type("gy")  # one call: the second key has to come within 1.5 s
    expect(page.locator("main h1")).to_have_text("Try")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard")
    expect(dialog.get_by_text("Go to Teach")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("link", name="Settings").click()
    expect(page.locator("main h1")).to_have_text("Settings")


def test_a_phone_has_the_other_screens_behind_more(make_tab: TabMaker) -> None:
    page = make_tab(**PHONE).open("teach")
    page.get_by_role("button", name="More").click()
    page.get_by_role("dialog", name="More").get_by_role("link", name="Settings").click()
    expect(page.locator("main h1")).to_have_text("Settings")
