"""What every screen keeps: accessible, within a narrow window, by keyboard alone, and text is only ever text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.audits import DOUBLE_ZOOM, check_fit, check_view, find_violations, settle
from tests.browser.conftest import Tab, close_dialog
from tests.browser.pictures import write_picture
from tests.live import Live

pytestmark = pytest.mark.slow

TABLE = Path(__file__).resolve().parents[2] / "page/src/screens/table.ts"
SCREENS = re.findall(r'\{ name: "(\w+)"', TABLE.read_text())
COLLECTION = "every-screen"
HOSTILE = [
    "<img src=x onerror=document.title='broken'>",
    "\u0645\u0631\u062d\u0628\u0627 right to left",
    "long " * 60,
]


@pytest.fixture(scope="module", autouse=True)
def filled(served: Live, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A collection with usual labels, and those that somebody means ill by."""
    folder = tmp_path_factory.mktemp("pictures")
    with served.client() as client:
        client.post("/v1/collections", json={"name": COLLECTION})
        for number, label in enumerate(["mug", *HOSTILE]):
            picture = write_picture(folder, "mug" if label == "mug" else "boat", number).read_bytes()
            reply = client.post(
                f"/v1/collections/{COLLECTION}/examples", data={"label": label}, files={"images": picture}
            )
            assert reply.status_code == 201, reply.text


def look(tab: Tab, screen: str) -> Page:
    page = tab.open(screen, COLLECTION)
    tab.rest()
    return page


@pytest.mark.parametrize("screen", SCREENS)
def test_keys_reach_all_axe_finds_nothing_it_fits_and_nothing_moves_for_those_who_ask_for_that(
    tab: Tab, screen: str
) -> None:
    page = look(tab, screen)
    check_tab_key(page)
    check_view(page)
    page.set_viewport_size(DOUBLE_ZOOM)
    settle(page)
    check_fit(page)
    moving = page.evaluate(
        "document.getAnimations().filter((moves) => moves.effect.getComputedTiming().duration > 1).length"
    )
    assert moving == 0


def check_tab_key(page: Page) -> None:
    """The Tab key reaches every control and shows where it is."""
    missed = """[...document.querySelectorAll('a[href], button, input, select, textarea')]
       .filter((part) => part.checkVisibility() && !part.disabled && part.tabIndex >= 0 && part.type !== 'radio'
         && !part.closest('dialog') && !part.dataset.seen).map((part) => part.outerHTML.slice(0, 80))"""
    controls = len(page.evaluate(missed))
    for _ in range(2 * (controls + 12)):  # a second round for what was drawn anew after it was reached
        page.keyboard.press("Tab")
        place = page.evaluate(
            """() => {
              const part = document.activeElement;
              if (part === document.body) return null;
              part.dataset.seen ??= String(Math.random());
              const style = getComputedStyle(part);
              const outlined = style.outlineStyle !== 'none' || part.closest('.segment') !== null;
              return [outlined, part.outerHTML.slice(0, 80)];
            }"""
        )
        if place is not None:
            assert place[0], f"no visible focus on {place[1]}"
        left = page.evaluate(missed)
        if not left:
            break
    assert controls
    assert left == []


def test_axe_finds_nothing_in_dialogs(tab: Tab) -> None:
    page = look(tab, "teach")
    for key, name in (("?", "Keyboard"), ("/", "Look closer")):
        page.keyboard.press(key)
        expect(page.get_by_role("dialog", name=name)).to_be_visible()
        assert not find_violations(page)
        close_dialog(page)


def test_hostile_labels_are_text(tab: Tab, served: Live) -> None:
    page = look(tab, "teach")
    cards = page.locator(".label-card h2")
    expect(cards).to_have_count(4)
    shown = cards.all_text_contents()
    for label in HOSTILE:
        assert label.strip() in [text.strip() for text in shown]
    assert page.title() == "Teach · llamafarm vision"
    assert page.evaluate("document.querySelectorAll('main img[src=x]').length") == 0


def test_hostile_file_names_and_questions_are_text(tab: Tab, tmp_path: Path) -> None:
    tab.expected = ["status of 422"]
    page = look(tab, "try")
    bad = tmp_path / "<img src=x onerror=alert(1)>.jpg"
    bad.write_bytes(b"nothing")
    fine = write_picture(tmp_path, "mug", 3)
    with page.expect_file_chooser() as opened:
        page.locator(".drop-target").click()
    opened.value.set_files([str(bad), str(fine)])
    expect(page.get_by_role("rowheader", name=bad.name)).to_be_visible()
    page.get_by_label("Or name labels yourself").fill(f"{HOSTILE[0]}, {'x' * 400}")
    page.keyboard.press("Enter")
    expect(page.get_by_text("2 of 2 files")).to_be_visible()
    assert page.evaluate("document.querySelectorAll('main img[src=x]').length") == 0
