"""Ask: an answer comes word by word, is stopped, asked for again, and a wrong one is taught right."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.audits import check_view
from tests.browser.conftest import PHONE, Tab, TabMaker, close_dialog
from tests.browser.pictures import choose, drop, write_picture
from tests.browser.slow_models import SlowModel, slow_model
from tests.live import Live

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=document.title='broken'> \u202emirrored\u202c " + "long" * 2500
"""10,000 characters without a place to break them."""


@pytest.fixture(scope="module")
def model() -> Iterator[SlowModel]:
    with slow_model() as script:
        yield script


@pytest.fixture(autouse=True)
def paced(model: SlowModel) -> Iterator[None]:
    model.reset()
    yield
    model.go_on.set()


@pytest.fixture(scope="module")
def service_settings(model: SlowModel) -> dict[str, str]:
    """One question at a time, to a model that answers as slowly as the test wants."""
    return {"VISION_VLM": "remote", "VISION_REMOTE_URL": model.url, "VISION_VLM_IN_FLIGHT": "1"}


@pytest.fixture
def asking(tab: Tab, collection: str, tmp_path: Path) -> Page:
    """The screen with a picture in view."""
    tab.keep_messages()
    page = tab.open("ask", collection)
    drop(page.locator(".drop-zone"), write_picture(tmp_path, "mug", 1))
    expect(page.get_by_role("img", name="The picture in view")).to_be_visible()
    return page


def ask(page: Page, question: str) -> None:
    page.get_by_label("Your question").fill(question)
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_enabled()
    page.keyboard.press("Enter")


def count_waiting(client: httpx.Client) -> float:
    text = client.get("/metrics").text
    found = re.search(r'^vision_waiting\{[^}]*what="questions"[^}]*\} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def wait_for(page: Page, holds: Any) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


def test_words_come_before_the_answer_is_complete(asking: Page, model: SlowModel) -> None:
    ask(asking, "What is it?")
    answer = asking.locator(".ask-answer")
    expect(answer.locator(".ask-text")).to_have_text("a red")
    expect(answer).to_have_attribute("data-state", "streaming")
    model.go_on.set()
    expect(answer).to_have_attribute("data-state", "done")
    expect(answer.locator(".ask-text")).to_have_text("a red mug on a table")
    expect(asking.locator("p[aria-live=polite]").first).to_have_text("a red mug on a table")
    expect(answer).to_contain_text("remote, ")
    asking.get_by_role("button", name="Describe it").click()
    expect(asking.locator(".ask-answer h2").first).to_have_text("Description")
    expect(asking.locator(".ask-answer").first).to_have_attribute("data-state", "done")
    asking.get_by_role("button", name="Show the call").click()
    call = asking.get_by_role("dialog").locator("pre")
    expect(call).to_contain_text("/v1/caption")
    close_dialog(asking)
    check_view(asking)


def test_stop_lets_the_next_one_in_and_the_question_can_be_asked_again(
    asking: Page, model: SlowModel, served: Live, tmp_path: Path
) -> None:
    ask(asking, "What is it?")
    expect(asking.locator(".ask-text")).to_have_text("a red")
    replies: list[httpx.Response] = []

    def wait_in_line() -> None:
        with served.client() as other:
            files = {"image": write_picture(tmp_path, "boat", 1).read_bytes()}
            replies.append(other.post("/v1/vqa", data={"question": "And this?"}, files=files))

    with served.client() as client:
        other = threading.Thread(target=wait_in_line)
        other.start()
        wait_for(asking, lambda: count_waiting(client) == 1)
        asking.get_by_role("button", name="Stop").click()
        expect(asking.locator(".ask-answer")).to_contain_text("Stopped.")
        expect(asking.locator(".ask-text")).to_have_text("a red")
        wait_for(asking, lambda: count_waiting(client) == 0)  # while the model still holds the rest back
        model.go_on.set()
        other.join(60)
    assert [reply.status_code for reply in replies] == [200]
    asking.get_by_role("button", name="Ask again").click()
    expect(asking.locator(".ask-answer")).to_have_count(2)
    expect(asking.locator(".ask-text").first).to_have_text("a red mug on a table")


def test_a_correction_is_taught_shown_to_the_model_and_undone(
    asking: Page, model: SlowModel, served: Live, collection: str
) -> None:
    model.go_on.set()
    ask(asking, "What is it?")
    asking.get_by_role("button", name="Correct this answer").click()
    expect(asking.get_by_label("The right answer")).to_be_focused()
    asking.get_by_role("button", name="Cancel").click()
    expect(asking.get_by_role("button", name="Correct this answer")).to_be_focused()
    asking.keyboard.press("Enter")
    expect(asking.get_by_label("The right answer")).to_be_focused()
    asking.keyboard.type("a cup")
    asking.keyboard.press("Enter")
    expect(asking.locator(".ask-answer").first).to_contain_text("Taught: a cup")
    expect(asking.locator(".ask-answer p", has_text="Taught: a cup")).to_be_focused()
    expect(asking.get_by_label(f"Show it the nearest of 1 answer taught in {collection}")).to_be_checked()
    with served.client() as client:
        [taught] = client.get(f"/v1/collections/{collection}/answers").json()["data"]
        assert (taught["question"], taught["answer"]) == ("What is it?", "a cup")
        ask(asking, "And now?")
        shown = asking.get_by_role("heading", name="Taught answers that were shown to it")
        expect(shown).to_be_visible()
        expect(asking.locator(".ask-used img")).to_be_visible()
        expect(asking.locator(".ask-used")).to_contain_text("a cup")
        asking.locator(".toast", has_text="a cup").get_by_role("button", name="Undo").click()
        expect(asking.get_by_role("button", name="Correct this answer")).to_have_count(2)
        assert client.get(f"/v1/collections/{collection}/answers").json()["data"] == []
    expect(shown).to_be_visible()
    check_view(asking)


def test_whatever_is_asked_and_answered_is_text(
    tab: Tab, asking: Page, model: SlowModel, tmp_path: Path
) -> None:
    tab.expected = ["status of 4"]
    model.words = [HOSTILE]
    choose(
        asking.get_by_role("button", name="Another picture"),
        write_picture(tmp_path, "mug", 2).rename(tmp_path / "<img src=x onerror=alert(1)>.jpg"),
    )
    ask(asking, HOSTILE[:400])
    expect(asking.locator(".ask-text")).to_have_text(HOSTILE.strip())
    ask(asking, HOSTILE)
    expect(asking.locator(".ask-answer").first.get_by_role("alert")).to_be_visible()
    assert asking.evaluate("document.querySelectorAll('main img[src=x]').length") == 0
    assert asking.title() == "Ask · llamafarm vision"
    check_view(asking)


def test_a_phone_has_the_picture_above_and_the_answer_below(
    make_tab: TabMaker, model: SlowModel, collection: str, tmp_path: Path
) -> None:
    model.go_on.set()
    page = make_tab(**PHONE).open("ask", collection)
    choose(page.locator(".drop-target"), write_picture(tmp_path, "mug", 1))
    ask(page, "What is it?")
    expect(page.locator(".ask-answer")).to_have_attribute("data-state", "done")
    picture = page.get_by_role("img", name="The picture in view").bounding_box()
    field = page.get_by_label("Your question").bounding_box()
    assert picture is not None
    assert field is not None
    assert picture["y"] + picture["height"] <= field["y"]
    expect(page.locator(".ask-text")).to_be_in_viewport()
