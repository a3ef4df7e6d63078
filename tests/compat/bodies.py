"""Bodies that clients of other protocols send."""

from __future__ import annotations

from typing import Any


def chat(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"model": "llava-shapes", "messages": [{"role": "user", "content": list(parts)}], **more}


def image(uri: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": uri}}


TEXT = {"type": "text", "text": "what color is the shape?"}
