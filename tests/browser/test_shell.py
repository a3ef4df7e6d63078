"""What holds for every screen: it opens, by address, by key and by the navigation."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import PHONE, Tab, TabMaker, close_dialog, go_by_keys, hold_posts
from tests.browser.trained import wait_until


def test_keys_lead_from_screen_to_screen(tab: Tab) -> None:
    page = tab.open("teach")
    go_by_keys(page, "gy", "Try")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keyboard")
    expect(dialog.get_by_text("Go to Teach")).to_be_visible()
    close_dialog(page)
    page.get_by_role("link", name="Settings").click()
    expect(page.locator("main h1")).to_have_text("Settings")


def test_a_phone_has_the_other_screens_behind_more(make_tab: TabMaker) -> None:
    page = make_tab(**PHONE).open("teach")
    page.get_by_role("button", name="More").click()
    page.get_by_role("dialog", name="More").get_by_role("link", name="Settings").click()
    expect(page.locator("main h1")).to_have_text("Settings")


def test_the_keyboard_goes_on_from_the_screen_that_it_chose(tab: Tab) -> None:
    page = tab.open("teach")
    page.get_by_role("button", name="Search").focus()
    go_by_keys(page, "gm", "Models")
    expect(page.locator("#main")).to_be_focused()


def test_a_selection_that_ends_beside_a_dialog_leaves_it_open(tab: Tab) -> None:
    page = tab.open("settings")
    page.get_by_role("button", name="Create a key").click()
    dialog = page.get_by_role("dialog", name="Create a key")
    field = dialog.get_by_label("What it is for")
    field.fill("a long name of a key")
    box = field.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(5, box["y"])
    page.mouse.up()
    expect(field).to_have_value("a long name of a key")
    page.mouse.click(5, 5)
    expect(dialog).to_be_hidden()


def test_enter_pressed_twice_makes_one_key(tab: Tab) -> None:
    page = tab.open("settings")
    held = hold_posts(page, "**/v1/keys")
    page.get_by_role("button", name="Create a key").click()
    page.get_by_role("dialog").get_by_label("What it is for").fill("door")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    made = {"id": "a", "name": "door", "key": "vk_door", "hint": "vk_d", "scopes": [], "workspace": "default"}
    wait_until(page, lambda: bool(held))
    page.wait_for_timeout(1000)  # in which a second one would be seen
    held[0].fulfill(json=made)
    expect(page.get_by_role("dialog", name="The key is created")).to_be_visible()
    assert len(held) == 1


def test_a_screen_that_could_not_be_read_is_read_again(tab: Tab) -> None:
    tab.expected = ["ERR_FAILED"]
    page = tab.page
    page.route("**/v1/models", lambda route: route.abort())
    tab.open("models")
    expect(page.get_by_role("alert")).to_contain_text("The service did not answer.")
    page.unroute("**/v1/models")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="Strategies")).to_be_visible()
    expect(page.get_by_role("alert")).to_be_hidden()
