"""Models and Data sets: an export is a job, a removal is asked twice, an archive shows its pictures."""

from __future__ import annotations

import io
import random
import re
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.audits import check_view
from tests.browser.conftest import Tab
from tests.browser.pictures import write_picture
from tests.browser.trained import COLLECTION, JOB_SECONDS, MODEL, WITH_WORKER, train_things, wait_until
from tests.live import Live

pytestmark = pytest.mark.slow
PATIENCE_MS = JOB_SECONDS * 1000
HOSTILE = "<img src=x onerror=document.title='broken'>"
FRAME_MS = 50
COUNT_FRAMES = """() => new Promise((done) => {
  const gaps = [];
  let before = performance.now();
  const step = (now) => {
    gaps.push(now - before);
    before = now;
    scrollBy(0, 240);
    if (gaps.length < 120) requestAnimationFrame(step);
    else done(gaps.slice(1).sort((a, b) => a - b)[Math.floor(gaps.length / 2)]);
  };
  requestAnimationFrame(step);
})"""
"""Scrolls for 120 frames; the median time between two of them."""


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    return WITH_WORKER


@pytest.fixture(scope="module")
def model(served: Live, tmp_path_factory: pytest.TempPathFactory) -> str:
    return train_things(served, tmp_path_factory.mktemp("things"))


def tiny_picture(seed: int) -> bytes:
    rng = random.Random(seed)
    image = Image.new("RGB", (16, 16), (rng.randrange(256), rng.randrange(256), rng.randrange(256)))
    image.putpixel((seed % 16, seed // 16 % 16), (255, 255, 255))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def scroll(page: Page) -> float:
    """Milliseconds between two frames, from the top on."""
    page.evaluate("scrollTo(0, 0)")
    return float(page.evaluate(COUNT_FRAMES))


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def upload(page: Page, archive: Path) -> None:
    """Upload as a person does and wait until its pictures are checked."""
    page.get_by_label("Upload an archive").set_input_files(str(archive))
    expect(page.get_by_role("heading", name="Its pictures")).to_be_visible(timeout=PATIENCE_MS)


def test_a_model_is_looked_at_downloaded_and_exported(tab: Tab, model: str) -> None:
    page = tab.open("models", COLLECTION)
    card = page.locator("li.model").filter(has=page.get_by_role("heading", name=model, exact=True))
    expect(card).to_contain_text("guessing reaches 33.3 %")
    card.get_by_role("button", name="Use, files, export").click()
    dialog = page.get_by_role("dialog", name=model)
    expect(dialog.locator("pre")).to_contain_text(f"-F model={model}")
    check_view(page)
    with page.expect_download() as saved:
        dialog.locator(".files button").first.click()
    assert Path(saved.value.path()).stat().st_size > 0
    dialog.get_by_role("button", name="Export as ONNX").click()
    expect(page.locator(".job-where .state")).to_have_text("done", timeout=PATIENCE_MS)
    expect(page.locator(".files")).to_contain_text(".onnx")
    check_view(page)


def test_an_archive_shows_its_balance_what_was_refused_and_its_pictures_and_is_taught(
    tab: Tab, served: Live, collection: str, tmp_path: Path
) -> None:
    files = {f"mug/{seed}.png": tiny_picture(seed) for seed in range(205)}
    files |= {f"cactus/{seed}.jpg": write_picture(tmp_path, "cactus", seed).read_bytes() for seed in range(5)}
    files["mug/broken.png"] = b"not a picture"
    with served.client() as client:
        client.post("/v1/collections", json={"name": collection})
    tab.expected = ["status of 404"]  # pictures that were on their way when the data set was removed
    page = tab.open("datasets", collection)
    upload(page, write_archive(tmp_path / f"{HOSTILE.replace('/', '')}.zip", files))
    assert HOSTILE in page.locator("h1").inner_text()
    assert page.evaluate("document.querySelectorAll('main img[src=x]').length") == 0
    expect(page.get_by_role("heading", name="210 examples, 2 labels")).to_be_visible()
    expect(page.locator(".balance li").first).to_contain_text("205")
    expect(page.get_by_role("heading", name="1 file refused")).to_be_visible()
    expect(page.locator("section", has=page.get_by_role("heading", name="1 file refused"))).to_contain_text(
        "1:"
    )
    grid = page.get_by_role("listbox", name="Its pictures")
    expect(grid.get_by_role("option").first).to_have_attribute("aria-setsize", "210")
    check_view(page)
    page.get_by_role("combobox", name="Label").select_option("cactus")
    expect(grid.get_by_role("option")).to_have_count(5)
    page.get_by_role("button", name=f"Teach it to {collection}").click()
    expect(page.locator(".job-where .state")).to_have_text("done", timeout=PATIENCE_MS)
    expect(page.locator("h1")).to_have_text(f"Teaching {HOSTILE.replace('/', '')}")
    page.get_by_role("link", name="All jobs").click()
    prepared = page.locator(".job-name", has_text=re.compile("^Preparing ")).filter(has_text=HOSTILE)
    prepared.click()
    expect(page.get_by_role("link", name=f"Open {HOSTILE}")).to_be_visible()
    with served.client() as client:
        splits = client.get("/v1/datasets").json()["data"][0]["summary"]["splits"]
        assert client.get(f"/v1/collections/{collection}").json()["examples"] == splits["train"]
    page.get_by_role("link", name="Data sets").click()
    check_view(page)
    page.get_by_role("link", name=HOSTILE).click()
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("This cannot be undone.")).to_be_visible()
    page.get_by_role("button", name="Really remove it").click()
    expect(page.get_by_text("No data set was uploaded yet.")).to_be_visible()


def test_five_thousand_pictures_scroll_smoothly(tab: Tab, tmp_path: Path) -> None:
    files = {f"{'ab'[seed % 2]}/{seed}.png": tiny_picture(seed) for seed in range(5000)}
    page = tab.open("datasets", COLLECTION)
    upload(page, write_archive(tmp_path / "many.zip", files))
    first = page.get_by_role("listbox", name="Its pictures").get_by_role("option").first
    expect(first).to_have_attribute("aria-setsize", "5000", timeout=PATIENCE_MS)
    first.scroll_into_view_if_needed()

    def is_smooth() -> bool:
        tab.rest(120)  # the pictures that the last pass asked for take the machine's time
        return scroll(page) < FRAME_MS

    # what else this machine does takes frames from it now and then, a slow page takes them always
    wait_until(page, is_smooth)
    assert page.locator(".cell").count() < 200
    page.locator(".cell").first.focus()
    page.keyboard.press("End")
    last = page.locator(".cell[aria-posinset='5000']")
    expect(last).to_be_focused()
    expect(last).to_be_in_viewport()


def test_a_model_is_removed_only_when_one_says_so_twice(tab: Tab, model: str, served: Live) -> None:
    page = tab.open("models", COLLECTION)
    card = page.locator("li.model").filter(has=page.get_by_role("heading", name=model, exact=True))
    card.get_by_role("button", name="Use, files, export").click()
    dialog = page.get_by_role("dialog", name=model)
    dialog.get_by_role("button", name="Remove").click()
    expect(dialog.locator("p.soft", has_text="This cannot be undone.")).to_be_visible()
    with served.client() as client:
        assert client.get(f"/v1/models/{MODEL}").is_success
        dialog.get_by_role("button", name="Really remove it").click()
        expect(card).to_have_count(0)
        wait_until(page, lambda: client.get(f"/v1/models/{MODEL}").status_code == 404)
