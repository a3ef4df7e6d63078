"""With keys: the page asks for one, shows what it allows and nothing else, and keeps it out of addresses and logs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Tab, TabMaker
from tests.browser.pictures import drop, write_picture
from tests.cluster import until
from tests.live import Live

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("key") / "first"


@pytest.fixture(scope="module")
def service_settings(key_file: Path) -> dict[str, str]:
    """A service that others reach too, so that it wants keys."""
    return {"VISION_HOST": "0.0.0.0", "VISION_BOOTSTRAP_KEY_FILE": str(key_file)}


@contextmanager
def open_as_admin(served: Live, key_file: Path) -> Iterator[httpx.Client]:
    with served.client() as client:
        client.headers["Authorization"] = f"Bearer {key_file.read_text().strip()}"
        yield client


@pytest.fixture
def admin(served: Live, key_file: Path) -> Iterator[httpx.Client]:
    with open_as_admin(served, key_file) as client:
        yield client


def make_key(admin: httpx.Client, *scopes: str) -> tuple[str, str]:
    made = admin.post("/v1/keys", json={"name": "a key", "scopes": list(scopes)}).json()
    return made["id"], made["key"]


def come_in(tab: Tab, key: str, screen: str = "teach") -> Page:
    tab.expected = ["status of 401"]
    page = tab.page
    page.goto(f"{tab.url}/#/{screen}")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.locator("nav").wait_for()
    return page


READER = ["Try", "Ask", "Review", "Models", "Settings"]
EVERYTHING = ["Teach", "Try", "Ask", "Review", "Train", "Models", "Data sets", "Settings"]


@pytest.fixture(scope="module")
def queue(served: Live, key_file: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A collection that nobody changes, with a picture that waits to be reviewed."""
    with open_as_admin(served, key_file) as admin:
        fill_queue(admin, "waiting", tmp_path_factory.mktemp("queue"))
    return "waiting"


def fill_queue(admin: httpx.Client, collection: str, folder: Path) -> None:
    """A collection of two labels, with a picture that waits to be reviewed."""
    admin.post("/v1/collections", json={"name": collection})
    for name in ("mug", "cactus"):
        picture = write_picture(folder, name, 1).read_bytes()
        path = f"/v1/collections/{collection}/examples"
        assert admin.post(path, data={"label": name}, files={"images": picture}).status_code == 201
    admin.patch(f"/v1/collections/{collection}", json={"review": {}})
    stats = f"/v1/collections/{collection}/review/stats"
    for seed in range(6):
        picture = write_picture(folder, "boat", seed).read_bytes()
        admin.post("/v1/classify", data={"collection": collection}, files={"image": picture})
    until(lambda: bool(admin.get(stats).json()["waiting"]), why="an unsure picture is kept")


@pytest.mark.parametrize(
    ("scopes", "shown"),
    [
        (["recognise"], READER),
        (["recognise", "learn"], ["Teach", *READER]),
        (["recognise", "train"], ["Try", "Ask", "Review", "Train", "Models", "Data sets", "Settings"]),
        (["learn", "train"], ["Settings"]),
        (["metrics"], ["Settings"]),
    ],
)
def test_each_screen_is_whole_or_absent(
    tab: Tab, admin: httpx.Client, queue: str, scopes: list[str], shown: list[str]
) -> None:
    """A 403 would be an error in the console, which the tab fails by."""
    tab.context.add_init_script(f"localStorage.setItem('vision.collection', '{queue}')")
    page = come_in(tab, make_key(admin, *scopes)[1], "settings")
    expect(page.locator("main h1")).to_have_text("Settings")
    tab.rest()
    expect(page.get_by_role("heading", name="Keys")).to_have_count(0)
    rail = page.locator(".rail > ul > li:not(.more)")
    expect(rail).to_have_text(shown)
    reachable = {link.get_attribute("href") for link in rail.locator("a").all()}
    for href in sorted(filter(None, reachable)):
        page.evaluate(f"location.hash = '{href}'")
        page.locator("main h1").first.wait_for()
        tab.rest()
        within = page.locator("main a[href^='#/']").evaluate_all(
            "(links) => links.map((link) => link.getAttribute('href').split('/').slice(0, 2).join('/'))"
        )
        assert set(within) <= reachable, href
    for name, screen in (("Teach", "teach"), ("Train", "jobs"), ("Data sets", "datasets")):
        if name not in shown:
            page.evaluate(f"location.hash = '#/{screen}'")
            expect(page.locator("main")).to_contain_text("needs a key with the scope")
            expect(page.get_by_role("heading", name=name)).to_be_visible()


@pytest.mark.parametrize("scopes", [["recognise"], ["recognise", "learn"], ["recognise", "train"]])
def test_what_a_key_may_not_do_is_not_offered(
    tab: Tab, admin: httpx.Client, collection: str, tmp_path: Path, scopes: list[str]
) -> None:
    fill_queue(admin, collection, tmp_path)
    tab.context.add_init_script(f"localStorage.setItem('vision.collection', '{collection}')")
    page = come_in(tab, make_key(admin, *scopes)[1], "review")
    teaches, trains = int("learn" in scopes), int("train" in scopes)
    expect(page.locator(".review-choice").first).to_be_visible()
    expect(page.get_by_text("Your key may look, and not teach.")).to_have_count(1 - teaches)
    expect(page.locator("button.review-choice", has_text="none of these")).to_have_count(teaches)
    expect(page.get_by_role("button", name="Switch off")).to_have_count(teaches)
    tab.rest()  # its picture is there too, which goes with the queue
    assert (page.locator("button.review-choice").count() > 0) == bool(teaches)
    assert page.locator("main button:disabled", has_not_text="Undo").count() == 0
    admin.patch(f"/v1/collections/{collection}", json={"review": None})
    page.reload()
    expect(page.get_by_role("heading", name="Learn from the pictures it is unsure of")).to_be_visible()
    expect(page.get_by_role("button", name="Keep unsure pictures")).to_have_count(teaches)
    expect(page.get_by_text("Your key may not switch it on")).to_have_count(1 - teaches)
    page.goto(f"{tab.url}/#/models")
    expect(page.get_by_role("heading", name="Strategies")).to_be_visible()
    expect(page.get_by_label("Upload a model")).to_have_count(trains)
    if trains:
        page.goto(f"{tab.url}/#/datasets")
        expect(page.locator("main")).to_contain_text("No data set was uploaded yet")
        page.goto(f"{tab.url}/#/jobs")
        expect(page.get_by_role("heading", name="2 pictures, 2 labels")).to_be_visible()
        page.get_by_label("Collection").select_option("default")
        expect(page.locator("main")).to_contain_text("Nothing is taught in default")
        expect(page.get_by_role("link", name="Teach", exact=True)).to_have_count(0)


def test_a_reader_can_try_but_not_teach(
    tab: Tab, admin: httpx.Client, collection: str, tmp_path: Path
) -> None:
    admin.post("/v1/collections", json={"name": collection})
    picture = write_picture(tmp_path, "mug", 1)
    admin.post(
        f"/v1/collections/{collection}/examples",
        data={"label": "mug"},
        files={"images": picture.read_bytes()},
    )
    tab.context.add_init_script(f"localStorage.setItem('vision.collection', '{collection}')")
    page = come_in(tab, make_key(admin, "recognise")[1], "try")
    drop(page.locator(".drop-zone"), picture)
    expect(page.locator(".verdict")).to_have_text("mug")
    expect(page.locator(".nearest img").first).to_be_visible()  # thumbnails carry the key too
    expect(page.get_by_text("No, it is")).to_be_hidden()


def test_the_key_is_in_no_address_and_no_log(
    tab: Tab, admin: httpx.Client, served: Live, collection: str, tmp_path: Path
) -> None:
    _, key = make_key(admin, "recognise", "learn")
    addresses: list[str] = []
    said: list[str] = []
    tab.page.on("request", lambda request: addresses.append(request.url))
    tab.page.on("console", lambda message: said.append(message.text))
    tab.context.add_init_script(f"localStorage.setItem('vision.collection', '{collection}')")
    page = come_in(tab, key)
    drop(page.get_by_role("region", name="New label"), write_picture(tmp_path, "mug", 1))
    page.get_by_role("dialog").get_by_placeholder("Name a label").fill("mug")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="mug", exact=True).locator(".thumb img")).to_be_visible()
    page.get_by_role("button", name="Show the call").click()
    call = page.get_by_role("dialog").locator("pre")
    expect(call).to_contain_text('-H "Authorization: Bearer $VISION_API_KEY"')
    assert not any(key in text for text in (*addresses, *said, page.content(), served.log.read_text()))
    assert (
        page.evaluate("localStorage.getItem('vision.key')") is None
    )  # remembered only where one asks for it
    page.reload()
    expect(page.locator("main h1")).to_have_text("Teach")  # the tab's own session


def test_a_revoked_key_asks_for_another_without_a_reload(tab: Tab, admin: httpx.Client) -> None:
    key_id, key = make_key(admin, "recognise", "learn")
    page = come_in(tab, key)
    expect(page.locator("main h1")).to_have_text("Teach")
    assert admin.delete(f"/v1/keys/{key_id}").status_code == 204
    page.evaluate("dispatchEvent(new Event('focus'))")
    field = page.get_by_label("API key")
    deadline = 60
    while not field.is_visible() and deadline:
        page.wait_for_timeout(500)
        page.evaluate("dispatchEvent(new Event('focus'))")
        deadline -= 1
    expect(page.get_by_role("alert")).to_contain_text("does not work")
    field.fill(make_key(admin, "recognise", "learn")[1])
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("main h1")).to_have_text("Teach")


def test_a_key_is_made_shown_once_and_revoked(
    make_tab: TabMaker, admin: httpx.Client, served: Live, key_file: Path
) -> None:
    tab = make_tab()
    page = come_in(tab, key_file.read_text().strip(), "settings")
    expect(page.get_by_role("heading", name="Keys")).to_have_count(1)
    expect(page.locator(".rail > ul > li:not(.more)")).to_have_text(EVERYTHING)
    page.get_by_role("button", name="Create a key").click()
    dialog = page.get_by_role("dialog", name="Create a key")
    dialog.get_by_label("What it is for").fill("shop camera")
    dialog.get_by_label("learn").uncheck()
    dialog.get_by_role("button", name="Create a key").click()
    text = page.get_by_role("dialog", name="The key is created").locator("pre").inner_text()
    found = httpx.get(f"{served.url}/v1/access", headers={"Authorization": f"Bearer {text}"}, timeout=30)
    assert found.json()["scopes"] == ["recognise"]
    page.get_by_role("button", name="I have it").click()
    expect(page.get_by_role("dialog", name="The key is created")).to_be_hidden()
    assert text not in page.content()
    page.get_by_role("button", name="Revoke shop camera").click()
    page.get_by_role("dialog", name="Revoke shop camera").get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("row", name="shop camera")).to_have_count(0)


def test_a_key_that_does_not_work_replaces_none_that_does(tab: Tab, admin: httpx.Client) -> None:
    page = come_in(tab, make_key(admin, "recognise")[1], "settings")
    page.get_by_role("button", name="Use another key").click()
    for wrong in ("mistyped", "\u043a\u043b\u044e\u0447 \U0001f511"):  # no header carries the second
        page.get_by_label("API key").fill(wrong)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("This key does not work")
    page.reload()
    expect(page.get_by_text("You use a key of the workspace")).to_be_visible()
    page.get_by_role("button", name="Use another key").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("You use a key of the workspace")).to_be_visible()
    page.evaluate("sessionStorage.setItem('vision.key', '\u043a\u043b\u044e\u0447')")
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_new_key_stays_until_somebody_has_it(make_tab: TabMaker, key_file: Path) -> None:
    page = come_in(make_tab(), key_file.read_text().strip(), "settings")
    page.get_by_role("button", name="Create a key").click()
    page.get_by_role("dialog").get_by_label("What it is for").fill("door")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="The key is created")
    expect(dialog.locator("pre")).to_be_visible()
    expect(dialog.get_by_role("button", name="I have it")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(dialog.get_by_role("button", name="I have it")).to_be_focused()
    page.mouse.click(5, 5)
    dialog.get_by_role("button", name="I have it").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Create a key")).to_be_focused()
