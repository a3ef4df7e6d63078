"""Train and Jobs: curves grow through reloads and lost networks; a matrix opens its pictures; labels are put right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.audits import check_view
from tests.browser.conftest import Tab, close_dialog
from tests.browser.pictures import write_picture
from tests.browser.trained import (
    COLLECTION,
    JOB_SECONDS,
    WITH_WORKER,
    teach_things,
    train_things,
    wait_for_job,
    wait_until,
)
from tests.live import Live

pytestmark = pytest.mark.slow
PATIENCE_MS = JOB_SECONDS * 1000
HOSTILE = "<img src=x onerror=document.title='broken'>"
MAX_ROWS = 200
"""So many steps, the last ones, are in the table of a curve."""


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    return WITH_WORKER


@pytest.fixture(scope="module", autouse=True)
def taught(served: Live, tmp_path_factory: pytest.TempPathFactory) -> None:
    teach_things(served, tmp_path_factory.mktemp("things"))


@pytest.fixture(autouse=True)
def idle_worker(served: Live) -> Iterator[None]:
    """Ends what a test left running, which would keep the others waiting."""
    yield
    with served.client() as client:
        for job in client.get("/v1/jobs").json()["data"]:
            if job["state"] in {"queued", "running"}:
                client.post(f"/v1/jobs/{job['id']}/cancel")
                wait_for_job(client, job["id"])


def start_training(page: Page, **settings: str) -> None:
    """Train by prototypical_fewshot as a person does, with some settings changed."""
    choice = page.locator("form.card").filter(has=page.get_by_role("heading", name="prototypical_fewshot"))
    choice.get_by_text("Settings", exact=True).click()
    for field, text in settings.items():
        choice.get_by_label(field.replace("_", " "), exact=True).fill(text)
    choice.get_by_role("button", name="Train").click()


def state_of(page: Page) -> Locator:
    return page.locator(".job-where .state")


def read_steps(page: Page) -> list[int]:
    """The steps of the first curve, as its table tells them to those who see no chart."""
    table = page.locator(".chart").first.get_by_role("button", name="Show as a table")
    if table.get_attribute("aria-expanded") != "true":
        table.click()
    rows = page.locator(".chart").first.locator(".scroll tbody th")
    return [int(text) for text in rows.all_text_contents()]


def keeps(shown: list[int], before: list[int]) -> bool:
    """Whether a curve has all of the steps that it had, but for those that moved out of its table since."""
    if not shown or shown[-1] < before[-1]:
        return False
    kept = [step for step in before if step >= shown[0]]
    return shown[: len(kept)] == kept and (len(kept) == len(before) or len(shown) == MAX_ROWS)


def test_a_curve_grows_and_neither_a_reload_nor_a_lost_network_loses_any_of_it(
    tab: Tab, served: Live
) -> None:
    tab.expected = ["ERR_INTERNET_DISCONNECTED", "ERR_NETWORK"]
    page = tab.open("jobs", COLLECTION)
    expect(page.get_by_text("18 pictures, 3 labels")).to_be_visible()
    check_view(page)
    start_training(page, steps="100000", evaluate_every="5000", checkpoint_every="100")
    expect(page.locator(".chart").first).to_be_visible(timeout=PATIENCE_MS)
    job = page.url.rsplit("/", 1)[-1]
    wait_until(page, lambda: bool(read_steps(page)))
    first = read_steps(page)
    wait_until(page, lambda: read_steps(page)[-1:] > first[-1:])
    wait_until(page, lambda: re.match(r"^\d+ % · ", page.title()) is not None)
    expect(state_of(page)).to_have_text("running")
    check_view(page)
    page.reload()
    page.locator(".chart").first.wait_for()
    wait_until(page, lambda: keeps(read_steps(page), first))
    tab.context.set_offline(True)
    before = read_steps(page)
    page.wait_for_timeout(5000)
    tab.context.set_offline(False)
    wait_until(page, lambda: read_steps(page)[-1:] > before[-1:])
    assert keeps(read_steps(page), before)
    expect(page.get_by_text("The connection is lost.")).to_be_hidden()
    page.get_by_role("button", name="Cancel").click()
    expect(state_of(page)).to_have_text("cancelled", timeout=PATIENCE_MS)
    with served.client() as client:
        series = client.get(f"/v1/jobs/{job}/metrics").json()["data"]
    told = next(curve for curve in series if curve["name"] == "loss")["steps"]
    wait_until(page, lambda: set(told[-50:]) <= set(read_steps(page)))
    page.get_by_role("button", name="Try again").click()
    expect(state_of(page)).to_have_text("running", timeout=PATIENCE_MS)
    expect(page.locator(".job-where")).not_to_contain_text("cancelled")
    page.get_by_role("button", name="Cancel").click()
    expect(state_of(page)).to_have_text("cancelled", timeout=PATIENCE_MS)


def test_a_job_that_ended_says_what_came_of_it_and_is_judged(tab: Tab) -> None:
    page = tab.open("jobs", COLLECTION)
    start_training(page, steps="30")
    expect(state_of(page)).to_have_text("done", timeout=PATIENCE_MS)
    outcome = page.get_by_role("region", name="Result")
    expect(outcome.get_by_role("row", name="Trained model")).to_contain_text("%")
    expect(outcome.get_by_role("row", name="Guessing")).to_contain_text("33 %")
    check_view(page)
    page.get_by_role("button", name="Show the call").click()
    expect(page.get_by_role("dialog").locator("pre")).to_contain_text("/v1/jobs")
    close_dialog(page)
    page.get_by_role("button", name="Evaluate it with pictures").click()
    expect(page.get_by_role("heading", name="Confusion matrix")).to_be_visible(timeout=PATIENCE_MS)
    expect(state_of(page)).to_have_text("done")
    judged = re.compile(rf"^Evaluation of \S+ on {COLLECTION}$")
    expect(page.locator("main h1")).to_have_text(judged)
    page.get_by_role("link", name="All jobs").click()
    expect(page.locator(".job-list .state").first).to_have_text("done")
    expect(page.locator(".job-list .job-name").first).to_have_text(judged)


def test_a_cell_opens_its_pictures_and_a_wrong_label_is_put_right(
    tab: Tab, served: Live, tmp_path: Path
) -> None:
    model = train_things(served, tmp_path)
    with served.client() as client:
        wrong = {"images": write_picture(tmp_path, "boat", 40).read_bytes()}
        added = client.post(
            f"/v1/collections/{COLLECTION}/examples", data={"label": "mug"}, files=wrong
        ).json()
        asked = {"collection": COLLECTION, "split": "all"}
        started = client.post(f"/v1/models/{model}/evaluate", json=asked).json()
        assert wait_for_job(client, started["id"])["state"] == "succeeded"
        examples = client.get(f"/v1/collections/{COLLECTION}/examples", params={"limit": 200}).json()["data"]
    labels = {example["id"]: example["label"] for example in examples}
    asked_for: list[str] = []
    tab.page.on(
        "request", lambda request: asked_for.extend(re.findall(r"/examples/([^/]+)/image", request.url))
    )
    tab.keep_messages()
    page = tab.open(f"jobs/{started['id']}", COLLECTION)
    page.get_by_role("button", name="1 picture of mug, taken for boat").click()
    dialog = page.get_by_role("dialog", name="1 picture of mug, taken for boat")
    expect(dialog.locator("img")).to_have_count(1)
    wait_until(page, lambda: bool(asked_for))
    [wrong_one] = list(added["data"]) if "data" in added else [added]
    assert set(asked_for) == {wrong_one["id"]}
    close_dialog(page)
    expect(page.get_by_role("button", name="1 picture of mug, taken for boat")).to_be_focused()
    asked_for.clear()
    page.get_by_role("button", name="6 pictures of cactus, told right").click()
    expect(page.get_by_role("dialog").locator("img")).to_have_count(6)
    wait_until(page, lambda: len(set(asked_for)) == 6)
    assert {labels[example] for example in asked_for} == {"cactus"}
    check_view(page)
    close_dialog(page)
    check_view(page)
    mistake = page.locator(".mistakes li")
    expect(mistake).to_have_count(1)
    mistake.get_by_role("button", name="The label was wrong").click()
    expect(mistake).to_contain_text("Now taught as boat.")
    with served.client() as client:
        changed = client.get(f"/v1/collections/{COLLECTION}/examples", params={"limit": 200}).json()["data"]
        assert [row["label"] for row in changed if row["image_sha256"] == wrong_one["image_sha256"]] == [
            "boat"
        ]
        page.locator(".toast").get_by_role("button", name="Undo").click()
        expect(mistake.get_by_role("button", name="The label was wrong")).to_be_visible()
        tab.rest()
        client.delete(f"/v1/collections/{COLLECTION}/examples/{wrong_one['id']}")
    labels = [f"label {index}" for index in range(400)]
    counts = [[int(row == column) for column in range(400)] for row in range(400)]
    cells = [{"truth": label, "said": label, "count": 1, "images": []} for label in labels]
    many = {"labels": labels, "counts": counts, "cells": cells}
    page.route("**/confusion.json", lambda route: route.fulfill(json=many))
    page.reload()
    expect(page.get_by_text("The first 40 of 400 labels are shown")).to_be_visible()


@pytest.fixture
def many_jobs(tab: Tab, served: Live, tmp_path: Path) -> tuple[list[str], list[int]]:
    """The names of 120 jobs, the newest first, and which of them is the newest that the page is told of, to be set."""
    train_things(served, tmp_path)
    with served.client() as client:
        known = client.get("/v1/jobs").json()["data"][0]
    rows = [
        {
            **known,
            "id": f"{number:036}",
            "name": f"job {number}",
            "kind": "train",
            "created_at": f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z",
        }
        for number in range(120, 0, -1)
    ]
    newest = [1]

    def answer(route: Route) -> None:
        after = re.search(r"cursor=(\d+)", route.request.url)
        first = int(after[1]) if after else newest[0]
        last = min(first + 50, 101)
        route.fulfill(json={"data": rows[first:last], "next": str(last) if last < 101 else None})

    tab.page.route(re.compile(r"/v1/jobs\?"), answer)
    return [row["name"] for row in rows], newest


def test_a_list_of_jobs_keeps_each_of_them_while_new_ones_come(
    tab: Tab, many_jobs: tuple[list[str], list[int]]
) -> None:
    rows, newest = many_jobs
    page = tab.open("jobs", COLLECTION)
    older = page.get_by_role("button", name="Older jobs")
    older.click()
    names = page.locator(".job-list .job-name")
    expect(names).to_have_count(100)
    newest[0] = 0
    expect(names.first).to_have_text("job 120")
    assert names.all_text_contents() == rows[:101]
    expect(older).to_be_hidden()  # there are none, whatever a look at the newest says


def test_no_job_is_missing_between_two_looks_at_the_list(
    tab: Tab, many_jobs: tuple[list[str], list[int]]
) -> None:
    rows, newest = many_jobs
    newest[0] = 60
    page = tab.open("jobs", COLLECTION)
    older = page.get_by_role("button", name="Older jobs")
    names = page.locator(".job-list .job-name")
    expect(names.first).to_have_text("job 60")
    expect(older).to_be_hidden()
    newest[0] = 0
    expect(names.first).to_have_text("job 120")
    older.click()
    expect(names).to_have_count(100)
    older.click()
    expect(names).to_have_count(101)
    assert names.all_text_contents() == rows[:101]


def test_a_name_that_cannot_be_is_refused_in_words(tab: Tab) -> None:
    tab.expected = ["status of 422"]
    page = tab.open("jobs", COLLECTION)
    start_training(page, **{"Name of the model": HOSTILE})
    expect(page.locator("form").get_by_role("alert")).to_contain_text("name")
    assert page.evaluate("document.querySelectorAll('main img[src=x]').length") == 0
    check_view(page)
