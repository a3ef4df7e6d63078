"""Teach loses nothing that it was given, and takes back whatever it did."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Dialog, Page, expect

from tests.browser.conftest import Tab, hold_posts
from tests.browser.pictures import drop, paste, write_picture
from tests.browser.trained import wait_until
from tests.live import Live

COUNT_PICTURES = """() => {
    window.fewest = [];
    new MutationObserver(() => {
        const seen = document.querySelectorAll('.label-card .picture').length;
        if (seen || window.fewest.length) window.fewest.push(seen);
    }).observe(document.body, { subtree: true, childList: true });
}"""


@pytest.fixture(scope="module")
def mugs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "mug"
    for seed in range(12):
        write_picture(folder, "mug", seed)
    return folder


def card(page: Page, label: str):
    return page.get_by_role("region", name=label, exact=True)


def new_label(page: Page):
    return page.get_by_role("region", name="New label")


def seed_label(served: Live, collection: str, folder: Path) -> None:
    with served.client() as client:
        client.post("/v1/collections", json={"name": collection})
        files = [("images", path.read_bytes()) for path in sorted(folder.iterdir())]
        path = f"/v1/collections/{collection}/examples"
        client.post(path, data={"label": folder.name}, files=files).raise_for_status()


@pytest.mark.slow
def test_what_was_done_in_a_dialog_is_undone_over_it(
    tab: Tab, served: Live, mugs: Path, collection: str
) -> None:
    seed_label(served, collection, mugs)
    tab.keep_messages()
    page = tab.open("teach", collection)
    card(page, "mug").get_by_role("button", name="mug, picture 1").click()
    dialog = page.get_by_role("dialog", name="pictures of mug")
    dialog.get_by_role("option").nth(3).click()
    dialog.get_by_role("button", name="Forget 1 picture").click()
    expect(dialog.get_by_role("option")).to_have_count(11)
    expect(card(page, "mug").locator(".count")).to_have_text("11")
    dialog.get_by_role("button", name="Undo").click()
    expect(dialog.get_by_role("option")).to_have_count(12)
    dialog.get_by_role("button", name="Forget mug and its pictures").click()
    expect(card(page, "mug")).to_be_hidden()  # more pictures than its card shows
    expect(page.locator("#main")).to_be_focused()
    page.get_by_role("button", name="Undo").click()
    expect(card(page, "mug").locator(".count")).to_have_text("12")


def test_an_undo_that_fails_says_so(tab: Tab, served: Live, mugs: Path, collection: str) -> None:
    tab.expected = ["status of 404"]
    seed_label(served, collection, mugs)
    tab.keep_messages()
    page = tab.open("teach", collection)
    page.get_by_role("button", name="Rename mug").click()
    page.get_by_label("New name").fill("cup")
    page.keyboard.press("Enter")
    expect(card(page, "cup").locator(".count")).to_have_text("12")
    with served.client() as client:
        client.delete(f"/v1/collections/{collection}").raise_for_status()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("This could not be undone")).to_be_visible()


def test_pictures_stand_from_the_drop_until_they_are_read_back(tab: Tab, mugs: Path, collection: str) -> None:
    page = tab.open("teach", collection)
    few = [mugs / f"mug-{seed}.jpg" for seed in range(3)]
    page.evaluate(COUNT_PICTURES)
    drop(new_label(page), *few)
    page.get_by_role("dialog").get_by_placeholder("Name a label").fill("mug")
    page.keyboard.press("Enter")
    expect(card(page, "mug").locator(".count")).to_have_text("3")
    expect(card(page, "mug").locator(".thumb img")).to_have_count(3)
    seen = page.evaluate("window.fewest")
    assert min(seen[seen.index(3) :]) == 3


def test_a_drop_of_many_folders_is_taken_back_at_once(
    tab: Tab, served: Live, mugs: Path, collection: str, tmp_path: Path
) -> None:
    tab.expected = ["status of 409"]  # the preview asks while the last picture is taken back
    tree = tmp_path / "tree"
    for label in ("one", "two", "three", "four"):
        write_picture(tree / label, "boat", len(label) + ord(label[0]))
    (tree / "notes.txt").write_text("not a picture")
    (tmp_path / "empty").mkdir()
    tab.keep_messages()
    page = tab.open("teach", collection)
    drop(new_label(page), tmp_path / "empty")
    expect(page.get_by_text("There is no picture in what was dropped.")).to_be_visible()
    drop(new_label(page), tree)
    expect(page.get_by_text("Left out, not a picture: notes.txt")).to_be_visible()
    expect(page.locator(".label-card")).to_have_count(4)
    page.locator(".toast", has_text="Taught 4 pictures of 4 labels").get_by_role(
        "button", name="Undo"
    ).click()
    expect(page.locator(".label-card")).to_have_count(0)
    with served.client() as client:
        assert client.get(f"/v1/collections/{collection}").json()["examples"] == 0


def test_a_folder_that_cannot_be_read_is_named(tab: Tab, mugs: Path, collection: str) -> None:
    page = tab.open("teach", collection)
    page.evaluate(
        """() => {
            const entryOf = DataTransferItem.prototype.webkitGetAsEntry;
            DataTransferItem.prototype.webkitGetAsEntry = function () {
                const entry = entryOf.call(this);
                entry.createReader = () => ({ readEntries: (taken, failed) => failed(new DOMException()) });
                return entry;
            };
        }"""
    )
    drop(new_label(page), mugs)
    expect(page.get_by_text("Left out, could not be read: mug")).to_be_visible()


@pytest.mark.slow
def test_a_photo_of_more_pixels_than_the_service_takes_is_scaled(
    tab: Tab, served: Live, collection: str, tmp_path: Path
) -> None:
    tab.expected = ["status of 413"]
    Image.new("RGBA", (8000, 6000), (0, 0, 0, 0)).save(tmp_path / "phone.png", compress_level=1)
    page = tab.open("teach", collection)
    drop(new_label(page), tmp_path / "phone.png")
    page.get_by_role("dialog").get_by_placeholder("Name a label").fill("teal")
    page.keyboard.press("Enter")
    # it is read, scaled and packed anew on the way
    expect(card(page, "teal").locator(".count")).to_have_text("1", timeout=60_000)
    with served.client() as client:
        [kept] = client.get(f"/v1/collections/{collection}/examples").json()["data"]
        image = Image.open(io.BytesIO(client.get(kept["image"]).content))
    assert image.convert("RGB").getpixel((9, 9)) == (
        255,
        255,
        255,
    )  # under what is transparent, as the service lays it


def test_what_comes_while_a_name_is_asked_for_is_taught_too(tab: Tab, mugs: Path, collection: str) -> None:
    page = tab.open("teach", collection)
    drop(new_label(page), mugs / "mug-1.jpg")
    field = page.get_by_role("dialog", name="What is this?").get_by_placeholder("Name a label")
    expect(field).to_have_value("mug")
    page.keyboard.type("cu")
    paste(page, mugs / "mug-2.jpg")  # its name says nothing
    expect(page.get_by_role("dialog", name="What are these 2 pictures?")).to_be_visible()
    page.keyboard.type("p")
    page.keyboard.press("Enter")
    expect(card(page, "cup").locator(".count")).to_have_text("2")


@pytest.mark.slow
def test_leaving_while_pictures_are_on_their_way_is_asked_about(
    tab: Tab, mugs: Path, collection: str
) -> None:
    page = tab.open("teach", collection)
    held = hold_posts(page, "**/examples")
    drop(new_label(page), mugs / "mug-1.jpg")
    page.get_by_role("dialog").get_by_placeholder("Name a label").fill("mug")
    page.keyboard.press("Enter")
    expect(page.locator(".picture.coming")).to_be_visible()
    wait_until(page, lambda: bool(held))
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.once("dialog", stay)
    with page.expect_event("dialog"):
        page.evaluate("void setTimeout(() => location.reload())")
    assert asked == ["beforeunload"]
    held[0].continue_()
    expect(card(page, "mug").locator(".count")).to_have_text("1")


def test_a_file_dropped_beside_a_zone_does_not_replace_the_page(tab: Tab) -> None:
    page = tab.open("settings")
    prevented = page.evaluate(
        """() => ["dragover", "drop"].map((kind) => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File(["x"], "x.jpg", { type: "image/jpeg" }));
            const event = new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer });
            document.querySelector("main").dispatchEvent(event);
            return event.defaultPrevented;
        })"""
    )
    assert prevented == [True, True]


def test_text_that_is_pasted_with_a_picture_of_itself_stays_text(
    tab: Tab, mugs: Path, collection: str
) -> None:
    """Spreadsheets put a picture of the copied cells beside their text."""
    page = tab.open("teach", collection)
    drop(new_label(page), mugs / "mug-1.jpg")
    field = page.get_by_role("dialog").get_by_placeholder("Name a label")
    expect(field).to_be_focused()
    taken = field.evaluate(
        """(field) => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text/plain", "mug");
            clipboardData.items.add(new File(["x"], "cells.png", { type: "image/png" }));
            const event = new ClipboardEvent("paste", { bubbles: true, cancelable: true, clipboardData });
            field.dispatchEvent(event);
            return event.defaultPrevented;
        }"""
    )
    assert not taken
    expect(page.get_by_role("dialog", name="What is this?")).to_be_visible()


def test_the_call_is_one_that_a_shell_and_curl_read_as_it_was_meant(
    tab: Tab, mugs: Path, collection: str, tmp_path: Path
) -> None:
    odd = tmp_path / "a, b; 'c'.jpg"
    odd.write_bytes((mugs / "mug-1.jpg").read_bytes())
    page = tab.open("teach", collection)
    drop(new_label(page), odd)
    page.get_by_role("dialog").get_by_placeholder("Name a label").fill("@home")
    page.keyboard.press("Enter")
    expect(card(page, "@home").locator(".count")).to_have_text("1")
    page.get_by_role("button", name="Show the call").click()
    call = page.get_by_role("dialog").locator("pre").inner_text()
    assert "--form-string label=@home" in call
    assert re.search(r"""-F 'images=@"a, b; '\\''c'\\''\.jpg"'""", call), call
