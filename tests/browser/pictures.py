"""Pictures for the page's tests, as files, and the ways that they get into a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page

from app.cli.demo_pictures import draw_thing


def write_picture(folder: Path, name: str, seed: int) -> Path:
    """A picture of `mug`, `cactus`, `boat` or `house` as `<folder>/<name>-<seed>.jpg`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{seed}.jpg"
    draw_thing(name, seed).save(path, quality=90)
    return path


def drop(target: Locator, *paths: Path) -> None:
    """Drop files or folders on an element the way the system does, so that the browser itself reads them."""
    drag(target, {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1})


def drop_text(target: Locator, text: str) -> None:
    """Drop text on an element, as if it had been selected elsewhere."""
    drag(target, {"items": [{"mimeType": "text/plain", "data": text}], "files": [], "dragOperationsMask": 1})


def drag(target: Locator, data: dict[str, Any]) -> None:
    """Drag what the browser's protocol calls drag data over an element and let go of it there."""
    page: Page = target.page
    target.hover(trial=True)  # once it is on the screen, moves no more and lies under nothing else
    box = target.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})
    session.detach()


def paste(page: Page, path: Path) -> None:
    """Copy a picture and paste it with the keyboard; the clipboard holds PNG, as browsers keep pictures there."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    content = list(path.read_bytes())
    page.evaluate(
        """async (content) => {
            const bitmap = await createImageBitmap(new Blob([new Uint8Array(content)]));
            const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
            canvas.getContext("2d").drawImage(bitmap, 0, 0);
            const png = await canvas.convertToBlob({ type: "image/png" });
            await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]);
        }""",
        content,
    )
    page.keyboard.press("Control+V")


def choose(button: Locator, *paths: Path) -> None:
    """Choose files, or one folder, in the dialog that a button opens."""
    with button.page.expect_file_chooser() as opened:
        button.click()
    opened.value.set_files([str(path) for path in paths] if len(paths) > 1 else str(paths[0]))
