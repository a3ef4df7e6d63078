"""Review: unsure pictures are cleared with keys alone, taught at once, and undone; another tab sees them gone."""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Tab, TabMaker, hold_posts, intercept
from tests.browser.trained import wait_until
from tests.cluster import until
from tests.live import Live

pytestmark = pytest.mark.slow

DEADLINE_S = 60
UNSURE = 20


def draw(seed: int) -> bytes:
    """A picture like no other: 6 x 6 squares of random colours."""
    colours = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(colours).resize((96, 96), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    """Every picture counts as unsure and as another than the rest: here it is about deciding them."""
    return {"VISION_REVIEW_MAX_MARGIN": "1", "VISION_REVIEW_SAME_SIMILARITY": "1"}


@pytest.fixture
def unsure(served: Live, collection: str) -> str:
    """A collection of two labels that keeps twenty pictures it could not tell."""
    with served.client() as client:
        client.post("/v1/collections", json={"name": collection}).raise_for_status()
        path = f"/v1/collections/{collection}"
        for seed, label in enumerate(("left", "right")):
            client.post(
                f"{path}/examples", data={"label": label}, files={"images": draw(seed)}
            ).raise_for_status()
        client.patch(path, json={"review": {"keep": 100, "days": 7}}).raise_for_status()
        for seed in range(100, 100 + UNSURE):
            client.post(
                "/v1/classify", data={"collection": collection}, files={"image": draw(seed)}
            ).raise_for_status()
        deadline = time.monotonic() + DEADLINE_S
        while (waiting := client.get(f"{path}/review/stats").json()["waiting"]) < UNSURE:
            assert time.monotonic() < deadline, f"{waiting} of {UNSURE} pictures are kept"
            time.sleep(0.1)
    return collection


def wait_for(served: Live, path: str, label: str, examples: int) -> None:
    """Until the service has what the page shows ahead of its answer."""
    deadline = time.monotonic() + DEADLINE_S
    with served.client() as client:
        while (label, examples) not in [
            (row["label"], row["examples"]) for row in client.get(path).json()["data"]
        ]:
            assert time.monotonic() < deadline, client.get(path).text
            time.sleep(0.1)


def expect_left(page: Page, number: int) -> None:
    expect(page.locator(".review-left strong")).to_have_text(f"{number} left")


def test_twenty_pictures_are_cleared_by_keys_alone_and_another_tab_sees_them_gone(
    make_tab: TabMaker, served: Live, unsure: str
) -> None:
    tab = make_tab()
    tab.expected = ["status of 409"]  # a guess that moved on between two quick keys
    page = tab.open("review", unsure)
    second = make_tab().open("review", unsure)
    expect_left(page, UNSURE)
    expect_left(second, UNSURE)
    page.keyboard.press("n")
    page.get_by_role("dialog").get_by_placeholder("Name a label").fill("squares")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect_left(page, UNSURE - 1)
    page.keyboard.press("u")
    expect_left(page, UNSURE)
    keys = ["1", "0", "s", "2", "Enter"]
    for done in range(UNSURE):
        page.keyboard.press(keys[done % len(keys)])
        if done < UNSURE - 1:
            expect_left(page, UNSURE - 1 - done)
        assert page.evaluate("document.activeElement.isConnected")
    expect(page.get_by_text("Nothing waits.")).to_be_visible(timeout=1000 * DEADLINE_S)
    with served.client() as client:  # what the page shows is ahead of the service

        def read_figures() -> dict[str, Any]:
            found: dict[str, Any] = client.get(f"/v1/collections/{unsure}/review/stats").json()
            return found

        until(lambda: not read_figures()["waiting"], DEADLINE_S)
        figures = read_figures()
        assert (figures["waiting"], figures["decided"] + figures["skipped"]) == (0, UNSURE)
        assert client.get(f"/v1/collections/{unsure}").json()["examples"] > 2
    second.evaluate("dispatchEvent(new Event('focus'))")
    expect(second.get_by_text("Nothing waits.")).to_be_visible()


def test_many_are_labelled_at_once(tab: Tab, served: Live, unsure: str) -> None:
    page = tab.open("review", unsure)
    page.get_by_role("button", name="Many at once").click()
    cells = page.locator(".picture-grid .cell")
    cells.nth(0).click()
    cells.nth(4).click(modifiers=["Shift"])
    expect(page.get_by_text("5 selected")).to_be_visible()
    page.keyboard.press("n")
    page.get_by_role("dialog").get_by_placeholder("Name a label").fill("squares")
    page.keyboard.press("Enter")
    expect_left(page, UNSURE - 5)
    wait_for(served, f"/v1/collections/{unsure}/labels", "squares", 5)


def test_review_is_switched_on_with_a_word_about_what_is_stored(
    tab: Tab, served: Live, collection: str
) -> None:
    with served.client() as client:
        client.post("/v1/collections", json={"name": collection}).raise_for_status()
    page = tab.open("review", collection)
    expect(page.get_by_text("it stores pictures that others send")).to_be_visible()
    page.get_by_label("Pictures at most").fill("40")
    page.get_by_role("button", name="Keep unsure pictures").click()
    expect(page.get_by_text("Keeps up to 40 pictures for 30 days.")).to_be_visible()
    page.get_by_role("button", name="Switch off").click()
    page.get_by_role("button", name="Switch off and forget").click()
    expect(page.get_by_role("button", name="Keep unsure pictures")).to_be_visible()


def test_a_key_held_down_or_pressed_with_caps_lock_decides_one_picture(tab: Tab, unsure: str) -> None:
    page = tab.open("review", unsure)
    expect_left(page, UNSURE)
    for _ in range(4):
        page.keyboard.down("s")  # the second and later ones repeat
    page.keyboard.up("s")
    expect_left(page, UNSURE - 1)
    page.keyboard.press("Shift+S")
    expect_left(page, UNSURE - 2)
    expect(page.get_by_text("Saving")).to_be_hidden()
    expect_left(page, UNSURE - 2)


def test_enter_after_a_click_confirms_the_guess_and_does_not_press_the_button_again(
    tab: Tab, served: Live, unsure: str
) -> None:
    tab.expected = ["status of 409"]  # a guess that moved on
    page = tab.open("review", unsure)
    expect_left(page, UNSURE)
    page.get_by_role("button", name="Skip").click()
    expect_left(page, UNSURE - 1)
    page.keyboard.press("Enter")
    expect_left(page, UNSURE - 2)
    expect(page.get_by_text("Saving")).to_be_hidden()
    with served.client() as client:
        figures = client.get(f"/v1/collections/{unsure}/review/stats").json()
    assert (figures["skipped"], figures["decided"]) == (1, 1)


def read_order(page: Page, number: int = UNSURE) -> list[str]:
    """The queue, by the address that the page keeps for each picture."""
    many = page.get_by_role("button", name="Many at once")
    many.click()
    pictures = page.locator(".review-cell img")
    expect(pictures).to_have_count(number)
    order: list[str] = pictures.evaluate_all("(pictures) => pictures.map((picture) => picture.src)")
    many.click()
    page.evaluate("document.activeElement.blur()")
    return order


def test_decisions_that_do_not_arrive_come_back_in_their_order(tab: Tab, unsure: str) -> None:
    tab.expected = ["ERR_INTERNET_DISCONNECTED"]
    page = tab.open("review", unsure)
    expect_left(page, UNSURE)
    order = read_order(page)
    tab.context.set_offline(True)
    for _ in range(3):
        page.keyboard.press("s")
    expect(page.get_by_role("alert")).to_contain_text("The service did not answer.")
    expect_left(page, UNSURE)
    assert read_order(page) == order
    tab.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_be_hidden()
    expect_left(page, UNSURE)


def test_decisions_that_fail_across_each_other_come_back_at_their_places(tab: Tab, unsure: str) -> None:
    tab.expected = ["ERR_FAILED"]
    page = tab.open("review", unsure)
    expect_left(page, UNSURE)
    order = read_order(page)
    held = hold_posts(page, "**/review/*")
    looks: list[Route] = []
    # another look would hide where the page itself put them
    intercept(page, "**/review?*", lambda route: looks.append(route))
    alert = page.get_by_role("alert")

    def fail_next(left: int) -> None:
        wait_until(page, lambda: bool(held))
        held.pop(0).abort()
        expect_left(page, left)
        expect(alert).to_contain_text("The service did not answer.")

    page.keyboard.press("s")
    page.keyboard.press("s")  # which is sent after the first
    expect_left(page, UNSURE - 2)
    fail_next(UNSURE - 1)
    assert read_order(page, UNSURE - 1) == [order[0], *order[2:]]
    page.keyboard.press("s")  # the first again, so that the second fails before it
    expect_left(page, UNSURE - 2)
    expect(alert).to_be_hidden()
    fail_next(UNSURE - 1)
    assert read_order(page, UNSURE - 1) == order[1:]
    fail_next(UNSURE)
    assert read_order(page) == order
    wait_until(page, lambda: bool(looks))
    for look in looks:
        look.continue_()
    tab.rest()
    assert read_order(page) == order


def test_a_decision_on_its_way_stays_with_its_collection(
    tab: Tab, served: Live, unsure: str, collection: str
) -> None:
    tab.expected = ["ERR_FAILED"]
    other = f"{collection[-50:]}-other"
    with served.client() as client:
        client.post("/v1/collections", json={"name": other}).raise_for_status()
        kept = {"review": {"keep": 40, "days": 7}}
        client.patch(f"/v1/collections/{other}", json=kept).raise_for_status()
    page = tab.open("review", unsure)
    expect_left(page, UNSURE)
    held = hold_posts(page, "**/review/*")
    page.keyboard.press("s")
    wait_until(page, lambda: bool(held))
    page.get_by_label("Collection").select_option(other)
    expect(page.get_by_text("Keeps up to 40 pictures for 7 days.")).to_be_visible()
    expect(page.locator(".review-picture")).to_have_count(0)
    held[0].abort()
    expect(page.get_by_role("alert")).to_contain_text("The service did not answer.")
    expect(page.get_by_text("Nothing waits.")).to_be_visible()
    tab.rest()
    expect(page.locator(".review-picture")).to_have_count(0)
    page.get_by_label("Collection").select_option(unsure)
    expect_left(page, UNSURE)


def test_a_decision_that_fails_is_told_of_though_the_one_before_it_was_taught(tab: Tab, unsure: str) -> None:
    tab.expected = ["ERR_FAILED"]
    page = tab.open("review", unsure)
    expect_left(page, UNSURE)
    held = hold_posts(page, "**/review/*")
    page.keyboard.press("1")
    page.keyboard.press("s")
    wait_until(page, lambda: bool(held))
    held.pop().continue_()
    wait_until(page, lambda: bool(held))
    held.pop().abort()
    expect_left(page, UNSURE - 1)
    tab.rest()
    expect(page.get_by_role("alert")).to_contain_text("The service did not answer.")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_be_hidden()
    expect_left(page, UNSURE - 1)


def test_a_collection_that_is_chosen_never_seems_to_have_nothing_to_review(
    tab: Tab, served: Live, unsure: str, collection: str
) -> None:
    with served.client() as client:
        client.post("/v1/collections", json={"name": f"{collection[-50:]}-other"}).raise_for_status()
    page = tab.open("review", f"{collection[-50:]}-other")
    expect(page.get_by_role("button", name="Keep unsure pictures")).to_be_visible()
    page.evaluate(
        """() => {
            window.said = [];
            new MutationObserver(() => window.said.push(document.querySelector("main").innerText))
                .observe(document.body, { subtree: true, childList: true, characterData: true });
        }"""
    )
    page.get_by_label("Collection").select_option(unsure)
    expect_left(page, UNSURE)
    assert not [said for said in page.evaluate("window.said") if "Nothing waits." in said]


def test_the_picture_that_is_looked_at_stays_when_the_others_are_ordered_anew(tab: Tab, unsure: str) -> None:
    page = tab.open("review", unsure)
    expect_left(page, UNSURE)
    shown = page.locator(".review-picture img")
    source = "(image) => image.src"  # an address is kept for each picture
    first = shown.evaluate(source)

    def turn(route: Route) -> None:
        answer = route.fetch()
        found = answer.json()
        route.fulfill(response=answer, json={**found, "data": found["data"][::-1]})

    intercept(page, "**/review?*", turn)
    with page.expect_response("**/review?*"):
        page.evaluate("dispatchEvent(new Event('focus'))")
    tab.rest()
    assert shown.evaluate(source) == first
    page.keyboard.press("s")
    expect_left(page, UNSURE - 1)
    tab.rest()
    assert shown.evaluate(source) != first
    page.keyboard.press("u")
    expect_left(page, UNSURE)
    tab.rest()
    assert shown.evaluate(source) == first
