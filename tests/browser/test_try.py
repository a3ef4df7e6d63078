"""Try: a picture is named, put right with one click and undone; many become a table."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Tab, close_dialog, intercept
from tests.browser.pictures import choose, drop, drop_text, write_picture
from tests.browser.trained import wait_until
from tests.live import Live


@pytest.fixture
def taught(served: Live, collection: str, tmp_path: Path) -> str:
    """A collection that knows a mug and a cactus by one picture each."""
    with served.client() as client:
        assert client.post("/v1/collections", json={"name": collection}).status_code == 201
        for name in ("mug", "cactus"):
            reply = client.post(
                f"/v1/collections/{collection}/examples",
                data={"label": name},
                files={"images": write_picture(tmp_path, name, 1).read_bytes()},
            )
            assert reply.status_code == 201
    return collection


def test_a_correction_changes_the_next_answer_and_undo_brings_the_old_one_back(
    tab: Tab, taught: str, tmp_path: Path
) -> None:
    tab.keep_messages()
    page = tab.open("try", taught)
    drop(page.locator(".drop-zone"), write_picture(tmp_path, "mug", 5))
    verdict = page.locator(".verdict")
    expect(verdict).to_have_text("mug")
    expect(page.locator(".bars li")).to_have_count(3)
    expect(page.locator(".bars")).to_contain_text("none of these")
    expect(page.locator(".nearest li")).to_have_count(2)
    page.get_by_role("group", name="No, it is").get_by_role("button", name="Another label").click()
    page.get_by_role("dialog").get_by_placeholder("Name a label").fill("cup")
    page.get_by_role("dialog").get_by_role("button", name="Teach it").click()
    expect(verdict).to_have_text("cup")
    page.locator(".toast").get_by_role("button", name="Undo").click()
    expect(verdict).to_have_text("mug")


def count_words(served: Live, collection: str) -> dict[str, int]:
    """How often people said what of the collection's answers, without what nobody said."""
    with served.client() as client:
        stats = client.get(f"/v1/collections/{collection}/review/stats").json()
    return {word: stats[word] for word in ("right", "relabelled", "none") if stats[word]}


def expect_words(page: Page, served: Live, collection: str, **wanted: int) -> None:
    wait_until(page, lambda: count_words(served, collection) == wanted)


def test_every_word_on_an_answer_counts_and_is_taken_back(
    tab: Tab, served: Live, taught: str, tmp_path: Path
) -> None:
    tab.expected = ["status of 404"]  # pictures on their way when what showed them was taken back
    tab.keep_messages()
    page = tab.open("try", taught)
    drop(page.locator(".drop-zone"), write_picture(tmp_path, "mug", 5))
    page.get_by_role("button", name="Yes, it is mug").click()
    expect_words(page, served, taught, right=1)
    page.get_by_role("button", name="Show the call").click()
    call = page.get_by_role("dialog").locator("pre")
    expect(call).to_contain_text("-F label=mug")
    expect(call).to_contain_text("/v1/feedback")
    close_dialog(page)
    page.get_by_role("group", name="No, it is").get_by_role("button", name="none of these").click()
    expect(page.get_by_text("Noted: it shows none of these.")).to_be_visible()
    expect_words(page, served, taught, none=1)
    page.locator(".toast").last.get_by_role("button", name="Undo").click()
    expect_words(page, served, taught)
    page.get_by_role("group", name="No, it is").get_by_role("button", name="cactus").click()
    expect(page.locator(".verdict")).to_have_text("cactus")
    expect_words(page, served, taught, relabelled=1)
    page.locator(".toast").last.get_by_role("button", name="Undo").click()
    expect_words(page, served, taught)


def test_a_correction_takes_the_wrong_label_from_a_taught_picture_and_undo_gives_it_back(
    tab: Tab, served: Live, taught: str, tmp_path: Path
) -> None:
    def read_labels() -> dict[str, int]:
        with served.client() as client:
            rows = client.get(f"/v1/collections/{taught}/labels").json()["data"]
        return {row["label"]: row["examples"] for row in rows}

    tab.expected = ["status of 404"]  # pictures on their way when what showed them was taken back
    tab.keep_messages()
    page = tab.open("try", taught)
    drop(page.locator(".drop-zone"), write_picture(tmp_path, "mug", 1))  # the very picture that was taught
    page.get_by_role("group", name="No, it is").get_by_role("button", name="cactus").click()
    wait_until(page, lambda: read_labels() == {"cactus": 2})
    page.locator(".toast").get_by_role("button", name="Undo").click()
    wait_until(page, lambda: read_labels() == {"cactus": 1, "mug": 1})


def test_one_of_many_files_is_put_right_and_counts(
    tab: Tab, served: Live, taught: str, tmp_path: Path
) -> None:
    page = tab.open("try", taught)
    choose(page.locator(".drop-target"), *(write_picture(tmp_path, "mug", seed) for seed in (7, 8)))
    row = page.locator(".many tbody tr").filter(has_text="mug-7.jpg")
    expect(row).to_contain_text("%")
    page.get_by_role("button", name="Look at mug-7.jpg").click()
    page.get_by_role("group", name="No, it is").get_by_role("button", name="cactus").click()
    expect(page.locator(".verdict")).to_have_text("cactus")
    expect_words(page, served, taught, relabelled=1)
    page.get_by_role("button", name="Back to the table").click()
    expect(row.locator(".tag")).to_have_text("cactus")


def test_many_files_are_a_table_to_filter_sort_and_save(tab: Tab, taught: str, tmp_path: Path) -> None:
    tab.expected = ["status of 422"]
    page = tab.open("try", taught)
    files = [write_picture(tmp_path, name, seed) for name in ("mug", "cactus") for seed in (7, 8)]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"nothing")
    formula = write_picture(tmp_path, "cactus", 9).rename(tmp_path / "=1+1.jpg")
    choose(page.locator(".drop-target"), *files, broken, formula)
    expect(page.get_by_text("6 of 6 files")).to_be_visible()
    rows = page.locator(".many tbody tr")
    expect(rows).to_have_count(6)
    page.get_by_role("combobox", name="Show").select_option("mug")
    expect(rows).to_have_count(2)
    page.get_by_role("combobox", name="Show").select_option(label="refused")
    expect(rows).to_have_count(1)
    expect(rows.first.get_by_role("alert")).to_be_visible()
    page.get_by_role("combobox", name="Show").select_option(label="all labels")
    page.get_by_label("Reject below").fill("1")
    expect(page.get_by_text("5 rejected")).to_be_visible()
    page.get_by_role("button", name="Back to calibrated").click()
    expect(page.get_by_text("0 rejected")).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download CSV").click()
    lines = Path(saved.value.path()).read_text().splitlines()
    assert lines[0] == "file,label,score,lead,error"
    assert any(line.startswith("mug-7.jpg,mug,") for line in lines)
    assert any(line.startswith("'=1+1.jpg,cactus,") for line in lines)
    page.get_by_role("button", name="Look at mug-7.jpg").click()
    expect(page.locator(".verdict")).to_have_text("mug")


def test_a_table_is_saved_whole_and_a_kind_that_browsers_do_not_show_has_a_mark(
    tab: Tab, taught: str, tmp_path: Path
) -> None:
    page = tab.open("try", taught)
    tab.rest()  # another list of collections has what is under way asked again
    with Image.open(write_picture(tmp_path, "mug", 7)) as image:
        image.save(tmp_path / "scan.tiff")
    held: list[Route] = []

    def answer(route: Route) -> None:
        if held:
            route.fallback()
        else:
            held.append(route)

    intercept(page, "**/v1/classify", answer)
    choose(page.locator(".drop-target"), tmp_path / "scan.tiff", write_picture(tmp_path, "cactus", 8))
    expect(page.get_by_text("1 of 2 files").first).to_be_visible()
    expect(page.get_by_role("button", name="Download CSV")).to_be_disabled()
    held[0].fallback()
    expect(page.get_by_text("2 of 2 files")).to_be_visible()
    expect(page.locator(".many .no-picture")).to_have_count(1)
    expect(page.get_by_role("button", name="Download CSV")).to_be_enabled()


def test_an_answer_goes_with_its_collection(tab: Tab, served: Live, taught: str, tmp_path: Path) -> None:
    other = f"x{taught[-50:]}"
    with served.client() as client:
        client.post("/v1/collections", json={"name": other}).raise_for_status()
    tab.expected = ["status of 409"]  # nothing was taught there
    page = tab.open("try", taught)
    drop(page.locator(".drop-zone"), write_picture(tmp_path, "mug", 5))
    expect(page.locator(".verdict")).to_have_text("mug")
    tab.rest()  # what is still asked of the first collection is not to be held
    held: list[Route] = []
    intercept(page, "**/v1/collections/*", lambda route: held.append(route))
    page.get_by_label("Collection").select_option(other)
    expect(page.get_by_role("button", name="Yes, it is mug")).to_be_hidden()
    expect(page.locator(".said").get_by_role("link", name="Teach")).to_be_visible()
    wait_until(page, lambda: bool(held))
    for route in held:
        route.continue_()


def test_labels_are_named_instead_of_taught(tab: Tab, collection: str, tmp_path: Path) -> None:
    tab.expected = ["status of 404", "status of 409"]
    page = tab.open("try", collection)
    drop(page.locator(".drop-zone"), write_picture(tmp_path, "cactus", 5))
    expect(page.get_by_role("link", name="Teach", exact=True).last).to_be_visible()
    field = page.get_by_label("Or name labels yourself")
    drop_text(field, "a cactus, a red mug")
    expect(field).to_have_value("a cactus, a red mug")
    field.press("Enter")
    expect(page.locator(".bars li")).to_have_count(3)
    expect(page.locator(".bars")).to_contain_text("a red mug")
    page.get_by_role("button", name="Show the call").click()
    expect(page.get_by_role("dialog").locator("pre")).to_contain_text("a red mug")
    close_dialog(page)
    expect(page.get_by_role("button", name="Back to the taught labels")).to_be_visible()
    field.fill("a cactus, a red mug, a boat")
    page.get_by_role("button", name="Use these").click()
    expect(page.locator(".bars li")).to_have_count(4)


def test_the_camera_is_named_live(tab: Tab, taught: str) -> None:
    asked: list[str] = []
    page = tab.open("try", taught)
    page.on("request", lambda request: asked.append(request.url) if "/classify" in request.url else None)
    began = time.monotonic()
    page.get_by_role("button", name="Camera").click()
    expect(page.locator(".verdict")).to_be_visible()
    wait_until(page, lambda: len(asked) > 1)
    page.wait_for_timeout(2000)
    assert len(asked) <= 4 * (time.monotonic() - began) + 1  # four a second at most
    page.get_by_role("button", name="Stop the camera").click()
    expect(page.locator(".drop-zone")).to_be_visible()
