"""Teach: every way in leads to a named picture; what is refused says so; what was done can be undone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from tests.browser.conftest import PHONE, Tab, TabMaker, close_dialog, go_by_keys, intercept
from tests.browser.pictures import choose, drop, paste, write_picture
from tests.browser.trained import wait_until
from tests.cluster import until
from tests.live import Live

PROMISE_S = 60


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("mug", "cactus", "boat"):
        for seed in (1, 2, 3):
            write_picture(folder / name, name, seed)
    return folder


def name_it(page: Page, label: str) -> None:
    dialog = page.get_by_role("dialog", name="What")
    expect(dialog.get_by_placeholder("Name a label")).to_be_focused()
    page.keyboard.type(label)  # over what its file's name suggests
    dialog.get_by_role("button", name="Teach it").click()


def card(page: Page, label: str):
    return page.get_by_role("region", name=label, exact=True)


def preview(page: Page):
    return page.get_by_role("complementary", name="What it sees")


def test_dropped_pictures_keep_the_promise_within_a_minute(tab: Tab, pictures: Path, collection: str) -> None:
    page = tab.open("teach", collection)
    began = time.monotonic()
    drop(page.get_by_role("region", name="New label"), pictures / "mug/mug-1.jpg")
    name_it(page, "mug")
    expect(card(page, "mug").locator(".count")).to_have_text("1")
    drop(page.get_by_role("region", name="New label"), pictures / "cactus/cactus-1.jpg")
    name_it(page, "cactus")
    expect(card(page, "cactus").locator(".count")).to_have_text("1")
    drop(card(page, "mug"), pictures / "mug/mug-2.jpg")
    expect(card(page, "mug").locator(".count")).to_have_text("2")
    expect(card(page, "mug").locator("img")).to_have_count(2)
    drop(preview(page), pictures / "mug/mug-3.jpg")
    expect(preview(page).locator(".verdict")).to_have_text("mug")
    nearest = preview(page).locator(".nearest img").first
    expect(nearest).to_be_visible()
    assert nearest.get_attribute("alt").startswith("mug, ")
    assert time.monotonic() - began < PROMISE_S
    page.get_by_role("button", name="Show the call").click()
    call = page.get_by_role("dialog").locator("pre")
    expect(call).to_contain_text("curl -F image=@mug-3.jpg")
    expect(call).to_contain_text("/v1/classify")


def test_dropped_folders_become_labels(tab: Tab, pictures: Path, collection: str) -> None:
    page = tab.open("teach", collection)
    drop(page.get_by_role("region", name="New label"), pictures / "mug", pictures / "cactus")
    expect(card(page, "mug").locator(".count")).to_have_text("3")
    expect(card(page, "cactus").locator(".count")).to_have_text("3")


def test_a_folder_is_chosen_and_a_picture_is_pasted(tab: Tab, pictures: Path, collection: str) -> None:
    page = tab.open("teach", collection)
    choose(page.get_by_role("button", name="Choose a folder"), pictures / "boat")
    expect(card(page, "boat").locator(".count")).to_have_text("3")
    paste(page, pictures / "cactus/cactus-1.jpg")
    name_it(page, "cactus")
    expect(card(page, "cactus").locator(".count")).to_have_text("1")
    choose(
        card(page, "cactus").get_by_role("button", name="Add pictures of cactus"),
        pictures / "cactus/cactus-2.jpg",
    )
    expect(card(page, "cactus").locator(".count")).to_have_text("2")


def test_samples_are_taught_by_a_click_on_a_phone(make_tab: TabMaker, collection: str) -> None:
    page = make_tab(**PHONE).open("teach", collection)
    for name in ("mug", "cactus", "boat"):
        page.get_by_role("button", name=f"Teach the sample picture as {name}").click()
        expect(card(page, name).locator(".count")).to_have_text("1")
    page.get_by_role("button", name="Now ask about this one").click()
    expect(preview(page).locator(".verdict")).to_have_text("mug")


def test_the_camera_teaches_while_its_button_is_held(tab: Tab, collection: str, served: Live) -> None:
    page = tab.open("teach", collection)
    page.get_by_role("region", name="New label").get_by_role("button", name="Camera").click()
    expect(page.locator(".camera")).to_have_attribute("data-live", "true")
    page.get_by_placeholder("Name a label").fill("clock")
    held = page.get_by_role("button", name="Name a label, then hold")
    held.hover()
    page.mouse.down()
    expect(card(page, "clock")).to_be_visible()
    expect(card(page, "clock").locator(".count")).not_to_have_text("0")
    page.mouse.up()
    expect(preview(page).locator(".verdict")).to_be_visible()
    with served.client() as client:
        until(lambda: client.get(f"/v1/collections/{collection}").json()["examples"] >= 1)
    go_by_keys(page, "gy", "Try")
    expect(page.locator("video")).to_have_count(0)


def test_a_refused_picture_says_why_where_it_is_and_the_others_go_on(
    tab: Tab, pictures: Path, tmp_path: Path, collection: str
) -> None:
    tab.expected = ["status of 422"]
    page = tab.open("teach", collection)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a picture at all")
    choose(
        page.get_by_role("button", name="New label"),
        pictures / "mug/mug-1.jpg",
        broken,
        pictures / "mug/mug-2.jpg",
    )
    name_it(page, "mug")
    expect(card(page, "mug").locator(".count")).to_have_text("2")
    refused = card(page, "mug").locator(".refused")
    expect(refused).to_contain_text("broken.jpg was refused")
    expect(refused.get_by_role("alert")).to_contain_text("send a whole JPEG")
    expect(refused.get_by_role("button", name="Request")).to_be_visible()
    refused.get_by_role("button", name="Dismiss").click()
    expect(refused).to_be_hidden()


def test_teaching_and_forgetting_are_undone(tab: Tab, pictures: Path, collection: str, served: Live) -> None:
    tab.page.clock.install()
    tab.keep_messages()
    page = tab.open("teach", collection)
    drop(page.get_by_role("region", name="New label"), pictures / "mug", pictures / "cactus")
    expect(card(page, "cactus").locator(".count")).to_have_text("3")
    page.locator(".toast", has_text="cactus").get_by_role("button", name="Undo").click()
    expect(card(page, "cactus")).to_be_hidden()
    card(page, "mug").get_by_role("button", name="mug, picture 1").click()
    page.get_by_role("option", name="mug, picture 2").click()
    page.get_by_role("button", name="Forget 1 picture").click()
    close_dialog(page)
    expect(card(page, "mug").locator(".count")).to_have_text("2")
    page.locator(".toast", has_text="Forgot").get_by_role("button", name="Undo").click()
    expect(card(page, "mug").locator(".count")).to_have_text("3")
    card(page, "mug").get_by_role("button", name="mug, picture 1").click()
    page.get_by_role("button", name="Forget mug and its pictures").click()
    expect(card(page, "mug")).to_be_hidden()
    page.clock.fast_forward(121_000)
    with served.client() as client:
        deadline = time.monotonic() + 30
        while client.get(f"/v1/collections/{collection}").json()["examples"] and time.monotonic() < deadline:
            page.wait_for_timeout(300)
        assert client.get(f"/v1/collections/{collection}").json()["examples"] == 0


def test_a_script_beside_the_page_is_seen_when_the_page_is_looked_at_again(
    tab: Tab, pictures: Path, collection: str, served: Live
) -> None:
    page = tab.open("teach", collection)
    drop(page.get_by_role("region", name="New label"), pictures / "mug")
    expect(card(page, "mug").locator(".count")).to_have_text("3")
    tab.rest()  # a look that is still on its way would see the boat too
    with served.client() as client:
        taught = client.post(
            f"/v1/collections/{collection}/examples",
            data={"label": "boat"},
            files={"images": (pictures / "boat/boat-1.jpg").read_bytes()},
        )
        assert taught.status_code == 201
    expect(card(page, "boat")).to_be_hidden()
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(card(page, "boat").locator(".count")).to_have_text("1")


def test_a_look_that_is_answered_late_does_not_replace_a_newer_one(
    tab: Tab, pictures: Path, collection: str, served: Live
) -> None:
    late: list[tuple[Route, APIResponse]] = []

    def hold_first(route: Route) -> None:
        if late:
            return route.fallback()
        return late.append((route, route.fetch()))

    def teach(label: str) -> None:
        files = {"images": (pictures / f"{label}/{label}-1.jpg").read_bytes()}
        reply = client.post(f"/v1/collections/{collection}/examples", data={"label": label}, files=files)
        assert reply.status_code == 201, reply.text
        page.evaluate("dispatchEvent(new Event('focus'))")

    with served.client() as client:
        client.post("/v1/collections", json={"name": collection}).raise_for_status()
        page = tab.open("teach", collection)
        tab.rest()
        intercept(page, "**/labels?*", hold_first)
        teach("mug")
        wait_until(page, lambda: bool(late))
        teach("boat")
    expect(card(page, "boat").locator(".count")).to_have_text("1")
    [(route, answer)] = late
    assert [label["label"] for label in answer.json()["data"]] == ["mug"]
    route.fulfill(response=answer)
    tab.rest()
    expect(card(page, "boat").locator(".count")).to_have_text("1")


def test_a_label_is_renamed_merged_and_its_pictures_moved(
    tab: Tab, pictures: Path, collection: str, served: Live
) -> None:
    tab.expected = ["status of 409"]
    tab.keep_messages()
    page = tab.open("teach", collection)
    drop(page.get_by_role("region", name="New label"), pictures / "mug", pictures / "cactus")
    expect(card(page, "cactus").locator(".count")).to_have_text("3")
    page.get_by_role("button", name="Rename mug").click()
    page.get_by_label("New name").fill("cup")
    page.keyboard.press("Enter")
    expect(card(page, "cup").locator(".count")).to_have_text("3")
    page.locator(".toast", has_text="mug is cup now").get_by_role("button", name="Undo").click()
    expect(card(page, "mug").locator(".count")).to_have_text("3")
    card(page, "mug").get_by_role("button", name="mug, picture 1").click()
    page.get_by_role("option", name="mug, picture 1").click()
    page.get_by_role("option", name="mug, picture 2").click(modifiers=["Shift"])
    page.get_by_role("button", name="Another label").click()
    page.get_by_placeholder("Name a label").fill("beaker")
    page.get_by_role("button", name="Change", exact=True).click()
    close_dialog(page)
    expect(card(page, "beaker").locator(".count")).to_have_text("2")
    expect(card(page, "mug").locator(".count")).to_have_text("1")
    page.get_by_role("button", name="Rename beaker").click()
    page.get_by_label("New name").fill("mug")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Merge into mug").click()
    expect(card(page, "mug").locator(".count")).to_have_text("3")
    with served.client() as client:
        labels = client.get(f"/v1/collections/{collection}/labels").json()["data"]
        assert [(label["label"], label["examples"]) for label in labels] == [("cactus", 3), ("mug", 3)]


def test_a_wrong_label_is_hinted_at_found_and_put_right(
    tab: Tab, pictures: Path, collection: str, served: Live
) -> None:
    with served.client() as client:
        client.post("/v1/collections", json={"name": collection})
        for name in ("mug", "cactus"):
            files = [("images", path.read_bytes()) for path in sorted((pictures / name).iterdir())]
            client.post(f"/v1/collections/{collection}/examples", data={"label": name}, files=files)
        wrong = {"images": write_picture(pictures / "more", "cactus", 9).read_bytes()}
        client.post(f"/v1/collections/{collection}/examples", data={"label": "mug"}, files=wrong)
    page = tab.open("teach", collection)
    hint = page.get_by_role("listitem").filter(has_text="1 picture may have the wrong label.")
    hint.get_by_role("button", name="Look").click()
    dialog = page.get_by_role("dialog", name="Look closer")
    expect(dialog).to_contain_text("Taught as mug; the other pictures say cactus.")
    dialog.get_by_role("button", name="It is cactus").click()
    expect(dialog).to_contain_text("No picture contradicts its label.")
    dialog.get_by_role("button", name="Search").first.click()
    dialog.get_by_role("searchbox").fill("a red mug")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("option").first).to_contain_text("mug")
    page.keyboard.press("Escape")  # which empties a field for searching, as browsers have it
    close_dialog(page)
    expect(card(page, "cactus").locator(".count")).to_have_text("4")
    page.keyboard.press("/")
    expect(dialog).to_be_visible()
